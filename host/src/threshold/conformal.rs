//! Split-conformal thresholds: a bound on false alarms that holds for any distribution of scores.
//!
//! Let `n` normal samples that the model has not been trained on and a new one be exchangeable. The rank of the new score
//! among all `n + 1` is then uniform, so it lies above the `ceil((n + 1) (1 - alpha))`-th smallest of the `n` with a
//! probability of at most `alpha`; ties only lower it (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
//! 2005; Lei et al., Distribution-free predictive inference for regression, JASA 113, 2018). The bound is the mean over sets
//! of `n` samples. One set's rate of false alarms has, without ties, the distribution `Beta(l, n + 1 - l)` with
//! `l = floor(alpha (n + 1))` (Vovk, Conditional validity of inductive conformal predictors, 2012).
//!
//! Windows of one recording are not exchangeable with those of another, so samples are recordings, with the score that stands
//! for the whole of each.

use anyhow::{Result, ensure};

/// What rounding may have taken off a product that is a whole number.
const ROUNDING: f64 = 1e-9;
/// The share of false alarms that nobody has chosen, where there are samples enough.
const ALPHA: f64 = 0.02;

/// The share of false alarms where none was asked for: 0.02, or the smallest that `n` samples allow.
pub fn default_alpha(n: usize) -> f64 {
    ALPHA.max(smallest_alpha(n))
}

/// The smallest share that `n` samples allow.
pub fn smallest_alpha(n: usize) -> f64 {
    1.0 / (n as f64 + 1.0)
}

/// How many samples a share needs.
fn needed(alpha: f64) -> usize {
    (1.0 / alpha - 1.0 - ROUNDING).ceil().max(1.0) as usize
}

/// The score above which a new normal one lies with a probability of at most `alpha`; infinite where that is a sample without a
/// score.
///
/// # Errors
/// Too few scores for `alpha`: says how many are needed, and the smallest `alpha` that these allow.
pub fn threshold(scores: &[f64], alpha: f64) -> Result<f64> {
    let n = scores.len();
    ensure!(n > 0, "no normal samples to choose the threshold by");
    // Samples that may lie above, the new one among them.
    let above = (alpha * (n as f64 + 1.0) + ROUNDING).floor() as usize;
    ensure!(
        above >= 1,
        "threshold.alpha = {alpha} needs {} normal samples that the model was not trained on, there are {n}; they allow \
         threshold.alpha = {} or more. Raise it, or hold more back (train.validation)",
        needed(alpha),
        (smallest_alpha(n) * 1e6).ceil() / 1e6
    );
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted[n - above.min(n)])
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn ranks_by_hand() {
        let scores: Vec<f64> = (1..=19).rev().map(f64::from).collect();
        // The 19th of 19: ceil(20 * 0.95) = 19; the 18th: ceil(20 * 0.9); the first: one in 20 stays below.
        assert_eq!(threshold(&scores, 0.05).unwrap(), 19.0);
        assert_eq!(threshold(&scores, 0.1).unwrap(), 18.0);
        assert_eq!(threshold(&scores, 0.149).unwrap(), 18.0);
        assert_eq!(threshold(&scores, 0.95).unwrap(), 1.0);
        assert_eq!(threshold(&[1.0, f64::INFINITY], 0.5).unwrap(), f64::INFINITY);
    }

    #[test]
    fn too_few_are_refused_with_the_number_and_the_share_that_would_do() {
        let error = threshold(&[0.0; 40], 0.02).unwrap_err().to_string();
        assert!(error.contains("needs 49") && error.contains("there are 40") && error.contains("0.024391"), "{error}");
        assert!(threshold(&[], 0.5).is_err());
        for n in 1..2000 {
            let scores = vec![0.0; n];
            // What the message says does, and so does the default.
            let said = (smallest_alpha(n) * 1e6).ceil() / 1e6;
            assert!(threshold(&scores, said).is_ok() && threshold(&scores, default_alpha(n)).is_ok(), "{n}");
            let alpha = said * 0.99;
            let enough = needed(alpha);
            assert!(threshold(&vec![0.0; enough], alpha).is_ok(), "{n}");
            assert!(threshold(&vec![0.0; enough - 1], alpha).is_err(), "{n}");
        }
        assert_eq!((default_alpha(19), default_alpha(49), default_alpha(1000)), (0.05, 0.02, 0.02));
    }

    /// Scores of five kinds: even, skewed, heavy tails, of few values, and mostly the same.
    fn draw(kind: usize, random: &mut ChaCha8Rng) -> f64 {
        let uniform: f64 = random.random();
        match kind {
            0 => uniform,
            1 => -(1.0 - uniform).ln(),
            2 => (uniform - 0.5).signum() / (1.0 - (2.0 * uniform - 1.0).abs()).max(1e-12).powi(2),
            3 => (uniform * 8.0).floor(),
            _ => {
                if uniform < 0.9 {
                    0.0
                } else {
                    uniform
                }
            }
        }
    }

    /// The probability that a new score lies above `level`, exactly.
    fn rate(kind: usize, level: f64) -> f64 {
        match kind {
            0 => 1.0 - level,
            1 => (-level).exp(),
            2 if level > 0.0 => 0.5 / level.sqrt(),
            2 => 1.0 - 0.5 / (-level).sqrt(),
            3 => 1.0 - (level + 1.0) / 8.0,
            _ => {
                if level < 0.9 {
                    0.1
                } else {
                    1.0 - level
                }
            }
        }
    }

    /// A thousand sets: the mean rate of false alarms is at most `alpha`, and without ties it is distributed as theory says.
    #[test]
    fn a_thousand_trials_keep_the_promise() {
        const TRIALS: usize = 1000;
        for (n, alpha) in [(20, 0.05), (50, 0.02), (99, 0.1), (200, 0.02)] {
            let l = (alpha * (n as f64 + 1.0) + 1e-9).floor();
            // Beta(l, n + 1 - l).
            let mean = l / (n as f64 + 1.0);
            let deviation = (mean * (1.0 - mean) / (n as f64 + 2.0)).sqrt();
            let error = 4.0 * deviation / (TRIALS as f64).sqrt();
            for kind in 0..5 {
                let mut random = ChaCha8Rng::seed_from_u64(1000 * n as u64 + kind as u64);
                let rates: Vec<f64> = (0..TRIALS)
                    .map(|_| {
                        let scores: Vec<f64> = (0..n).map(|_| draw(kind, &mut random)).collect();
                        rate(kind, threshold(&scores, alpha).unwrap())
                    })
                    .collect();
                let found = rates.iter().sum::<f64>() / TRIALS as f64;
                assert!(found <= alpha + error, "{n} {alpha} {kind}: {found}");
                if kind < 3 {
                    assert!((found - mean).abs() < error, "{n} {alpha} {kind}: {found} for {mean}");
                    let variance = rates.iter().map(|rate| (rate - found).powi(2)).sum::<f64>() / TRIALS as f64;
                    let spread = variance.sqrt() / deviation;
                    assert!((0.85..1.15).contains(&spread), "{n} {alpha} {kind}: spread {spread}");
                }
            }
        }
    }
}
