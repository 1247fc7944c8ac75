//! Output tensor to score. The formulas are those of `neji_format::detector`; all divisions are plain integer divisions
//! of numbers that are not negative, so they round down.

use heapless::binary_heap::{BinaryHeap, Min};
use neji_engine::requantize::requantize;
use neji_format::{Classifier, ClassifierScore, Reconstruction, Shape, Tensor};

/// Most values that a score is the mean of.
pub const TOP_K_MAX: usize = 64;
/// Bound of a normalised residual.
const Z_MAX: i64 = 4095;

/// A score and the class that the output is most like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    /// Larger is more abnormal; in 1/256 of the output's step.
    pub score: i32,
    /// Index of the largest output, the first of equals.
    pub class: u16,
}

/// Residual of one element in 1/16 of the input's step.
pub fn residual_i8(params: &Reconstruction, input: &Tensor, output: &Tensor, x: i8, y: i8) -> i32 {
    let x = i32::from(x) - i32::from(input.zero_point);
    let y = i32::from(y) - i32::from(output.zero_point);
    let multiplier = params.output_to_residual;
    (16 * x).saturating_sub(requantize(y, multiplier.multiplier, multiplier.shift.into()))
}

/// Residual of one int16 element in 8 steps of the input, which is 1/16 of a grey level's 128.
pub fn residual_i16(params: &Reconstruction, x: i16, y: i16) -> i32 {
    let multiplier = params.output_to_residual;
    ((i32::from(x) + 4) >> 3).saturating_sub(requantize(y.into(), multiplier.multiplier, multiplier.shift.into()))
}

/// Elements that [`reconstruction`] needs in `map`: the map and, where it is smoothed, `smooth_radius + 1` rows.
pub fn map_len(params: &Reconstruction, shape: Shape) -> usize {
    let (height, width) = (shape.height as usize, shape.width as usize);
    let rows = if params.smooth_radius == 0 { 0 } else { usize::from(params.smooth_radius) + 1 };
    height.saturating_add(rows).saturating_mul(width)
}

/// Score of a reconstruction; afterwards `map[..height * width]` is the anomaly map.
///
/// `residual(i)` is in 1/16 of the input's int8 step, `weights` has one value an element or is empty, `map` has at least
/// [`map_len`] elements (with fewer, what does not fit is left out of the score).
pub fn reconstruction(
    params: &Reconstruction,
    shape: Shape,
    weights: &[u16],
    residual: impl Fn(usize) -> i32,
    map: &mut [u32],
) -> i32 {
    let (width, channels) = (shape.width as usize, shape.channels as usize);
    let pixels = (shape.height as usize).saturating_mul(width).min(map.len());
    let (map, rows) = map.split_at_mut(pixels);
    for (pixel, out) in map.iter_mut().enumerate() {
        let mut sum = 0u64;
        for index in pixel * channels..(pixel + 1) * channels {
            let r = i64::from(residual(index));
            let z = weights.get(index).map_or(r, |&weight| (r * i64::from(weight) + (1 << 13)) >> 14);
            sum += z.clamp(-Z_MAX, Z_MAX).unsigned_abs().pow(2);
        }
        *out = (sum / channels.max(1) as u64) as u32;
    }
    smooth(map, width, usize::from(params.smooth_radius.min(2)), rows);
    top_mean(map, usize::from(params.top_k))
}

/// Box mean in place, clipped at the border. A row is kept in `rows` for as long as lower rows need it unsmoothed.
fn smooth(map: &mut [u32], width: usize, radius: usize, rows: &mut [u32]) {
    let kept = radius + 1;
    if radius == 0 || width == 0 || rows.len() < kept * width {
        return;
    }
    let height = map.len() / width;
    for y in 0..height {
        let keep = rows.chunks_exact_mut(width).nth(y % kept).into_iter().flatten();
        keep.zip(row(map, y, width)).for_each(|(to, &from)| *to = from);
        let (top, bottom) = (y.saturating_sub(radius), (y + radius).min(height - 1));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(radius), (x + radius).min(width - 1));
            let mut sum = 0u32;
            for from in top..=bottom {
                let row = if from <= y { row(rows, from % kept, width) } else { row(map, from, width) };
                sum += row.get(left..=right).unwrap_or(&[]).iter().sum::<u32>();
            }
            let count = (bottom - top + 1) * (right - left + 1);
            if let Some(mean) = map.get_mut(y * width + x) {
                *mean = sum / (count as u32).max(1);
            }
        }
    }
}

/// Row `y` of rows of `width`; empty where there is none.
fn row(rows: &[u32], y: usize, width: usize) -> &[u32] {
    rows.get(y * width..).and_then(|rest| rest.get(..width)).unwrap_or(&[])
}

/// The largest values of many.
pub(crate) struct Top<T> {
    count: usize,
    largest: BinaryHeap<T, Min, TOP_K_MAX>,
}

