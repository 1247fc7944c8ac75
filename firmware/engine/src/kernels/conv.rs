//! Convolution over NHWC input and OHWI weights.

use neji_format::{Shape, Window};

use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::Channels;
use crate::kernels::mat_mul::mat_vec;
use crate::kernels::movement::copy;
use crate::kernels::window::{Axis, Span, run};

/// Longest kernel (height x width x channels) whose patch is gathered on the stack.
pub(crate) const PATCH_LEN: usize = 512;

/// The vertical and the horizontal axis of a window over `input`.
pub(crate) fn axes(window: &Window, input: Shape) -> (Axis, Axis) {
    let vertical = Axis {
        kernel: window.kernel_height.into(),
        stride: window.stride_height.into(),
        dilation: window.dilation_height.into(),
        padding: window.padding_top.into(),
        input: input.height as usize,
    };
    let horizontal = Axis {
        kernel: window.kernel_width.into(),
        stride: window.stride_width.into(),
        dilation: window.dilation_width.into(),
        padding: window.padding_left.into(),
        input: input.width as usize,
    };
    (vertical, horizontal)
}

/// Convolves; padding counts as zero point, which adds nothing.
///
/// Kernels up to [`PATCH_LEN`] gather each pixel's patch once and multiply it with all output channels; longer ones
/// take dot products over the kernel's rows where they lie, clipped to the input. A pointwise kernel needs neither.
#[expect(clippy::too_many_arguments, reason = "two tensors, a window and constants: each is one thing")]
pub(crate) fn conv2d<I: Isa, E: Element>(
    input: &[E],
    input_shape: Shape,
    zero_point: E,
    window: &Window,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [E],
    output_shape: Shape,
) {
    let (vertical, horizontal) = axes(window, input_shape);
    let depth = input_shape.channels as usize;
    let kernel_len = vertical.kernel.saturating_mul(horizontal.kernel).saturating_mul(depth).max(1);
    let channels_out = (output_shape.channels as usize).max(1);
    let row_len = (output_shape.width as usize).saturating_mul(channels_out).max(1);
    let zero: i32 = zero_point.into();
    let input_offset = zero.wrapping_neg();
    let view = View::new(input, input_shape, vertical, horizontal);
    let mut patch = [E::zeroed(); PATCH_LEN];
    let mut patch = patch.get_mut(..kernel_len);
    for (y, out_row) in output.chunks_exact_mut(row_len).enumerate() {
        let rows = vertical.clip(y);
        for (x, out) in out_row.chunks_exact_mut(channels_out).enumerate() {
            let columns = horizontal.clip(x);
            if kernel_len == depth && rows.taps == 1 && columns.taps == 1 {
                mat_vec::<I, E>(view.pixels(rows.start, columns.start, 1), input_offset, weights, channels, out);
            } else if let Some(patch) = patch.as_deref_mut() {
                view.gather(rows, columns, zero_point, patch);
                mat_vec::<I, E>(patch, input_offset, weights, channels, out);
            } else {
                let kernels = weights.chunks_exact(kernel_len);
                for ((out, kernel), (bias, multiplier, shift)) in out.iter_mut().zip(kernels).zip(channels.from::<E>(0))
                {
                    let acc = view.dot::<I>(bias, rows, columns, input_offset, kernel);
                    *out = channels.output(acc, multiplier, shift);
                }
            }
        }
    }
}

/// The input of a convolution and how its kernel lies over it.
pub(crate) struct View<'a, E> {
    pub(crate) input: &'a [E],
    /// Elements of one input row.
    pub(crate) row_len: usize,
    /// Input channels.
    pub(crate) depth: usize,
    pub(crate) vertical: Axis,
    pub(crate) horizontal: Axis,
}

impl<'a, E: Element> View<'a, E> {
    /// The input under a window of these axes.
    #[inline(always)]
    pub(crate) fn new(input: &'a [E], shape: Shape, vertical: Axis, horizontal: Axis) -> Self {
        let depth = shape.channels as usize;
        Self { input, row_len: (shape.width as usize).saturating_mul(depth), depth, vertical, horizontal }
    }

    /// `count` neighbouring pixels from `(y, x)` on.
    #[inline(always)]
    fn pixels(&self, y: usize, x: usize, count: usize) -> &[E] {
        let start = y.saturating_mul(self.row_len).saturating_add(x.saturating_mul(self.depth));
        run(self.input, start, count.saturating_mul(self.depth))
    }

    /// The input from `(y, x)` on, which lies inside.
    #[inline(always)]
    pub(crate) fn input_from(&self, y: usize, x: usize) -> &[E] {
        let start = y.wrapping_mul(self.row_len).wrapping_add(x.wrapping_mul(self.depth));
        self.input.get(start..).unwrap_or(&[])
    }

    /// Calls `each(offset in the kernel, input, length)` for every run of neighbouring elements under the kernel: the input
    /// from the run on, and what of it is the run.
    #[inline(always)]
    pub(crate) fn runs_from(&self, rows: Span, columns: Span, mut each: impl FnMut(usize, &[E], usize)) {
        let dense = self.horizontal.dilation == 1;
        let (count, taps) = if dense { (1, columns.taps) } else { (columns.taps, 1) };
        for row in 0..rows.taps {
            let y = rows.start.wrapping_add(row.wrapping_mul(self.vertical.dilation));
            let tap = rows.tap.wrapping_add(row).wrapping_mul(self.horizontal.kernel).wrapping_add(columns.tap);
            for column in 0..count {
                let x = columns.start.wrapping_add(column.wrapping_mul(self.horizontal.dilation));
                let at = tap.wrapping_add(column).wrapping_mul(self.depth);
                each(at, self.input_from(y, x), taps.wrapping_mul(self.depth));
            }
        }
    }

    /// Calls `each(offset in the kernel, input)` for every run of neighbouring elements under the kernel.
    #[inline(always)]
    pub(crate) fn runs(&self, rows: Span, columns: Span, mut each: impl FnMut(usize, &[E])) {
        self.runs_from(rows, columns, |at, input, len| each(at, input.get(..len).unwrap_or(&[])));
    }

    /// Copies what lies under the kernel into `patch`, zero points where that is padding.
    fn gather(&self, rows: Span, columns: Span, zero_point: E, patch: &mut [E]) {
        if rows.taps < self.vertical.kernel || columns.taps < self.horizontal.kernel {
            patch.fill(zero_point);
        }
        self.runs(rows, columns, |offset, input| copy(input, patch, offset));
    }

    /// The sum over one output channel's kernel.
    fn dot<I: Isa>(&self, bias: E::Sum, rows: Span, columns: Span, input_offset: i32, kernel: &[i8]) -> E::Sum {
        let mut acc = bias;
        self.runs(rows, columns, |offset, input| {
            acc = E::dot::<I>(acc, input, input_offset, run(kernel, offset, input.len()));
        });
        acc
    }
}
