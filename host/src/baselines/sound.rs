//! What a sound, or its features, can be told by without a model.
//!
//! Level should tell nothing. Kurtosis may: impacts are what bearings were watched by before there were models. A machine that
//! runs evenly is known by its mean spectrum, and for it the distance in deviations of the bands is hard to beat.

use anyhow::{Context, Result, ensure};
use neji_format::Element;
use neji_tables::{Settings, Tables, quantizer};

use super::parts::Parts;
use super::vectors::{self, AXES};
use super::{Baseline, FIT_MIN, FrontEndSettings};
use crate::dataset::{Sample, Signal, Sound};
use crate::frontend::sound::frames;
use crate::linear::{Mahalanobis, Subspace};
use crate::render::machine::wave::{cos, rms, sin};

/// Neighbouring frames whose principal axes are looked for.
const CONTEXT: usize = 5;
/// Most windows that axes are fitted to; more are passed over evenly.
const WINDOWS_MAX: usize = 20_000;
/// Numbers of mel bands, the first that a spectrum of 1024 samples has lines for.
const MELS: [u16; 4] = [128, 64, 32, 16];

/// Samples of a window of the spectrum.
const WINDOW: usize = 1024;

/// The fourth moment over the square of the second: 3 for Gaussian noise, more where there are impacts.
pub fn kurtosis(samples: &[f64]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let moment = |power: i32| samples.iter().map(|s| (s - mean).powi(power)).sum::<f64>() / count;
    moment(4) / moment(2).powi(2).max(f64::MIN_POSITIVE)
}

/// The mean frequency in cycles a sample, weighted by amplitude, over windows of 1024 samples (Hann).
pub fn centroid(samples: &[f64]) -> f64 {
    let mut sums = [0.0; WINDOW / 2];
    for part in samples.chunks_exact(WINDOW) {
        let mut spectrum: Vec<(f64, f64)> =
            (part.iter().enumerate()).map(|(i, s)| (s * (0.5 - 0.5 * cos(i as f64 / WINDOW as f64)), 0.0)).collect();
        fft(&mut spectrum);
        for (sum, (re, im)) in sums.iter_mut().zip(&spectrum) {
            *sum += (re * re + im * im).sqrt();
        }
    }
    let weighted: f64 = sums.iter().enumerate().map(|(i, a)| i as f64 / WINDOW as f64 * a).sum();
    weighted / sums.iter().sum::<f64>().max(f64::MIN_POSITIVE)
}

/// Fourier transform in place (Cooley and Tukey 1965); the length is a power of two.
fn fft(data: &mut [(f64, f64)]) {
    let count = data.len();
    if count < 2 {
        return;
    }
    let mut even: Vec<_> = data.iter().step_by(2).copied().collect();
    let mut odd: Vec<_> = data.iter().skip(1).step_by(2).copied().collect();
    fft(&mut even);
    fft(&mut odd);
    for k in 0..count / 2 {
        let turn = k as f64 / count as f64;
        let (c, s) = (cos(turn), -sin(turn));
        let (re, im) = (c * odd[k].0 - s * odd[k].1, c * odd[k].1 + s * odd[k].0);
        data[k] = (even[k].0 + re, even[k].1 + im);
        data[k + count / 2] = (even[k].0 - re, even[k].1 - im);
    }
}

/// Decibels, or features, row-major.
#[derive(Debug, Clone, PartialEq)]
struct Spectrogram {
    bands: usize,
    values: Vec<f32>,
}

impl Spectrogram {
    /// By the device's own code, of the first channel.
    fn of(sample: &Sample, settings: Option<&Settings>) -> Result<Self> {
        if let Signal::Features(features) = &sample.signal {
            return Ok(Self { bands: features.bands, values: features.values.clone() });
        }
        let sound = sample.sound()?;
        let first = Sample { signal: Signal::Sound(sound.channel(0).context("a first channel")?), ..sample.clone() };
        let own = || default_settings(sound).with_context(|| format!("{}", sample.path.display()));
        let settings = settings.copied().map_or_else(own, Ok)?;
        let (tables, neutral) = (Tables::new(settings), [quantizer(0.0, 1.0, 1.0)]);
        let mut values = Vec::new();
        frames(&tables.log_mel(&neutral, Element::I8, 0), &first, |row| {
            values.extend(row.iter().map(|&decibels| decibels as f32 / 65_536.0));
        })?;
        ensure!(!values.is_empty(), "{}: too short for a frame of the spectrum; remove it", sample.path.display());
        Ok(Self { bands: settings.mels.into(), values })
    }

