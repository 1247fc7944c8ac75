//! Defects of features such as a log-mel spectrogram. Their unit is not known, so a change is measured in the deviation of the
//! bands about their own means: at strength 1 it is five of them.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::dataset::Features;

/// Deviations at strength 1.
const DEVIATIONS: f64 = 5.0;
/// Least deviation as a share of the largest value, so that what never varies has defects too.
const DEVIATION_MIN: f64 = 1e-3;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeatureDefect {
    /// Some bands are raised for a while.
    Patch,
    /// A line: one band and half as much beside it, always or for a while.
    Tone,
    /// Many bands are raised in single frames, again and again.
    Impacts,
    /// Some bands are higher or lower all the time.
    Level,
}

impl FeatureDefect {
    pub(super) const ALL: [Self; 4] = [Self::Patch, Self::Tone, Self::Impacts, Self::Level];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Tone => "tone",
            Self::Impacts => "impacts",
            Self::Level => "band_level",
        }
    }
}

/// The root of the mean squared distance of values from their band's mean.
fn deviation(features: &Features) -> f64 {
    let frames = features.frames.max(1) as f64;
    let mut means = vec![0.0; features.bands];
    for row in features.rows() {
        means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / frames);
    }
    let square = |row: &[f32]| row.iter().zip(&means).map(|(&v, mean)| (f64::from(v) - mean).powi(2)).sum::<f64>();
    let sum: f64 = features.rows().map(square).sum();
    let largest = features.values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    (sum / features.values.len().max(1) as f64).sqrt().max(DEVIATION_MIN * largest).max(f64::from(f32::MIN_POSITIVE))
}

/// A stretch of `least` to `most` of `of` (shares), at least one.
fn stretch(of: usize, least: f64, most: f64, rng: &mut ChaCha8Rng) -> Range<usize> {
    let length = ((of as f64 * rng.random_range(least..=most)).round() as usize).clamp(1, of);
    let start = rng.random_range(0..=of - length);
    start..start + length
}

/// `features` with a defect of strength above 0 to 1; none where they are empty.
pub(super) fn defective(
    features: &Features,
    kind: FeatureDefect,
    strength: f64,
    rng: &mut ChaCha8Rng,
) -> Option<Features> {
    let Features { frames, bands, .. } = *features;
    if frames == 0 || bands == 0 {
        return None;
    }
    let by = (strength * DEVIATIONS * deviation(features)) as f32;
    let mut values = features.values.clone();
    let mut raise = |frames: Range<usize>, over: Range<usize>, by: f32| {
        for frame in frames {
            values[frame * bands..][over.clone()].iter_mut().for_each(|value| *value += by);
        }
    };
    match kind {
        FeatureDefect::Patch => raise(stretch(frames, 0.05, 0.4, rng), stretch(bands, 0.05, 0.3, rng), by),
        FeatureDefect::Tone => {
            let band = rng.random_range(0..bands);
            let time = if rng.random_bool(0.5) { 0..frames } else { stretch(frames, 0.2, 0.6, rng) };
            raise(time.clone(), band..band + 1, by);
            raise(time.clone(), band.saturating_sub(1)..band, by / 2.0);
            raise(time, band + 1..(band + 2).min(bands), by / 2.0);
        }
        FeatureDefect::Impacts => {
            let over = stretch(bands, 0.3, 0.9, rng);
            let period = rng.random_range(3..=12.min(frames.max(3)));
            let first = rng.random_range(0..period.min(frames));
            (first..frames).step_by(period).for_each(|frame| raise(frame..frame + 1, over.clone(), by));
        }
        FeatureDefect::Level => {
            // Always there, so half as much is as plain.
            let by = if rng.random_bool(0.5) { by / 2.0 } else { -by / 2.0 };
            raise(0..frames, stretch(bands, 0.05, 0.3, rng), by);
        }
    }
    (values != features.values).then_some(Features { values, ..*features })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Each band its own level, and a deviation of 1.
    fn normal() -> Features {
        let value = |i: usize| (i % 10) as f32 * 7.0 + if (i / 10).is_multiple_of(2) { 1.0 } else { -1.0 };
        Features { frames: 40, bands: 10, values: (0..400).map(value).collect() }
    }

    fn change(kind: FeatureDefect, strength: f64, seed: u64) -> Vec<Vec<f32>> {
        let made = defective(&normal(), kind, strength, &mut ChaCha8Rng::seed_from_u64(seed)).expect("made");
        made.rows().zip(normal().rows()).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()).collect()
    }

    #[test]
    fn the_deviation_is_about_each_bands_own_mean() {
        assert!((deviation(&normal()) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn changes_have_their_shape_and_size() {
        for seed in 0..20 {
            let patch = change(FeatureDefect::Patch, 0.5, seed);
            assert!(patch.iter().flatten().all(|by| by.abs() < 1e-4 || (by - 2.5).abs() < 1e-4));
            let rows = patch.iter().filter(|row| row.iter().any(|by| *by > 1.0)).count();
            assert!((2..=16).contains(&rows), "{rows}");
            let tone = change(FeatureDefect::Tone, 1.0, seed);
            let bands = tone.iter().map(|row| row.iter().filter(|by| **by > 1.0).count()).max();
            assert!(bands.is_some_and(|bands| (2..=3).contains(&bands)));
            let impacts = change(FeatureDefect::Impacts, 1.0, seed);
            let struck: Vec<usize> = (0..40).filter(|&f| impacts[f].iter().any(|by| *by > 1.0)).collect();
            let periods: Vec<usize> = struck.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(periods.iter().all(|period| *period == periods[0] && *period >= 3));
            let level = change(FeatureDefect::Level, 1.0, seed);
            assert!(level.iter().all(|row| row.iter().zip(&level[0]).all(|(a, b)| (a - b).abs() < 1e-4)));
            assert!(level[0].iter().any(|by| (by.abs() - 2.5).abs() < 1e-4));
        }
    }

    #[test]
    fn features_that_never_vary_have_defects_too() {
        let still = Features { frames: 2, bands: 3, values: vec![5.0; 6] };
        for kind in FeatureDefect::ALL {
            assert!(defective(&still, kind, 0.06, &mut ChaCha8Rng::seed_from_u64(1)).is_some(), "{kind:?}");
        }
    }
}
