//! A bounded buffer between a sensor's interrupt and the loop, which knows what it has lost and where.
//!
//! It is plain data: what an interrupt and a loop share is put into the mutex that the firmware has anyway, such as
//! `critical_section::Mutex<RefCell<Ring>>` or a resource of RTIC.

use heapless::Deque;

/// Gaps that are told apart; while there are as many, samples are lost even where there is room.
const GAPS_MAX: usize = 4;

/// Samples are missing behind the first `after` bytes.
#[derive(Debug, Clone, Copy)]
struct Gap {
    after: u64,
    lost: u32,
}

/// Whole samples in a ring of bytes. What finds it full is dropped, and the reader is told where.
#[derive(Debug)]
pub struct Ring<'m> {
    memory: &'m mut [u8],
    sample_bytes: usize,
    /// Where the oldest byte lies.
    first: usize,
    filled: usize,
    /// Bytes that were read since the beginning; the next gap is counted from there as well.
    read: u64,
    gaps: Deque<Gap, GAPS_MAX>,
}

impl<'m> Ring<'m> {
    /// An empty ring of as many samples of `sample_bytes` (all channels, at least 1) as `memory` holds.
    pub fn new(memory: &'m mut [u8], sample_bytes: usize) -> Self {
        let sample_bytes = sample_bytes.max(1);
        let whole = memory.len() - memory.len().checked_rem(sample_bytes).unwrap_or(0);
        let (memory, _) = memory.split_at_mut_checked(whole).unwrap_or_default();
        Self { memory, sample_bytes, first: 0, filled: 0, read: 0, gaps: Deque::new() }
    }

    /// Samples that it holds at most.
    pub fn capacity(&self) -> usize {
        self.memory.len().checked_div(self.sample_bytes).unwrap_or(0)
    }

    /// Bytes of a sample.
    pub fn sample_bytes(&self) -> usize {
        self.sample_bytes
    }

    /// Bytes that wait to be read.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing waits to be read.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The interrupt's end: takes a sample, or drops it where there is no room; false where it was dropped.
    pub fn push(&mut self, sample: &[u8]) -> bool {
        let room = self.memory.len().saturating_sub(self.filled);
        if room < self.sample_bytes || sample.len() != self.sample_bytes || self.gaps.is_full() {
            self.lose(1);
            return false;
        }
        let (end, size) = (self.first.saturating_add(self.filled), self.memory.len());
        let begin = if end >= size { end.saturating_sub(size) } else { end };
        // A whole number of samples: none lies over the end.
        for (to, &from) in self.memory.iter_mut().skip(begin).zip(sample) {
            *to = from;
        }
        self.filled = self.filled.saturating_add(self.sample_bytes);
        true
    }

    /// Says that `samples` are missing before the next one; 0 where their number is not known.
    pub fn lose(&mut self, samples: u32) {
        let after = self.read.saturating_add(self.filled as u64);
        match self.gaps.back_mut() {
            Some(gap) if gap.after == after => gap.lost = gap.lost.saturating_add(samples),
            // Where there is no room for another gap nothing was taken since the last one, so this is never full.
            _ => {
                let _ = self.gaps.push_back(Gap { after, lost: samples });
            }
        }
    }

