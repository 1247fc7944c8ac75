//! `detector.kind = "auto"`: trains several ways to detect, ranks them without a single real defect, and keeps the best that fits.
//!
//! Each candidate is a whole run in a folder of its own: trained, quantized, and judged by the blob that the device would run. What it is
//! judged on are the normal samples held out of training and defects made of them; test samples play no part.

mod candidates;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use neji_app::Monitor;
use neji_engine::Host;
use serde::{Deserialize, Serialize};

use crate::closed;
use crate::dataset::{Dataset, Form};
use crate::evaluate::auroc;
use crate::experiment::Experiment;
use crate::files::write_whole;
use crate::quantize::{self, TestPart, assemble::accepted};
use crate::report::scores;
use crate::run::Run;
use crate::trial::Trial;

pub use candidates::{Candidate, candidates};

/// Made defects of all held-out samples together, at least.
const DEFECTS_MIN: usize = 200;

/// `auto.json`: what was tried and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Name of the candidate that was taken.
    pub chosen: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Held-out normal samples.
    pub normals: usize,
    /// Defects made of them.
    pub defects: usize,
    /// All that were tried, in the order in which they are preferred.
    pub tried: Vec<Tried>,
}

/// A candidate and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name, and that of its folder.
    pub name: String,
    /// What it does.
    pub what: String,
    /// What was measured; none where it could not be.
    pub measured: Option<Measured>,
    /// Why it was not, or why it is out.
    pub out: Option<String>,
}

/// What a candidate costs and is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// AUROC of made defects against held-out normal samples.
    pub auroc: f64,
    /// Its standard error.
    pub error: f64,
    /// Bytes of the blob.
    pub flash: usize,
    /// Bytes of the monitor's memory.
    pub ram: usize,
}

/// Trains and judges all candidates below `run`, and makes `run` a copy of the best.
///
/// # Errors
/// No candidate that can be trained and fits, too few samples to hold any out, or a file that can't be written.
pub fn choose(base: &Experiment, data: &Dataset, run: &Run, stop: &AtomicBool) -> Result<Choice> {
    let trial = Trial::new(base, data, DEFECTS_MIN)?;
    let (mut tried, mut found) = (Vec::new(), Vec::new());
    let all = candidates(base, data);
    for (index, candidate) in all.iter().enumerate() {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted; nothing was chosen yet");
        eprintln!("candidate {} of {}, {}: {}", index + 1, all.len(), candidate.name, candidate.what);
        let (measured, out) = match attempt(base, candidate, data, run, &trial, stop) {
            Ok((measured, scores)) => {
                found.push(scores);
                (Some(measured), base.auto.exceeded(measured.flash, measured.ram))
            }
            Err(error) if stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) => {
                found.push(Vec::new());
                (None, Some(format!("{error:#}")))
            }
        };
        let (name, what) = (candidate.name.to_owned(), candidate.what.to_owned());
        tried.push(Tried { name, what, measured, out });
    }
    // Of pictures made defects rank detectors well, so the error is that of the difference on the same samples; of sounds badly, so it
    // is the wider one of a figure by itself.
    let paired = matches!(data.form, Form::Image(_));
    let (chosen, reason) = best(&tried, |index, top, most| match paired {
        true => difference_error(&found[index], &found[top], trial.normals),
        false => most.error,
    })?;
    let choice =
        Choice { chosen: tried[chosen].name.clone(), reason, normals: trial.normals, defects: trial.defects(), tried };
    let winner = folder(run, &choice.chosen);
    // Now that it is chosen, its figures of the test part may be known.
    let seen = winner.experiment()?.seen(data)?;
    let (bytes, summary) = quantize::quantize_on(&winner, &seen, TestPart::Scored)?;
    quantize::write(&winner, &winner.blob(), &bytes, &summary)?;
    for file in winner.all_files() {
        let name = file.file_name().context("a file has a name")?;
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        write_whole(&run.folder().join(name), &bytes)?;
    }
    write_whole(&run.file("auto.json"), (serde_json::to_string_pretty(&choice)? + "\n").as_bytes())?;
    Ok(choice)
}

fn folder(run: &Run, name: &str) -> Run {
    Run::new(run.folder().join("candidates").join(name))
}

