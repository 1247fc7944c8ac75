//! Layers whose output may lie over the input: they are computed some rows at a time.

use neji_format::{Rows, Shape, Tensor, Window};

use crate::arena::split;

/// A layer whose window slides over the rows of its input, or some rows of one, which are a layer of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slide {
    pub(crate) input: Tensor,
    pub(crate) window: Window,
    pub(crate) output: Tensor,
}

/// A [`Slide`] with its memory.
pub(crate) struct Block<'m, E> {
    pub(crate) input: &'m [E],
    pub(crate) input_shape: Shape,
    pub(crate) window: Window,
    pub(crate) output: &'m mut [E],
    pub(crate) output_shape: Shape,
}

/// How the output lies in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Apart from the input.
    Any,
    /// Over the input and before it: rows are computed from the first to the last.
    Downwards,
    /// Over the input and behind it: from the last to the first.
    Upwards,
}

/// The blocks of a layer, in the order in which none writes over what another reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) whole: Slide,
    /// Rows of the output that are left.
    from: u32,
    to: u32,
    /// Pixels that are computed together.
    pixels: u32,
}

impl Blocks {
    pub(crate) const fn new(window: &Window, input: &Tensor, output: &Tensor) -> Self {
        let whole = Slide { input: *input, window: *window, output: *output };
        Self { whole, from: 0, to: output.shape.height, pixels: 1 }
    }

    /// With blocks of whole groups of pixels, where they have that many rows.
    pub(crate) const fn by(self, pixels: u32) -> Self {
        Self { pixels, ..self }
    }

    /// What of some rows makes no whole groups; nothing where there are too few.
    fn rest(&self, rows: u32) -> u32 {
        let whole = |rows: &u32| rows.saturating_mul(self.whole.output.shape.width).is_multiple_of(self.pixels.max(1));
        let step = (1..self.pixels).find(whole).unwrap_or(self.pixels);
        if rows < step { 0 } else { rows.checked_rem(step).unwrap_or(0) }
    }

    /// How rows must be computed where an element has `bytes` bytes.
    pub(crate) const fn order(&self, bytes: u32) -> Order {
        let (input, output) = (&self.whole.input, &self.whole.output);
        let rows = Rows::new(&self.whole.window, input.shape, output.shape, bytes);
        let input_end = input.offset.saturating_add(rows.input.saturating_mul(rows.input_bytes));
        let output_end = output.offset.saturating_add(rows.output.saturating_mul(rows.output_bytes));
        if output_end <= input.offset || input_end <= output.offset {
            Order::Any
        } else if output.offset < input.offset {
            Order::Downwards
        } else {
            Order::Upwards
        }
    }

    /// The next block and its memory.
    pub(crate) fn next<'m, E>(&mut self, arena: &'m mut [E]) -> Option<Block<'m, E>> {
        let Slide { input, window, output } = self.next_slide(size_of::<E>() as u32)?;
        let split = split(arena, &output);
        let (input_shape, output_shape) = (input.shape, output.shape);
        Some(Block { input: split.input(&input), input_shape, window, output: split.output, output_shape })
    }

    /// The next block: all rows where the two lie apart. Nothing behind the last, or where a row is in its own way, which
    /// the parser excludes.
    #[inline(never)]
    pub(crate) fn next_slide(&mut self, bytes: u32) -> Option<Slide> {
        if self.from >= self.to {
            return None;
        }
        let Slide { input, mut window, output } = self.whole;
        let rows = Rows::new(&window, input.shape, output.shape, bytes);
        let (from, to) = match self.order(bytes) {
            Order::Any => {
                self.from = self.to;
                return Some(self.whole);
            }
            Order::Downwards => {
                // Up to where the input begins that has still to be read.
                let room = input.offset.saturating_add(rows.first(self.from).saturating_mul(rows.input_bytes));
                let end = room.saturating_sub(output.offset).checked_div(rows.output_bytes)?;
                let rest = if end < self.to { self.rest(end.saturating_sub(self.from)) } else { 0 };
                (self.from, self.to.min(end).saturating_sub(rest))
            }
            Order::Upwards => {
                // Down to where it ends.
                let end = rows.end(self.to.saturating_sub(1)).saturating_mul(rows.input_bytes);
                let start = input.offset.saturating_add(end).saturating_sub(output.offset);
                let start = start.div_ceil(rows.output_bytes.max(1));
                let rest = if start > self.from { self.rest(self.to.saturating_sub(start)) } else { 0 };
                (self.from.max(start).saturating_add(rest), self.to)
            }
        };
        if from >= to {
            return None;
        }
        if from == self.from {
            self.from = to
        } else {
            self.to = from
        }

        let (first, end) = (rows.first(from), rows.end(to.saturating_sub(1)));
        let start = from.saturating_mul(rows.stride);
        let stop = to.saturating_sub(1).saturating_mul(rows.stride).saturating_add(rows.extent);
        window.padding_top = rows.above.saturating_sub(start) as u16;
        window.padding_bottom = stop.saturating_sub(rows.above.saturating_add(rows.input)) as u16;
        Some(Slide {
            input: part(&input, first, end, rows.input_bytes),
            window,
            output: part(&output, from, to, rows.output_bytes),
        })
    }
}

