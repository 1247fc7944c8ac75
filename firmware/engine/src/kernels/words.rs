//! Convolution and dense layers of int8 for cores that multiply one by one: inputs are expanded to int32 once, and each
//! weight that is loaded serves five pixels, or each input four rows of weights.

use neji_format::Shape;

use crate::blocks::{Block, Blocks, Slide};
use crate::isa::{Five, Fives, Isa, Scale};
use crate::kernels::Channels;
use crate::kernels::conv::{View, axes};
use crate::kernels::movement::copy;
use crate::kernels::window::{Axis, Span};

/// Inputs of a pixel that are expanded at once.
const DEPTH: usize = 288;
/// Inputs of a dense layer that are expanded at once, where there are few and where there are more.
const SHORT: usize = 160;
const LONG: usize = 720;
/// Output channels whose sums or scales are kept.
const CHANNELS: usize = 64;
/// Inputs of a pixel that are expanded at once where the sums are kept beside them.
const PIECE: usize = DEPTH - CHANNELS;
/// Channels that are computed at once for an end of fewer pixels.
const BLOCK: usize = 16;
/// Pixels that are summed at once.
const PIXELS: usize = 5;

/// Neighbouring pixels of an output, fewer than five at its end.
struct Pixels {
    spans: [(Span, Span); PIXELS],
    count: usize,
}

/// Convolves int8; padding counts as zero point, which adds nothing.
///
/// Five output pixels are summed at once. Kernels longer than [`DEPTH`] are summed piece by piece.
#[inline(always)]
pub(crate) fn conv2d<I: Isa>(mut blocks: Blocks, arena: &mut [i8], weights: &[i8], channels: &Channels<'_>) {
    let Slide { input, window, output } = blocks.whole;
    let (vertical, horizontal) = axes(&window, input.shape);
    // One pixel under which the whole input lies.
    let covers = |axis: Axis| axis.kernel == axis.input && axis.clip(0).taps == axis.kernel;
    if (output.shape.height, output.shape.width) == (1, 1) && covers(vertical) && covers(horizontal) {
        let input_offset = i32::from(input.zero_point).wrapping_neg();
        let Some(block) = blocks.next(arena) else { return };
        return mat_vec::<I>(block.input, input_offset, weights, channels, block.output);
    }
    convolve::<I>(blocks, arena, weights, channels);
}

/// Adds to the sums of each row, of which the first `columns.len()` weights count; rows are `stride` apart.
#[inline(never)]
fn add_rows<I: Isa>(columns: &[Five], weights: &[i8], stride: usize, sums: &mut [Five]) {
    let mut weights = weights;
    for sums in sums {
        let (row, rest) = weights.split_at_checked(stride).unwrap_or((weights, &[]));
        *sums = I::dot_fives(*sums, columns, row);
        weights = rest;
    }
}

/// What is prepared for a layer, and room for what its pixels meet.
struct Room<'r> {
    columns: &'r mut [Five; DEPTH],
    scales: &'r mut [Scale; CHANNELS],
    prepared: &'r mut Option<usize>,
}

/// Five pixels at a time.
#[inline(never)]
fn convolve<I: Isa>(mut blocks: Blocks, arena: &mut [i8], weights: &[i8], channels: &Channels<'_>) {
    let input_offset = i32::from(blocks.whole.input.zero_point).wrapping_neg();
    let mut columns = const { [[0; PIXELS]; DEPTH] };
    let mut scales = const { [Scale::NONE; CHANNELS] };
    // The first of the channels whose scales are there.
    let mut prepared = None;
    while let Some(Block { input, input_shape, window, output, output_shape }) = blocks.next(arena) {
        let (vertical, horizontal) = axes(&window, input_shape);
        let view = View::new(input, input_shape, vertical, horizontal);
        let room = Room { columns: &mut columns, scales: &mut scales, prepared: &mut prepared };
        view.convolve::<I>(input_offset, weights, channels, room, output, output_shape);
    }
}