/// Trains, quantizes and judges one candidate, whose scores come with what was measured.
fn attempt(
    base: &Experiment,
    candidate: &Candidate,
    data: &Dataset,
    run: &Run,
    trial: &Trial,
    stop: &AtomicBool,
) -> Result<(Measured, Vec<f64>)> {
    let experiment = base.as_candidate(&candidate.settings)?;
    let own = folder(run, candidate.name);
    let _lock = own.lock()?;
    own.clear()?;
    write_whole(&own.config(), experiment.to_toml().as_bytes())?;
    let seen = experiment.seen(data)?;
    fit(&experiment, &seen, &own, stop)?;
    let (bytes, summary) = quantize::quantize_on(&own, &seen, TestPart::Unseen)?;
    quantize::write(&own, &own.blob(), &bytes, &summary)?;
    let model = accepted(&bytes)?;
    let found: Vec<f64> = scores::quantized(model, &trial.samples)?.into_iter().map(|row| row.score).collect();
    let auroc = auroc(&found, &trial.abnormal())?;
    let error = standard_error(auroc, trial.normals, trial.defects());
    let ram = Monitor::<Host>::memory_bytes(&model);
    Ok((Measured { auroc, error, flash: summary.blob_bytes, ram }, found))
}

/// Trains `experiment` into `run`, outright or by epochs.
///
/// # Errors
/// As the trainer, or it was interrupted.
fn fit(experiment: &Experiment, data: &Dataset, run: &Run, stop: &AtomicBool) -> Result<()> {
    if closed::train(experiment, data, run)?.is_some() {
        return Ok(());
    }
    #[cfg(feature = "train")]
    match crate::train::train(experiment, data, run, stop)? {
        crate::train::Ended::Finished(_) => Ok(()),
        crate::train::Ended::Interrupted(_) => bail!("interrupted"),
    }
    #[cfg(not(feature = "train"))]
    {
        let _ = stop;
        bail!("this neji was built without Burn, so it trains nothing by epochs")
    }
}

/// Standard error of an AUROC (Hanley and McNeil, The meaning and use of the area under a receiver operating characteristic curve,
/// Radiology 143, 1982). Near 1 it vanishes, as if one figure knew all: half a sample's weight is its least.
fn standard_error(auroc: f64, normals: usize, defects: usize) -> f64 {
    let (n, d) = (normals as f64, defects as f64);
    let (q1, q2) = (auroc / (2.0 - auroc), 2.0 * auroc * auroc / (1.0 + auroc));
    let variance = auroc * (1.0 - auroc) + (d - 1.0) * (q1 - auroc * auroc) + (n - 1.0) * (q2 - auroc * auroc);
    (variance / (n * d)).max(0.0).sqrt().max(0.5 / (n * d))
}

/// Standard error of the difference of two AUROCs on the same samples, of which the first `normals` are normal (E. R. DeLong, D. M.
/// DeLong and D. L. Clarke-Pearson, Comparing the areas under two or more correlated receiver operating characteristic curves,
/// Biometrics 44, 1988).
fn difference_error(a: &[f64], b: &[f64], normals: usize) -> f64 {
    // How often a sample lies on the right side of those of the other kind.
    let above = |high: f64, low: f64| match high.total_cmp(&low) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let places = |scores: &[f64]| -> Vec<f64> {
        let (normal, defective) = scores.split_at(normals.min(scores.len()));
        let share = |sum: f64, of: &[f64]| sum / of.len().max(1) as f64;
        let low = normal.iter().map(|&n| share(defective.iter().map(|&d| above(d, n)).sum(), defective));
        low.chain(defective.iter().map(|&d| share(normal.iter().map(|&n| above(d, n)).sum(), normal))).collect()
    };
    let differences: Vec<f64> = places(a).iter().zip(places(b)).map(|(a, b)| a - b).collect();
    let variance = |part: &[f64]| {
        let n = part.len() as f64;
        let mean = part.iter().sum::<f64>() / n;
        part.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0) / n.max(1.0)
    };
    let (normal, defective) = differences.split_at(normals.min(differences.len()));
    (variance(normal) + variance(defective)).sqrt()
}

