//! The samples that the last alarms were raised by, in the caller's memory.
//!
//! Memory is parted into equal slots. One is a ring of what came last; when an alarm goes on it is left as it is, and the ring is the
//! next one, which holds the oldest recording. So of `n` slots `n - 1` are recordings. A recording begins where a frame or a step of a
//! window does: the same samples then give the same scores again.

use neji_link::{Cause, Recording};

/// Most slots.
pub const SLOTS_MAX: usize = 8;

/// A recording and where its first byte lies in its slot.
#[derive(Debug, Clone, Copy)]
struct Kept {
    recording: Recording,
    first: usize,
}

/// Keeps samples.
#[derive(Debug)]
pub(super) struct Recorder<'m> {
    memory: &'m mut [u8],
    slots: usize,
    slot_bytes: usize,
    /// Bytes from one place where a recording may begin to the next.
    step: u64,
    /// The slot that is the ring.
    current: usize,
    /// Samples behind the last restart of the stream begin here.
    base: u64,
    /// What is in the ring: from here, where a step begins, ...
    begin: u64,
    /// ... to here.
    end: u64,
    kept: [Option<Kept>; SLOTS_MAX],
    /// Recordings so far.
    count: u32,
}

impl<'m> Recorder<'m> {
    /// A recorder of `slots` slots in `memory`, whose recordings begin at multiples of `step` bytes. It keeps nothing where there
    /// are fewer than two slots, or a slot has less than a step.
    pub(super) fn new(memory: &'m mut [u8], slots: usize, step: u64) -> Self {
        let slots = slots.min(SLOTS_MAX);
        let step = step.max(1);
        let slot = memory.len().checked_div(slots).unwrap_or(0);
        // Whole steps: the oldest of them is overwritten at once.
        let whole = (slot as u64).checked_div(step).unwrap_or(0).saturating_mul(step);
        let slot_bytes = if slots < 2 { 0 } else { usize::try_from(whole).unwrap_or(0) };
        let kept = [None; SLOTS_MAX];
        Self { memory, slots, slot_bytes, step, current: 0, base: 0, begin: 0, end: 0, kept, count: 0 }
    }

    /// Most bytes of a recording; 0 where none are kept.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Says that the next sample, of which `position` bytes were before, does not follow what was before it.
    pub(super) fn restart(&mut self, position: u64) {
        (self.base, self.begin, self.end) = (position, position, position);
    }

    /// Takes the next samples.
    pub(super) fn push(&mut self, samples: &[u8]) {
        if self.slot_bytes == 0 {
            return;
        }
        let end = self.end.saturating_add(samples.len() as u64);
        // What is overwritten by the same samples need not be written, nor what lies before the beginning of a step.
        let from = self.begin.max(end.saturating_sub(self.slot_bytes as u64)).max(self.end);
        let skipped = usize::try_from(from.saturating_sub(self.end)).unwrap_or(usize::MAX);
        let samples = samples.get(skipped..).unwrap_or(&[]);
        let place = self.place(from);
        let ring = slot_mut(self.memory, self.current, self.slot_bytes);
        let (before, behind) = ring.split_at_mut(place.min(ring.len()));
        let (first, rest) = samples.split_at(samples.len().min(behind.len()));
        for (to, from) in behind.iter_mut().zip(first).chain(before.iter_mut().zip(rest)) {
            *to = *from;
        }
        self.end = end;
        self.begin = self.begin.max(self.step_from(end.saturating_sub(self.slot_bytes as u64)));
    }

    /// Keeps what is in the ring behind `verdict`; `None` where nothing is.
    pub(super) fn keep(&mut self, verdict: u32, cause: Cause) -> Option<Recording> {
        let bytes = u32::try_from(self.end.checked_sub(self.begin)?).ok().filter(|&bytes| bytes > 0)?;
        let recording = Recording { id: self.count, verdict, cause, begin: self.begin, bytes };
        self.count = self.count.wrapping_add(1);
        let first = self.place(self.begin);
        if let Some(kept) = self.kept.get_mut(self.current) {
            *kept = Some(Kept { recording, first });
        }
        self.current = self.after(self.current);
        if let Some(kept) = self.kept.get_mut(self.current) {
            *kept = None;
        }
        self.begin = self.step_from(self.end);
        Some(recording)
    }

    /// The recordings, the oldest first.
    pub(super) fn recordings(&self) -> impl Iterator<Item = Recording> {
        let mut slot = self.current;
        (0..self.slots).filter_map(move |_| {
            slot = self.after(slot);
            Some(self.kept.get(slot)?.as_ref()?.recording)
        })
    }

    /// Up to `count` bytes of the recording `id` from `offset` on, as many as lie in one piece.
    pub(super) fn bytes(&self, id: u32, offset: u32, count: usize) -> &[u8] {
        let found = self.kept.iter().enumerate().find_map(|(slot, kept)| {
            let kept = kept.as_ref()?;
            (kept.recording.id == id).then_some((slot, *kept))
        });
        let Some((slot, kept)) = found else { return &[] };
        let left = (kept.recording.bytes as usize).saturating_sub(offset as usize).min(count);
        let place = wrapped(kept.first.saturating_add(offset as usize), self.slot_bytes);
        let ring = slot_ref(self.memory, slot, self.slot_bytes);
        let piece = ring.get(place..).unwrap_or(&[]);
        piece.get(..left.min(piece.len())).unwrap_or(&[])
    }

