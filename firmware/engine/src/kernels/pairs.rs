//! Convolution and dense layers whose weights lie in pairs of rows ([`Packing::Pairs`](neji_format::Packing::Pairs)): two rows
//! share the load of their weights and what it takes to part them, and three pixels share that.

use neji_format::Shape;
use neji_format::packing::Pairs;

use crate::blocks::{Block, Blocks, Slide};
use crate::element::Bias;
use crate::isa::{Factor, Isa, Pair, PairColumn, PairRows, Quad, Scratch, Triple};
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
#[inline(always)]
pub(crate) fn conv2d<I: Isa>(mut blocks: Blocks, arena: &mut [i8], weights: &[i16], channels: &Channels<'_>) {
    let Slide { input, window, output } = blocks.whole;
    let one = |shape: Shape| (shape.height, shape.width) == (1, 1);
    if one(input.shape) && one(output.shape) && (window.kernel_height, window.kernel_width) == (1, 1) {
        let zero_point = input.zero_point;
        // The only window may lie in the padding.
        if (window.padding_top, window.padding_left) == (0, 0) {
            let Some(block) = blocks.next(arena) else { return };
            return mat_vec::<I>(block.input, zero_point, weights, channels, block.output);
        }
    }
    convolve::<I>(blocks, arena, weights, channels);
}

/// Three pixels at a time.
// Not below a dense layer, nor the other way round: both take some of the stack.
#[inline(never)]
fn convolve<I: Isa>(mut blocks: Blocks, arena: &mut [i8], weights: &[i16], channels: &Channels<'_>) {
    let Slide { input, window, output } = blocks.whole;
    let zero_point = input.zero_point;
    let offset = i32::from(zero_point).wrapping_neg();
    let depth = input.shape.channels as usize;
    let taps = usize::from(window.kernel_height).saturating_mul(window.kernel_width.into());
    let kernel_len = taps.saturating_mul(depth).max(1);
    let channels_out = (output.shape.channels as usize).max(1);
    let quick = kernel_len <= DEPTH && channels_out.is_multiple_of(2) && channels.full();
    let quads = if quick { kernel_len.div_ceil(4) } else { 0 };
    let mut columns = Scratch::<Triple, { DEPTH / 4 }>::new();
    let columns = columns.filled(quads, [[Pair::ZERO; 3]; 2]);
    let mut factors = Scratch::<Factor, CHANNELS>::new();
    let factors = factors.filled(channels_out.min(CHANNELS), Factor::NONE);
    // The first of the channels whose factors are there.
    let mut prepared = None;
    let mut spare = [0; CHANNELS * 3];
    let mut patches = [[zero_point; DEPTH]; 3];
    while let Some(Block { input, input_shape, window, output, output_shape }) = blocks.next(arena) {
        let (vertical, horizontal) = axes(&window, input_shape);
        let width = output_shape.width as usize;
        let view = View::new(input, input_shape, vertical, horizontal);
        // Where there is one input for each output, rows follow each other as pixels do.
        let pointwise = kernel_len == depth
            && (vertical.stride, horizontal.stride) == (1, 1)
            && (input_shape.height, input_shape.width) == (output_shape.height, output_shape.width);
        if !quick {
            plain(&view, width, zero_point, weights, channels, output);
            continue;
        }
        let pointwise = pointwise && depth.is_multiple_of(4);
        let mut first = 0_usize;
        while first < channels_out {
            let count = channels_out.saturating_sub(first).min(CHANNELS);
            let factors = factors.get_mut(..count).unwrap_or(&mut []);
            if prepared != Some(first) {
                channels.pair_factors(first, factors);
                prepared = Some(first);
            }
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
                    for (pixel, input) in patches.iter_mut().zip(rest.chunks(depth.max(1))) {
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
    let mut quads = Scratch::<Quad, { COLUMN / 4 }>::new();
    let quads = quads.filled(depth.div_ceil(4), Quad::ZERO);
    I::expand::<1>(input, i32::from(zero_point).wrapping_neg(), quads, 0);
    let Channels { multiplier, shift, zero_point, .. } = *channels;
    let Bias::Narrow(bias) = channels.bias else { return };
    let whole = output.len() & !3;
    let (blocks, rest) = output.split_at_mut_checked(whole).unwrap_or((&mut [], &mut []));
    let mut column = PairColumn { quads, weights, biases: bias, multipliers: multiplier, shifts: shift, zero_point };
    I::multiply_pairs_column(&column, blocks);
    if rest.is_empty() {
        return;
    }
    // Rows beyond the last are zeros.
    let (mut biases, mut multipliers, mut shifts, mut outputs) = ([0; 4], [0; 4], [0; 4], [0; 4]);
    copy(bias.get(whole..).unwrap_or(&[]), &mut biases, 0);
    copy(multiplier.get(whole..).unwrap_or(&[]), &mut multipliers, 0);
    copy(shift.get(whole..).unwrap_or(&[]), &mut shifts, 0);
    column.weights = weights.get((whole / 4).saturating_mul(quads.len()).saturating_mul(8)..).unwrap_or(&[]);
    (column.biases, column.multipliers, column.shifts) = (&biases, &multipliers, &shifts);
    I::multiply_pairs_column(&column, &mut outputs);
    rest.iter_mut().zip(outputs).for_each(|(out, value)| *out = value);
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
