//! Depthwise convolution of int8, one channel's line at a time: four channels of an input row are spread to lines of int16,
//! on which neighbouring taps are neighbours.

use neji_format::{Shape, Window};

use crate::arena::split;
use crate::blocks::{Blocks, Order, Slide};
use crate::isa::{Factor, Four, Isa, Pair, Squares};
use crate::kernels::Channels;
use crate::kernels::conv::axes;
use crate::kernels::window::Axis;

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
        // Sums are made by twos.
        let sums = (output.width as usize).saturating_add(output.width as usize & 1);
        let reach = sums.saturating_mul(horizontal.stride).saturating_add(horizontal.kernel);
        let width = horizontal.padding.saturating_add(horizontal.input).max(reach);
        // Two more, since taps are read by twos.
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
pub(crate) fn upright(input: &mut Shape, window: &mut Window, output: &mut Shape) {
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
pub(crate) fn depthwise_conv2d<I: Isa>(
    mut blocks: Blocks,
    arena: &mut [i8],
    weights: &[i8],
    channels: &Channels<'_>,
) -> bool {
    let whole = Placed::of(&blocks.whole);
    if whole.layout.is_none() {
        return false;
    }
    let layer = Layer { input_offset: whole.input_offset, weights, channels, depth: whole.depth };
    let [vertical, horizontal] = [whole.across.vertical, whole.across.horizontal];
    let quick = channels.quick(vertical.kernel.saturating_mul(horizontal.kernel));
    let full = quick && channels.full();
    let three = [vertical, horizontal].iter().all(|axis| (axis.kernel, axis.dilation) == (3, 1));
    let squares = full && three && vertical.stride == horizontal.stride && matches!(vertical.stride, 1 | 2);
    let order = blocks.order(1);
    // Over other pixels of the same channels, a channel is in no other's way.
    let congruent = whole.input.abs_diff(whole.output).checked_rem(whole.depth) == Some(0);
    if squares && (order == Order::Any || congruent) && layer.squares::<I>(&whole, order, arena) {
        return true;
    }
    while let Some(slide) = blocks.next_slide(1) {
        let block = Placed::of(&slide);
        let Some(layout) = block.layout else { return false };
        if squares && layer.squares::<I>(&block, Order::Any, arena) {
            continue;
        }
        let split = split(arena, &slide.output);
        let input = split.input(&slide.input);
        if full && block.across.vertical.kernel == 1 {
            layer.fours::<I>(&block.across, input, split.output);
        } else {
            layer.lines::<I>(&block.across, &layout, quick, input, split.output);
        }
    }
    true
}

/// A layer, or rows of it, and how it lies in the arena.
struct Placed {
    /// Nothing where it does not fit.
    layout: Option<Layout>,
    /// Its lines, which are rows.
    across: Lines,
    input_offset: i32,
    depth: usize,
    /// Where the input begins.
    input: usize,
    /// Where the output begins.
    output: usize,
}

impl Placed {
    fn of(slide: &Slide) -> Self {
        let Slide { input, mut window, output } = *slide;
        let (mut input_shape, mut output_shape) = (input.shape, output.shape);
        upright(&mut input_shape, &mut window, &mut output_shape);
        let (vertical, horizontal) = axes(&window, input_shape);
        let depth = (input_shape.channels as usize).max(1);
        let across = Lines {
            horizontal,
            vertical,
            element: depth,
            row: (input_shape.width as usize).saturating_mul(depth),
            width: output_shape.width as usize,
            height: output_shape.height as usize,
            step: depth,
            out: (output_shape.width as usize).saturating_mul(depth).max(1),
        };
        Self {
            layout: Layout::of(input_shape, &window, output_shape),
            across,
            input_offset: i32::from(input.zero_point).wrapping_neg(),
            depth,
            input: input.offset as usize,
            output: output.offset as usize,
        }
    }
}

/// The constants of a layer.
struct Layer<'a, 'c> {
    input_offset: i32,
    weights: &'a [i8],
    channels: &'c Channels<'a>,
    depth: usize,
}

impl Layer<'_, '_> {
    /// Any taps.
    #[inline(never)]
    fn lines<I: Isa>(&self, shapes: &Lines, layout: &Layout, quick: bool, input: &[i8], output: &mut [i8]) {
        let &Self { input_offset, weights, channels, depth } = self;
        let &Lines { vertical, horizontal, row: row_len, width, out: out_len, .. } = shapes;
        let slot_len = layout.line.saturating_mul(BLOCK);
        let mut lines = const { [Pair::ZERO; PAIRS] };
        let mut sums = [0; SUMS];
        // By twos.
        let sums = sums.get_mut(..width.next_multiple_of(2)).unwrap_or(&mut []);
        let mut first = 0_usize;
        while first < depth {
            let mut factors = const { [Factor::NONE; BLOCK] };
            channels.factors(first, &mut factors);
            let mut taps = const { [[Pair::ZERO; TAPS]; BLOCK] };
            for (offset, taps) in taps.iter_mut().enumerate() {
                gather(weights, first.saturating_add(offset), depth, horizontal.kernel, layout.taps, taps);
            }
            // Rows count from the first of the padding. The next to be spread and its slot, and the slot of the window's first.
            let (mut next, mut next_slot, mut slot) = (0_usize, 0_usize, 0_usize);
            let mut behind = layout.slots;
            for out_row in output.chunks_exact_mut(out_len.max(1)) {
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
                    next_slot =
                        if next_slot.saturating_add(1) < layout.slots { next_slot.saturating_add(1) } else { 0 };
                }
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
                behind = behind.saturating_add(vertical.stride);
                slot = around(slot.saturating_add(vertical.stride), layout.slots);
            }
            first = first.saturating_add(BLOCK);
        }
    }
}

