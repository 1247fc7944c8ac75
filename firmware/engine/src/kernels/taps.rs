//! Depthwise convolution of int8, one channel's line at a time: four channels of an input row are spread to lines of int16,
//! on which neighbouring taps are neighbours.

use neji_format::{Shape, Window};

use crate::isa::{Factor, Isa, Pair, Square};
use crate::kernels::Channels;
use crate::kernels::conv::axes;

/// Channels that are spread at once.
const BLOCK: usize = 4;
/// Pairs of inputs in the lines.
const PAIRS: usize = 768;
/// Most outputs of a row.
const SUMS: usize = 128;
/// Most pairs of taps.
const TAPS: usize = 32;

/// How lines lie in the buffer, in pairs.
#[derive(Clone, Copy)]
struct Layout {
    /// Of one line.
    line: usize,
    /// Rows that are kept.
    slots: usize,
    /// Of the taps of one row of a kernel.
    taps: usize,
}

impl Layout {
    /// For these, or nothing where they do not fit: a channel of output for each of the input, by fours.
    fn of(input: Shape, window: &Window, output: Shape) -> Option<Self> {
        let (vertical, horizontal) = axes(window, input);
        let reach = (output.width as usize).saturating_mul(horizontal.stride).saturating_add(horizontal.kernel);
        let width = horizontal.padding.saturating_add(horizontal.input).max(reach);
        // Two more, since sums are made by twos.
        let line = width.saturating_add(2).div_ceil(2).saturating_add(1);
        let slots = vertical.kernel.saturating_sub(1).saturating_mul(vertical.dilation).saturating_add(1);
        let taps = horizontal.kernel.div_ceil(2);
        let fits = input.channels == output.channels
            && input.channels.is_multiple_of(BLOCK as u32)
            && horizontal.dilation == 1
            && line.saturating_mul(slots).saturating_mul(BLOCK) <= PAIRS
            && (output.width as usize) < SUMS
            && taps.saturating_mul(vertical.kernel) <= TAPS;
        fits.then_some(Self { line, slots, taps })
    }
}

/// A row of one pixel is a column.
fn upright(input: &mut Shape, window: &mut Window, output: &mut Shape) {
    if (input.width, output.width, window.kernel_width, window.padding_left) == (1, 1, 1, 0) {
        for shape in [input, output] {
            (shape.height, shape.width) = (1, shape.height);
        }
        (window.kernel_width, window.kernel_height) = (window.kernel_height, 1);
        (window.stride_width, window.dilation_width) = (window.stride_height, window.dilation_height);
        (window.stride_height, window.dilation_height) = (1, 1);
        (window.padding_left, window.padding_top) = (window.padding_top, 0);
    }
}

