//! A matrix of weights times one vector: dense layers and gathered convolution patches.

use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::Channels;

/// Multiplies the rows of `weights` by `input` and requantizes each.
///
/// `input` is `[depth]` and never empty, `weights` is `[output.len(), depth]`, row-major. Four rows are taken at once, so
/// that each input is loaded once for four products.
pub(crate) fn mat_vec<I: Isa, E: Element>(
    input: &[E],
    input_offset: i32,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [E],
) {
    let depth = input.len().max(1);
    let (blocks, rest) = output.as_chunks_mut::<4>();
    let mut first = 0_usize;
    for (out, rows) in blocks.iter_mut().zip(weights.chunks_exact(depth.saturating_mul(4))) {
        let (a, rows) = rows.split_at_checked(depth).unwrap_or((&[], &[]));
        let (b, rows) = rows.split_at_checked(depth).unwrap_or((&[], &[]));
        let (c, d) = rows.split_at_checked(depth).unwrap_or((&[], &[]));
        let mut bias = [E::Sum::default(); 4];
        channels.begin::<E>(first, &mut bias);
        channels.end(first, &E::dot_rows_4::<I>(bias, input, input_offset, [a, b, c, d]), out);
        first = first.wrapping_add(4);
    }
    let weights = weights.get(first.saturating_mul(depth)..).unwrap_or(&[]);
    let rows = weights.chunks_exact(depth);
    for ((out, row), (bias, multiplier, shift)) in rest.iter_mut().zip(rows).zip(channels.from::<E>(first)) {
        *out = channels.output(E::dot::<I>(bias, input, input_offset, row), multiplier, shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Bias;
    use crate::isa::Portable;

    #[test]
    fn five_rows() {
        // Inputs less zero point -1: 3, 5. Factor 1/2 (2^30, shift 0), output zero point 1.
        let channels = Channels {
            bias: Bias::Narrow(&[0, 0, 10, 0, -2]),
            multiplier: &[1 << 30; 5],
            shift: &[0, 1, 0, 0, 0],
            zero_point: 1,
            activation_min: -3,
            activation_max: 8,
        };
        let mut output = [0; 5];
        mat_vec::<Portable, i8>(&[2, 4], 1, &[2, 0, 1, 1, 0, 0, -3, -3, 4, 4], &channels, &mut output);
        // 6/2 + 1, 8 + 1 -> 8, 10/2 + 1, -24/2 + 1 -> -3, 30/2 + 1 -> 8.
        assert_eq!(output, [4, 8, 6, -3, 8]);
    }
}
