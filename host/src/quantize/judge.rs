//! The levels of a threshold, in steps of the score.

use neji_format::Decision;

use crate::experiment::DecisionSettings;

/// Levels in steps of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// Above it a score is abnormal.
    pub threshold: i32,
    /// Below it an alarm ends.
    pub release: i32,
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
    let aggregate = settings.aggregate();
    Decision { aggregate, scores, threshold, release, smoothing, required, window, score_unit, ..Decision::EACH }
}
