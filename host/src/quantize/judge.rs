//! What only the int8 engine's own answers on normal samples can tell: weights of residuals, threshold, release level.

use anyhow::{Result, ensure};
use neji_app::score;
use neji_engine::{Engine, Host};
use neji_format::{Decision, Detector, Element, Model};
use rayon::prelude::*;

use crate::element::{self, ArenaBuffer};
use crate::evaluate::quantile_threshold;
use crate::experiment::{DecisionSettings, DetectorSettings, ScoreName, Task};

/// Q14.
const WEIGHT_ONE: f64 = 16384.0;

/// One over each residual's deviation on `normal` inputs, bytes of the model's elements, in steps of the input, Q14.
///
/// The square of the deviation is the mean square of the int8 engine's residuals and half of their mean over all
/// elements: an element that hardly ever varies would else count for more than anything that is seen.
///
/// # Errors
/// Not a model that reconstructs, or no inputs.
pub fn residual_weights(model: &Model<'_>, normal: &[Vec<i8>]) -> Result<Vec<u16>> {
    let plan = model.plan();
    let Detector::Reconstruction(params) = plan.detector else { anyhow::bail!("the model reconstructs nothing") };
    ensure!(!normal.is_empty(), "no normal samples to weigh residuals on");
    let engine = Engine::<Host>::new(*model);
    let squares = |image: &Vec<i8>| -> Vec<u64> {
        let mut arena = ArenaBuffer::new(model);
        let arena = arena.bytes();
        engine.input_mut(arena).copy_from_slice(image);
        // The arena is as long as the model asks, which is the only thing that could fail.
        let _ = engine.run(arena);
        let (input, output) = (engine.input(arena), engine.output(arena));
        let square = |residual: i32| u64::from(residual.unsigned_abs()).pow(2);
        match plan.element {
            Element::I8 => {
                let residual = |(&x, &y)| score::residual_i8(&params, &plan.input, &plan.output, x, y);
                input.iter().zip(output).map(residual).map(square).collect()
            }
            Element::I16 => {
                let values = |bytes| element::values(plan.element, bytes).into_iter().map(|value| value as i16);
                values(input).zip(values(output)).map(|(x, y)| square(score::residual_i16(&params, x, y))).collect()
            }
        }
    };
    let elements = plan.input.shape.len();
    let sums = normal
        .par_iter()
        .map(squares)
        // An output of another scale has residuals so large that their squares fill 64 bits.
        .reduce(|| vec![0; elements], |a, b| a.iter().zip(b).map(|(a, b)| a.saturating_add(b)).collect());
    let variances: Vec<f64> = sums.iter().map(|&sum| sum as f64 / normal.len() as f64 / 256.0).collect();
    let mean = variances.iter().sum::<f64>() / elements as f64;
    let weight = |variance: &f64| {
        let deviation = (variance + 0.5 * mean).sqrt().max(1e-3);
        (WEIGHT_ONE / deviation).round().clamp(1.0, f64::from(u16::MAX)) as u16
    };
    Ok(variances.iter().map(weight).collect())
}

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
pub fn levels(found: &[f64], unit: f32, task: Task, detector: &DetectorSettings, hysteresis: f32) -> Result<Levels> {
    let mut threshold = quantile_threshold(found, detector.false_alarms)?;
    if task == Task::Cnn && detector.score == ScoreName::Margin {
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
