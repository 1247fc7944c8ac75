//! Int8 or int16 activations, by what they do to detection: `quantize.activations = "auto"`.
//!
//! Both are tried on normal samples held out of training and defects made of them. Int8 takes half the memory and the faster kernels, so
//! int16 has to be better by more than a standard error of the difference; since both score the same samples, the error is that of pairs.

use anyhow::{Result, bail};
use neji_app::Monitor;
use neji_engine::Host;
use neji_format::Model;
use serde::{Deserialize, Serialize};

use crate::bootstrap::auroc_difference;
use crate::evaluate::auroc;
use crate::experiment::{ActivationsName, AutoSettings};
use crate::trial::Trial;

/// Made defects, at least.
pub const DEFECTS_MIN: usize = 200;
/// Seed of the draws that the error comes from.
const SEED: u64 = 1;

/// What was tried and why one was chosen; in `quantize.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What was chosen.
    pub chosen: ActivationsName,
    /// Why, in a sentence.
    pub reason: String,
    /// Held-out normal samples.
    pub normals: usize,
    /// Defects made of them.
    pub defects: usize,
    /// With int8.
    pub int8: Tried,
    /// With int16.
    pub int16: Tried,
    /// AUROC with int16 less that with int8, where both were measured.
    pub difference: Option<f64>,
    /// Its standard error.
    pub error: Option<f64>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// AUROC of made defects against held-out normal samples.
    pub auroc: Option<f64>,
    /// Bytes of the blob.
    pub flash: Option<usize>,
    /// Bytes of the monitor's memory.
    pub ram: Option<usize>,
    /// Why it can't be taken.
    pub out: Option<String>,
}

impl Tried {
    /// One that can't be computed or planned.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self { auroc: None, flash: None, ram: None, out: Some(format!("{error:#}")) }
    }
}

/// A blob and the scores that it gives a trial's samples.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The blob.
    pub model: Model<'a>,
    /// One a sample.
    pub scores: &'a [f64],
}

impl Made<'_> {
    /// What it costs and is worth, within `limits`.
    ///
    /// # Errors
    /// Scores without a value.
    pub fn figures(&self, limits: &AutoSettings, trial: &Trial) -> Result<Tried> {
        let (flash, ram) = (self.model.bytes().len(), Monitor::<Host>::memory_bytes(&self.model));
        Ok(Tried {
            auroc: Some(auroc(self.scores, &trial.abnormal())?),
            flash: Some(flash),
            ram: Some(ram),
            out: limits.exceeded(flash, ram),
        })
    }
}

/// Chooses between int8 and int16; `scores` are those of the trial's samples with either, where both have some.
///
/// # Errors
/// Neither can be taken.
pub fn decide([int8, int16]: [Tried; 2], scores: Option<[&[f64]; 2]>, trial: &Trial) -> Result<Choice> {
    let found = match scores {
        Some([a, b]) => Some(auroc_difference(b, a, &trial.abnormal(), SEED)?),
        None => None,
    };
    let (chosen, reason) = match (&int8.out, &int16.out, found) {
        (Some(a), Some(b), _) => bail!("neither kind of activations can be taken: int8 {a}; int16 {b}"),
        (Some(why), None, _) => (ActivationsName::Int16, format!("int8 is out: {why}")),
        (None, Some(why), _) => (ActivationsName::Int8, format!("int16 is out: {why}")),
        (None, None, None) => bail!("nothing was measured"),
        (None, None, Some(found)) if found.value > found.error => (
            ActivationsName::Int16,
            format!(
                "int16 has an AUROC of made defects higher by {:.4}, more than a standard error of {:.4}",
                found.value, found.error
            ),
        ),
        (None, None, Some(found)) => (
            ActivationsName::Int8,
            format!(
                "int8 takes half the memory, and int16 differs by {:+.4} in AUROC of made defects, not more than a standard error \
                 of {:.4}",
                found.value, found.error
            ),
        ),
    };
    Ok(Choice {
        chosen,
        reason,
        normals: trial.normals,
        defects: trial.defects(),
        int8,
        int16,
        difference: found.map(|found| found.value),
        error: found.map(|found| found.error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{GreyImage, Sample, Signal};
    use neji_format::Size;

    /// Forty samples, half of them normal.
    fn trial() -> Trial {
        let image = GreyImage { size: Size { width: 1, height: 1 }, pixels: vec![0] };
        let sample = Sample {
            path: "a".into(),
            name: "a".into(),
            label: 0,
            class: "good".into(),
            section: None,
            domain: None,
            signal: Signal::Image { image, mask: None },
            window: None,
            variant: false,
            file_hash: [0; 32],
        };
        Trial { samples: vec![sample; 40], normals: 20 }
    }

    fn tried(out: Option<&str>) -> Tried {
        Tried { auroc: Some(0.9), flash: Some(1), ram: Some(1), out: out.map(str::to_owned) }
    }

    #[test]
    fn int16_has_to_be_better_by_more_than_its_error_and_to_fit() {
        let trial = trial();
        // Every third defect below the normal samples, and all above them.
        let poor: Vec<f64> = (0..40).map(|i| if i >= 20 && i % 3 > 0 { 100.0 } else { f64::from(40 - i) }).collect();
        let good: Vec<f64> = (0..40).map(f64::from).collect();
        let chosen = |int8: &[f64], int16: &[f64], out: [Option<&str>; 2]| {
            decide(out.map(tried), Some([int8, int16]), &trial).map(|choice| (choice.chosen, choice.reason))
        };
        let (name, reason) = chosen(&poor, &good, [None, None]).expect("one fits");
        assert_eq!(name, ActivationsName::Int16, "{reason}");
        assert_eq!(chosen(&good, &poor, [None, None]).expect("one fits").0, ActivationsName::Int8);
        // Nothing to gain: the smaller one.
        assert_eq!(chosen(&good, &good, [None, None]).expect("one fits").0, ActivationsName::Int8);
        let (name, reason) = chosen(&poor, &good, [None, Some("too large")]).expect("one fits");
        assert_eq!(name, ActivationsName::Int8);
        assert!(reason.contains("too large"), "{reason}");
        assert_eq!(chosen(&good, &poor, [Some("too large"), None]).expect("one fits").0, ActivationsName::Int16);
        let error = chosen(&good, &poor, [Some("x"), Some("y")]).expect_err("none fits").to_string();
        assert!(error.contains("int8 x") && error.contains("int16 y"), "{error}");
    }
}