/// The index of the candidate that is taken, and why.
///
/// That is the first, in the order in which they are preferred, whose AUROC is no more than a standard error below the best;
/// `error(candidate, best, what the best has)` is that error.
fn best(tried: &[Tried], error: impl Fn(usize, usize, Measured) -> f64) -> Result<(usize, String)> {
    let within = |one: &Tried| one.measured.filter(|_| one.out.is_none());
    let fitting: Vec<(usize, Measured)> =
        tried.iter().enumerate().filter_map(|(index, one)| Some((index, within(one)?))).collect();
    let Some(&(top, most)) = fitting.iter().max_by(|(i, a), (j, b)| a.auroc.total_cmp(&b.auroc).then(j.cmp(i))) else {
        let mut why = String::new();
        for one in tried {
            let _ = write!(why, "\n  {}: {}", one.name, one.out.as_deref().unwrap_or("no figure"));
        }
        bail!("no candidate could be trained within [auto]:{why}");
    };
    let chosen = fitting.iter().find(|(index, measured)| measured.auroc >= most.auroc - error(*index, top, most));
    let (index, measured) = chosen.copied().unwrap_or((top, most));
    let name = |index: usize| &tried[index].name;
    let reason = if index == top {
        format!("{} has the highest AUROC of made defects, {:.4}", name(index), measured.auroc)
    } else {
        format!(
            "{} is preferred: its AUROC of made defects, {:.4}, is within a standard error ({:.4}) of the best, {:.4} of {}",
            name(index),
            measured.auroc,
            error(index, top, most),
            most.auroc,
            name(top)
        )
    };
    Ok((index, reason))
}

/// The table of what was tried, and the reason.
pub fn text(choice: &Choice) -> String {
    let mut out = format!(
        "{} made defects of {} held-out normal samples\n\n  {:<20} {:>7} {:>7} {:>9} {:>9}\n",
        choice.defects, choice.normals, "candidate", "AUROC", "+-", "flash", "RAM"
    );
    for one in &choice.tried {
        let mark = if one.name == choice.chosen { "*" } else { " " };
        let _ = write!(out, "{mark} {:<20}", one.name);
        if let Some(Measured { auroc, error, flash, ram }) = one.measured {
            let _ = write!(out, " {auroc:>7.4} {error:>7.4} {flash:>9} {ram:>9}");
        }
        let _ = writeln!(out, "  {}", one.out.as_deref().unwrap_or(&one.what));
    }
    let _ = writeln!(out, "\n{}", choice.reason);
    out
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn tried(name: &str, auroc: f64, out: Option<&str>) -> Tried {
        let measured = Some(Measured { auroc, error: 0.02, flash: 1000, ram: 100 });
        Tried { name: name.into(), what: "does".into(), measured, out: out.map(str::to_owned) }
    }

    #[test]
    fn the_earlier_of_equals_is_taken_and_what_is_too_large_is_not() {
        let best = |all: &[Tried]| best(all, |_, _, most| most.error);
        let chosen = |all: &[Tried]| best(all).map(|(index, _)| all[index].name.clone()).expect("one fits");
        assert_eq!(chosen(&[tried("a", 0.95, None), tried("b", 0.96, None)]), "a");
        assert_eq!(chosen(&[tried("a", 0.90, None), tried("b", 0.96, None)]), "b");
        assert_eq!(chosen(&[tried("a", 0.90, None), tried("b", 0.96, Some("large"))]), "a");
        let error = best(&[tried("a", 0.9, Some("too large"))]).expect_err("none fits").to_string();
        assert!(error.contains("a: too large"), "{error}");
    }

    #[test]
    fn scores_that_go_together_differ_surely() {
        // The same scores, a little better ones of the same samples, and such that know nothing of them.
        let normals = 40;
        let scores = |gain: f64, seed: u64| -> Vec<f64> {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            (0..200).map(|i| random.random::<f64>() + if i < normals { 0.0 } else { gain }).collect()
        };
        let (a, better, other) = (scores(0.3, 1), scores(0.35, 1), scores(0.3, 5));
        assert_eq!(difference_error(&a, &a, normals), 0.0);
        let (together, apart) = (difference_error(&a, &better, normals), difference_error(&a, &other, normals));
        assert!(together > 0.0 && 3.0 * together < apart, "{together} {apart}");
        // Independent ones have the error of both figures.
        let abnormal: Vec<bool> = (0..200).map(|i| i >= normals).collect();
        let alone = standard_error(auroc(&a, &abnormal).expect("both kinds"), normals, 160);
        assert!((apart / (alone * 2.0f64.sqrt()) - 1.0).abs() < 0.35, "{apart} {alone}");
    }

    #[test]
    fn a_standard_error_shrinks_with_samples() {
        // Hanley and McNeil's own example: 0.893 of 58 and 51 has 0.0320.
        assert!((standard_error(0.893, 58, 51) - 0.0320).abs() < 0.002);
        assert!(standard_error(0.9, 100, 100) < standard_error(0.9, 10, 100));
        assert!(standard_error(1.0, 10, 10) > 0.0);
    }
}