/// `slot` in a ring of `slots`.
#[inline(always)]
fn around(slot: usize, slots: usize) -> usize {
    if slot < slots { slot } else { slot.checked_rem(slots).unwrap_or(0) }
}

/// Lines of inputs and outputs, one of them the rows, the other the columns.
#[derive(Clone, Copy)]
struct Lines {
    /// Along a line.
    horizontal: Axis,
    /// From line to line.
    vertical: Axis,
    /// From input to input of a line.
    element: usize,
    /// From line to line of inputs.
    row: usize,
    /// Outputs of a line.
    width: usize,
    /// Lines of outputs.
    height: usize,
    /// From output to output of a line.
    step: usize,
    /// From line to line of outputs.
    out: usize,
}

impl Lines {
    /// Columns for rows.
    fn turned(&self) -> Self {
        let &Self { horizontal, vertical, element, row, width, height, step, out } = self;
        Self {
            horizontal: vertical,
            vertical: horizontal,
            element: row,
            row: element,
            width: height,
            height: width,
            step: out,
            out: step,
        }
    }

    /// Pairs of a line of inputs, its padding and two more, since sums are made by twos.
    fn line(&self) -> usize {
        let Axis { kernel, stride, padding, input, .. } = self.horizontal;
        let reach = self.width.saturating_mul(stride).saturating_add(kernel);
        padding.saturating_add(input).max(reach).saturating_add(2).div_ceil(2).saturating_add(1)
    }

    /// Lines of outputs for which three lines of inputs each fit the buffer.
    fn at_once(&self) -> usize {
        let slots = PAIRS.checked_div(self.line().saturating_mul(BLOCK)).unwrap_or(0);
        let more = slots.checked_sub(3).and_then(|more| more.checked_div(self.vertical.stride.max(1)));
        more.map_or(0, |more| more.saturating_add(1))
    }
}

