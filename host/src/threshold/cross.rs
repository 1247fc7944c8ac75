//! Cross-conformal thresholds: nothing is held back, and every normal sample is judged by a model that was fitted to others.
//!
//! The samples are split into `k` parts. A sample's score is that of the model that all other parts were fitted to, and the
//! threshold has the rank among all `n` scores that a conformal one has ([`super::conformal`]). So the model that is used has all
//! samples, and the threshold as many scores, where a split gives each a part of them.
//!
//! What is known of it: were a new sample judged by all `k` models, each against the scores of its own part, then false alarms
//! would have a probability of at most [`bound`], for any distribution, and about `alpha` where a part more or less hardly changes
//! scores (Vovk, Cross-conformal predictors, 2015; Barber, Candès, Ramdas and Tibshirani, Predictive inference with the jackknife+,
//! Annals of Statistics 49, 2021, theorem 4). A device has one model, that of all samples, for which no bound holds whatever the
//! distribution: it sees new samples as the `k` models do as far as a model of all samples is like those of all but one part. It has
//! learned from more, so it errs to the quiet side where it errs.

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::conformal;
use crate::dataset::Sample;

/// Parts where nobody has chosen how many.
pub const FOLDS: u16 = 5;

/// What false alarms are at most, of `n` samples in `folds` parts of one size, were all the models asked.
pub fn bound(alpha: f64, n: usize, folds: usize) -> f64 {
    let (n, k) = (n as f64, folds as f64);
    let of_parts = 2.0 * (1.0 - 1.0 / k) / (n / k + 1.0);
    let of_size = (1.0 - k / n) / (k + 1.0);
    (2.0 * alpha + of_parts.min(of_size).max(0.0)).min(1.0)
}

/// The most that [`bound`] is for any number of parts.
pub fn bound_of_any(alpha: f64, n: usize) -> f64 {
    (2.0 * alpha + (2.0 / n.max(1) as f64).sqrt()).min(1.0)
}

/// The part of each of `count` samples, below `folds`, by lot.
pub fn parts(count: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut parts = vec![0; count];
    for (place, index) in order.into_iter().enumerate() {
        parts[index] = place % folds.max(1);
    }
    parts
}

/// The part of each sample. Windows of one signal overlap, so that a part is as many of them in a row.
pub fn parts_of(samples: &[&Sample], folds: usize, seed: u64) -> Vec<usize> {
    match samples.iter().any(|sample| sample.window.is_some()) {
        true => (0..samples.len()).map(|index| index * folds / samples.len().max(1)).collect(),
        false => parts(samples.len(), folds, seed),
    }
}

/// Whether two samples have something of a signal in common.
pub fn overlap(a: &Sample, b: &Sample) -> bool {
    let within = |(a, b): (&std::ops::Range<usize>, &std::ops::Range<usize>)| a.start < b.end && b.start < a.end;
    a.path == b.path && a.window.as_ref().zip(b.window.as_ref()).is_some_and(within)
}

/// The level above which a new normal sample should lie with a probability of `alpha`, by the scores of samples under models of
/// others.
///
/// # Errors
/// As [`conformal::threshold`].
pub fn threshold(scores: &[f64], alpha: f64) -> Result<f64> {
    conformal::threshold(scores, alpha)
}

