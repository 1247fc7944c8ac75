//! How far figures might have come out otherwise: percentile intervals by the bootstrap (Efron and Tibshirani, "An
//! Introduction to the Bootstrap", 1993, chapter 13).
//!
//! Normal and abnormal samples are drawn apart, with replacement, each as many as there are: how many of either a test set
//! has was chosen by whoever made it. An interval knows of the test set's samples only, not of other trainings; where no
//! abnormal score lies below a normal one, as at an AUROC of 1, none of the draws does, and it has no length.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::evaluate::{MetricError, auroc};

/// Draws of an interval.
const RESAMPLES: u64 = 1000;
/// Share of the draws on either side of an interval: 95 % lie within.
const TAIL: f64 = 0.025;

/// A figure and where 95 % of the draws lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Of the samples as they are.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Standard deviation of the draws: the figure's standard error.
    pub error: f64,
}

/// `statistic` of samples, given by their indices and whether they are abnormal, with its interval. Equal seeds give equal bits.
///
/// # Errors
/// As `statistic`; see [`MetricError`].
pub fn interval(
    abnormal: &[bool],
    seed: u64,
    statistic: impl Fn(&[usize], &[bool]) -> Result<f64, MetricError> + Sync,
) -> Result<Interval, MetricError> {
    let all: Vec<usize> = (0..abnormal.len()).collect();
    let value = statistic(&all, abnormal)?;
    let (bad, good): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&index| abnormal[index]);
    let truth: Vec<bool> = (0..abnormal.len()).map(|index| index >= good.len()).collect();
    let draw = |resample: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(resample);
        let mut drawn = Vec::with_capacity(truth.len());
        for group in [&good, &bad] {
            drawn.extend(group.iter().map(|_| group[rng.random_range(0..group.len())]));
        }
        statistic(&drawn, &truth)
    };
    let mut found = (0..RESAMPLES).into_par_iter().map(draw).collect::<Result<Vec<f64>, _>>()?;
    found.sort_by(f64::total_cmp);
    let quantile = |share: f64| found[(share * (RESAMPLES - 1) as f64).round() as usize];
    let mean = found.iter().sum::<f64>() / RESAMPLES as f64;
    let error = (found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (RESAMPLES - 1) as f64).sqrt();
    Ok(Interval { value, low: quantile(TAIL), high: quantile(1.0 - TAIL), error })
}

/// [`interval`] of a figure of scores, such as the AUROC.
///
/// # Errors
/// See [`MetricError`].
pub fn of_scores(
    scores: &[f64],
    abnormal: &[bool],
    seed: u64,
    figure: impl Fn(&[f64], &[bool]) -> Result<f64, MetricError> + Sync,
) -> Result<Interval, MetricError> {
    same_length(scores, abnormal)?;
    interval(abnormal, seed, |drawn, truth| figure(&picked(scores, drawn), truth))
}

/// How much higher the AUROC of `a` is than that of `b`, both scores of the same samples: each draw is of both, so what a
/// sample makes hard for either cancels.
///
/// # Errors
/// See [`MetricError`].
pub fn auroc_difference(a: &[f64], b: &[f64], abnormal: &[bool], seed: u64) -> Result<Interval, MetricError> {
    same_length(a, abnormal)?;
    same_length(b, abnormal)?;
    interval(abnormal, seed, |drawn, truth| Ok(auroc(&picked(a, drawn), truth)? - auroc(&picked(b, drawn), truth)?))
}

fn same_length(scores: &[f64], abnormal: &[bool]) -> Result<(), MetricError> {
    if scores.len() == abnormal.len() {
        return Ok(());
    }
    Err(MetricError::Length { scores: scores.len(), labels: abnormal.len() })
}

fn picked(scores: &[f64], indices: &[usize]) -> Vec<f64> {
    indices.iter().map(|&index| scores[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(count: usize, shift: f64) -> (Vec<f64>, Vec<bool>) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let abnormal: Vec<bool> = (0..count).map(|index| index % 2 == 1).collect();
        let score = |&bad: &bool| rng.random::<f64>() + if bad { shift } else { 0.0 };
        (abnormal.iter().map(score).collect(), abnormal)
    }

    #[test]
    fn intervals_hold_the_figure_narrow_with_samples_and_repeat_with_the_seed() {
        let width = |count: usize| {
            let (scores, abnormal) = scores(count, 0.3);
            let found = of_scores(&scores, &abnormal, 3, auroc).expect("both classes");
            assert_eq!(found, of_scores(&scores, &abnormal, 3, auroc).expect("both classes"));
            assert!(found.low < found.value && found.value < found.high, "{found:?}");
            (found, found.high - found.low)
        };
        let ((found, wide), (_, narrow)) = (width(60), width(960));
        // A sixteenth of the samples: four times as wide.
        assert!((2.5..6.0).contains(&(wide / narrow)), "{wide} {narrow}");
        // The standard error of Hanley and McNeil 1982 for 30 and 30 samples.
        let a = found.value;
        let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
        let error = ((a * (1.0 - a) + 29.0 * (q1 - a * a) + 29.0 * (q2 - a * a)) / 900.0).sqrt();
        assert!((wide / (2.0 * 1.96 * error) - 1.0).abs() < 0.3, "{wide} {error}");
        assert!((found.error / error - 1.0).abs() < 0.3, "{} {error}", found.error);
    }

    #[test]
    fn a_difference_is_paired() {
        let (a, abnormal) = scores(80, 0.3);
        let none = auroc_difference(&a, &a, &abnormal, 1).expect("both classes");
        assert_eq!((none.low, none.value, none.high), (0.0, 0.0, 0.0));
        // One pair of samples in another order is less than the AUROC itself might differ by.
        let mut b = a.clone();
        b.swap(0, 1);
        let little = auroc_difference(&a, &b, &abnormal, 1).expect("both classes");
        let alone = of_scores(&a, &abnormal, 1, auroc).expect("both classes");
        assert!(little.high - little.low < 0.7 * (alone.high - alone.low), "{little:?} {alone:?}");
        assert!(auroc_difference(&a, &b[1..], &abnormal, 1).is_err());
    }

    #[test]
    fn one_class_has_no_interval_and_separated_scores_one_of_no_length() {
        assert!(of_scores(&[1.0, 2.0], &[false, false], 1, auroc).is_err());
        let found = of_scores(&[1.0, 2.0, 3.0], &[false, false, true], 1, auroc).expect("both classes");
        assert_eq!((found.low, found.high), (1.0, 1.0));
    }
}
