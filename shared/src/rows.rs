//! How far an operator whose window moves over the rows of its input may write over it.
//!
//! Row `y` of the output is written at once, when the rows under its window are still there. Rows that no later window
//! reaches are free by then. From the first row to the last, the output lies below the input; from the last to the first,
//! above it.

use crate::operator::Window;
use crate::tensor::Shape;

/// The rows of an input and an output, and a window between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Rows of the input.
    pub input: u32,
    /// Rows of the output.
    pub output: u32,
    /// Bytes of a row of the input.
    pub input_bytes: u32,
    /// Bytes of a row of the output.
    pub output_bytes: u32,
    /// Rows of the input from row to row of the output.
    pub stride: u32,
    /// From the first row of the kernel to the one behind its last.
    pub extent: u32,
    /// Rows of padding above the input.
    pub above: u32,
}

impl Rows {
    /// Those of tensors of these shapes, which lie in an arena; an element has `bytes` bytes.
    pub const fn new(window: &Window, input: Shape, output: Shape, bytes: u32) -> Self {
        let taps = (window.kernel_height as u32).saturating_sub(1);
        Self {
            input: input.height,
            output: output.height,
            input_bytes: input.width.saturating_mul(input.channels).saturating_mul(bytes),
            output_bytes: output.width.saturating_mul(output.channels).saturating_mul(bytes),
            stride: window.stride_height as u32,
            extent: taps.saturating_mul(window.dilation_height as u32).saturating_add(1),
            above: window.padding_top as u32,
        }
    }

    /// The first row of the input that the window of row `y` reaches.
    pub const fn first(&self, y: u32) -> u32 {
        y.saturating_mul(self.stride).saturating_sub(self.above)
    }

    /// The row of the input behind the last that the window of row `y` reaches.
    pub fn end(&self, y: u32) -> u32 {
        y.saturating_mul(self.stride).saturating_add(self.extent).saturating_sub(self.above).min(self.input)
    }

    /// Whether the output, at `output` in the arena, may be written from the first row to the last: each row ends where the
    /// first row that its window reaches begins, or before.
    pub fn downwards(&self, input: u32, output: u32) -> bool {
        // What a row needs rises with each as long as the window begins in the padding, then changes evenly.
        self.turns(self.above).iter().all(|&y| {
            let end = u64::from(output) + (u64::from(y) + 1) * u64::from(self.output_bytes);
            end <= u64::from(input) + u64::from(self.first(y)) * u64::from(self.input_bytes)
        })
    }

    /// Whether the output may be written from the last row to the first: each row begins where the last row that its
    /// window reaches ends, or behind that.
    pub fn upwards(&self, input: u32, output: u32) -> bool {
        // What a row needs changes evenly as long as the window ends inside, then falls with each.
        self.turns(self.input.saturating_add(self.above).saturating_sub(self.extent)).iter().all(|&y| {
            let start = u64::from(output) + u64::from(y) * u64::from(self.output_bytes);
            u64::from(input) + u64::from(self.end(y)) * u64::from(self.input_bytes) <= start
        })
    }

    /// Whether the output may lie over the input, at these offsets in the arena. Every window must begin above the input's
    /// end and end below its beginning.
    pub fn may_overlap(&self, input: u32, output: u32) -> bool {
        let last = u64::from(self.output.saturating_sub(1)) * u64::from(self.stride);
        self.above < self.extent
            && last < u64::from(self.above) + u64::from(self.input)
            && (self.downwards(input, output) || self.upwards(input, output))
    }

    /// The first row, the last, and those about the one from which on windows do not begin before row `turn` of the padded
    /// input.
    fn turns(&self, turn: u32) -> [u32; 4] {
        let last = self.output.saturating_sub(1);
        let at = turn.checked_div(self.stride).unwrap_or(0);
        [0, at.min(last), at.saturating_add(1).min(last), last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows under each window, `stride` apart, one of padding above.
    fn three(input: u32, output: u32, stride: u32, bytes: [u32; 2]) -> Rows {
        Rows { input, output, input_bytes: bytes[0], output_bytes: bytes[1], stride, extent: 3, above: 1 }
    }

    #[test]
    fn a_kernel_of_three_needs_two_rows_between() {
        // Row 1 of the output, bytes 10 to 20 of it, ends where row 0 of the input begins.
        let rows = three(8, 8, 1, [10, 10]);
        assert!(rows.downwards(20, 0) && !rows.downwards(19, 0));
        // Row 6 reaches row 7, the last: it begins where that ends.
        assert!(rows.upwards(0, 20) && !rows.upwards(0, 19));
        assert!(rows.may_overlap(20, 0) && rows.may_overlap(0, 20) && !rows.may_overlap(0, 0));
    }

    #[test]
    fn half_as_many_rows_need_one_of_them() {
        // Bytes 0 to 20 of the output when rows 0 and 1 have been read; then 40 when row 1 is the first that is read.
        let rows = three(8, 4, 2, [40, 20]);
        assert!(rows.downwards(20, 0) && !rows.downwards(19, 0));
        // Row 3 begins at byte 60 and reads to row 8, byte 320.
        assert!(rows.upwards(0, 260) && !rows.upwards(0, 259));
    }

    #[test]
    fn windows_beyond_the_input_never_overlap() {
        let padded = Rows { above: 3, ..three(8, 8, 1, [10, 10]) };
        assert!(!padded.may_overlap(1000, 0));
        let below = Rows { output: 10, ..three(8, 8, 1, [10, 10]) };
        assert!(!below.may_overlap(1000, 0));
        assert!(three(8, 8, 1, [10, 10]).may_overlap(1000, 0));
    }

    #[test]
    fn few_rows_tell_of_all() {
        for stride in 1..4 {
            for extent in 1..6 {
                for above in 0..extent {
                    for input in 1..9_u32 {
                        for output in (1..9_u32).filter(|&output| (output - 1) * stride < above + input) {
                            for bytes in [[7, 3], [5, 5], [2, 9]] {
                                let [input_bytes, output_bytes] = bytes;
                                let rows = Rows { input, output, input_bytes, output_bytes, stride, extent, above };
                                for at in 0..100 {
                                    let down = |y| (y + 1) * output_bytes <= at + rows.first(y) * input_bytes;
                                    assert_eq!(rows.downwards(at, 0), (0..output).all(down), "{rows:?} {at}");
                                    let up = |y| rows.end(y) * input_bytes <= at + y * output_bytes;
                                    assert_eq!(rows.upwards(0, at), (0..output).all(up), "{rows:?} {at}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