    fn after(&self, slot: usize) -> usize {
        let next = slot.saturating_add(1);
        if next >= self.slots { 0 } else { next }
    }

    /// Where the byte at `position` lies in the ring.
    fn place(&self, position: u64) -> usize {
        let behind = position.saturating_sub(self.base);
        behind.checked_rem(self.slot_bytes as u64).unwrap_or(0) as usize
    }

    /// The first beginning of a step at or behind `position`.
    fn step_from(&self, position: u64) -> u64 {
        let behind = position.saturating_sub(self.base);
        let missing = match behind.checked_rem(self.step) {
            None | Some(0) => 0,
            Some(over) => self.step.saturating_sub(over),
        };
        self.base.saturating_add(behind).saturating_add(missing)
    }
}

fn wrapped(place: usize, length: usize) -> usize {
    place.checked_sub(length).unwrap_or(place)
}

fn slot_mut(memory: &mut [u8], slot: usize, bytes: usize) -> &mut [u8] {
    let begin = slot.saturating_mul(bytes);
    memory.get_mut(begin..begin.saturating_add(bytes)).unwrap_or(&mut [])
}

fn slot_ref(memory: &[u8], slot: usize, bytes: usize) -> &[u8] {
    let begin = slot.saturating_mul(bytes);
    memory.get(begin..begin.saturating_add(bytes)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// Byte `i` of the stream.
    fn stream(range: core::ops::Range<u64>) -> Vec<u8> {
        range.map(|i| (i * 7 % 251) as u8).collect()
    }

    fn fetched(recorder: &Recorder<'_>, recording: Recording) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < recording.bytes as usize {
            let piece = recorder.bytes(recording.id, bytes.len() as u32, 9);
            assert!(!piece.is_empty());
            bytes.extend_from_slice(piece);
        }
        assert!(recorder.bytes(recording.id, recording.bytes, 9).is_empty());
        bytes
    }

    /// Any pieces, any times to keep: what is kept is what was pushed, begins at a step and ends at the end.
    #[test]
    fn recordings_are_what_was_pushed() {
        for (bytes, slots, step) in [(100, 2, 1), (100, 3, 4), (97, 4, 10), (64, 2, 32), (400, 8, 7)] {
            let mut memory = vec![0xee; bytes];
            let mut recorder = Recorder::new(&mut memory, slots, step);
            let slot = recorder.slot_bytes();
            assert!((slot as u64).is_multiple_of(step) && slot <= bytes / slots && slot > 0);
            let (mut position, mut base, mut names) = (0, 0, Vec::new());
            for round in 0..400_u32 {
                let count = u64::from(round * 13 % 29 + u32::from(round % 31 == 0) * 150);
                recorder.push(&stream(position..position + count));
                position += count;
                if round % 57 == 56 {
                    position += 11;
                    base = position;
                    recorder.restart(position);
                }
                if round % 9 == 8 {
                    let Some(kept) = recorder.keep(round, Cause::Alarm) else { continue };
                    names.push(round);
                    assert_eq!((kept.verdict, (kept.begin - base) % step), (round, 0));
                    assert_eq!(kept.begin + u64::from(kept.bytes), position);
                    assert!(kept.bytes as usize <= slot);
                }
                let kept: Vec<_> = recorder.recordings().collect();
                let newest = &names[names.len().saturating_sub(slots - 1)..];
                assert_eq!(kept.iter().map(|kept| kept.verdict).collect::<Vec<_>>(), newest);
                for kept in kept {
                    assert_eq!(fetched(&recorder, kept), stream(kept.begin..kept.begin + u64::from(kept.bytes)));
                }
            }
            assert!(names.len() > 20, "{}", names.len());
        }
    }

    #[test]
    fn as_much_is_kept_as_there_is_room_for() {
        let mut memory = [0; 80];
        let mut recorder = Recorder::new(&mut memory, 2, 10);
        recorder.push(&stream(0..500));
        let kept = recorder.keep(1, Cause::Asked).unwrap();
        assert_eq!((kept.begin, kept.bytes), (460, 40));
        // The next begins with the step behind.
        recorder.push(&stream(500..503));
        recorder.keep(2, Cause::Asked).unwrap();
        recorder.push(&stream(503..529));
        let kept = recorder.keep(3, Cause::Asked).unwrap();
        assert_eq!((kept.begin, kept.bytes), (510, 19));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        for (bytes, slots, step) in [(0, 2, 1), (100, 1, 1), (100, 0, 1), (100, 2, 51)] {
            let mut memory = vec![0; bytes];
            let mut recorder = Recorder::new(&mut memory, slots, step);
            recorder.push(&[1; 300]);
            assert_eq!((recorder.slot_bytes(), recorder.keep(1, Cause::Alarm)), (0, None));
            assert_eq!(recorder.recordings().count(), 0);
        }
    }
}
