//! The limit of the device's drift watch, from normal scores: so high that they would be taken for a drift once in so many
//! scores.
//!
//! Scores of one recording follow one another and resemble one another, so what is drawn at random (with replacement) are
//! recordings, each whole: a stream as the device would hear it if normal went on like this. Its own code runs on it.

use anyhow::{Result, ensure};
use neji_app::Trend;
use neji_app::drift::DriftWatch;
use neji_format::{Drift, Normal};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::experiment::DriftSettings;

/// Drifts that are seen in the drawn stream; one less is let pass, as with any count that stands for more than was seen.
const RISES: usize = 20;
/// Fewest scores that a limit is fitted to.
const SCORES_MIN: usize = 32;

/// Mean and deviation of single scores; none of none.
pub fn normal(recordings: &[&[i32]]) -> Option<Normal> {
    let scores = || recordings.iter().copied().flatten().map(|&score| f64::from(score));
    let count = scores().count() as f64;
    let mean = scores().sum::<f64>() / count;
    let variance = scores().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
    let scale = variance.sqrt().round().clamp(1.0, f64::from(1 << 30)) as u32;
    (count > 0.0).then_some(Normal { location: mean.round() as i32, scale })
}

/// The watch with the lowest limit at which normal recordings drift once in `average_run_length` scores or more seldom; none
/// where nothing is to be watched, or nothing can be said of so few scores.
///
/// # Errors
/// No limit is high enough: the recordings differ too much.
pub fn fit(settings: &DriftSettings, recordings: &[&[i32]], normal: Normal, seed: u64) -> Result<Option<Drift>> {
    let scores: usize = recordings.iter().map(|scores| scores.len()).sum();
    if !settings.watch || scores < SCORES_MIN {
        return Ok(None);
    }
    let steps = |deviations: f64| (256.0 * deviations).round() as u16;
    let (slack, clip) = (steps(settings.slack), steps(settings.clip));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let length = RISES * settings.average_run_length as usize;
    let mut stream: Vec<i32> = Vec::with_capacity(length);
    while stream.len() < length {
        stream.extend_from_slice(recordings[random.random_range(0..recordings.len())]);
    }
    stream.truncate(length);
    let quiet = |limit: u32| rises(Drift { slack, clip, limit }, normal, &stream) < RISES;
    let (mut low, mut high) = (0, 1 << 24);
    ensure!(
        quiet(high),
        "normal recordings differ so much that no limit makes a drift as seldom as once in drift.average_run_length = {} scores; \
         lower it, raise drift.slack, or set drift.watch = false",
        settings.average_run_length
    );
    while low + 1 < high {
        let middle = low.midpoint(high);
        if quiet(middle) { high = middle } else { low = middle }
    }
    Ok(Some(Drift { slack, clip, limit: high }))
}

/// How often a drift is seen, each time from nothing.
fn rises(drift: Drift, normal: Normal, stream: &[i32]) -> usize {
    let mut watch = DriftWatch::new(drift);
    let mut rises = 0;
    for &score in stream {
        if watch.push(score, normal) != Trend::Steady {
            rises += 1;
            watch = DriftWatch::new(drift);
        }
    }
    rises
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal of mean 5000 and deviation 100: the sum of twelve even ones.
    fn bell(count: usize, random: &mut ChaCha8Rng) -> Vec<i32> {
        let sum = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f64>() - 0.5).sum::<f64>();
        (0..count).map(|_| 5000 + (100.0 * sum(random)).round() as i32).collect()
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        assert_eq!(normal(&[&[100, 120], &[140, 160]]), Some(Normal { location: 130, scale: 22 }));
        assert_eq!((normal(&[]), normal(&[&[3]])), (None, Some(Normal { location: 3, scale: 1 })));
    }

    /// Of independent normal scores, a CUSUM with slack 1/2 and limit 5 runs 465 scores in the mean until one of its two sides
    /// rises (Hawkins and Olwell, Cumulative Sum Charts, 1998).
    #[test]
    fn the_limit_is_the_tables() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let scores: Vec<Vec<i32>> = (0..20_000).map(|_| bell(1, &mut random)).collect();
        let recordings: Vec<&[i32]> = scores.iter().map(Vec::as_slice).collect();
        let normal = normal(&recordings).unwrap();
        let settings = DriftSettings { average_run_length: 465, ..DriftSettings::default() };
        // Twenty rises are few: the mean of several draws.
        let limits = (0..40).map(|seed| fit(&settings, &recordings, normal, seed).unwrap().unwrap().limit);
        let limit = limits.map(f64::from).sum::<f64>() / 40.0 / 256.0;
        assert!((limit - 5.0).abs() < 0.3, "{limit}");
    }

    /// New normal scores drift about as seldom as was asked for, and half a deviation more is seen soon.
    #[test]
    fn new_scores_drift_as_seldom_as_asked_for() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let scores: Vec<Vec<i32>> = (0..100).map(|_| bell(50, &mut random)).collect();
        let recordings: Vec<&[i32]> = scores.iter().map(Vec::as_slice).collect();
        let normal = normal(&recordings).unwrap();
        let settings = DriftSettings { average_run_length: 2000, ..DriftSettings::default() };
        let drift = fit(&settings, &recordings, normal, 7).unwrap().unwrap();
        let found = rises(drift, normal, &bell(200_000, &mut random));
        assert!((20..300).contains(&found), "{found} in 100 run lengths");
        let higher: Vec<i32> = bell(1000, &mut random).iter().map(|score| score + 100).collect();
        assert!(rises(drift, normal, &higher) > 20);
    }

    /// Recordings that lie apart make long excursions, so the limit is higher.
    #[test]
    fn recordings_that_differ_raise_the_limit() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let apart: Vec<Vec<i32>> =
            (0..40).map(|i| bell(50, &mut random).iter().map(|score| score + 300 * (i % 2)).collect()).collect();
        let mixed: Vec<Vec<i32>> = (0..50).map(|i| apart.iter().map(|scores| scores[i]).collect()).collect();
        let limit = |scores: &[Vec<i32>]| {
            let recordings: Vec<&[i32]> = scores.iter().map(Vec::as_slice).collect();
            let normal = normal(&recordings).unwrap();
            fit(&DriftSettings::default(), &recordings, normal, 7).unwrap().unwrap().limit
        };
        assert!(limit(&apart) > 3 * limit(&mixed));
    }

    #[test]
    fn few_scores_are_not_watched() {
        let normal = Normal { location: 0, scale: 1 };
        let few: &[i32] = &[0; 31];
        assert_eq!(fit(&DriftSettings::default(), &[few], normal, 7).unwrap(), None);
        let off = DriftSettings { watch: false, ..DriftSettings::default() };
        assert_eq!(fit(&off, &[&[0; 99]], normal, 7).unwrap(), None);
    }
}
