//! The threshold with which the alarm rises at most so often an hour, by the decision that the device has: aggregate,
//! smoothing, `required` of `window`, hysteresis.
//!
//! Where alarms of a normal machine are rare and independent, rises are a Poisson process whose rate falls with the threshold.
//! At the lowest threshold with `k` rises in `T` hours, the expected rate is `(k + 1) / T`: one rise more than was seen, as a
//! conformal threshold counts one sample more. So `k = rate T - 1` rises are let pass, and `T` must be an hour over the rate.

use anyhow::{Result, ensure};
use neji_app::{Aggregator, Decider};
use neji_format::Decision;

/// What rounding may have taken off a product that is a whole number.
const ROUNDING: f64 = 1e-9;

/// Normal recordings as one stream, and how it is decided on.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Scores of the windows of each recording.
    pub recordings: &'a [&'a [i32]],
    /// From a score to the next.
    pub seconds_per_score: f64,
    /// All but the levels.
    pub decision: Decision,
}

impl Stream<'_> {
    /// How long the stream is.
    pub fn hours(&self) -> f64 {
        let scores: usize = self.recordings.iter().map(|scores| scores.len()).sum();
        scores as f64 * self.seconds_per_score / 3600.0
    }

    /// What stands for the last scores, from where there are enough of them on.
    fn aggregated(&self) -> Vec<i32> {
        let mut ring = vec![0; if self.decision.scores > 1 { self.decision.scores.into() } else { 0 }];
        let mut aggregator = Aggregator::new(self.decision.aggregate);
        let scores = self.recordings.iter().copied().flatten();
        scores
            .filter_map(|&score| Some(aggregator.push(score, &mut ring)).filter(|_| aggregator.is_full(&ring)))
            .collect()
    }
}

/// How often the alarm rises.
fn rises(decision: Decision, aggregated: &[i32]) -> usize {
    let mut decider = Decider::new(decision);
    let mut before = false;
    aggregated
        .iter()
        .filter(|&&score| {
            let alarm = decider.push(score).alarm;
            let was = std::mem::replace(&mut before, alarm);
            alarm && !was
        })
        .count()
}

/// The lowest threshold, in steps of the score, from which on the alarm rises at most `rate` times an hour; `release` gives the
/// release level of a threshold.
///
/// # Errors
/// Too short a stream for `rate`: says how long it must be, and what it allows.
pub fn threshold(stream: &Stream<'_>, rate: f64, release: impl Fn(i32) -> i32) -> Result<i32> {
    let hours = stream.hours();
    let allowed = (rate * hours + ROUNDING).floor();
    ensure!(
        allowed >= 1.0,
        "threshold.false_alarms_per_hour = {rate} needs {:.2} h of normal sound that the model was not trained on, there are \
         {hours:.2} h; they allow threshold.false_alarms_per_hour = {} or more. Raise it, or hold more back (train.validation)",
        1.0 / rate,
        (1000.0 / hours).ceil() / 1000.0
    );
    let aggregated = stream.aggregated();
    ensure!(
        !aggregated.is_empty(),
        "decision.scores = {} are more than all normal sound has; lower it, or hold more back (train.validation)",
        stream.decision.scores
    );
    let allowed = allowed as usize - 1;
    let mut decider = Decider::new(stream.decision);
    let mut smoothed: Vec<i32> = aggregated.iter().map(|&score| decider.push(score).smoothed).collect();
    smoothed.sort_unstable();
    smoothed.dedup();
    // From the top: alarms that a low threshold has grown together into few are no few alarms.
    let quiet = |&&threshold: &&i32| {
        let decision = Decision { threshold, release: release(threshold), ..stream.decision };
        rises(decision, &aggregated) <= allowed
    };
    // Nothing is above the largest.
    Ok(smoothed.iter().rev().take_while(quiet).last().copied().unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use neji_format::Aggregate;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn stream<'a>(recordings: &'a [&'a [i32]], decision: Decision) -> Stream<'a> {
        Stream { recordings, seconds_per_score: 360.0, decision }
    }

    #[test]
    fn by_hand() {
        // Ten scores are an hour.
        let scores: &[i32] = &[1, 9, 1, 8, 8, 1, 7, 1, 6, 1];
        let of = |decision, rate| threshold(&stream(&[scores], decision), rate, |t| t).unwrap();
        // With a rise for each peak, one less than asked for is let pass.
        assert_eq!([1.0, 2.0, 3.9, 4.0].map(|rate| of(Decision::EACH, rate)), [9, 8, 7, 6]);
        // Two of the last two: the one plateau is let pass, then nothing is left that rises.
        let twice = Decision { required: 2, window: 2, ..Decision::EACH };
        assert_eq!((of(twice, 1.0), of(twice, 2.0)), (8, 1));
        // A mean of two scores: 5, 5, 4, 8, 4, 4, 4, 3, 3.
        let mean = Decision { aggregate: Aggregate::Mean, scores: 2, ..Decision::EACH };
        assert_eq!((of(mean, 1.0), of(mean, 2.0)), (8, 5));
        // Hysteresis makes one alarm of all peaks.
        let held = threshold(&stream(&[scores], Decision::EACH), 2.0, |_| 0).unwrap();
        assert_eq!(held, 1);
    }

    #[test]
    fn too_short_a_stream_is_refused_with_the_hours_and_the_rate() {
        let scores: &[i32] = &[1, 2, 3, 4];
        let error = threshold(&stream(&[scores], Decision::EACH), 1.0, |t| t).unwrap_err().to_string();
        assert!(error.contains("needs 1.00 h") && error.contains("0.40 h") && error.contains("= 2.5 or"), "{error}");
        assert_eq!(threshold(&stream(&[scores], Decision::EACH), 2.5, |t| t).unwrap(), 4);
        let long = Decision { scores: 5, ..Decision::EACH };
        assert!(threshold(&stream(&[scores], long), 9.0, |t| t).unwrap_err().to_string().contains("decision.scores"));
    }

    /// Independent scores in two hundred streams of twenty hours: each threshold's expected rate, which is known, is in the mean
    /// what was asked for.
    #[test]
    fn the_expected_rate_is_kept() {
        const TOP: i32 = 1 << 30;
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for rate in [0.1, 0.5] {
            let trials = 200;
            let rates = (0..trials).map(|_| {
                let scores: Vec<i32> = (0..2000).map(|_| random.random_range(0..TOP)).collect();
                let found = Stream { recordings: &[&scores], seconds_per_score: 36.0, decision: Decision::EACH };
                let level = f64::from(threshold(&found, rate, |t| t).unwrap()) / f64::from(TOP);
                // A hundred scores an hour; a rise is one above after one that is not.
                100.0 * (1.0 - level) * level
            });
            let mean = rates.sum::<f64>() / f64::from(trials);
            // The rate of one trial is spread like Gamma(k + 1) over twenty hours.
            let error = 4.0 * (rate / 20.0).sqrt() / f64::from(trials).sqrt();
            assert!((mean - rate).abs() < error, "{mean} for {rate}");
        }
    }
}
