//! Frames of decibels to the model's input: each band's steps, and a window of neighbouring frames.

use neji_engine::requantize::requantize;
use neji_format::{BandQuantizer, Element, Multiplier};

/// How many frames an input has, and how many come from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Frames of an input, at least 1.
    pub context: u16,
    /// Frames from an input to the next, at least 1.
    pub stride: u16,
}

/// How decibels become elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps<'a> {
    /// One for all bands or one for each: [`BandQuantizer`] as words.
    pub quantizers: &'a [[i32; 3]],
    /// What the elements are.
    pub element: Element,
    /// Of the model's input; 0 of int16.
    pub zero_point: i8,
}

/// The last frames, quantized.
#[derive(Debug)]
pub struct Columns<'a> {
    steps: Steps<'a>,
    window: Window,
    /// Bytes of the last `context` frames, a ring of frames.
    ring: &'a mut [i8],
    frame_bytes: usize,
    /// Byte where the next frame goes, which is where the oldest is.
    oldest: usize,
    /// Frames that the next input still lacks.
    missing: u16,
}

impl<'a> Columns<'a> {
    /// Bytes of memory for windows of frames of so many bands.
    pub const fn memory_bytes(bands: usize, window: Window, element: Element) -> usize {
        bands.saturating_mul(window.context as usize).saturating_mul(element.bytes())
    }

    /// Without any frame. `memory` is [`Columns::memory_bytes`] long.
    pub fn new(bands: usize, window: Window, steps: Steps<'a>, memory: &'a mut [i8]) -> Self {
        let frame_bytes = bands.saturating_mul(steps.element.bytes());
        let mut columns = Self { steps, window, ring: memory, frame_bytes, oldest: 0, missing: 0 };
        columns.restart();
        columns
    }

    /// Forgets all frames.
    pub fn restart(&mut self) {
        self.oldest = 0;
        self.missing = self.window.context;
    }

    /// Takes the next frame, in 1/65536 dB, the lowest band first; true where an input is complete and due.
    pub fn push(&mut self, decibels: &[i32]) -> bool {
        let Steps { quantizers, element, zero_point } = self.steps;
        let bytes = element.bytes();
        let frame = self.ring.get_mut(self.oldest..).unwrap_or_default().chunks_exact_mut(bytes);
        // One for all, or one for each.
        for ((out, &decibels), &quantizer) in frame.zip(decibels).zip(quantizers.iter().cycle()) {
            let BandQuantizer { mean, multiplier: Multiplier { multiplier, shift } } =
                BandQuantizer::from_words(quantizer);
            let steps = requantize(decibels.saturating_sub(mean), multiplier, shift.clamp(-31, 0).into());
            let (low, high) = element.range();
            let q = steps.saturating_add(zero_point.into()).clamp(low.into(), high.into());
            for (out, byte) in out.iter_mut().zip(q.to_le_bytes()) {
                *out = byte.cast_signed();
            }
        }
        self.oldest = self.oldest.saturating_add(self.frame_bytes);
        if self.oldest >= self.ring.len() {
            self.oldest = 0;
        }
        self.missing = self.missing.saturating_sub(1);
        if self.missing > 0 {
            return false;
        }
        self.missing = self.window.stride;
        true
    }

    /// Puts the bytes of the last `context` frames in `out`, the oldest first.
    pub fn copy_to(&self, out: &mut [i8]) {
        let Some((new, old)) = self.ring.split_at_checked(self.oldest) else { return };
        for (out, &value) in out.iter_mut().zip(old.iter().chain(new)) {
            *out = value;
        }
    }
}
