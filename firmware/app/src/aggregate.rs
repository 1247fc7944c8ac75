//! Scores to one that stands for the last of them.

use neji_format::Aggregate;

use crate::score::{TOP_K_MAX, Top};

/// The last scores of a stream. Their memory is the caller's.
///
/// A recording is scored by the same code as a stream: with as many scores as the recording has.
#[derive(Debug, Clone, Copy)]
pub struct Aggregator {
    aggregate: Aggregate,
    /// Scores that there are, at most as many as the memory holds.
    filled: usize,
    /// Where the next score goes.
    next: usize,
    sum: i64,
}

impl Aggregator {
    /// Without any score.
    pub const fn new(aggregate: Aggregate) -> Self {
        Self { aggregate, filled: 0, next: 0, sum: 0 }
    }

    /// Takes the next score; what now stands for the last `ring.len()` ones, or for all where there are not yet as many.
    ///
    /// `ring` is this aggregator's own from score to score. With a ring of none each score stands for itself.
    pub fn push(&mut self, score: i32, ring: &mut [i32]) -> i32 {
        let length = ring.len();
        let Some(place) = ring.get_mut(self.next) else { return score };
        let old = core::mem::replace(place, score);
        // What the ring held before the first scores counts for nothing.
        let old = if self.filled == length { old } else { 0 };
        self.sum += i64::from(score) - i64::from(old);
        self.filled = (self.filled + 1).min(length);
        self.next = if self.next + 1 < length { self.next + 1 } else { 0 };
        let scores = ring.get(..self.filled).unwrap_or(&[]);
        match self.aggregate {
            // A mean of i32 values, so it is one.
            Aggregate::Mean => self.sum.div_euclid((self.filled as i64).max(1)) as i32,
            Aggregate::Max => scores.iter().copied().max().unwrap_or(score),
            Aggregate::TopK(count) => {
                let mut top = Top::new(usize::from(count).clamp(1, TOP_K_MAX));
                scores.iter().for_each(|&score| top.push(score));
                let (sum, count) =
                    top.values().fold((0_i64, 0_i64), |(sum, count), &v| (sum + i64::from(v), count + 1));
                sum.div_euclid(count.max(1)) as i32
            }
        }
    }

    /// Whether there are as many scores as `ring` holds.
    pub fn is_full(&self, ring: &[i32]) -> bool {
        self.filled >= ring.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<const N: usize>(aggregate: Aggregate, scores: [i32; N], length: usize) -> [i32; N] {
        let mut ring = [i32::MIN; 8];
        let ring = &mut ring[..length];
        let mut aggregator = Aggregator::new(aggregate);
        scores.map(|score| aggregator.push(score, ring))
    }

    #[test]
    fn of_the_last_scores_by_hand() {
        let scores = [3, 9, -2, 0, 1, 1];
        assert_eq!(all(Aggregate::Mean, scores, 3), [3, 6, 3, 2, -1, 0]);
        assert_eq!(all(Aggregate::Max, scores, 3), [3, 9, 9, 9, 1, 1]);
        assert_eq!(all(Aggregate::TopK(2), scores, 3), [3, 6, 6, 4, 0, 1]);
        assert_eq!(all(Aggregate::TopK(64), scores, 3), all(Aggregate::Mean, scores, 3));
        assert_eq!(all(Aggregate::Mean, scores, 0), scores);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let scores = [i32::MIN, i32::MIN, i32::MAX, i32::MAX];
        assert_eq!(all(Aggregate::Mean, scores, 2), [i32::MIN, i32::MIN, -1, i32::MAX]);
        assert_eq!(all(Aggregate::TopK(2), scores, 2), [i32::MIN, i32::MIN, -1, i32::MAX]);
    }

    #[test]
    fn full_when_the_ring_is() {
        let (mut ring, mut aggregator) = ([0; 2], Aggregator::new(Aggregate::Mean));
        assert!(!aggregator.is_full(&ring));
        aggregator.push(1, &mut ring);
        assert!(!aggregator.is_full(&ring));
        aggregator.push(1, &mut ring);
        assert!(aggregator.is_full(&ring) && aggregator.is_full(&[]));
    }
}