    /// The loop's end: moves bytes to `buffer`, none of them from behind a gap; returns how many.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let before_gap = self.gaps.front().map_or(u64::MAX, |gap| gap.after.saturating_sub(self.read));
        let limit = self.filled.min(usize::try_from(before_gap).unwrap_or(usize::MAX));
        let mut count = 0;
        for (to, _) in buffer.iter_mut().zip(0..limit) {
            *to = self.memory.get(self.first).copied().unwrap_or_default();
            self.first = self.first.saturating_add(1);
            if self.first >= self.memory.len() {
                self.first = 0;
            }
            count += 1;
        }
        self.filled = self.filled.saturating_sub(count);
        self.read = self.read.saturating_add(count as u64);
        count
    }

    /// Whether samples are missing before what is read next: how many, 0 where that is not known. A gap is told once.
    pub fn gap(&mut self) -> Option<u32> {
        let here = self.gaps.front().is_some_and(|gap| gap.after <= self.read);
        if here { self.gaps.pop_front().map(|gap| gap.lost) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    extern crate std;

    #[test]
    fn what_finds_it_full_is_lost_and_the_gap_has_its_place() {
        let mut memory = [0; 7];
        let mut ring = Ring::new(&mut memory, 2);
        assert_eq!(ring.capacity(), 3);
        let taken = [1u8, 2, 3, 4, 5].map(|n| ring.push(&[n, 10 * n]));
        assert_eq!(taken, [true, true, true, false, false]);
        let mut buffer = [0; 4];
        assert_eq!((ring.gap(), ring.read(&mut buffer), buffer), (None, 4, [1, 10, 2, 20]));
        // There is room again, behind the gap.
        assert!(ring.push(&[6, 60]));
        assert_eq!((ring.gap(), ring.read(&mut buffer), &buffer[..2]), (None, 2, &[3, 30][..]));
        assert_eq!(ring.read(&mut buffer), 0);
        assert_eq!((ring.gap(), ring.gap()), (Some(2), None));
        assert_eq!((ring.read(&mut buffer), &buffer[..2]), (2, &[6, 60][..]));
    }

    #[test]
    fn a_ring_without_room_loses_everything() {
        let mut ring = Ring::new(&mut [], 2);
        assert!(!ring.push(&[1, 2]) && !ring.push(&[3, 4]));
        assert_eq!((ring.read(&mut [0; 8]), ring.gap()), (0, Some(2)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Read(usize),
        Lose(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(1u8..9).prop_map(Step::Push), (1usize..14).prop_map(Step::Read), (0u32..3).prop_map(Step::Lose),]
    }

    proptest! {
        /// Read and lost samples, in order, are the samples that were pushed.
        #[test]
        fn nothing_is_lost_unsaid(samples in 1usize..9, steps in prop::collection::vec(step(), 1..60)) {
            let mut memory = [0; 32];
            let mut ring = Ring::new(&mut memory[..samples * 2 + 1], 2);
            let (mut pushed, mut told, mut lost, mut bytes) = (0u16, 0u64, 0u64, Vec::new());
            let mut seen = Vec::new();
            let mut read = |ring: &mut Ring<'_>, length: usize, seen: &mut Vec<u16>, lost: &mut u64| {
                if let Some(gap) = ring.gap() {
                    *lost += u64::from(gap);
                }
                let mut buffer = [0; 16];
                let count = ring.read(&mut buffer[..length]);
                bytes.extend_from_slice(&buffer[..count]);
                while bytes.len() >= 2 {
                    seen.push(u16::from_le_bytes([bytes[0], bytes[1]]));
                    bytes.drain(..2);
                }
                count
            };
            let mut dropped = Vec::new();
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        if !ring.push(&pushed.to_le_bytes()) {
                            dropped.push(pushed);
                        }
                        pushed += 1;
                    },
                    Step::Read(length) => {
                        read(&mut ring, length, &mut seen, &mut lost);
                    }
                    Step::Lose(count) => {
                        ring.lose(count);
                        told += u64::from(count);
                    }
                }
                prop_assert!(ring.len() <= samples * 2);
            }
            // A gap that waits is told before anything behind it is read.
            for _ in 0..100 {
                read(&mut ring, 16, &mut seen, &mut lost);
            }
            prop_assert_eq!(lost, told + dropped.len() as u64);
            prop_assert_eq!(seen.len() + dropped.len(), usize::from(pushed));
            prop_assert!(seen.iter().chain(&dropped).copied().max().is_none_or(|last| last + 1 == pushed));
            prop_assert!(seen.is_sorted() && seen.iter().all(|sample| !dropped.contains(sample)));
        }
    }
}
