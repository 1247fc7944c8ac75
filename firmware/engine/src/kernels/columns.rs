//! Convolution and dense layers of int8 in blocks of sums: inputs are expanded to int16 once, and each weight that is loaded
//! serves four pixels, or each input four rows of weights.

use crate::blocks::{Block, Blocks, Slide};
use crate::isa::{Factor, Isa, Quad, Rows};
use crate::kernels::Channels;
use crate::kernels::conv::{View, axes};
use crate::kernels::movement::copy;
use crate::kernels::window::Span;

/// Inputs of a pixel that are expanded at once.
pub(crate) const DEPTH: usize = 288;
/// Output channels whose sums and factors are kept.
const CHANNELS: usize = 64;
/// The shape of the buffer: quads of four pixels.
const QUADS: usize = DEPTH / 4;

/// Four neighbouring pixels of an output, fewer at its end.
struct Pixels {
    spans: [(Span, Span); 4],
    count: usize,
    /// From input to input of neighbours, where there are four and the kernel lies inside the input for all of them.
    step: Option<usize>,
}

/// What lies under the kernel of each of four pixels.
type Patches = [i8; DEPTH * 4];

/// Convolves int8; padding counts as zero point, which adds nothing.
///
/// Four output pixels are summed at once. Kernels longer than [`DEPTH`] are summed piece by piece.
#[inline(never)]
pub(crate) fn conv2d<I: Isa>(mut blocks: Blocks, arena: &mut [i8], weights: &[i8], channels: &Channels<'_>) {
    let Slide { input, window, output } = blocks.whole;
    let zero_point = input.zero_point;
    let depth = input.shape.channels as usize;
    let taps = usize::from(window.kernel_height).saturating_mul(window.kernel_width.into());
    let kernel_len = taps.saturating_mul(depth).max(1);
    let channels_out = (output.shape.channels as usize).max(1);
    let quick = channels.quick_rows(weights, kernel_len);
    let direct = quick && kernel_len <= DEPTH;
    // The first of the channels whose factors are there.
    let mut prepared = None;
    // Constants are cleared by a call; other arrays of arrays, element by element.
    let mut columns = const { [[Quad::ZERO; 4]; QUADS] };
    let mut factors = const { [Factor::NONE; CHANNELS] };
    let mut sums = const { [[0; 4]; CHANNELS] };
    let mut spare = [0; CHANNELS * 4];
    let mut patches = [zero_point; DEPTH * 4];
    let mut pixels = Pixels { spans: [(Span::NONE, Span::NONE); 4], count: 0, step: None };
    while let Some(Block { input, input_shape, window, output, output_shape }) = blocks.next(arena) {
        let (vertical, horizontal) = axes(&window, input_shape);
        let width = output_shape.width as usize;
        let view = View::new(input, input_shape, vertical, horizontal);
        // Where there is one input for each output, rows follow each other as pixels do.
        let pointwise = kernel_len == depth
            && (vertical.stride, horizontal.stride) == (1, 1)
            && (input_shape.height, input_shape.width) == (output_shape.height, output_shape.width);
        let mut first = 0_usize;
        while first < channels_out {
            let count = channels_out.saturating_sub(first).min(CHANNELS);
            let factors = factors.get_mut(..count).unwrap_or(&mut []);
            if prepared != Some(first) {
                channels.factors(first, factors);
                if quick {
                    let weights = weights.get(first.saturating_mul(kernel_len)..).unwrap_or(&[]);
                    channels.row_factors(first, weights, kernel_len, factors);
                }
                prepared = Some(first);
            }
            let (mut y, mut x) = (0_usize, 0_usize);
            let mut rows = vertical.clip(y);
            for out in output.chunks_mut(channels_out.saturating_mul(4)) {
                pixels.count = out.len().checked_div(channels_out).unwrap_or(0);
                if pointwise {
                    // All rows are one.
                    for span in pixels.spans.iter_mut().take(pixels.count) {
                        *span = (Span::FIRST, Span { start: x, ..Span::FIRST });
                        x = x.wrapping_add(1);
                    }
                    pixels.step = (pixels.count == 4).then_some(depth);
                } else {
                    for span in pixels.spans.iter_mut().take(pixels.count) {
                        *span = (rows, horizontal.clip(x));
                        x = x.wrapping_add(1);
                        if x == width {
                            (x, y) = (0, y.wrapping_add(1));
                            rows = vertical.clip(y);
                        }
                    }
                    pixels.step = view.step(&pixels);
                }
                if pixels.count == 1 && direct {
                    view.patches::<I>(&pixels, zero_point, 0, kernel_len, &mut patches);
                    let patch = patches.get(..kernel_len).unwrap_or(&[]);
                    let column = expand::<I>(patch, i32::from(zero_point).wrapping_neg(), columns.as_flattened_mut());
                    let weights = weights.get(first.saturating_mul(kernel_len)..).unwrap_or(&[]);
                    let out = out.get_mut(first..).unwrap_or(&mut []);
                    I::multiply_column(column, weights, kernel_len, factors, out);
                    continue;
                }
                // What is beyond the output's end is computed beside it.
                let whole = pixels.count == 4;
                let (target, stride) = match out.get_mut(first..) {
                    Some(out) if whole => (out, channels_out),
                    _ => (&mut spare[..], count),
                };
                let sums = sums.get_mut(..count).unwrap_or(&mut []);
                if !direct {
                    sums.iter_mut().zip(&*factors).for_each(|(sums, factor)| *sums = [factor.bias; 4]);
                }
                let mut start = 0_usize;
                while start < kernel_len {
                    let len = kernel_len.saturating_sub(start).min(DEPTH);
                    view.expand::<I>(&pixels, zero_point, start, len, &mut columns, &mut patches);
                    let begin = first.saturating_mul(kernel_len).saturating_add(start);
                    let rows = Rows {
                        columns: columns.get(..len.div_ceil(4)).unwrap_or(&[]),
                        weights: weights.get(begin..).unwrap_or(&[]),
                        stride: kernel_len,
                        factors,
                    };
                    if direct {
                        I::multiply_rows(&rows, target, stride);
                    } else {
                        I::add_rows(&rows, sums);
                    }
                    start = start.saturating_add(len);
                }
                if !direct {
                    channels.outputs_of(sums, factors, quick, target, stride);
                }
                if !whole {
                    for (out, from) in out.chunks_exact_mut(channels_out).zip(spare.chunks_exact(count)) {
                        copy(from, out, first);
                    }
                }
            }
            first = first.saturating_add(count);
        }
        if direct {
            channels.clamp(output);
        }
    }
}

