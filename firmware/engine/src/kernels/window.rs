//! Where a sliding window meets the input.

/// One axis of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    /// Taps.
    pub(crate) kernel: usize,
    /// Distance of neighbouring outputs in the input.
    pub(crate) stride: usize,
    /// Distance of neighbouring taps in the input.
    pub(crate) dilation: usize,
    /// Elements of padding before the input.
    pub(crate) padding: usize,
    /// Elements of the input.
    pub(crate) input: usize,
}

/// The taps of a window that lie inside the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First tap inside.
    pub(crate) tap: usize,
    /// Number of taps inside.
    pub(crate) taps: usize,
    /// Input element under the first tap.
    pub(crate) start: usize,
}

impl Span {
    /// One tap, on the first element.
    pub(crate) const FIRST: Self = Self { tap: 0, taps: 1, start: 0 };
    /// No taps at all.
    pub(crate) const NONE: Self = Self { tap: 0, taps: 0, start: 0 };
}

impl Axis {
    /// Clips the window of output `index`. Divides only at the border of a dilated kernel.
    pub(crate) fn clip(&self, index: usize) -> Span {
        let dilation = self.dilation.max(1);
        let position = index.saturating_mul(self.stride);
        let tap = match self.padding.saturating_sub(position) {
            0 => 0,
            outside if dilation == 1 => outside,
            outside => outside.div_ceil(dilation),
        };
        let start = position.saturating_add(tap.saturating_mul(dilation)).saturating_sub(self.padding);
        let left = self.input.saturating_sub(start);
        let room = if dilation == 1 { left } else { left.div_ceil(dilation) };
        Span { tap, taps: self.kernel.saturating_sub(tap).min(room), start }
    }
}

/// `[start, start + len)` of a slice, empty where it reaches beyond.
#[inline(always)]
pub(crate) fn run<E>(slice: &[E], start: usize, len: usize) -> &[E] {
    slice.get(start..start.saturating_add(len)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_at_both_ends() {
        // Input 5, kernel 3, stride 2, padding 1: windows begin at -1, 1, 3.
        let axis = Axis { kernel: 3, stride: 2, dilation: 1, padding: 1, input: 5 };
        assert_eq!(axis.clip(0), Span { tap: 1, taps: 2, start: 0 });
        assert_eq!(axis.clip(1), Span { tap: 0, taps: 3, start: 1 });
        assert_eq!(axis.clip(2), Span { tap: 0, taps: 2, start: 3 });
    }

    #[test]
    fn dilated_taps_skip_the_border() {
        // Taps at -3, -1, 1, 3 of an input of 3: only the one at 1 is inside.
        let axis = Axis { kernel: 4, stride: 1, dilation: 2, padding: 3, input: 3 };
        assert_eq!(axis.clip(0), Span { tap: 2, taps: 1, start: 1 });
    }

    #[test]
    fn a_window_outside_has_no_taps() {
        let axis = Axis { kernel: 2, stride: 1, dilation: 1, padding: 2, input: 1 };
        assert_eq!(axis.clip(0).taps, 0);
        assert_eq!(axis.clip(3).taps, 0);
    }
}