    fn frames(&self) -> usize {
        self.values.len() / self.bands
    }

    /// Windows of `context` neighbouring frames.
    fn windows(&self, context: usize) -> impl Iterator<Item = &[f32]> {
        (0..(self.frames() + 1).saturating_sub(context))
            .map(move |i| &self.values[i * self.bands..][..context * self.bands])
    }

    /// Each band's mean, then each one's deviation.
    fn statistics(&self) -> Vec<f32> {
        let count = self.frames().max(1) as f64;
        let rows = || self.values.chunks_exact(self.bands);
        let mean = |band: usize| rows().map(|row| f64::from(row[band])).sum::<f64>() / count;
        let means: Vec<f64> = (0..self.bands).map(mean).collect();
        let square = |band: usize| rows().map(|row| (f64::from(row[band]) - means[band]).powi(2)).sum::<f64>() / count;
        means.iter().copied().chain((0..self.bands).map(|band| square(band).sqrt())).map(|v| v as f32).collect()
    }
}

/// Settings of a spectrogram for sounds of any rate.
///
/// # Errors
/// A rate that no spectrogram has bands for.
pub fn default_settings(sound: &Sound) -> Result<Settings> {
    let settings = |mels| Settings { sample_rate: sound.rate, mels, ..Settings::MLPERF };
    let fits = MELS.into_iter().map(settings).find(|settings| settings.check().is_ok());
    fits.with_context(|| format!("{} samples a second are no sound for a spectrogram", sound.rate))
}

pub(super) fn measure(samples: &Parts<&Sample>, front_end: Option<&FrontEndSettings>) -> Result<Vec<Baseline>> {
    let mut found = numbers(samples)?;
    if samples.fit.len() < FIT_MIN {
        return Ok(found);
    }
    let settings = front_end.and_then(|front_end| front_end.sound.as_ref());
    let spectrograms = samples.try_map(|sample| Spectrogram::of(sample, settings))?;
    let statistics = spectrograms.map(|spectrogram| Some(spectrogram.statistics()));
    found.extend(vectors::mahalanobis("band statistics", &statistics)?);
    found.push(residual(&spectrograms)?);
    let rows: Vec<&Vec<f32>> = statistics.fit.iter().flatten().collect();
    let units = Mahalanobis::diagonal(&rows)?;
    let standard =
        |row: &Option<Vec<f32>>| row.as_ref().map(|row| units.standardise(row).iter().map(|&v| v as f32).collect());
    found.push(vectors::nearest("nearest band statistics", &statistics.map(standard))?);
    Ok(found)
}

/// Numbers of each sample, by themselves.
fn numbers(samples: &Parts<&Sample>) -> Result<Vec<Baseline>> {
    let (names, found) = match samples.all().next().map(|sample| &sample.signal) {
        Some(Signal::Features(_)) => (&["mean", "deviation"][..], samples.try_map(|sample| of_features(sample))?),
        _ => (&["level", "spectral centroid", "kurtosis"][..], samples.try_map(|sample| of_sound(sample))?),
    };
    let one = |(i, name): (usize, &&str)| Baseline::judged(*name, &found.map(|numbers| numbers[i]), true);
    names.iter().enumerate().map(one).collect()
}

fn of_sound(sample: &Sample) -> Result<Vec<f64>> {
    let samples: Vec<f64> = sample.sound()?.samples.iter().map(|&s| s.into()).collect();
    Ok(vec![rms(&samples), centroid(&samples), kurtosis(&samples)])
}

fn of_features(sample: &Sample) -> Result<Vec<f64>> {
    let values = &sample.features()?.values;
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    Ok(vec![mean, square.sqrt()])
}

