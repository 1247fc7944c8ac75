//! Whether scores drift away from normal: slowly, below the threshold, as a machine that wears does. Formula at
//! [`neji_format::Drift`].
//!
//! It is said and nothing follows from it: threshold and calibration stay as they are.

use neji_format::{Drift, Normal};
use serde::{Deserialize, Serialize};

/// Where scores have drifted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trend {
    /// Nowhere, or nothing watches.
    #[default]
    Steady,
    /// Above normal.
    Higher,
    /// Below normal: a sensor that comes loose, a machine that idles.
    Lower,
}

/// The sums to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftWatch {
    drift: Drift,
    /// Each at most twice the limit.
    pub(crate) higher: u32,
    pub(crate) lower: u32,
    pub(crate) trend: Trend,
}

impl DriftWatch {
    /// Without any score.
    pub fn new(drift: Drift) -> Self {
        Self { drift, higher: 0, lower: 0, trend: Trend::Steady }
    }

    /// Where scores have drifted to.
    pub fn trend(&self) -> Trend {
        self.trend
    }

    /// The most that a sum can be.
    pub(crate) fn sum_max(&self) -> u32 {
        self.drift.limit.saturating_mul(2)
    }

    /// Takes the next score, where normal scores are `normal`.
    pub fn push(&mut self, score: i32, normal: Normal) -> Trend {
        let Drift { slack, clip, limit } = self.drift;
        let most = self.sum_max();
        let distance = (i64::from(score) - i64::from(normal.location)) * 256;
        let clip = i64::from(clip);
        let x = distance.div_euclid(i64::from(normal.scale.max(1))).clamp(-clip, clip);
        let sum = |sum: u32, x: i64| (i64::from(sum) + x - i64::from(slack)).clamp(0, most.into()) as u32;
        (self.higher, self.lower) = (sum(self.higher, x), sum(self.lower, -x));
        let ended = match self.trend {
            Trend::Steady => true,
            Trend::Higher => self.higher == 0,
            Trend::Lower => self.lower == 0,
        };
        if self.higher > limit {
            self.trend = Trend::Higher;
        } else if self.lower > limit {
            self.trend = Trend::Lower;
        } else if ended {
            self.trend = Trend::Steady;
        }
        self.trend
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const NORMAL: Normal = Normal { location: 100, scale: 10 };
    /// A half deviation of slack, at most two count; two and a half are a drift.
    const DRIFT: Drift = Drift { slack: 128, clip: 512, limit: 640 };

    fn trends<const N: usize>(scores: [i32; N]) -> [Trend; N] {
        let mut watch = DriftWatch::new(DRIFT);
        scores.map(|score| watch.push(score, NORMAL))
    }

    #[test]
    fn sums_by_hand() {
        use Trend::{Higher, Lower, Steady};
        // One deviation counts as a half: 128 of more than 640.
        assert_eq!(trends([110; 6]), [Steady, Steady, Steady, Steady, Steady, Higher]);
        // Far away counts as two, less slack: 384 a score.
        assert_eq!(trends([9999; 2]), [Steady, Higher]);
        assert_eq!(trends([-9999; 2]), [Steady, Lower]);
        // Half a deviation to either side never adds up.
        assert!(trends([105, 95, 105, 105, 105, 105, 105, 105]).iter().all(|&trend| trend == Steady));
    }

    #[test]
    fn a_drift_ends_when_its_sum_is_gone_and_sums_are_bounded() {
        let mut watch = DriftWatch::new(DRIFT);
        for _ in 0..1000 {
            watch.push(1000, NORMAL);
        }
        assert_eq!(watch.higher, 1280);
        // Normal scores take 128 each.
        let after: Vec<Trend> = (0..10).map(|_| watch.push(100, NORMAL)).collect();
        assert!(after[..9].iter().all(|&trend| trend == Trend::Higher), "{after:?}");
        assert_eq!(after[9], Trend::Steady);
    }

    #[test]
    fn from_one_side_to_the_other() {
        let mut watch = DriftWatch::new(DRIFT);
        for _ in 0..4 {
            watch.push(1000, NORMAL);
        }
        let trends: Vec<Trend> = (0..3).map(|_| watch.push(-1000, NORMAL)).collect();
        assert_eq!(trends, [Trend::Higher, Trend::Lower, Trend::Lower]);
    }

    #[test]
    fn extremes_stay_within_their_types() {
        let mut watch = DriftWatch::new(Drift { slack: 0, clip: 32767, limit: 1 << 24 });
        for normal in [Normal { location: i32::MAX, scale: 1 }, Normal { location: i32::MIN, scale: 1 << 30 }] {
            for score in [i32::MIN, i32::MAX].repeat(2000) {
                watch.push(score, normal);
                assert!(watch.higher <= 1 << 25 && watch.lower <= 1 << 25);
            }
        }
    }
}
