//! What a model is tried on where no real defect may be looked at: normal samples held out of training, and defects made of them.

use anyhow::{Result, ensure};

use crate::dataset::{Dataset, Sample};
use crate::experiment::Experiment;
use crate::run::split;
use crate::synthetic;

/// Held-out normal samples and made defects.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The normal ones first.
    pub samples: Vec<Sample>,
    /// How many of them are normal.
    pub normals: usize,
}

impl Trial {
    /// At least `defects_min` defects, as many of each of the normal samples.
    ///
    /// # Errors
    /// Nothing is held out, or a sample of which no defect can be made; names the key or the file.
    pub fn new(experiment: &Experiment, data: &Dataset, defects_min: usize) -> Result<Self> {
        ensure!(
            experiment.train.validation > 0.0,
            "train.validation is 0: what is chosen is judged on samples held out of training; say 0.15 or so"
        );
        let (_, held_out) = split(experiment, data)?;
        let normals: Vec<&Sample> = held_out.into_iter().filter(|sample| sample.label == 0).collect();
        let copies = defects_min.div_ceil(normals.len().max(1)) as u64;
        let mut samples: Vec<Sample> = normals.iter().map(|&sample| sample.clone()).collect();
        for copy in 0..copies {
            samples.extend(synthetic::defective(&normals, experiment.seed.wrapping_add(copy))?);
        }
        Ok(Self { samples, normals: normals.len() })
    }

    /// How many are defects.
    pub fn defects(&self) -> usize {
        self.samples.len() - self.normals
    }

    /// Which of them are defects.
    pub fn abnormal(&self) -> Vec<bool> {
        (0..self.samples.len()).map(|index| index >= self.normals).collect()
    }
}