/// Mean squared distance of a recording's windows from the principal subspace of normal ones.
fn residual(spectrograms: &Parts<Spectrogram>) -> Result<Baseline> {
    let shortest = spectrograms.all().map(Spectrogram::frames).min().unwrap_or(0);
    let context = CONTEXT.min(shortest).max(1);
    let count: usize = spectrograms.fit.iter().map(|spectrogram| spectrogram.windows(context).count()).sum();
    let apart = count.div_ceil(WINDOWS_MAX).max(1);
    let rows: Vec<&[f32]> = spectrograms.fit.iter().flat_map(|s| s.windows(context)).step_by(apart).collect();
    let name = format!("PCA residual, {context} frames");
    let subspace = Subspace::fit(&rows, AXES.min(rows.len() / 2)).with_context(|| format!("fitting {name}"))?;
    let score = |spectrogram: &Spectrogram| {
        let windows = spectrogram.windows(context);
        let (sum, count) = windows.fold((0.0, 0), |(sum, count), row| (sum + subspace.residual(row), count + 1));
        sum / f64::from(count.max(1))
    };
    Baseline::judged(name, &spectrograms.map(score), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_tone() {
        let tone: Vec<f64> = (0..8192).map(|i| sin(f64::from(i) * 0.125)).collect();
        assert!((centroid(&tone) - 0.125).abs() < 1e-3, "{}", centroid(&tone));
        // The mean of sin^4 is 3/8, of sin^2 1/2.
        assert!((kurtosis(&tone) - 1.5).abs() < 1e-6, "{}", kurtosis(&tone));
    }

    /// A spectrum that hums along, bands about their own means, with a louder band or without.
    fn features(seed: u64, louder: f32) -> Sample {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let value =
            |i: usize| (i % 8) as f32 * 5.0 + rng.random_range(-1.0..1.0) + if i % 8 == 3 { louder } else { 0.0 };
        let features = crate::dataset::Features { frames: 20, bands: 8, values: (0..160).map(value).collect() };
        Sample {
            path: "f".into(),
            name: "f".into(),
            label: 0,
            class: "normal".into(),
            section: None,
            domain: None,
            signal: Signal::Features(features),
            window: None,
            variant: false,
            file_hash: [0; 32],
        }
    }

    #[test]
    fn a_louder_band_is_told_by_band_statistics_and_hardly_by_the_mean() {
        let many = |seeds: std::ops::Range<u64>, louder| seeds.map(|seed| features(seed, louder)).collect::<Vec<_>>();
        let (fit, held_out) = (many(0..40, 0.0), many(40..60, 0.0));
        let (normal, abnormal) = (many(60..80, 0.0), many(80..100, 1.0));
        let samples = Parts {
            fit: fit.iter().collect(),
            held_out: held_out.iter().collect(),
            normal: normal.iter().collect(),
            abnormal: abnormal.iter().collect(),
        };
        let found = measure(&samples, None).expect("measured");
        let auroc = |name: &str| found.iter().find(|b| b.name == name).expect(name).official.auroc;
        assert!(auroc("band statistics, diagonal") > 0.95 && auroc("band statistics, full") > 0.9, "{found:?}");
        assert!(auroc("nearest band statistics") > 0.9 && auroc("mean") < auroc("band statistics, diagonal"));
        assert!(found.iter().all(|b| b.matched.is_some()) && found.len() == 6);
        assert_eq!(measure(&samples, None).expect("measured"), found);
    }

    #[test]
    fn a_spectrogram_is_the_front_ends_and_its_statistics_are_by_hand() {
        let spectrogram = Spectrogram { bands: 2, values: vec![1.0, 10.0, 3.0, 10.0] };
        assert_eq!(spectrogram.statistics(), [2.0, 10.0, 1.0, 0.0]);
        assert_eq!(spectrogram.windows(2).collect::<Vec<_>>(), [&spectrogram.values[..]]);
        assert_eq!((spectrogram.windows(1).count(), spectrogram.windows(3).count()), (2, 0));
        let sound = |rate| Sound { rate, channels: 1, samples: vec![] };
        assert_eq!(default_settings(&sound(16_000)).expect("a sound").mels, 128);
        assert!(default_settings(&sound(48_000)).expect("a sound").mels <= 128);
    }
}
