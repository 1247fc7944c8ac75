//! Convolution and dense layers whose weights lie in pairs of rows ([`Packing::Pairs`](neji_format::Packing::Pairs)): two rows
//! share the load of their weights and what it takes to part them, and three pixels share that.

use neji_format::packing::Pairs;
use neji_format::{Shape, Window};

use crate::isa::{Factor, Isa, Pair, PairRows, Quad, Triple};
use crate::kernels::Channels;
use crate::kernels::conv::{View, axes};
use crate::kernels::movement::copy;
use crate::kernels::window::{Axis, Span};

/// Longest row of a convolution that is expanded.
pub(crate) const DEPTH: usize = 576;
/// Longest row of a dense layer that is expanded.
pub(crate) const COLUMN: usize = 1152;
/// Output channels whose factors are kept: whole blocks of four rows.
const CHANNELS: usize = 64;

/// Convolves int8; padding counts as zero point, which adds nothing.
///
/// Three output pixels are summed at once. Long rows, an odd number of channels and outputs with bounds of their own are left to
/// [`plain`]. All sums are requantized the quick way: the parser has seen that they and their shifts are small.
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "two tensors, a window and constants: each is one thing")]
pub(crate) fn conv2d<I: Isa>(
    input: &[i8],
    input_shape: Shape,
    zero_point: i8,
    window: &Window,
    weights: &[i16],
    channels: &Channels<'_>,
    output: &mut [i8],
    output_shape: Shape,
) {
    let (vertical, horizontal) = axes(window, input_shape);
    let width = output_shape.width as usize;
    let depth = input_shape.channels as usize;
    let kernel_len = vertical.kernel.saturating_mul(horizontal.kernel).saturating_mul(depth).max(1);
    let view = View::new(input, input_shape, vertical, horizontal);
    let channels_out = (output_shape.channels as usize).max(1);
    if kernel_len == depth
        && (output_shape.height, output_shape.width, window.padding_top, window.padding_left) == (1, 1, 0, 0)
    {
        return mat_vec::<I>(input.get(..depth).unwrap_or(&[]), zero_point, weights, channels, output);
    }
    if kernel_len > DEPTH || !channels_out.is_multiple_of(2) || !channels.full() {
        return plain(&view, width, zero_point, weights, channels, output);
    }
    let offset = i32::from(zero_point).wrapping_neg();
    let quads = kernel_len.div_ceil(4);
    let mut columns: [Triple; DEPTH / 4] = [[[Pair::ZERO; 3]; 2]; DEPTH / 4];
    let columns = columns.get_mut(..quads).unwrap_or(&mut []);
    let mut factors = [Factor::NONE; CHANNELS];
    let mut spare = [0; CHANNELS * 3];
    let mut patches = [[zero_point; DEPTH]; 3];
    // Where there is one input for each output, rows follow each other as pixels do.
    let pointwise = kernel_len == depth
        && depth.is_multiple_of(4)
        && (vertical.stride, horizontal.stride) == (1, 1)
        && (input_shape.height, input_shape.width) == (output_shape.height, output_shape.width);
    let mut first = 0_usize;
    while first < channels_out {
        let count = channels_out.saturating_sub(first).min(CHANNELS);
        let factors = factors.get_mut(..count).unwrap_or(&mut []);
        channels.pair_factors(first, factors);
        let weights = weights.get((first / 4).saturating_mul(quads).saturating_mul(8)..).unwrap_or(&[]);
        let (mut y, mut x) = (0_usize, 0_usize);
        let mut rows = vertical.clip(y);
        let mut rest = input;
        for out in output.chunks_mut(channels_out.saturating_mul(3)) {
            let pixels = out.len().checked_div(channels_out).unwrap_or(0);
            if pointwise && pixels == 3 {
                I::expand_triples(rest, depth, offset, columns);
                rest = rest.get(depth.wrapping_mul(3)..).unwrap_or(&[]);
            } else if pointwise {
                for (pixel, input) in patches.iter_mut().zip(rest.chunks(depth)) {
                    copy(input, pixel, 0);
                }
                I::expand_triples(patches.as_flattened(), DEPTH, offset, columns);
            } else {
                let mut spans = [(Span::NONE, Span::NONE); 3];
                for span in spans.iter_mut().take(pixels) {
                    *span = (rows, horizontal.clip(x));
                    x = x.wrapping_add(1);
                    if x == width {
                        (x, y) = (0, y.wrapping_add(1));
                        rows = vertical.clip(y);
                    }
                }
                view.triples::<I>(&spans, zero_point, kernel_len, columns, &mut patches);
            }
            let rows = PairRows { columns, weights, factors };
            if pixels == 3 {
                I::multiply_pairs(&rows, out.get_mut(first..).unwrap_or(&mut []), channels_out);
                continue;
            }
            // What is beyond the output's end is computed beside it.
            I::multiply_pairs(&rows, &mut spare, count);
            for (out, from) in out.chunks_exact_mut(channels_out).zip(spare.chunks_exact(count)) {
                copy(from, out, first);
            }
        }
        first = first.saturating_add(count);
    }
}

