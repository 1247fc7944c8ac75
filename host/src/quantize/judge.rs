//! What only the scores of normal samples can tell: threshold and release level.

use anyhow::{Result, ensure};
use neji_format::Decision;

use crate::evaluate::quantile_threshold;
use crate::experiment::{DecisionSettings, DetectorName, DetectorSettings, ScoreName};

/// Levels in steps of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// Above it a score is abnormal.
    pub threshold: i32,
    /// Below it an alarm ends.
    pub release: i32,
}

/// The levels that the scores of normal samples, in real units, give; a step of the score is `unit`.
///
/// # Errors
/// No scores, or more of them than the share of false alarms are infinite: no part was found.
pub fn levels(
    found: &[f64],
    unit: f32,
    name: DetectorName,
    detector: &DetectorSettings,
    hysteresis: f32,
) -> Result<Levels> {
    let mut threshold = quantile_threshold(found, detector.false_alarms)?;
    if name == DetectorName::Classifier && detector.score == ScoreName::Margin {
        // Below a margin of 0 the normal class is still the most likely one.
        threshold = threshold.max(0.0);
    }
    ensure!(
        threshold.is_finite(),
        "more than the share detector.false_alarms = {} of the held-out normal images show no part; look at them with \
         `neji simulate`, or widen [front_end.alignment]",
        detector.false_alarms
    );
    let mut sorted: Vec<f64> = found.iter().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(threshold);
    Ok(at(threshold, median, hysteresis, unit))
}

/// The levels of a threshold in real units; hysteresis is a share of the way from it to `median`.
pub fn at(threshold: f64, median: f64, hysteresis: f32, unit: f32) -> Levels {
    let release = threshold - f64::from(hysteresis) * (threshold - median).max(0.0);
    // Scores are whole steps; rounding gives back the step that the score was.
    let steps = |real: f64| (real / f64::from(unit)).round().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32;
    Levels { threshold: steps(threshold), release: steps(release) }
}

/// The blob's decision, on what stands for the last `scores` scores.
pub fn decision(settings: &DecisionSettings, scores: u16, levels: Levels, score_unit: f32) -> Decision {
    let smoothing = (settings.smoothing * 32768.0).round().clamp(1.0, 32768.0) as u16;
    let Levels { threshold, release } = levels;
    let (required, window) = (settings.required, settings.window);
    Decision { aggregate: settings.aggregate(), scores, threshold, release, smoothing, required, window, score_unit }
}
