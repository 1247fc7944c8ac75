//! What a device decides by, from what normal samples scored: the threshold with what is promised of it, how normal scores
//! lie, and when they have drifted.

pub mod conformal;
pub mod cross;
pub mod drift;
pub mod gamma;
pub mod per_hour;

use anyhow::{Context, Result, ensure};
use neji_format::{Basis, Decision, Plan, ThresholdMethod};

use crate::evaluate::best_f1_threshold;
use crate::experiment::{DetectorName, Experiment, MethodName, ScoreName};
use crate::quantize::judge::{at, decision};
use crate::report::scores::Scored;
use crate::scenario::run::Listening;
use per_hour::Stream;

/// What there is to choose by.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Normal samples.
    pub normal: Vec<Scored>,
    /// The model was not trained on them.
    pub held_out: bool,
    /// Scores of labelled faults in real units, where [`needs_faults`].
    pub faults: Vec<f64>,
}

/// Whether faults are looked at.
pub fn needs_faults(experiment: &Experiment) -> bool {
    experiment.threshold.method == MethodName::F1
}

/// The whole decision of the model that `plan` is of, whose own has all but levels already.
///
/// # Errors
/// What there is does not suffice for what the experiment asks; names the key and the cure.
pub fn decide(plan: &Plan<'_>, experiment: &Experiment, evidence: &Evidence) -> Result<Decision> {
    let (template, settings) = (plan.decision, &experiment.threshold);
    let unit = template.score_unit;
    let scores: Vec<f64> = evidence.normal.iter().map(|sample| sample.row.score).collect();
    let recordings: Vec<&[i32]> = evidence.normal.iter().map(|sample| sample.windows.as_slice()).collect();
    let mut sorted: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied();
    let levels = |threshold: f64| at(threshold, median.unwrap_or(threshold), experiment.decision.hysteresis, unit);
    let (mut threshold, method, level) = match settings.method {
        MethodName::CrossConformal => {
            let alpha = settings.alpha.unwrap_or_else(|| conformal::default_alpha(scores.len()));
            (cross::threshold(&scores, alpha)?, ThresholdMethod::CrossConformal, alpha)
        }
        MethodName::Conformal => {
            let alpha = settings.alpha.unwrap_or_else(|| conformal::default_alpha(scores.len()));
            (conformal::threshold(&scores, alpha)?, ThresholdMethod::Conformal, alpha)
        }
        MethodName::Gamma => {
            let alpha = settings.alpha.unwrap_or(gamma::ALPHA);
            (gamma::threshold(&scores, alpha)?, ThresholdMethod::Gamma, alpha)
        }
        MethodName::PerHour => {
            let rate = settings.false_alarms_per_hour.context("threshold.false_alarms_per_hour is missing")?;
            let seconds_per_score = seconds_per_score(plan).context(
                "threshold.method = \"per_hour\" needs a model of sound, whose scores have times; choose \"conformal\"",
            )?;
            let stream = Stream { recordings: &recordings, seconds_per_score, decision: template };
            let release = |steps: i32| levels(f64::from(steps) * f64::from(unit)).release;
            let steps = per_hour::threshold(&stream, rate, release)?;
            (f64::from(steps) * f64::from(unit), ThresholdMethod::PerHour, rate)
        }
        MethodName::F1 => {
            ensure!(
                !evidence.faults.is_empty(),
                "threshold.method = \"f1\" needs labelled faults, and there are none; choose \"conformal\", which needs none"
            );
            let all: Vec<f64> = scores.iter().chain(&evidence.faults).copied().collect();
            let abnormal: Vec<bool> = (0..all.len()).map(|index| index >= scores.len()).collect();
            let (threshold, _) = best_f1_threshold(&all, &abnormal)?;
            (threshold, ThresholdMethod::BestF1, 0.0)
        }
    };
    if experiment.detector() == DetectorName::Classifier && experiment.detector.score == ScoreName::Margin {
        // Below a margin of 0 the normal class is still the most likely one; above it there are no more false alarms.
        threshold = threshold.max(0.0);
    }
    ensure!(
        threshold.is_finite(),
        "so many of the held-out normal samples have no score that the threshold would have to be infinite; look at them with \
         `neji simulate`, widen [front_end.alignment], or raise threshold.alpha"
    );
    let samples = match seconds_per_score(plan) {
        Some(seconds) if method == ThresholdMethod::PerHour => {
            (seconds * recordings.iter().map(|scores| scores.len()).sum::<usize>() as f64).round() as u32
        }
        _ => scores.len() as u32,
    };
    let basis = Basis { method, level: level as f32, samples, held_out: evidence.held_out };
    let normal = drift::normal(&recordings);
    let drift = match normal {
        Some(normal) => drift::fit(&experiment.drift, &recordings, normal, experiment.seed)?,
        None => None,
    };
    let decided = decision(&experiment.decision, template.scores, levels(threshold), unit);
    Ok(Decision { basis, normal, drift, ..decided })
}

/// From a score to the next, where scores have times.
fn seconds_per_score(plan: &Plan<'_>) -> Option<f64> {
    let listening = Listening::of(plan).ok()?;
    Some(listening.step as f64 / f64::from(listening.rate?))
}

/// What to know of a threshold that is for single samples where the device hears a stream; nothing where it is for a stream, or the
/// model is not of sound.
pub fn on_a_stream(plan: &Plan<'_>) -> Option<String> {
    use ThresholdMethod::{Conformal, CrossConformal, Gamma};
    let (decision, seconds) = (plan.decision, seconds_per_score(plan)?);
    let is_share = matches!(decision.basis.method, Conformal | CrossConformal | Gamma);
    is_share.then(|| {
        format!(
            "on a stream there is a verdict every {seconds:.2} s, {:.0} an hour, and the share of false alarms is one of whole \
             recordings: for a promise by the hour train with [threshold] method = \"per_hour\"",
            3600.0 / seconds
        )
    })
}

/// Where a threshold comes from and what it promises, for people.
pub fn words(basis: &Basis) -> String {
    let Basis { method, level, samples, held_out } = *basis;
    // The level is shown as it was typed, as far as 32 bits hold it.
    let percent = format!("{:.4}", 100.0 * level);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let what = match method {
        ThresholdMethod::Given => return "given, nothing is promised".to_owned(),
        ThresholdMethod::Conformal => {
            format!(
                "conformal: at most {percent} % of new normal samples lie above it, in the mean over sets of {samples}"
            )
        }
        ThresholdMethod::CrossConformal => {
            let most = 100.0 * cross::bound_of_any(level.into(), samples as usize);
            format!(
                "cross-conformal: about {percent} % of new normal samples lie above it, by {samples} that models of others judged \
                 (in theory up to {most:.0} %, were those models asked)"
            )
        }
        ThresholdMethod::PerHour => {
            let hours = f64::from(samples) / 3600.0;
            format!("at most {level} false alarms an hour are expected, by {hours:.2} h of normal sound")
        }
        ThresholdMethod::Gamma => {
            format!("the upper {percent} % of a gamma distribution fitted to {samples} normal samples")
        }
        ThresholdMethod::BestF1 => {
            return format!(
                "the best F1 of {samples} normal samples and labelled faults; it has seen the faults, so what it finds of \
                 them tells nothing of others"
            );
        }
    };
    if held_out { what } else { format!("{what}; but the model was trained on them, so nothing is promised") }
}