impl Layer<'_, '_> {
    /// Three by three taps, quickly requantized: as many lines of inputs as there is room for are spread, and serve all
    /// outputs that they reach. False where that order will not do.
    fn squares<I: Isa>(&self, placed: &Placed, order: Order, arena: &mut [i8]) -> bool {
        let across = placed.across;
        let down = across.turned();
        // Outputs are made by twos and lines cost some more: by columns there may be fewer, or less is made in vain.
        let cost =
            |lines: &Lines| lines.height.saturating_mul(lines.width.div_ceil(2).saturating_mul(4).saturating_add(1));
        let few = down.line().saturating_mul(BLOCK * 3) <= PAIRS;
        let columns = few && cost(&down) < cost(&across) && (order == Order::Any || down.at_once() >= down.height);
        // The step from tap to tap along and across a line.
        let (lines, tap) = if columns { (down, [3, 1]) } else { (across, [1, 3]) };
        let upwards = order == Order::Upwards;
        if lines.at_once() == 0 {
            return false;
        }
        self.square_lines::<I>(&lines, tap, [placed.input, placed.output], upwards, arena);
        true
    }

    #[inline(never)]
    fn square_lines<I: Isa>(
        &self,
        shapes: &Lines,
        tap: [usize; 2],
        [from, to]: [usize; 2],
        upwards: bool,
        arena: &mut [i8],
    ) {
        let &Lines { vertical, horizontal, element, row, width, height, step, out: out_len } = shapes;
        let line = shapes.line();
        let slot = line.saturating_mul(BLOCK);
        let stride = vertical.stride.max(1);
        // Beside padding, which stays, every slot is overwritten as a whole.
        let mut lines = const { [Pair::ZERO; PAIRS] };
        let most = shapes.at_once();
        // Where the last lines begin that are spread at once.
        let last = height.saturating_sub(1).checked_div(most).unwrap_or(0).saturating_mul(most);
        let mut first = 0_usize;
        while first < self.depth {
            let mut factors = const { [Factor::NONE; BLOCK] };
            self.channels.factors(first, &mut factors);
            let taps = self.nine(first, tap);
            let mut done = if upwards { last } else { 0 };
            while done < height {
                let height = height.saturating_sub(done).min(most);
                // Counted from the first of the padding.
                let top = done.saturating_mul(stride);
                let rows = height.saturating_sub(1).saturating_mul(stride).saturating_add(3);
                let inputs = arena.get(from..).unwrap_or(&[]);
                for (at, lines) in (top..).zip(lines.chunks_exact_mut(slot.max(1)).take(rows)) {
                    match at.checked_sub(vertical.padding) {
                        Some(at) if at < vertical.input => {
                            let input = inputs.get(at.saturating_mul(row).saturating_add(first)..).unwrap_or(&[]);
                            // Of these inputs alone, whatever follows.
                            let reach =
                                horizontal.input.saturating_sub(1).saturating_mul(element).saturating_add(BLOCK);
                            let input = input.get(..reach).unwrap_or(input);
                            I::spread(input, element, self.input_offset, lines, line, horizontal.padding);
                        }
                        _ => lines.fill(Pair::ZERO),
                    }
                }
                let start = done.saturating_mul(out_len).saturating_add(first);
                let (lines, taps, factors, down) = (&lines[..], &taps[..], &factors[..], slot.saturating_mul(stride));
                let squares = Squares { lines, line, slot, down, taps, factors, width, step, height, row: out_len };
                let outputs = arena.get_mut(to..).unwrap_or(&mut []);
                let out = outputs.get_mut(start..).unwrap_or(&mut []);
                match horizontal.stride {
                    1 => I::squares::<1>(&squares, out),
                    _ => I::squares::<2>(&squares, out),
                }
                done = match done.checked_sub(most) {
                    Some(before) if upwards => before,
                    None if upwards => break,
                    _ => done.saturating_add(height),
                };
            }
            first = first.saturating_add(BLOCK);
        }
    }