/// Expands a run of inputs, what is left of its last quad 0; the quads.
#[inline(never)]
fn expand<'q, I: Isa>(input: &[i8], input_offset: i32, quads: &'q mut [Quad]) -> &'q [Quad] {
    I::expand::<1>(input, input_offset, quads, 0);
    quads.get(..input.len().div_ceil(4)).unwrap_or(&[])
}

impl View<'_, i8> {
    /// See [`Pixels::step`].
    fn step(&self, pixels: &Pixels) -> Option<usize> {
        let [(_, first), .., (_, last)] = pixels.spans;
        let inside = pixels
            .spans
            .iter()
            .all(|(rows, columns)| (rows.taps, columns.taps) == (self.vertical.kernel, self.horizontal.kernel));
        let step = self.horizontal.stride.wrapping_mul(self.depth);
        let in_a_row = last.start == first.start.saturating_add(self.horizontal.stride.saturating_mul(3));
        (pixels.count == 4 && inside && in_a_row).then_some(step)
    }

    /// Expands `[start, start + len)` of what lies under the kernel of each pixel.
    #[inline(never)]
    fn expand<I: Isa>(
        &self,
        pixels: &Pixels,
        zero_point: i8,
        start: usize,
        len: usize,
        columns: &mut [[Quad; 4]; QUADS],
        patches: &mut Patches,
    ) {
        let offset = i32::from(zero_point).wrapping_neg();
        let end = start.saturating_add(len);
        if !self.depth.is_multiple_of(4) {
            self.patches::<I>(pixels, zero_point, start, end, patches);
            let columns = columns.get_mut(..len.div_ceil(4)).unwrap_or(&mut []);
            return I::expand_pixels(patches, DEPTH, offset, columns);
        }
        if let Some(step) = pixels.step {
            let [(rows, taps), ..] = pixels.spans;
            self.runs_from(rows, taps, |at, input, run| {
                // What of the run lies in the piece.
                let skipped = start.saturating_sub(at);
                let kept = run.min(end.saturating_sub(at));
                let quads = kept.saturating_sub(skipped) / 4;
                let at = at.saturating_sub(start) / 4;
                if let Some(columns) = columns.get_mut(at..at.saturating_add(quads)) {
                    I::expand_pixels(input.get(skipped..).unwrap_or(&[]), step, offset, columns);
                }
            });
            return;
        }
        let quads = columns.as_flattened_mut();
        for (pixel, &(rows, columns)) in pixels.spans.iter().take(pixels.count).enumerate() {
            if rows.taps < self.vertical.kernel || columns.taps < self.horizontal.kernel {
                quads.iter_mut().skip(pixel).step_by(4).take(len / 4).for_each(|quad| *quad = Quad::ZERO);
            }
            self.runs(rows, columns, |at, input| {
                let skipped = start.saturating_sub(at);
                let kept = input.len().min(end.saturating_sub(at));
                let input = input.get(skipped..kept).unwrap_or(&[]);
                let at = at.saturating_sub(start);
                I::expand::<4>(input, offset, quads, at.saturating_add(pixel));
            });
        }
    }

    /// Copies `[start, end)` of what lies under the kernel of each pixel, zero points where that is padding and after it.
    fn patches<I: Isa>(&self, pixels: &Pixels, zero_point: i8, start: usize, end: usize, patches: &mut Patches) {
        for (&span, patch) in pixels.spans.iter().take(pixels.count).zip(patches.chunks_exact_mut(DEPTH)) {
            self.patch::<I>(span, zero_point, start, end, patch);
        }
    }

    /// Copies `[start, end)` of what lies under the kernel of a pixel, zero points where that is padding and after it.
    #[inline(always)]
    pub(crate) fn patch<I: Isa>(
        &self,
        (rows, columns): (Span, Span),
        zero_point: i8,
        start: usize,
        end: usize,
        patch: &mut [i8],
    ) {
        // Sizes are those of tensors, so products are, and slices see to it.
        let row = self.horizontal.kernel.wrapping_mul(self.depth);
        let kernel_len = row.wrapping_mul(self.vertical.kernel);
        let whole = (start, end) == (0, kernel_len);
        let padded = rows.taps < self.vertical.kernel || columns.taps < self.horizontal.kernel;
        // What follows a kernel that is there as a whole has never been written.
        if padded || !whole {
            let patch = patch.get_mut(..end.saturating_sub(start).next_multiple_of(4));
            patch.unwrap_or(&mut []).fill(zero_point);
        }
        if whole && self.horizontal.dilation == 1 {
            let at = rows.tap.wrapping_mul(row).wrapping_add(columns.tap.wrapping_mul(self.depth));
            let target = patch.get_mut(at..kernel_len).unwrap_or(&mut []);
            let source = self.input_from(rows.start, columns.start);
            let steps = [self.row_len.wrapping_mul(self.vertical.dilation), row];
            I::copy_runs(source, target, steps, columns.taps.wrapping_mul(self.depth), rows.taps);
            return;
        }
        self.runs(rows, columns, |at, input| {
            let skipped = start.saturating_sub(at);
            let kept = input.len().min(end.saturating_sub(at));
            copy(input.get(skipped..kept).unwrap_or(&[]), patch, at.saturating_sub(start));
        });
    }
}