impl View<'_, i8> {
    #[inline(never)]
    fn convolve<I: Isa>(
        &self,
        input_offset: i32,
        weights: &[i8],
        channels: &Channels<'_>,
        room: Room<'_>,
        output: &mut [i8],
        output_shape: Shape,
    ) {
        let kernel_len = self.vertical.kernel.saturating_mul(self.horizontal.kernel).saturating_mul(self.depth).max(1);
        let channels_out = (output_shape.channels as usize).max(1);
        let direct = kernel_len <= DEPTH && channels.full();
        let zero_point = channels.zero_point;
        let Room { columns, scales: all_scales, prepared } = room;
        let mut spare = [0; BLOCK * PIXELS];
        // Neighbouring pixels of the input are the columns.
        let is_identity = |axis: Axis, output: u32| {
            (axis.kernel, axis.stride, axis.padding) == (1, 1, 0) && axis.input == output as usize
        };
        let pointwise = direct
            && is_identity(self.vertical, output_shape.height)
            && is_identity(self.horizontal, output_shape.width);
        let mut first = 0_usize;
        while first < channels_out {
            let count = channels_out.saturating_sub(first).min(CHANNELS);
            let scales = all_scales.get_mut(..count).unwrap_or(&mut []);
            if *prepared != Some(first) {
                channels.scales(first, kernel_len, scales);
                *prepared = Some(first);
            }
            let begin = first.saturating_mul(kernel_len);
            let (mut y, mut x) = (0_usize, 0_usize);
            let mut inputs = self.input.chunks(self.depth.saturating_mul(PIXELS).max(1));
            for out in output.chunks_mut(channels_out.saturating_mul(PIXELS)) {
                let mut pixels = Pixels { spans: [(Span::NONE, Span::NONE); PIXELS], count: 0 };
                if pointwise {
                    let words = columns.as_flattened_mut();
                    for (pixel, input) in inputs.next().unwrap_or(&[]).chunks_exact(self.depth.max(1)).enumerate() {
                        I::expand_words::<PIXELS>(input, input_offset, words.get_mut(pixel..).unwrap_or(&mut []));
                        pixels.count = pixels.count.wrapping_add(1);
                    }
                } else {
                    for (span, _) in pixels.spans.iter_mut().zip(out.chunks_exact(channels_out)) {
                        *span = (self.vertical.clip(y), self.horizontal.clip(x));
                        pixels.count = pixels.count.wrapping_add(1);
                        x = x.wrapping_add(1);
                        if x == output_shape.width as usize {
                            (x, y) = (0, y.wrapping_add(1));
                        }
                    }
                    if direct {
                        self.expand_words::<I>(&pixels, input_offset, 0, kernel_len, columns);
                    }
                }
                // Sums that are requantized later lie where columns end.
                let (pieces, sums) = columns.split_at_mut(PIECE);
                if !direct {
                    sums.iter_mut().zip(&*scales).for_each(|(sums, scale)| *sums = [scale.bias; PIXELS]);
                    let sums = sums.get_mut(..count).unwrap_or(&mut []);
                    let mut start = 0_usize;
                    while start < kernel_len {
                        let len = kernel_len.saturating_sub(start).min(PIECE);
                        self.expand_words::<I>(&pixels, input_offset, start, len, pieces);
                        let piece = pieces.get(..len).unwrap_or(&[]);
                        let weights = weights.get(begin.saturating_add(start)..).unwrap_or(&[]);
                        add_rows::<I>(piece, weights, kernel_len, sums);
                        start = start.saturating_add(len);
                    }
                }
                // What is beyond the output's end is computed beside it, some channels at a time.
                let whole = pixels.count == PIXELS;
                let block = if whole { CHANNELS } else { BLOCK };
                let mut at = 0_usize;
                for scales in scales.chunks(block) {
                    let channel = first.saturating_add(at);
                    let (target, stride) = match out.get_mut(channel..) {
                        Some(out) if whole => (out, channels_out),
                        _ => (&mut spare[..], scales.len()),
                    };
                    if direct {
                        let columns = columns.get(..kernel_len).unwrap_or(&[]);
                        let weights = weights.get(channel.saturating_mul(kernel_len)..).unwrap_or(&[]);
                        I::multiply_fives(&Fives { columns, weights, scales, zero_point }, target, stride);
                    } else {
                        let sums = columns.get(PIECE.saturating_add(at)..).unwrap_or(&[]);
                        let sums = sums.get(..scales.len()).unwrap_or(&[]);
                        channels.outputs_of_fives(sums, channel, target, stride);
                    }
                    if !whole {
                        for (out, from) in out.chunks_exact_mut(channels_out).zip(spare.chunks_exact(stride.max(1))) {
                            copy(from, out, channel);
                        }
                    }
                    at = at.saturating_add(block);
                }
            }
            first = first.saturating_add(count);
        }
    }

    /// Expands `[start, start + len)` of what lies under the kernel of each pixel.
    #[inline(never)]
    fn expand_words<I: Isa>(&self, pixels: &Pixels, offset: i32, start: usize, len: usize, columns: &mut [Five]) {
        let end = start.saturating_add(len);
        for (pixel, &(rows, taps)) in pixels.spans.iter().take(pixels.count).enumerate() {
            let columns = columns.get_mut(..len).unwrap_or(&mut []);
            if rows.taps < self.vertical.kernel || taps.taps < self.horizontal.kernel {
                columns.iter_mut().filter_map(|five| five.get_mut(pixel)).for_each(|word| *word = 0);
            }
            let words = columns.as_flattened_mut();
            self.runs(rows, taps, |at, input| {
                // What of the run lies in the piece.
                let skipped = start.saturating_sub(at);
                let kept = input.len().min(end.saturating_sub(at));
                let input = input.get(skipped..kept).unwrap_or(&[]);
                let at = at.saturating_sub(start).saturating_mul(PIXELS).saturating_add(pixel);
                I::expand_words::<PIXELS>(input, offset, words.get_mut(at..).unwrap_or(&mut []));
            });
        }
    }
}