    /// Taps of one line, quickly requantized.
    #[inline(never)]
    fn fours<I: Isa>(&self, shapes: &Lines, input: &[i8], output: &mut [i8]) {
        let &Lines { vertical, horizontal, element, row, width, height, step, out } = shapes;
        let inputs = horizontal.stride.wrapping_mul(element);
        let mut first = 0_usize;
        while first < self.depth {
            let mut factors = const { [Factor::NONE; BLOCK] };
            self.channels.factors(first, &mut factors);
            for y in 0..height {
                let span = vertical.clip(y);
                let mut x = 0_usize;
                while x < width {
                    let columns = horizontal.clip(x);
                    // Outputs that have all taps go together.
                    let inside = horizontal.input.saturating_sub(horizontal.kernel).saturating_sub(columns.start);
                    let more = inside.checked_div(horizontal.stride).unwrap_or(0);
                    let whole = columns.taps == horizontal.kernel && span.taps == 1;
                    let count = if whole { more.saturating_add(1).min(width.saturating_sub(x)) } else { 1 };
                    let at = span.start.saturating_mul(row).saturating_add(columns.start.saturating_mul(element));
                    let tap = columns.tap.saturating_mul(self.depth);
                    // A window outside has one tap, of nothing.
                    let (input, weights, taps) = match columns.taps {
                        1.. if span.taps == 1 => (
                            input.get(at.saturating_add(first)..).unwrap_or(&[]),
                            self.weights.get(tap.saturating_add(first)..).unwrap_or(&[]),
                            columns.taps,
                        ),
                        _ => (&[0; BLOCK][..], &[0; BLOCK][..], 1),
                    };
                    let four = Four {
                        input,
                        input_offset: self.input_offset,
                        weights,
                        tap: element,
                        taps,
                        factors: &factors,
                        count,
                        steps: [inputs, step],
                    };
                    let at = y.saturating_mul(out).saturating_add(x.saturating_mul(step));
                    I::four(&four, output.get_mut(at.saturating_add(first)..).unwrap_or(&mut []));
                    x = x.saturating_add(count);
                }
            }
            first = first.saturating_add(BLOCK);
        }
    }

    /// Three rows of three taps for each of the channels from `first` on, as [`Square`] has them.
    fn nine(&self, first: usize, [along, across]: [usize; 2]) -> [[[Pair; 4]; 3]; BLOCK] {
        let mut squares = const { [[[Pair::ZERO; 4]; 3]; BLOCK] };
        let taps = |row: usize, column: usize| -> [i16; BLOCK] {
            let tap = row.wrapping_mul(across).wrapping_add(column.wrapping_mul(along));
            let weights = self.weights.get(tap.saturating_mul(self.depth).saturating_add(first)..);
            let weights = weights.and_then(|weights| weights.first_chunk()).unwrap_or(&[0; BLOCK]);
            weights.map(|weight| i16::from(weight).wrapping_mul(2))
        };
        for row in 0..3 {
            let [a, b, c] = [0, 1, 2].map(|column| taps(row, column));
            for (square, ((a, b), c)) in squares.iter_mut().zip(a.into_iter().zip(b).zip(c)) {
                if let Some(square) = square.get_mut(row) {
                    *square = [Pair([a, b]), Pair([c, 0]), Pair([0, a]), Pair([b, c])];
                }
            }
        }
        squares
    }
}

/// The taps of one channel, row by row, in pairs of neighbours.
#[inline(never)]
fn gather(weights: &[i8], channel: usize, depth: usize, width: usize, pairs: usize, taps: &mut [Pair; TAPS]) {
    let mut at = channel;
    for taps in taps.chunks_exact_mut(pairs.max(1)) {
        for column in 0..width {
            let tap = weights.get(at).map_or(0, |&weight| weight.into());
            if let Some(pair) = taps.get_mut(column >> 1) {
                pair.0[column & 1] = tap;
            }
            at = at.saturating_add(depth);
        }
    }
}