impl<T: Ord> Top<T> {
    /// The largest `count`, at most [`TOP_K_MAX`].
    pub(crate) const fn new(count: usize) -> Self {
        Self { count, largest: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.largest.len() >= self.count {
            if self.largest.peek().is_none_or(|least| value <= *least) {
                return;
            }
            self.largest.pop();
        }
        // There is room: the heap holds fewer than `count` values here.
        let _ = self.largest.push(value);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.largest.iter()
    }
}

/// Mean of the `count` largest values, of all where `count` is 0; 0 of an empty map.
fn top_mean(map: &[u32], count: usize) -> i32 {
    let all = |values: usize| values.max(1) as u64;
    if count == 0 || count >= map.len() {
        return (map.iter().map(|&value| u64::from(value)).sum::<u64>() / all(map.len())) as i32;
    }
    let mut top = Top::new(count.min(TOP_K_MAX));
    map.iter().for_each(|&value| top.push(value));
    (top.values().map(|&value| u64::from(value)).sum::<u64>() / all(top.values().count())) as i32
}

/// Score of a classifier's output.
///
/// `value(i)` is output `i` in 1/256 of its step, zero point removed. [`ClassifierScore::Probability`] expects the step
/// of an int8 softmax, 1/256, so that one is 65536.
pub fn classify(params: &Classifier, classes: usize, value: impl Fn(usize) -> i32) -> Classification {
    let normal = usize::from(params.normal_class);
    let (mut class, mut largest, mut rival) = (0, i32::MIN, i32::MIN);
    for index in 0..classes {
        let value = value(index);
        if value > largest {
            (class, largest) = (index, value);
        }
        if index != normal {
            rival = rival.max(value);
        }
    }
    let normal = if normal < classes { value(normal) } else { 0 };
    let score = match params.score {
        ClassifierScore::Margin => rival.saturating_sub(normal),
        ClassifierScore::Probability => (1i32 << 16).saturating_sub(normal),
    };
    Classification { score, class: class as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neji_format::Multiplier;

    fn params(smooth_radius: u8, top_k: u16) -> Reconstruction {
        let output_to_residual = Multiplier { multiplier: 1 << 30, shift: 5 };
        Reconstruction { output_to_residual, weights: None, smooth_radius, top_k }
    }

    #[test]
    fn residual_is_in_sixteenths() {
        let tensor = |zero_point| Tensor { offset: 0, shape: Shape::new(1, 1, 1), scale: 1.0, zero_point };
        // 16 * (10 - (-128)) - 16 * (5 - 0)
        assert_eq!(residual_i8(&params(0, 0), &tensor(-128), &tensor(0), 10, 5), 16 * 138 - 16 * 5);
    }

    #[test]
    fn weights_round_and_channels_average() {
        let mut map = [0; 2];
        let residuals = [3, -4, 8000, 1];
        let weights = [1 << 14, 1 << 13, 1 << 14, 1 << 14];
        // pixel 0: z = 3, -2; (9 + 4) / 2 = 6. pixel 1: z = 4095, 1.
        let score = reconstruction(&params(0, 1), Shape::new(1, 2, 2), &weights, |i| residuals[i], &mut map);
        assert_eq!(map, [6, 8_384_513]);
        assert_eq!(score, map[1] as i32);
    }

    #[test]
    fn smoothing_in_place_equals_the_naive_box() {
        for radius in 0..=2usize {
            let (height, width) = (5, 4);
            let params = params(radius as u8, 0);
            let shape = Shape::new(height, width, 1);
            let residual = |i: usize| (i as i32 * 37) % 101;
            let mut map = [0u32; 64];
            let map = &mut map[..map_len(&params, shape)];
            reconstruction(&params, shape, &[], residual, map);
            for y in 0..height as i32 {
                for x in 0..width as i32 {
                    let (mut sum, mut count) = (0, 0);
                    for v in y - radius as i32..=y + radius as i32 {
                        for u in x - radius as i32..=x + radius as i32 {
                            if (0..height as i32).contains(&v) && (0..width as i32).contains(&u) {
                                sum += residual((v * 4 + u) as usize).pow(2);
                                count += 1;
                            }
                        }
                    }
                    assert_eq!(map[(y * 4 + x) as usize] as i32, sum / count, "radius {radius} at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn top_mean_takes_the_largest() {
        assert_eq!(top_mean(&[1, 9, 3, 8, 2], 2), 8);
        assert_eq!(top_mean(&[1, 9, 3, 8, 2], 0), 4);
        assert_eq!(top_mean(&[1, 9], 64), 5);
        assert_eq!(top_mean(&[], 3), 0);
    }

    #[test]
    fn margin_and_probability() {
        let outputs = [256, 1024, -512];
        let margin = Classifier { normal_class: 0, score: ClassifierScore::Margin };
        assert_eq!(classify(&margin, 3, |i| outputs[i]), Classification { score: 768, class: 1 });
        let probability = Classifier { normal_class: 1, score: ClassifierScore::Probability };
        assert_eq!(classify(&probability, 3, |i| outputs[i]), Classification { score: 65536 - 1024, class: 1 });
    }
}
