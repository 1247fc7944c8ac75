//! How loud it is, for a row of lights.

use core::sync::atomic::{AtomicU32, Ordering};

/// The largest sample since it was looked at.
#[derive(Debug)]
pub struct Level(AtomicU32);

impl Level {
    /// Silence.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Hears a sample.
    pub fn hear(&self, sample: i16) {
        let loud = u32::from(sample.unsigned_abs());
        // The only writer but for `take`, which at worst keeps a peak for one more look.
        if loud > self.0.load(Ordering::Relaxed) {
            self.0.store(loud, Ordering::Relaxed);
        }
    }

    /// Lights of `count` for the loudest since the last look: each is 6 dB, the last full scale.
    pub fn take(&self, count: u32) -> u32 {
        let loud = self.0.load(Ordering::Relaxed);
        self.0.store(0, Ordering::Relaxed);
        (u32::BITS - loud.leading_zeros() + count).saturating_sub(15).min(count)
    }
}

/// Takes off a microphone's samples what silence gives: a mean over some 1024 samples.
#[derive(Debug, Default)]
pub struct Silence(Option<i32>);

impl Silence {
    /// The sample without it.
    pub fn take_off(&mut self, sample: i16) -> i16 {
        let fine = i32::from(sample) << 10;
        let mean = *self.0.get_or_insert(fine);
        self.0 = Some(mean + ((fine - mean) >> 10));
        ((fine - mean) >> 10).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::new()
    }
}