/// Checks the number of parts.
///
/// # Errors
/// Fewer samples than parts.
pub fn check(count: usize, folds: usize) -> Result<()> {
    ensure!(
        count >= folds,
        "threshold.folds is {folds}, but there are {count} normal training samples; lower it, or give more"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn parts_are_of_one_size_and_the_bound_is_twice_alpha_and_a_little() {
        let found = parts(23, 5, 1);
        let sizes: Vec<usize> = (0..5).map(|part| found.iter().filter(|&&own| own == part).count()).collect();
        assert_eq!(sizes, [5, 5, 5, 4, 4]);
        assert_eq!(found, parts(23, 5, 1));
        assert_ne!(found, parts(23, 5, 2));
        // 0.1 + min(2 (4/5) / 21, 0.95 / 6); of each by itself the jackknife+'s 2 alpha.
        assert!((bound(0.05, 100, 5) - (0.1 + 1.6 / 21.0)).abs() < 1e-12);
        assert!((bound(0.05, 40, 40) - 0.1).abs() < 1e-12);
        let any = |n: usize| (2..=n).map(|folds| bound(0.05, n, folds)).fold(0.0, f64::max);
        assert!([3, 10, 57, 400].iter().all(|&n| any(n) <= bound_of_any(0.05, n)));
    }

    /// The squared distance from the mean in four dimensions, each by its variance, of whatever it was fitted to.
    struct Gaussian {
        mean: [f64; 4],
        variance: [f64; 4],
    }

    impl Gaussian {
        fn fit<'s>(samples: impl Iterator<Item = &'s [f64; 4]> + Clone) -> Self {
            let n = samples.clone().count() as f64;
            let mean = std::array::from_fn(|i| samples.clone().map(|x| x[i]).sum::<f64>() / n);
            let mean: [f64; 4] = mean;
            let variance =
                std::array::from_fn(|i| samples.clone().map(|x| (x[i] - mean[i]).powi(2)).sum::<f64>() / n + 1e-9);
            Self { mean, variance }
        }

        fn score(&self, x: &[f64; 4]) -> f64 {
            (0..4).map(|i| (x[i] - self.mean[i]).powi(2) / self.variance[i]).sum()
        }
    }

    /// Even, skewed, and with heavy tails.
    fn draw(kind: usize, random: &mut ChaCha8Rng) -> [f64; 4] {
        std::array::from_fn(|_| {
            let uniform: f64 = random.random();
            match kind {
                0 => uniform,
                1 => -(1.0 - uniform).ln(),
                _ => (uniform - 0.5).signum() / (1.0 - (2.0 * uniform - 1.0).abs()).max(1e-9).sqrt(),
            }
        })
    }

    /// A thousand sets of few samples: all models asked keep the bound; the one model of all samples is about as far from `alpha`;
    /// and the samples' own scores, which a model was fitted to, promise what does not hold.
    #[test]
    fn a_thousand_trials_keep_the_bound() {
        const TRIALS: usize = 1000;
        const NEW: usize = 60;
        for (n, folds, alpha) in [(30, 5, 0.1), (40, 10, 0.05), (24, 24, 0.1)] {
            for kind in 0..3 {
                let mut random = ChaCha8Rng::seed_from_u64(n as u64 * 10 + kind as u64);
                let [mut all, mut one, mut naive] = [0usize; 3];
                for trial in 0..TRIALS {
                    let samples: Vec<[f64; 4]> = (0..n).map(|_| draw(kind, &mut random)).collect();
                    let part = parts(n, folds, trial as u64);
                    let models: Vec<Gaussian> = (0..folds)
                        .map(|fold| {
                            let others = samples.iter().zip(&part).filter(move |(_, own)| **own != fold);
                            Gaussian::fit(others.map(|(sample, _)| sample))
                        })
                        .collect();
                    let scores: Vec<f64> = samples.iter().zip(&part).map(|(x, &own)| models[own].score(x)).collect();
                    let level = threshold(&scores, alpha).expect("enough");
                    let whole = Gaussian::fit(samples.iter());
                    let own: Vec<f64> = samples.iter().map(|x| whole.score(x)).collect();
                    let too_low = threshold(&own, alpha).expect("enough");
                    for _ in 0..NEW {
                        let x = draw(kind, &mut random);
                        let below = (0..n).filter(|&i| models[part[i]].score(&x) > scores[i]).count();
                        all += usize::from(below as f64 >= (1.0 - alpha) * (n as f64 + 1.0) - 1e-9);
                        one += usize::from(whole.score(&x) > level);
                        naive += usize::from(whole.score(&x) > too_low);
                    }
                }
                let rate = |count: usize| count as f64 / (TRIALS * NEW) as f64;
                let (all, one, naive) = (rate(all), rate(one), rate(naive));
                let what = format!("{n} {folds} {alpha} {kind}: {all} {one} {naive}");
                assert!(all <= bound(alpha, n, folds), "{what}");
                // Not only within the bound, but near what the rank stands for.
                let asked = (alpha * (n as f64 + 1.0) + 1e-9).floor() / (n as f64 + 1.0);
                assert!((0.4 * asked..1.25 * alpha).contains(&one), "{what}");
                assert!(naive > 1.2 * asked && naive > one, "{what}");
            }
        }
    }
}
