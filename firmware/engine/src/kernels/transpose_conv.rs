//! Transposed convolution, gathered: each output looks for the inputs that reach it.

use neji_format::{Shape, Window};

use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::Channels;
use crate::kernels::window::run;

/// One axis: which taps of the kernel reach an output, and from which input.
#[derive(Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    padding: usize,
    input: usize,
}

impl Axis {
    /// `(tap, input)` pairs of output `index`: taps with `index + padding - tap = input * stride`, ascending in the tap.
    fn taps(self, index: usize) -> impl Iterator<Item = (usize, usize)> {
        let stride = self.stride.max(1);
        let position = index.saturating_add(self.padding);
        let phase = position.checked_rem(stride).unwrap_or(0);
        let last = position.checked_div(stride).unwrap_or(0);
        let taps = (phase..self.kernel).step_by(stride).zip((0..=last).rev());
        let input = self.input;
        taps.filter(move |&(_, start)| start < input)
    }
}

/// Transposed convolution; `weights` are OHWI, padding crops the output.
///
/// The sum of one output is the bias and a dot product over the input channels for each tap that meets an input, in
/// gather form, which needs no buffer of i32 as the scatter form would.
#[expect(clippy::too_many_arguments, reason = "two tensors, a window and constants: each is one thing")]
pub(crate) fn transpose_conv2d<I: Isa, E: Element>(
    input: &[E],
    input_shape: Shape,
    input_offset: i32,
    window: &Window,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [E],
    output_shape: Shape,
) {
    let depth = input_shape.channels as usize;
    let vertical = Axis {
        kernel: window.kernel_height.into(),
        stride: window.stride_height.into(),
        padding: window.padding_top.into(),
        input: input_shape.height as usize,
    };
    let horizontal = Axis {
        kernel: window.kernel_width.into(),
        stride: window.stride_width.into(),
        padding: window.padding_left.into(),
        input: input_shape.width as usize,
    };
    let kernel_len = vertical.kernel.saturating_mul(horizontal.kernel).saturating_mul(depth).max(1);
    let channels_out = (output_shape.channels as usize).max(1);
    let row_len = (output_shape.width as usize).saturating_mul(channels_out).max(1);
    let input_width = input_shape.width as usize;
    for (y, out_row) in output.chunks_exact_mut(row_len).enumerate() {
        let rows = vertical.taps(y);
        let rows = Collected::new(rows);
        for (x, out) in out_row.chunks_exact_mut(channels_out).enumerate() {
            let columns = Collected::new(horizontal.taps(x));
            let kernels = weights.chunks_exact(kernel_len);
            for ((out, kernel), (bias, multiplier, shift)) in out.iter_mut().zip(kernels).zip(channels.from::<E>(0)) {
                let mut acc = bias;
                rows.each(vertical, y, |ky, iy| {
                    columns.each(horizontal, x, |kx, ix| {
                        let tap = ky.wrapping_mul(horizontal.kernel).wrapping_add(kx).wrapping_mul(depth);
                        let pixel = iy.wrapping_mul(input_width).wrapping_add(ix).wrapping_mul(depth);
                        acc = E::dot::<I>(acc, run(input, pixel, depth), input_offset, run(kernel, tap, depth));
                    });
                });
                *out = channels.output(acc, multiplier, shift);
            }
        }
    }
}

/// Most taps of one axis that are remembered; kernels have up to `stride` times as many.
const TAPS_MAX: usize = 8;

/// The taps of one output, found once for all its channels; found anew where they are too many to remember.
struct Collected {
    taps: [(usize, usize); TAPS_MAX],
    count: Option<usize>,
}

impl Collected {
    fn new(pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut taps = [(0, 0); TAPS_MAX];
        let mut count = 0_usize;
        for pair in pairs {
            let Some(slot) = taps.get_mut(count) else {
                return Self { taps, count: None };
            };
            *slot = pair;
            count = count.wrapping_add(1);
        }
        Self { taps, count: Some(count) }
    }

    #[inline(always)]
    fn each(&self, axis: Axis, index: usize, mut each: impl FnMut(usize, usize)) {
        match self.count {
            Some(count) => self.taps.iter().take(count).for_each(|&(tap, input)| each(tap, input)),
            None => axis.taps(index).for_each(|(tap, input)| each(tap, input)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_an_axis() {
        // Stride 2, kernel 3, padding 1: output o = 2 i - 1 + k. Output 1: (0, 1), (2, 0). Output 2: (1, 1).
        let axis = Axis { kernel: 3, stride: 2, padding: 1, input: 2 };
        let taps = |index| Collected::new(axis.taps(index));
        assert_eq!(taps(1).count, Some(2));
        assert_eq!(taps(1).taps[..2], [(0, 1), (2, 0)]);
        assert_eq!(taps(2).count, Some(1));
        assert_eq!(taps(2).taps[0], (1, 1));
        // Output 4: 5 - k = 2 i needs i = 2 (k = 1), which is outside.
        assert_eq!(taps(4).count, Some(0));
    }
}
