//! What a device learns of its own machine: location and scale of the scores while that is normal.
//!
//! A threshold `t` that the host chose where normal scores had location `l` and deviation `s` becomes `l' + (t - l) s' / s`
//! where the device has found `l'` and `s'`; what aggregates scores (mean, largest) and what smooths them moves and stretches
//! with them, so this is the same as moving and stretching each score. What remains of the threshold's promise: it holds
//! where this machine's normal scores are distributed as the host's were but for location and scale, up to the error of `l'`
//! and `s'`, about `s' / sqrt(n)` and `s' / sqrt(2 n)` of `n` independent scores; windows that overlap count for fewer. It is
//! no longer the exact bound that the host may have had. Nothing is known where the machine was not normal meanwhile.

use neji_format::{Decision, Normal};

/// Fewest scores that a calibration takes.
pub const SCORES_MIN: u16 = 16;
/// Most scores that a calibration takes.
pub const SCORES_MAX: u16 = 4096;
/// Largest deviation.
pub(crate) const SCALE_MAX: u64 = 1 << 30;
/// A score counts as at most this far from where sums begin, so that they stay within 64 bits: with 2^12 scores squares sum
/// up to 2^62.
pub(crate) const REACH: i64 = 1 << 25;

/// Why a calibration does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationError {
    /// The blob's threshold comes from no normal scores, so there is nothing to move it by.
    NoNormal,
    /// The alarm is on: this is not a normal machine.
    AlarmOn,
    /// Not `least` to [`SCORES_MAX`] scores.
    Scores {
        /// What was asked for.
        given: u16,
        /// [`SCORES_MIN`], and twice as many where tables are learned as well.
        least: u16,
    },
}

impl core::fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoNormal => {
                f.write_str("the model's threshold comes from no normal scores, there is nothing to calibrate")
            }
            Self::AlarmOn => f.write_str("the alarm is on: calibrate while the machine is normal"),
            Self::Scores { given, least } => {
                write!(f, "calibration with {given} scores; {least} to {SCORES_MAX}")
            }
        }
    }
}

impl core::error::Error for CalibrationError {}

/// Sums over the scores of a calibration that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibrator {
    /// What is subtracted from each score.
    pub(crate) origin: i32,
    /// Scores to come.
    pub(crate) left: u16,
    /// Scores taken.
    pub(crate) taken: u16,
    pub(crate) sum: i64,
    pub(crate) squares: u64,
}

impl Calibrator {
    /// Before the first of `scores` scores, at most [`SCORES_MAX`], that are expected about `origin`.
    pub fn new(scores: u16, origin: i32) -> Self {
        Self { origin, left: scores.min(SCORES_MAX), taken: 0, sum: 0, squares: 0 }
    }

    /// Takes a score; what was learned where it was the last.
    pub fn push(&mut self, score: i32) -> Option<Normal> {
        let distance = (i64::from(score) - i64::from(self.origin)).clamp(-REACH, REACH);
        self.sum += distance;
        self.squares += distance.unsigned_abs().pow(2);
        self.taken = self.taken.saturating_add(1);
        self.left = self.left.saturating_sub(1);
        (self.left == 0).then(|| self.normal())
    }

    /// Scores to come.
    pub fn left(&self) -> u16 {
        self.left
    }

    /// The mean, rounded down, and the deviation from it, rounded down and at least 1.
    fn normal(&self) -> Normal {
        let count = i64::from(self.taken.max(1));
        let mean = self.sum.div_euclid(count);
        let rest = self.sum - mean * count;
        // The sum of (x - mean)^2, which is about the mean rounded down. Below 2^63, as are both products.
        let about = self.squares.cast_signed() - mean * (self.sum + rest);
        let variance = (about - rest * rest / count).max(0).unsigned_abs() / count.unsigned_abs();
        let location = (i64::from(self.origin) + mean).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        Normal { location, scale: variance.isqrt().clamp(1, SCALE_MAX) as u32 }
    }
}

/// `decision` with its levels moved from normal scores as the blob knows them to those of this machine.
pub fn levels(decision: &Decision, blob: Normal, own: Normal) -> Decision {
    let level = |level: i32| {
        // Below 2^63.
        let above = (i64::from(level) - i64::from(blob.location)) * i64::from(own.scale);
        let above = above.div_euclid(i64::from(blob.scale.max(1)));
        i64::from(own.location).saturating_add(above).clamp(i32::MIN.into(), i32::MAX.into()) as i32
    };
    Decision { threshold: level(decision.threshold), release: level(decision.release), ..*decision }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn learned(scores: &[i32], origin: i32) -> Normal {
        let mut calibrator = Calibrator::new(scores.len() as u16, origin);
        let (last, before) = scores.split_last().unwrap();
        assert!(before.iter().all(|&score| calibrator.push(score).is_none()));
        calibrator.push(*last).unwrap()
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        // Deviations 30, 10, 10, 30 from 130: variance 500.
        assert_eq!(learned(&[100, 120, 140, 160], 0), Normal { location: 130, scale: 22 });
        // The mean is -1/2: rounded down; variance 1/4.
        assert_eq!(learned(&[-1, 0], 5), Normal { location: -1, scale: 1 });
        assert_eq!(learned(&[7; 9], 7), Normal { location: 7, scale: 1 });
    }

    #[test]
    fn where_sums_begin_changes_nothing() {
        let scores = [3, -900, 77, 1 << 20, 12, 4096, -5];
        for origin in [-1000, 0, 1 << 20, 12_345] {
            assert_eq!(learned(&scores, origin), learned(&scores, 0), "{origin}");
        }
    }

    /// The deviation of `u16` words against floats.
    #[test]
    fn deviations_agree_with_floats() {
        let mut state = 1u32;
        let scores: Vec<i32> = (0..SCORES_MAX)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16).cast_signed()
            })
            .collect();
        let count = scores.len() as f64;
        let mean = scores.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = scores.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        let found = learned(&scores, 40_000);
        assert_eq!((found.location, found.scale), (mean.floor() as i32, variance.sqrt().floor() as u32));
    }

    #[test]
    fn extremes_stay_within_their_types() {
        for [a, b] in [[i32::MIN, i32::MAX], [i32::MAX; 2], [i32::MIN; 2], [0, i32::MIN]] {
            for origin in [i32::MIN, -1, 0, i32::MAX] {
                let mut calibrator = Calibrator::new(u16::MAX, origin);
                let found = (0..u32::from(SCORES_MAX)).find_map(|i| calibrator.push(if i % 2 == 0 { a } else { b }));
                assert!((1..=1 << 30).contains(&found.unwrap().scale));
            }
        }
        let far = |location, scale| Normal { location, scale };
        let decision = Decision { threshold: i32::MAX, release: i32::MIN, ..Decision::EACH };
        let moved = levels(&decision, far(i32::MIN, 1), far(i32::MAX, 1 << 30));
        assert_eq!((moved.threshold, moved.release), (i32::MAX, i32::MAX));
        let moved = levels(&decision, far(i32::MAX, 1), far(i32::MIN, 1 << 30));
        assert_eq!((moved.threshold, moved.release), (i32::MIN, i32::MIN));
    }

    #[test]
    fn levels_move_and_stretch() {
        let decision = Decision { threshold: 130, release: 115, ..Decision::EACH };
        let (blob, own) = (Normal { location: 100, scale: 10 }, Normal { location: 1000, scale: 25 });
        let moved = levels(&decision, blob, own);
        // 3 and 1.5 deviations above.
        assert_eq!((moved.threshold, moved.release), (1075, 1037));
        assert_eq!(levels(&decision, blob, blob), decision);
    }
}