/// A dense layer of int8: rows of `weights` times one input, four at a time.
// A function of its own: what it takes of the stack must not lie below the convolutions.
#[inline(never)]
pub(crate) fn mat_vec<I: Isa>(
    input: &[i8],
    input_offset: i32,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [i8],
) {
    // Less is to be cleared for a shorter input.
    if input.len() <= SHORT {
        dense::<I>(&mut [0; SHORT], input, input_offset, weights, channels, output);
    } else {
        dense::<I>(&mut [0; LONG], input, input_offset, weights, channels, output);
    }
}

/// [`mat_vec`] with room for some inputs at once.
#[inline(never)]
fn dense<I: Isa>(
    column: &mut [i32],
    input: &[i8],
    input_offset: i32,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [i8],
) {
    let room = column.len().max(1);
    let depth = input.len();
    let direct = depth <= room && channels.full();
    let mut first = 0_usize;
    if depth <= room {
        I::expand_words::<1>(input, input_offset, column);
    }
    while let Some(output) = output.get_mut(first..).filter(|output| !output.is_empty()) {
        let weights = weights.get(first.saturating_mul(depth)..).unwrap_or(&[]);
        if direct {
            let column = column.get(..depth).unwrap_or(&[]);
            let done = I::multiply_dense(&channels.dense(column, weights, first), output);
            if done > 0 {
                first = first.saturating_add(done);
                continue;
            }
        }
        let mut sums = channels.biases(first);
        for (piece, input) in input.chunks(room).enumerate() {
            let weights = weights.get(piece.saturating_mul(room)..).unwrap_or(&[]);
            if depth > room {
                I::expand_words::<1>(input, input_offset, column);
            }
            let column = column.get(..input.len()).unwrap_or(&[]);
            sums = I::dot_rows_words(sums, column, weights, depth);
        }
        channels.end(first, &sums, output);
        first = first.saturating_add(4);
    }
}