/// Depthwise convolution; `weights` are `[kernel_height, kernel_width, channels]`. False where it is not for these.
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "two tensors, a window and constants: each is one thing")]
pub(crate) fn depthwise_conv2d<I: Isa>(
    input: &[i8],
    mut input_shape: Shape,
    input_offset: i32,
    window: &Window,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [i8],
    mut output_shape: Shape,
) -> bool {
    let mut window = *window;
    upright(&mut input_shape, &mut window, &mut output_shape);
    let Some(layout) = Layout::of(input_shape, &window, output_shape) else { return false };
    let (vertical, horizontal) = axes(&window, input_shape);
    let depth = (input_shape.channels as usize).max(1);
    let row_len = (input_shape.width as usize).saturating_mul(depth);
    let width = output_shape.width as usize;
    let out_len = width.saturating_mul(depth).max(1);
    let quick = channels.quick(vertical.kernel.saturating_mul(horizontal.kernel));
    let square = quick
        && channels.full()
        && (vertical.kernel, horizontal.kernel, vertical.dilation) == (3, 3, 1)
        && (horizontal.stride == 1 || horizontal.stride == 2);
    let slot_len = layout.line.saturating_mul(BLOCK);
    let mut lines = [Pair::ZERO; PAIRS];
    let mut sums = [0; SUMS];
    // By twos.
    let sums = sums.get_mut(..width.next_multiple_of(2)).unwrap_or(&mut []);
    let mut first = 0_usize;
    while first < depth {
        let mut factors = [Factor::NONE; BLOCK];
        channels.factors(first, &mut factors);
        let mut taps = [[Pair::ZERO; TAPS]; BLOCK];
        let mut squares = [[[Pair::ZERO; 4]; 6]; BLOCK];
        for ((offset, taps), square) in taps.iter_mut().enumerate().zip(&mut squares) {
            gather(weights, first.saturating_add(offset), depth, horizontal.kernel, layout.taps, taps);
            *square = turned(taps);
        }
        // Rows count from the first of the padding. The next to be spread and its slot, and the slot of the window's first.
        let (mut next, mut next_slot, mut slot) = (0_usize, 0_usize, 0_usize);
        let mut behind = layout.slots;
        for out_row in output.chunks_exact_mut(out_len) {
            while next < behind {
                let start = next_slot.saturating_mul(slot_len);
                let lines = lines.get_mut(start..start.saturating_add(slot_len)).unwrap_or(&mut []);
                match next.checked_sub(vertical.padding) {
                    Some(row) if row < vertical.input => {
                        let at = row.saturating_mul(row_len).saturating_add(first);
                        let input = input.get(at..row.saturating_add(1).saturating_mul(row_len)).unwrap_or(&[]);
                        I::spread(input, depth, input_offset, lines, layout.line, horizontal.padding);
                    }
                    _ => lines.fill(Pair::ZERO),
                }
                next = next.saturating_add(1);
                next_slot = if next_slot.saturating_add(1) < layout.slots { next_slot.saturating_add(1) } else { 0 };
            }
            if square {
                for (offset, (square, factor)) in squares.iter().zip(&factors).enumerate() {
                    let turn = if slot == 0 { 0 } else { 3_usize.saturating_sub(slot) };
                    let Some(taps) = square.get(turn..).and_then(|taps| taps.first_chunk::<3>()) else { continue };
                    let lines = lines.get(offset.saturating_mul(layout.line)..).unwrap_or(&[]);
                    let square = Square { lines, slot: slot_len, taps, factor: *factor, width, step: depth };
                    let out = out_row.get_mut(first.saturating_add(offset)..).unwrap_or(&mut []);
                    match horizontal.stride {
                        1 => I::square::<1>(&square, out),
                        _ => I::square::<2>(&square, out),
                    }
                }
            } else {
                for (offset, (taps, factor)) in taps.iter().zip(&factors).enumerate() {
                    sums.fill(factor.bias);
                    let mut slot = slot;
                    for taps in taps.chunks_exact(layout.taps.max(1)).take(vertical.kernel) {
                        let start = slot.saturating_mul(slot_len).saturating_add(offset.saturating_mul(layout.line));
                        let line = lines.get(start..start.saturating_add(layout.line)).unwrap_or(&[]);
                        I::add_taps(sums, line, horizontal.stride, taps);
                        slot = around(slot.saturating_add(vertical.dilation), layout.slots);
                    }
                    let out = out_row.get_mut(first.saturating_add(offset)..).unwrap_or(&mut []);
                    channels.line(sums, factor, quick, out, depth);
                }
            }
            behind = behind.saturating_add(vertical.stride);
            slot = around(slot.saturating_add(vertical.stride), layout.slots);
        }
        first = first.saturating_add(BLOCK);
    }
    true
}

/// `slot` in a ring of `slots`.
#[inline(always)]
fn around(slot: usize, slots: usize) -> usize {
    if slot < slots { slot } else { slot.checked_rem(slots).unwrap_or(0) }
}

/// Three rows of three taps twice over, each as [`Square`] has them, so that three rows begin at any of them.
fn turned(taps: &[Pair; TAPS]) -> [[Pair; 4]; 6] {
    let mut rows = [[Pair::ZERO; 4]; 6];
    for (row, taps) in rows.iter_mut().zip(taps.chunks_exact(2).take(3).cycle()) {
        if let &[Pair([a, b]), Pair([c, _])] = taps {
            *row = [Pair([a, b]), Pair([c, 0]), Pair([0, a]), Pair([b, c])];
        }
    }
    rows
}

/// The taps of one channel, row by row, in pairs of neighbours.
fn gather(weights: &[i8], channel: usize, depth: usize, width: usize, pairs: usize, taps: &mut [Pair; TAPS]) {
    let rows = weights.chunks_exact(depth.saturating_mul(width).max(1));
    for (row, taps) in rows.zip(taps.chunks_exact_mut(pairs.max(1))) {
        let mut column = row.iter().skip(channel).step_by(depth.max(1));
        for pair in taps {
            let mut tap = || column.next().map_or(0, |&weight| weight.into());
            *pair = Pair([tap(), tap()]);
        }
    }
}