/// A dense layer of int8: rows of `weights` times one input, four at a time.
#[inline(never)]
pub(crate) fn mat_vec<I: Isa>(
    input: &[i8],
    input_offset: i32,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [i8],
) {
    let depth = input.len();
    let quick = channels.quick(depth);
    let whole = depth <= DEPTH * 4;
    let mut quads = const { [Quad::ZERO; QUADS * 4] };
    let mut factors = const { [Factor::NONE; CHANNELS] };
    let mut sums = const { [[0; 4]; CHANNELS / 4] };
    let mut column = if whole { expand::<I>(input, input_offset, &mut quads) } else { &[] };
    let mut first = 0_usize;
    for out in output.chunks_mut(CHANNELS) {
        let factors = factors.get_mut(..out.len()).unwrap_or(&mut []);
        channels.factors(first, factors);
        let weights = weights.get(first.saturating_mul(depth)..).unwrap_or(&[]);
        first = first.saturating_add(CHANNELS);
        if quick && whole {
            I::multiply_column(column, weights, depth, factors, out);
            continue;
        }
        let all = sums.as_flattened_mut();
        all.iter_mut().zip(&*factors).for_each(|(sum, factor)| *sum = factor.bias);
        let mut start = 0_usize;
        for input in input.chunks(DEPTH * 4) {
            if !whole {
                column = expand::<I>(input, input_offset, &mut quads);
            }
            let mut row = start;
            for sums in sums.iter_mut().take(out.len().div_ceil(4)) {
                *sums = I::dot_rows(*sums, column, weights.get(row..).unwrap_or(&[]), depth);
                row = row.saturating_add(depth.saturating_mul(4));
            }
            start = start.saturating_add(DEPTH * 4);
        }
        for ((out, &sum), factor) in out.iter_mut().zip(sums.as_flattened()).zip(&*factors) {
            *out = channels.output_of(sum, factor, quick);
        }
    }
    if quick && whole {
        channels.clamp(output);
    }
}
