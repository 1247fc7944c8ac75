//! The last frames, quantized: a window of neighbouring ones is an input.

use super::inputs::Window;
use super::steps::Steps;

/// The last `context` frames' elements.
#[derive(Debug)]
pub struct Columns<'a> {
    steps: Steps<'a>,
    /// Bytes of the frames, a ring of them.
    ring: &'a mut [i8],
    frame_bytes: usize,
    /// Byte where the next frame goes, which is where the oldest is.
    oldest: usize,
}

impl<'a> Columns<'a> {
    /// Words of memory for windows of frames of so many features.
    pub const fn memory_words(features: usize, window: Window, steps: &Steps<'_>) -> usize {
        features.saturating_mul(window.context as usize).saturating_mul(steps.element.bytes()).div_ceil(4)
    }

    /// Without any frame; `None` where `memory` is shorter than [`Columns::memory_words`].
    pub fn new(features: usize, window: Window, steps: Steps<'a>, memory: &'a mut [u32]) -> Option<Self> {
        let frame_bytes = features.saturating_mul(steps.element.bytes());
        let bytes = frame_bytes.saturating_mul(window.context.into());
        let ring = bytemuck::cast_slice_mut::<u32, i8>(memory).get_mut(..bytes)?;
        Some(Self { steps, ring, frame_bytes, oldest: 0 })
    }

    /// Forgets where the frames begin; they are all overwritten before they are asked for.
    pub fn restart(&mut self) {
        self.oldest = 0;
    }

    /// Takes the next frame.
    pub fn push(&mut self, features: &[i32]) {
        let frame = self.ring.get_mut(self.oldest..).unwrap_or_default();
        self.steps.write(features.iter().copied(), frame);
        self.oldest = self.oldest.saturating_add(self.frame_bytes);
        if self.oldest >= self.ring.len() {
            self.oldest = 0;
        }
    }

    /// Puts the bytes of the last `context` frames in `out`, the oldest first.
    pub fn copy_to(&self, out: &mut [i8]) {
        let Some((new, old)) = self.ring.split_at_checked(self.oldest) else { return };
        for (out, &value) in out.iter_mut().zip(old.iter().chain(new)) {
            *out = value;
        }
    }
}