/// Rows `from` to `to` of a tensor.
const fn part(tensor: &Tensor, from: u32, to: u32, row_bytes: u32) -> Tensor {
    let offset = tensor.offset.saturating_add(from.saturating_mul(row_bytes));
    Tensor { offset, shape: Shape { height: to.saturating_sub(from), ..tensor.shape }, ..*tensor }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 10 bytes, a kernel of three rows.
    fn blocks(input: u32, output: u32, stride: u16, heights: [u32; 2]) -> [[u32; 5]; 3] {
        let tensor = |offset, height| Tensor { offset, shape: Shape::new(height, 5, 2), scale: 1.0, zero_point: 0 };
        let window = Window {
            kernel_height: 3,
            kernel_width: 1,
            stride_height: stride,
            stride_width: 1,
            dilation_height: 1,
            dilation_width: 1,
            padding_top: 1,
            padding_left: 0,
            padding_bottom: 1,
            padding_right: 0,
        };
        let mut blocks = Blocks::new(&window, &tensor(input, heights[0]), &tensor(output, heights[1]));
        core::array::from_fn(|_| {
            let Some(Slide { input, window, output }) = blocks.next_slide(1) else { return [0; 5] };
            [input.offset, input.shape.height, window.padding_top.into(), output.offset, output.shape.height]
        })
    }

    #[test]
    fn apart_there_is_one() {
        assert_eq!(blocks(80, 0, 1, [8, 8]), [[80, 8, 1, 0, 8], [0; 5], [0; 5]]);
    }

    #[test]
    fn as_many_rows_as_lie_between() {
        // Four rows between: row 0 to 3 at first; then three, since they reach the row before.
        assert_eq!(blocks(40, 0, 1, [8, 8]), [[40, 5, 1, 0, 4], [70, 5, 0, 40, 3], [100, 2, 0, 70, 1]]);
        assert_eq!(blocks(0, 40, 1, [8, 8]), [[30, 5, 0, 80, 4], [0, 5, 0, 50, 3], [0, 2, 1, 40, 1]]);
    }

    #[test]
    fn rows_go_by_groups_of_pixels() {
        let tensor = |offset| Tensor { offset, shape: Shape::new(9, 6, 1), scale: 1.0, zero_point: 0 };
        let window = Window {
            kernel_height: 1,
            kernel_width: 1,
            stride_height: 1,
            stride_width: 1,
            dilation_height: 1,
            dilation_width: 1,
            padding_top: 0,
            padding_left: 0,
            padding_bottom: 0,
            padding_right: 0,
        };
        let heights = |distance: u32, pixels: u32| -> [u32; 4] {
            let mut down = Blocks::new(&window, &tensor(distance * 6), &tensor(0)).by(pixels);
            let mut up = Blocks::new(&window, &tensor(0), &tensor(distance * 6)).by(pixels);
            core::array::from_fn(|_| {
                let [down, up] = [down.next_slide(1), up.next_slide(1)].map(|s| s.map_or(0, |s| s.output.shape.height));
                assert_eq!(down, up);
                down
            })
        };
        // Six pixels a row: by fours, two rows; by fives, five of them.
        assert_eq!(heights(3, 1), [3, 3, 3, 0]);
        assert_eq!(heights(3, 4), [2, 2, 2, 3]);
        assert_eq!(heights(3, 5), [3, 3, 3, 0]);
        assert_eq!(heights(6, 5), [5, 4, 0, 0]);
    }

    #[test]
    fn strides_leave_more_and_more() {
        assert_eq!(blocks(10, 0, 2, [8, 4]), [[10, 2, 1, 0, 1], [20, 3, 0, 10, 1], [40, 5, 0, 20, 2]]);
    }

    #[test]
    fn a_row_in_its_own_way_is_none() {
        assert_eq!(blocks(9, 0, 1, [8, 8]), [[0; 5]; 3]);
    }
}