impl View<'_, i8> {
    /// Expands what lies under the kernel of three pixels.
    #[inline(never)]
    fn triples<I: Isa>(
        &self,
        spans: &[(Span, Span); 3],
        zero_point: i8,
        kernel_len: usize,
        columns: &mut [Triple],
        patches: &mut [[i8; DEPTH]; 3],
    ) {
        let offset = i32::from(zero_point).wrapping_neg();
        let [(rows, first), _, (_, last)] = *spans;
        let all = |axis: &Axis, span: Span| span.taps == axis.kernel;
        let inside = spans.iter().all(|&(rows, columns)| all(&self.vertical, rows) && all(&self.horizontal, columns));
        let in_a_row = last.start == first.start.saturating_add(self.horizontal.stride.saturating_mul(2));
        if !(inside && in_a_row && self.depth.is_multiple_of(4)) {
            for (&span, patch) in spans.iter().zip(&mut *patches) {
                self.patch::<I>(span, zero_point, 0, kernel_len, patch);
            }
            return I::expand_triples(patches.as_flattened(), DEPTH, offset, columns);
        }
        let step = self.horizontal.stride.wrapping_mul(self.depth);
        self.runs_from(rows, first, |at, input, run| {
            if let Some(columns) = columns.get_mut(at / 4..at.saturating_add(run) / 4) {
                I::expand_triples(input, step, offset, columns);
            }
        });
    }
}

/// A dense layer of int8.
#[inline(never)]
pub(crate) fn mat_vec<I: Isa>(
    input: &[i8],
    zero_point: i8,
    weights: &[i16],
    channels: &Channels<'_>,
    output: &mut [i8],
) {
    let depth = input.len();
    if depth > COLUMN || !channels.full() {
        let shape = Shape { height: 1, width: 1, channels: depth as u32 };
        let axis = Axis { kernel: 1, stride: 1, dilation: 1, padding: 0, input: 1 };
        return plain(&View::new(input, shape, axis, axis), 1, zero_point, weights, channels, output);
    }
    let mut column = [Quad::ZERO; COLUMN / 4];
    I::expand::<1>(input, i32::from(zero_point).wrapping_neg(), &mut column, 0);
    let column = column.get(..depth.div_ceil(4)).unwrap_or(&[]);
    let mut factors = [Factor::NONE; CHANNELS];
    let mut spare = [0; CHANNELS];
    let mut first = 0_usize;
    for out in output.chunks_mut(CHANNELS) {
        // Rows beyond the last are zeros.
        let factors = factors.get_mut(..out.len().next_multiple_of(4)).unwrap_or(&mut []);
        factors.iter_mut().skip(out.len()).for_each(|factor| *factor = Factor::NONE);
        channels.pair_factors(first, factors);
        let weights = weights.get((first / 4).saturating_mul(column.len()).saturating_mul(8)..).unwrap_or(&[]);
        if out.len() == factors.len() {
            I::multiply_pairs_column(column, weights, factors, out);
        } else {
            I::multiply_pairs_column(column, weights, factors, &mut spare);
            out.iter_mut().zip(spare).for_each(|(out, value)| *out = value);
        }
        first = first.saturating_add(CHANNELS);
    }
}

/// One output after another, one weight after another, as the packing says.
#[inline(never)]
fn plain(
    view: &View<'_, i8>,
    width: usize,
    zero_point: i8,
    weights: &[i16],
    channels: &Channels<'_>,
    output: &mut [i8],
) {
    let kernel_len = view.vertical.kernel.saturating_mul(view.horizontal.kernel).saturating_mul(view.depth);
    let weights = Pairs::new(weights, kernel_len);
    let count = channels.shift.len().max(1);
    let (mut y, mut x) = (0_usize, 0_usize);
    for out in output.chunks_mut(count) {
        let (rows, columns) = (view.vertical.clip(y), view.horizontal.clip(x));
        for ((row, out), (bias, multiplier, shift)) in out.iter_mut().enumerate().zip(channels.from::<i8>(0)) {
            let mut sum = bias;
            view.runs(rows, columns, |at, input| {
                for (index, &input) in input.iter().enumerate() {
                    let weight = weights.weight(row, at.wrapping_add(index));
                    let input = i32::from(input).wrapping_sub(zero_point.into());
                    sum = sum.wrapping_add(input.wrapping_mul(weight.into()));
                }
            });
            *out = channels.output::<i8>(sum, multiplier, shift);
        }
        x = x.wrapping_add(1);
        if x == width {
            (x, y) = (0, y.wrapping_add(1));
        }
    }
}
