//! Score of what an autoencoder fails to reconstruct.

use neji_engine::requantize::requantize;
use neji_format::{Reconstruction, Shape, Tensor};

use super::{Z_MAX, map};

/// Residual of one element in 1/16 of the input's step.
pub(super) fn residual_i8(params: &Reconstruction, input: &Tensor, output: &Tensor, x: i8, y: i8) -> i32 {
    let x = i32::from(x) - i32::from(input.zero_point);
    let y = i32::from(y) - i32::from(output.zero_point);
    let multiplier = params.output_to_residual;
    (16 * x).saturating_sub(requantize(y, multiplier.multiplier, multiplier.shift.into()))
}

/// Residual of one int16 element in 8 steps of the input, which is 1/16 of a grey level's 128.
pub(super) fn residual_i16(params: &Reconstruction, x: i16, y: i16) -> i32 {
    let multiplier = params.output_to_residual;
    ((i32::from(x) + 4) >> 3).saturating_sub(requantize(y.into(), multiplier.multiplier, multiplier.shift.into()))
}

/// The weight of each element's residual.
pub(super) enum Weighing<'a, S> {
    /// All are 1.
    One,
    /// Known beforehand.
    Elements(&'a [u16]),
    /// The table's, at the step that the function gives for the element.
    Predicted(&'a [u16], S),
}

/// The score; afterwards `memory` begins with the map of `shape`'s pixels. `residual(i)` is in 1/16 of the input's int8 step.
pub(super) fn score(
    params: &Reconstruction,
    shape: Shape,
    weighing: &Weighing<'_, impl Fn(usize) -> u8>,
    residual: impl Fn(usize) -> i32,
    memory: &mut [u32],
) -> i32 {
    let channels = shape.channels as usize;
    let weight = |index: usize| match weighing {
        Weighing::One => None,
        Weighing::Elements(weights) => weights.get(index),
        Weighing::Predicted(weights, step) => weights.get(usize::from(step(index))),
    };
    let pixel = |pixel: usize| {
        let mut sum = 0u64;
        for index in pixel * channels..(pixel + 1) * channels {
            let r = i64::from(residual(index));
            let z = weight(index).map_or(r, |&weight| (r * i64::from(weight) + (1 << 13)) >> 14);
            sum += z.clamp(-Z_MAX, Z_MAX).unsigned_abs().pow(2);
        }
        (sum / channels.max(1) as u64) as u32
    };
    map::pool(params.pooling, shape, pixel, memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use neji_format::{Multiplier, Pooling, Weights};

    fn params(top_k: u16) -> Reconstruction {
        let output_to_residual = Multiplier { multiplier: 1 << 30, shift: 5 };
        Reconstruction { output_to_residual, weights: Weights::One, pooling: Pooling { smooth_radius: 0, top_k } }
    }

    #[test]
    fn residual_is_in_sixteenths() {
        let tensor = |zero_point| Tensor { offset: 0, shape: Shape::new(1, 1, 1), scale: 1.0, zero_point };
        // 16 * (10 - (-128)) - 16 * (5 - 0)
        assert_eq!(residual_i8(&params(0), &tensor(-128), &tensor(0), 10, 5), 16 * 138 - 16 * 5);
    }

    #[test]
    fn weights_round_and_channels_average() {
        let mut map = [0; 2];
        let residuals = [3, -4, 8000, 1];
        let weights = [1 << 14, 1 << 13, 1 << 14, 1 << 14];
        // pixel 0: z = 3, -2; (9 + 4) / 2 = 6. pixel 1: z = 4095, 1.
        let weighing = Weighing::<fn(usize) -> u8>::Elements(&weights);
        let score = score(&params(1), Shape::new(1, 2, 2), &weighing, |i| residuals[i], &mut map);
        assert_eq!(map, [6, 8_384_513]);
        assert_eq!(score, map[1] as i32);
    }

    #[test]
    fn predicted_weights_are_looked_up() {
        let mut table = [1 << 14; 256];
        table[7] = 1 << 15;
        let weighing = Weighing::Predicted(&table, |index| if index == 1 { 7 } else { 0 });
        let mut map = [0; 2];
        score(&params(0), Shape::new(1, 2, 1), &weighing, |_| 10, &mut map);
        assert_eq!(map, [100, 400]);
    }
}
