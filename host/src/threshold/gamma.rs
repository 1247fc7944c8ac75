//! A gamma distribution fitted to normal scores, of which the threshold is a quantile, as the baseline of DCASE's task 2 does
//! (its quantile is 90 %).
//!
//! It reaches beyond the largest score of few samples, which no count of them can; in turn it is right only where scores
//! follow such a distribution.

use anyhow::{Context, Result, ensure};
use statrs::distribution::{ContinuousCDF, Gamma};
use statrs::function::gamma::digamma;

/// The share above the threshold that nobody has chosen.
pub const ALPHA: f64 = 0.1;

/// The quantile `1 - alpha` of the gamma distribution, with its origin at 0, that is the likeliest for `scores`.
///
/// # Errors
/// Fewer than two scores, one that is not above 0 or not finite, or all the same.
pub fn threshold(scores: &[f64], alpha: f64) -> Result<f64> {
    const CURE: &str = "choose threshold.method = \"conformal\"";
    let n = scores.len() as f64;
    ensure!(scores.len() >= 2, "a gamma distribution is fitted to two normal samples or more, there are {n}; {CURE}");
    ensure!(
        scores.iter().all(|score| score.is_finite() && *score > 0.0),
        "a gamma distribution has scores above 0 only, and there are normal samples at or below, or without a score; {CURE}"
    );
    let mean = scores.iter().sum::<f64>() / n;
    // Where the likelihood is greatest, ln(k) - digamma(k) is this for the shape k, and the scale is mean / k.
    let spread = mean.ln() - scores.iter().map(|score| score.ln()).sum::<f64>() / n;
    ensure!(
        spread > 1e-9,
        "all normal samples have the same score, to which no gamma distribution can be fitted; {CURE}"
    );
    let shape = shape(spread);
    let gamma = Gamma::new(shape, shape / mean).context("fitting a gamma distribution")?;
    Ok(gamma.inverse_cdf(1.0 - alpha))
}

/// The `k` for which `ln(k) - digamma(k)`, which falls, is `spread`: it lies between `1 / (2 k)` and `1 / k`.
fn shape(spread: f64) -> f64 {
    let (mut low, mut high) = (0.5 / spread, 1.0 / spread);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if middle.ln() - digamma(middle) > spread { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are SciPy's: `gamma.fit(scores, floc=0)`, `gamma.ppf`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        let scores = [1.0, 2.0, 3.0, 4.0, 5.0];
        for (alpha, expected) in [(0.1, 5.090552), (0.5, 2.734606), (0.001, 10.153128)] {
            let found = threshold(&scores, alpha).unwrap();
            assert!((found / expected - 1.0).abs() < 1e-6, "{alpha}: {found} for {expected}");
        }
    }

    #[test]
    fn what_follows_no_gamma_distribution_is_refused() {
        for scores in [&[1.0][..], &[], &[1.0, 0.0], &[1.0, -2.0], &[1.0, f64::INFINITY], &[3.0; 9]] {
            let error = threshold(scores, 0.1).unwrap_err().to_string();
            assert!(error.contains("threshold.method"), "{error}");
        }
    }
}
