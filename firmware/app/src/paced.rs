//! A sensor whose samples do not wait: they arrive by a clock, into a buffer of bounded size.

use crate::ring::Ring;
use crate::sensor::Sensor;

/// Most bytes of a sample, all channels; so many are taken from the source at once.
pub const SAMPLE_BYTES_MAX: usize = 64;

/// Samples that are waited for at once, so that the loop runs as it would behind half a DMA buffer.
const BLOCK: usize = 128;

/// The clock of a sensor.
pub trait Pace {
    /// Samples that have arrived since the sensor began.
    fn arrived(&mut self) -> u64;

    /// Waits until about `samples` have arrived since the sensor began; may return early.
    fn wait(&mut self, samples: u64);
}

/// Takes samples from `source` as they arrive by `pace` and keeps them in a [`Ring`] until they are read.
///
/// Between two calls nothing is read from the ring, so taking what has arrived in between afterwards fills it, and loses
/// samples, exactly as an interrupt would have done meanwhile.
#[derive(Debug)]
pub struct PacedSensor<'m, S, P> {
    source: S,
    pace: P,
    ring: Ring<'m>,
    taken: u64,
    ended: bool,
}

impl<'m, S: Sensor, P: Pace> PacedSensor<'m, S, P> {
    /// A sensor that has given nothing. Samples have [`SAMPLE_BYTES_MAX`] bytes at most: of longer ones there is none.
    pub fn new(source: S, pace: P, ring: Ring<'m>) -> Self {
        Self { source, pace, ring, taken: 0, ended: false }
    }

    /// Does what the interrupts since the last call would have done.
    fn catch_up(&mut self) -> Result<(), S::Error> {
        let arrived = self.pace.arrived();
        let sample_bytes = self.ring.sample_bytes();
        let samples_max = SAMPLE_BYTES_MAX.checked_div(sample_bytes).unwrap_or(0) as u64;
        while self.taken < arrived && !self.ended {
            while let Some(lost) = self.source.gap() {
                self.ring.lose(lost);
            }
            let mut samples = [0; SAMPLE_BYTES_MAX];
            let count = arrived.saturating_sub(self.taken).min(samples_max) as usize;
            let samples = samples.get_mut(..count.saturating_mul(sample_bytes)).unwrap_or_default();
            let mut filled = 0usize;
            // Whole samples, at least one.
            while filled == 0 || filled.checked_rem(sample_bytes) != Some(0) {
                match self.source.read(samples.get_mut(filled..).unwrap_or_default())? {
                    0 => {
                        self.ended = true;
                        return Ok(());
                    }
                    count => filled = filled.saturating_add(count),
                }
            }
            for sample in samples.get(..filled).unwrap_or_default().chunks_exact(sample_bytes.max(1)) {
                self.ring.push(sample);
                self.taken = self.taken.saturating_add(1);
            }
        }
        Ok(())
    }
}

impl<S: Sensor, P: Pace> Sensor for PacedSensor<'_, S, P> {
    type Error = S::Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        loop {
            self.catch_up()?;
            let count = self.ring.read(buffer);
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            // Who did not ask for the gap reads on behind it.
            if self.ring.gap().is_some() {
                continue;
            }
            if self.ended {
                return Ok(0);
            }
            let block = BLOCK.min(self.ring.capacity().saturating_add(1) / 2).max(1);
            self.pace.wait(self.taken.saturating_add(block as u64));
        }
    }

    fn gap(&mut self) -> Option<u32> {
        self.ring.gap()
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::convert::Infallible;
    use std::vec::Vec;

    use super::*;

    extern crate std;

    /// Counts up in 16 bits, with a gap of five before the sample `gap`.
    struct Counting {
        next: u16,
        end: u16,
        gap: u16,
    }

    impl Sensor for Counting {
        type Error = Infallible;

        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
            let mut count = 0;
            for bytes in buffer.chunks_exact_mut(2) {
                if self.next == self.end || (self.next == self.gap && count > 0) {
                    break;
                }
                bytes.copy_from_slice(&self.next.to_le_bytes());
                self.next += 1;
                count += 2;
            }
            Ok(count)
        }

        fn gap(&mut self) -> Option<u32> {
            let here = self.next == self.gap;
            if here {
                self.gap = u16::MAX;
            }
            here.then_some(5)
        }
    }

    /// A sample a tick.
    struct Ticks<'c>(&'c Cell<u64>);

    impl Pace for Ticks<'_> {
        fn arrived(&mut self) -> u64 {
            self.0.get()
        }

        fn wait(&mut self, samples: u64) {
            self.0.set(self.0.get().max(samples));
        }
    }

    /// What a loop sees that takes `busy` ticks for each of its reads of up to eight samples: samples, and lost ones with
    /// the number of samples before them.
    fn run(busy: u64, gap: u16) -> (Vec<u16>, Vec<(usize, u32)>) {
        let (clock, mut memory) = (Cell::new(0), [0; 32]);
        let source = Counting { next: 0, end: 100, gap };
        let mut sensor = PacedSensor::new(source, Ticks(&clock), Ring::new(&mut memory, 2));
        let (mut samples, mut lost) = (Vec::new(), Vec::new());
        loop {
            if let Some(gap) = sensor.gap() {
                lost.push((samples.len(), gap));
            }
            let mut buffer = [0; 16];
            let Ok(count) = sensor.read(&mut buffer);
            if count == 0 {
                return (samples, lost);
            }
            samples.extend(buffer[..count].chunks(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])));
            clock.set(clock.get() + busy);
        }
    }

    #[test]
    fn who_is_fast_enough_loses_nothing() {
        for busy in [0, 1, 8] {
            assert_eq!(run(busy, u16::MAX), ((0..100).collect(), Vec::new()), "{busy}");
        }
    }

    #[test]
    fn who_is_slow_loses_what_found_the_buffer_full() {
        // The first eight are read when they have arrived. 20 ticks later 16 fit and 4 do not.
        let (samples, lost) = run(20, u16::MAX);
        assert_eq!(samples[..24], (0..24).collect::<Vec<_>>());
        assert_eq!((samples[24], lost[0]), (28, (24, 4)));
        let total: u32 = lost.iter().map(|(_, count)| count).sum();
        assert_eq!(samples.len() + total as usize, 100);
    }

    #[test]
    fn a_gap_of_the_source_keeps_its_place() {
        assert_eq!(run(3, 37), ((0..100).collect(), std::vec![(37, 5)]));
        // Five that the source has lost and those that found the buffer full.
        let (samples, lost) = run(20, 26);
        assert_eq!((samples[24], lost[0]), (28, (24, 4 + 5)));
    }
}
