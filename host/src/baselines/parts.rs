//! Which samples a baseline, or a model, is judged by.
//!
//! *Official*: the test set's abnormal samples against its normal ones. *Matched*: against normal samples of the training set,
//! held out of it. Where both agree, a figure is worth something. Where the official one is much better, the test set's normal
//! samples were recorded in some other way than its abnormal ones, and that is what is measured; where the matched one is much
//! better, the test set was recorded in some other way than the training set, and all of it is abnormal to a model.

use anyhow::Result;
use rayon::prelude::*;

use crate::dataset::{Dataset, Sample};

/// Samples, or something of each of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts<T> {
    /// Normal ones to fit to.
    pub fit: Vec<T>,
    /// Normal ones of the training set that nothing was fitted to.
    pub held_out: Vec<T>,
    /// The test set's normal ones.
    pub normal: Vec<T>,
    /// The test set's abnormal ones.
    pub abnormal: Vec<T>,
}

impl<T: Sync> Parts<T> {
    /// Something else of each.
    pub(super) fn map<U: Send>(&self, of: impl Fn(&T) -> U + Sync) -> Parts<U> {
        let part = |part: &[T]| part.par_iter().map(&of).collect();
        Parts {
            fit: part(&self.fit),
            held_out: part(&self.held_out),
            normal: part(&self.normal),
            abnormal: part(&self.abnormal),
        }
    }

    /// The same where that may fail.
    pub(super) fn try_map<U: Send>(&self, of: impl Fn(&T) -> Result<U> + Sync) -> Result<Parts<U>> {
        let part = |part: &[T]| part.par_iter().map(&of).collect::<Result<Vec<U>>>();
        Ok(Parts {
            fit: part(&self.fit)?,
            held_out: part(&self.held_out)?,
            normal: part(&self.normal)?,
            abnormal: part(&self.abnormal)?,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.fit.iter().chain(&self.held_out).chain(&self.normal).chain(&self.abnormal)
    }
}

/// The parts of a data set: a share of its normal training samples, chosen by `seed`, is held out. Nothing is where the share
/// is 0 or there is only one.
///
/// # Errors
/// The share does not fit the data.
pub fn of(data: &Dataset, seed: u64, held_out: f64) -> Result<Parts<&Sample>> {
    let all = normal(data.train.iter().collect());
    let (fit, held_out) = match held_out > 0.0 && all.len() > 1 {
        true => data.split_validation(seed, held_out).map(|(fit, rest)| (normal(fit), normal(rest)))?,
        false => (all, Vec::new()),
    };
    let (normal, abnormal) = data.test.iter().partition(|sample| sample.label == 0);
    Ok(Parts { fit, held_out, normal, abnormal })
}

fn normal(mut samples: Vec<&Sample>) -> Vec<&Sample> {
    samples.retain(|sample| sample.label == 0);
    samples
}
