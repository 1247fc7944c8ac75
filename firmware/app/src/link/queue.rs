//! Frames that wait to be sent, in the caller's memory.

/// A ring of bytes that takes whole frames or none.
#[derive(Debug)]
pub(super) struct Queue<'m> {
    memory: &'m mut [u8],
    /// Where the oldest byte lies.
    first: usize,
    filled: usize,
}

impl<'m> Queue<'m> {
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, first: 0, filled: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> usize {
        self.memory.len().saturating_sub(self.filled)
    }

    /// Takes all of `frame`, or nothing where it does not fit; whether it did.
    pub(super) fn push(&mut self, frame: &[u8]) -> bool {
        if frame.len() > self.room() {
            return false;
        }
        let end = wrapped(self.first, self.filled, self.memory.len());
        let (begin, behind) = self.memory.split_at_mut(end.min(self.memory.len()));
        for (to, from) in behind.iter_mut().chain(begin).zip(frame) {
            *to = *from;
        }
        self.filled = self.filled.saturating_add(frame.len());
        true
    }

    /// The oldest bytes, as many as lie in one piece.
    pub(super) fn pending(&self) -> &[u8] {
        let end = self.first.saturating_add(self.filled).min(self.memory.len());
        self.memory.get(self.first..end).unwrap_or(&[])
    }

    /// Drops the oldest `count` bytes: they were sent.
    pub(super) fn sent(&mut self, count: usize) {
        let count = count.min(self.filled);
        self.first = wrapped(self.first, count, self.memory.len());
        self.filled = self.filled.saturating_sub(count);
    }
}

/// `by` behind `place` in a ring of `length`, of which both are within.
fn wrapped(place: usize, by: usize, length: usize) -> usize {
    let next = place.saturating_add(by);
    next.checked_sub(length).unwrap_or(next)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn frames_go_round_the_end_whole_or_not_at_all() {
        let mut memory = [0; 7];
        let mut queue = Queue::new(&mut memory);
        let (mut sent, mut taken) = (Vec::new(), Vec::new());
        for round in 0..200_u8 {
            let frame: Vec<u8> = (0..1 + round % 5).map(|i| round.wrapping_mul(7).wrapping_add(i)).collect();
            let fits = frame.len() <= queue.room();
            assert_eq!(queue.push(&frame), fits);
            if fits {
                sent.extend(frame);
            }
            let now = queue.pending().len().min(usize::from(round % 4));
            taken.extend_from_slice(&queue.pending()[..now]);
            queue.sent(now);
        }
        while !queue.is_empty() {
            let now = queue.pending().to_vec();
            queue.sent(now.len());
            taken.extend(now);
        }
        assert!(sent.len() > 200);
        assert_eq!(taken, sent);
    }

    #[test]
    fn without_memory_there_is_no_room() {
        let mut queue = Queue::new(&mut []);
        assert!(!queue.push(&[1]) && queue.push(&[]) && queue.pending().is_empty());
        queue.sent(3);
        assert!(queue.is_empty());
    }
}
