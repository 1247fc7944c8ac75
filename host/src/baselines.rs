//! Trivial baselines: what brightness, or level, or a mean spectrum alone can tell, and what no network is needed for.
//!
//! A detector is only worth its flash if it beats these; a data set on which one of them does well measures light, or how
//! far the microphone was. Two protocols tell the one from the other ([`parts`]).

mod image;
pub mod parts;
pub mod sound;
mod vectors;

use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Kind};
use crate::evaluate::{MetricError, auroc, standardized_partial_auroc};
use crate::frontend::FrontEndSettings;
use parts::Parts;

pub use image::{brightness, contrast, foreground_area, histogram};

/// Fewest samples that anything is fitted to.
const FIT_MIN: usize = 2;
/// The false-alarm share up to which a partial AUROC looks.
const PARTIAL: f64 = 0.1;

/// How well scores tell abnormal from normal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Separation {
    /// AUROC of the statistic as it is.
    pub auroc: f64,
    /// Of a plain number the same or one minus it, whichever is larger: it may be used either way round. A distance from what
    /// is normal has one way only.
    pub folded: f64,
    /// Area up to a share of 0.1 of false alarms, standardized: chance is 1/2, the best 1; the way round that `folded` takes.
    pub partial_auroc: f64,
}

impl Separation {
    fn of(normal: &[f64], abnormal: &[f64], either_way: bool) -> Result<Self, MetricError> {
        let scores: Vec<f64> = normal.iter().chain(abnormal).copied().collect();
        let truth: Vec<bool> = (0..scores.len()).map(|i| i >= normal.len()).collect();
        let auroc = auroc(&scores, &truth)?;
        let around = either_way && auroc < 0.5;
        let way: Vec<f64> = scores.iter().map(|score| if around { -score } else { *score }).collect();
        let partial_auroc = standardized_partial_auroc(&way, &truth, PARTIAL)?;
        Ok(Self { auroc, folded: if around { 1.0 - auroc } else { auroc }, partial_auroc })
    }
}

/// What a baseline reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its name.
    pub name: String,
    /// Against the test set's normal samples.
    pub official: Separation,
    /// Against normal samples held out of training; none where there are none.
    pub matched: Option<Separation>,
}

impl Baseline {
    fn judged(name: impl Into<String>, scores: &Parts<f64>, either_way: bool) -> Result<Self> {
        let Parts { held_out, normal, abnormal, .. } = scores;
        let matched = match held_out.is_empty() {
            true => None,
            false => Some(Separation::of(held_out, abnormal, either_way)?),
        };
        Ok(Self { name: name.into(), official: Separation::of(normal, abnormal, either_way)?, matched })
    }
}

/// What baselines are fitted with.
#[derive(Debug, Clone, PartialEq)]
pub struct How {
    /// The model's front end: images are compared as its strip, sounds as its spectrogram. Without one images are made small
    /// and sounds a spectrogram of 1024 samples a frame.
    pub front_end: Option<FrontEndSettings>,
    /// Chooses what is held out.
    pub seed: u64,
    /// Share of the normal training samples that is held out, 0 to below 1.
    pub held_out: f64,
}

impl Default for How {
    fn default() -> Self {
        Self { front_end: None, seed: 7, held_out: 0.2 }
    }
}

/// What each baseline reaches on the test part, by both protocols. Where there are fewer than two normal samples to fit to, only
/// plain numbers are measured.
///
/// # Errors
/// There are no normal or no abnormal test samples, or the front end does not take the data.
pub fn measure(data: &Dataset, how: &How) -> Result<Vec<Baseline>> {
    let samples = parts::of(data, how.seed, how.held_out)?;
    match data.kind() {
        Kind::Images => image::measure(&samples, how.front_end.as_ref()),
        Kind::Sounds | Kind::Features => sound::measure(&samples, how.front_end.as_ref()),
    }
}

/// The baselines as a table for a terminal.
pub fn table(baselines: &[Baseline]) -> String {
    let mut text = format!("{:<34} {:^22}   {:^22}", "", "official", "matched");
    let _ =
        write!(text, "\n{:<34} {1:>6} {2:>6} {3:>8}   {1:>6} {2:>6} {3:>8}", "baseline", "AUROC", "folded", "pAUROC");
    for Baseline { name, official, matched } in baselines {
        let _ = write!(text, "\n{name:<34} {}   {}", cells(Some(official)), cells(matched.as_ref()));
    }
    text
}

fn cells(separation: Option<&Separation>) -> String {
    match separation {
        Some(s) => format!("{:>6.3} {:>6.3} {:>8.3}", s.auroc, s.folded, s.partial_auroc),
        None => format!("{:>6} {:>6} {:>8}", "-", "-", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Layout;
    use crate::render::{SetSettings, write_set};

    #[test]
    fn numbers_count_either_way_and_distances_one() {
        let (normal, abnormal) = ([3.0, 4.0, 5.0], [1.0, 2.0]);
        let number = Separation::of(&normal, &abnormal, true).expect("both");
        assert_eq!((number.auroc, number.folded, number.partial_auroc), (0.0, 1.0, 1.0));
        let distance = Separation::of(&normal, &abnormal, false).expect("both");
        assert_eq!((distance.auroc, distance.folded), (0.0, 0.0));
        assert!(Separation::of(&normal, &[], false).is_err());
        let scores = Parts { fit: vec![], held_out: vec![], normal: normal.to_vec(), abnormal: abnormal.to_vec() };
        assert_eq!(Baseline::judged("x", &scores, true).expect("judged").matched, None);
    }

    #[test]
    fn rendered_screws_are_not_trivial() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = crate::render::Layout::Mvtec;
        let settings = SetSettings { layout, train: 75, test_good: 60, test_bad: 60, size: 96, seed: 7 };
        let root = folder.path().join("screws");
        write_set(&root, &settings, false).expect("rendered");
        let found = measure(&Dataset::load(&root, Layout::Auto).expect("loads"), &How::default()).expect("both");
        for baseline in &found {
            // Statistics of a whole picture tell nothing; where it differs from others may tell something.
            if !["PCA", "nearest"].iter().any(|part| baseline.name.contains(part)) {
                assert!(baseline.official.folded < 0.65, "{baseline:?}");
            }
        }
        assert_eq!(found.len(), 12);
        assert!(found.iter().all(|baseline| baseline.matched.is_some()));
        assert!(table(&found).lines().count() == 14 && table(&found).contains("brightness, light normalised"));
    }
}
