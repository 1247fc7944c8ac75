//! From a score to what it means: aggregate, decision, and meanwhile what the device learns and watches.

use neji_format::{Decision, Normal};

use crate::aggregate::Aggregator;
use crate::calibrate::{self, CalibrationError, Calibrator, SCORES_MAX, SCORES_MIN};
use crate::decide::Decider;
use crate::drift::{DriftWatch, Trend};
use crate::monitor::Outcome;

/// What a device knows of its own machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibration {
    /// Nothing: the levels are the blob's.
    Blob,
    /// It is being learned.
    Learning(Calibrator),
    /// How this machine's normal scores lie.
    Learned(Normal),
}

/// Scores to outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    decision: Decision,
    aggregator: Aggregator,
    pub(crate) decider: Decider,
    pub(crate) calibration: Calibration,
    pub(crate) drift: Option<DriftWatch>,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(decision: Decision) -> Self {
        Self {
            decision,
            aggregator: Aggregator::new(decision.aggregate),
            decider: Decider::new(decision),
            calibration: Calibration::Blob,
            drift: decision.drift.map(DriftWatch::new),
        }
    }

    /// Forgets scores, alarm and drift, but not what was learned.
    pub fn reset(&mut self) {
        self.aggregator = Aggregator::new(self.decision.aggregate);
        self.decider = Decider::new(self.levels());
        self.drift = self.decision.drift.map(DriftWatch::new);
    }

    /// Whether the alarm is on.
    pub fn alarm(&self) -> bool {
        self.decider.alarm()
    }

    /// Where scores have drifted to.
    pub fn trend(&self) -> Trend {
        self.drift.map_or(Trend::Steady, |drift| drift.trend())
    }

    /// What is known of this machine.
    pub fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// Begins to learn from the next `scores` scores; nothing is decided before they are there.
    ///
    /// # Errors
    /// See [`CalibrationError`]; nothing has changed then.
    pub fn calibrate(&mut self, scores: u16) -> Result<(), CalibrationError> {
        let blob = self.decision.normal.ok_or(CalibrationError::NoNormal)?;
        if self.alarm() {
            return Err(CalibrationError::AlarmOn);
        }
        if !(SCORES_MIN..=SCORES_MAX).contains(&scores) {
            return Err(CalibrationError::Scores { given: scores, least: SCORES_MIN });
        }
        self.set(Calibration::Learning(Calibrator::new(scores, blob.location)));
        Ok(())
    }

    /// Scores to come until a calibration ends.
    pub(crate) fn left(&self) -> u16 {
        if let Calibration::Learning(calibrator) = self.calibration { calibrator.left() } else { 0 }
    }

    /// Whether anything is known that a calibration can begin with.
    pub(crate) fn can_calibrate(&self) -> bool {
        self.decision.normal.is_some()
    }

    /// Takes what is known of this machine from elsewhere and forgets all scores.
    pub(crate) fn set(&mut self, calibration: Calibration) {
        self.calibration = calibration;
        self.reset();
    }

    /// Puts the threshold at `threshold`, and the release level as far below it as it was; with `None` where blob and calibration
    /// have them. Scores, history and alarm stay. It holds until the next [`Judge::reset`] or the end of a calibration.
    pub fn set_threshold(&mut self, threshold: Option<i32>) {
        let own = self.levels();
        let threshold = threshold.unwrap_or(own.threshold);
        let below = i64::from(own.threshold) - i64::from(own.release);
        let release = (i64::from(threshold) - below).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.decider.set_levels(threshold, release);
    }

    /// The blob's decision with this machine's levels.
    pub fn levels(&self) -> Decision {
        match (self.decision.normal, self.calibration) {
            (Some(blob), Calibration::Learned(own)) => calibrate::levels(&self.decision, blob, own),
            _ => self.decision,
        }
    }

    /// Takes the next score; `ring` is what the last ones are kept in.
    pub fn push(&mut self, score: i32, class: Option<u16>, ring: &mut [i32]) -> Outcome {
        if let Calibration::Learning(calibrator) = &mut self.calibration {
            let (learned, left) = (calibrator.push(score), calibrator.left());
            if let Some(normal) = learned {
                self.set(Calibration::Learned(normal));
            }
            return Outcome::Calibrating { score, left };
        }
        let normal = if let Calibration::Learned(own) = self.calibration { Some(own) } else { self.decision.normal };
        if let (Some(drift), Some(normal)) = (&mut self.drift, normal) {
            drift.push(score, normal);
        }
        let aggregated = self.aggregator.push(score, ring);
        if !self.aggregator.is_full(ring) {
            return Outcome::Scored { score, smoothed: aggregated, class, abnormal: false };
        }
        let decided = self.decider.push(aggregated);
        Outcome::Scored { score, smoothed: decided.smoothed, class, abnormal: decided.abnormal }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use neji_format::Drift;

    use super::*;

    const DECISION: Decision = Decision {
        threshold: 130,
        release: 130,
        normal: Some(Normal { location: 100, scale: 10 }),
        drift: Some(Drift { slack: 128, clip: 2048, limit: 1024 }),
        ..Decision::EACH
    };

    fn push(judge: &mut Judge, score: i32) -> Outcome {
        judge.push(score, None, &mut [])
    }

    /// Sixteen scores of mean 1000 and deviation 20.
    fn teach(judge: &mut Judge) {
        judge.calibrate(16).expect("begins");
        for i in 0..16 {
            let score = if i % 2 == 0 { 980 } else { 1020 };
            assert_eq!(push(judge, score), Outcome::Calibrating { score, left: 15 - i });
            assert!(!judge.alarm() && judge.trend() == Trend::Steady);
        }
    }

    #[test]
    fn a_louder_machine_is_normal_once_it_is_known() {
        let mut judge = Judge::new(DECISION);
        assert!(matches!(push(&mut judge, 1000), Outcome::Scored { abnormal: true, .. }));
        assert_eq!(judge.calibrate(16), Err(CalibrationError::AlarmOn));
        judge.reset();
        teach(&mut judge);
        assert_eq!(judge.calibration(), Calibration::Learned(Normal { location: 1000, scale: 20 }));
        assert_eq!(judge.levels().threshold, 1060);
        assert!(matches!(push(&mut judge, 1060), Outcome::Scored { abnormal: false, .. }));
        assert!(matches!(push(&mut judge, 1061), Outcome::Scored { abnormal: true, .. }));
        judge.reset();
        assert_eq!(judge.levels().threshold, 1060);
    }

    #[test]
    fn drift_is_measured_from_what_was_learned_and_changes_no_level() {
        let mut judge = Judge::new(DECISION);
        teach(&mut judge);
        // One deviation above: half of it counts, 128 of 1024.
        let trends: Vec<Trend> = (0..9)
            .map(|_| {
                push(&mut judge, 1020);
                judge.trend()
            })
            .collect();
        assert!(trends[..8].iter().all(|&trend| trend == Trend::Steady) && trends[8] == Trend::Higher, "{trends:?}");
        assert_eq!(judge.levels().threshold, 1060);
        judge.reset();
        assert_eq!(judge.trend(), Trend::Steady);
    }

    #[test]
    fn a_threshold_is_set_with_its_release_level_and_goes_with_a_reset() {
        let mut judge = Judge::new(Decision { release: 120, ..DECISION });
        let abnormal = |outcome| matches!(outcome, Outcome::Scored { abnormal: true, .. });
        judge.set_threshold(Some(200));
        assert_eq!(judge.decider.levels(), (200, 190));
        assert!(!abnormal(push(&mut judge, 200)) && abnormal(push(&mut judge, 201)) && abnormal(push(&mut judge, 191)));
        judge.set_threshold(Some(i32::MIN));
        assert_eq!(judge.decider.levels(), (i32::MIN, i32::MIN));
        judge.set_threshold(None);
        assert_eq!(judge.decider.levels(), (130, 120));
        judge.set_threshold(Some(200));
        judge.reset();
        assert_eq!(judge.decider.levels(), (130, 120));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut judge = Judge::new(Decision { normal: None, drift: None, ..DECISION });
        assert_eq!(judge.calibrate(16), Err(CalibrationError::NoNormal));
        let mut judge = Judge::new(DECISION);
        for given in [0, 15, 4097] {
            assert_eq!(judge.calibrate(given), Err(CalibrationError::Scores { given, least: SCORES_MIN }));
        }
        assert_eq!(judge.calibration(), Calibration::Blob);
    }
}
