//! Changes of windows of a log-mel spectrogram, as the model takes them: `[frames, bands]`, each band less its mean and over
//! its deviation, row-major.
//!
//! In decibels again, they are what the same changes of the recording would be: a gain is an offset, noise that is added
//! adds its power. So recordings and features made elsewhere are changed alike.

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::either_way;
use crate::frontend::sound::Level;

/// `[train.augment.sound]`: what is 0 or absent is off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoundAugment {
    /// Largest shift in time, in frames either way, 0 to 64; the first and last frame are repeated.
    pub shift: u32,
    /// Largest gain in dB, either way, 0 to 40.
    pub gain_db: f32,
    /// Signal-to-noise ratios in dB between which that of white noise is drawn, -20 to 80, the lower first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_snr_db: Option<[f32; 2]>,
    /// Blend with another input of the same class: the share of the other is drawn from Beta(mixup, mixup), 0 to 1 (Zhang et
    /// al., "mixup: beyond empirical risk minimization", ICLR 2018). Labels stay, so only what has the same is blended.
    pub mixup: f32,
    /// Masks of each kind, 1 to 8.
    pub masks: u32,
    /// Most frames that a mask of time hides, 0 to 64 (Park et al., "SpecAugment", Interspeech 2019, section 2): the mean
    /// stands there.
    pub time_mask: u32,
    /// Most bands that a mask of bands hides, 0 to 256.
    pub band_mask: u32,
}

impl Default for SoundAugment {
    fn default() -> Self {
        Self { shift: 0, gain_db: 0.0, noise_snr_db: None, mixup: 0.0, masks: 1, time_mask: 0, band_mask: 0 }
    }
}

impl SoundAugment {
    /// Checks ranges.
    ///
    /// # Errors
    /// Names the key, its value and its range.
    pub fn check(&self) -> Result<()> {
        let Self { shift, gain_db, mixup, masks, time_mask, band_mask, noise_snr_db } = *self;
        ensure!(shift <= 64, "train.augment.sound.shift is {shift}; 0 to 64");
        ensure!((0.0..=40.0).contains(&gain_db), "train.augment.sound.gain_db is {gain_db}; 0 to 40");
        ensure!((0.0..=1.0).contains(&mixup), "train.augment.sound.mixup is {mixup}; 0 to 1");
        ensure!((1..=8).contains(&masks), "train.augment.sound.masks is {masks}; 1 to 8");
        ensure!(time_mask <= 64, "train.augment.sound.time_mask is {time_mask}; 0 to 64");
        ensure!(band_mask <= 256, "train.augment.sound.band_mask is {band_mask}; 0 to 256");
        if let Some([low, high]) = noise_snr_db {
            let range = -20.0..=80.0;
            ensure!(
                range.contains(&low) && range.contains(&high) && low <= high,
                "train.augment.sound.noise_snr_db is [{low}, {high}]; two numbers from -20 to 80, the lower first"
            );
        }
        Ok(())
    }
}

/// Decibels of each band's values.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Mean and deviation in dB, of every band.
    bands: Vec<(f32, f32)>,
}

impl Scale {
    /// Of `bands` bands with a level each, or one for all.
    pub fn new(levels: &[Level], bands: usize) -> Self {
        let level = |band: usize| levels.get(band).or(levels.first()).map_or((0.0, 1.0), |l| (l.mean, l.deviation));
        Self { bands: (0..bands).map(level).map(|(mean, deviation)| (mean as f32, deviation as f32)).collect() }
    }
}

/// One window under a random change; `other` gives another one of its class to blend it with.
pub fn change<'a>(
    input: &[f32],
    scale: &Scale,
    augment: &SoundAugment,
    rng: &mut ChaCha8Rng,
    other: impl FnOnce(&mut ChaCha8Rng) -> &'a [f32],
) -> Vec<f32> {
    let mut out = input.to_vec();
    let bands = scale.bands.len().max(1);
    if augment.mixup > 0.0 {
        let share = beta(augment.mixup, rng);
        out.iter_mut().zip(other(rng)).for_each(|(a, b)| *a += share * (b - *a));
    }
    if augment.shift > 0 {
        out = shifted(&out, bands, rng.random_range(-i64::from(augment.shift)..=i64::from(augment.shift)));
    }
    if augment.gain_db > 0.0 {
        let gain = either_way(augment.gain_db, rng);
        for frame in out.chunks_exact_mut(bands) {
            frame.iter_mut().zip(&scale.bands).for_each(|(value, (_, deviation))| *value += gain / deviation);
        }
    }
    if let Some([low, high]) = augment.noise_snr_db {
        let snr = rng.random_range(low..=high);
        add_noise(&mut out, scale, snr, rng);
    }
    for _ in 0..augment.masks {
        mask(&mut out, bands, augment.time_mask, augment.band_mask, rng);
    }
    out
}

/// Frames moved later by `by`, or earlier where it is negative; those at the ends are repeated.
fn shifted(input: &[f32], bands: usize, by: i64) -> Vec<f32> {
    let frames = (input.len() / bands) as i64;
    let from = |frame: i64| (frame - by).clamp(0, frames - 1) as usize * bands;
    (0..frames).flat_map(|frame| &input[from(frame)..][..bands]).copied().collect()
}

/// Adds white noise, whose power is `snr` dB below the window's mean.
///
/// In bands of equal area white noise is as strong in each. A value's power is drawn from an exponential distribution: the
/// square of the magnitude of a line of the spectrum.
fn add_noise(values: &mut [f32], scale: &Scale, snr: f32, rng: &mut ChaCha8Rng) {
    let bands = scale.bands.len().max(1);
    let power = |value: f32, (mean, deviation): (f32, f32)| 10.0_f32.powf((mean + deviation * value) / 10.0);
    let all = values.chunks_exact(bands).flat_map(|frame| frame.iter().zip(&scale.bands));
    let mean = all.map(|(&value, &band)| power(value, band)).sum::<f32>() / values.len().max(1) as f32;
    let noise = mean * 10.0_f32.powf(-snr / 10.0);
    for frame in values.chunks_exact_mut(bands) {
        for (value, &band) in frame.iter_mut().zip(&scale.bands) {
            let drawn = -rng.random_range(f32::MIN_POSITIVE..=1.0).ln() * noise;
            let loud = power(*value, band);
            // Silence has no logarithm; without noise nothing changes.
            if drawn > 0.0 {
                *value += 10.0 * (1.0 + drawn / loud.max(f32::MIN_POSITIVE)).log10() / band.1;
            }
        }
    }
}

/// Hides up to `time` frames and up to `band` bands, each beginning anywhere.
fn mask(values: &mut [f32], bands: usize, time: u32, band: u32, rng: &mut ChaCha8Rng) {
    let frames = values.len() / bands;
    let mut part = |most: u32, of: usize| {
        let length = rng.random_range(0..=(most as usize).min(of));
        let start = rng.random_range(0..=of - length);
        start..start + length
    };
    if time > 0 {
        let hidden = part(time, frames);
        values[hidden.start * bands..hidden.end * bands].fill(0.0);
    }
    if band > 0 {
        let hidden = part(band, bands);
        values.chunks_exact_mut(bands).for_each(|frame| frame[hidden.clone()].fill(0.0));
    }
}

/// A number from Beta(a, a), `a` above 0 and at most 1 (Johnk 1964): two powers of even numbers whose sum is at most 1.
fn beta(a: f32, rng: &mut ChaCha8Rng) -> f32 {
    loop {
        // As logarithms: a power of a hundredth is beyond f32.
        let mut power = || f64::from(rng.random_range(f32::MIN_POSITIVE..1.0)).ln() / f64::from(a);
        let (x, y) = (power(), power());
        let largest = x.max(y);
        let sum = largest + ((x - largest).exp() + (y - largest).exp()).ln();
        if sum <= 0.0 {
            return (x - sum).exp() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const BANDS: usize = 4;

    fn scale() -> Scale {
        let level = |mean, deviation| Level { mean, deviation };
        Scale::new(&[level(-10.0, 2.0), level(-20.0, 4.0), level(-30.0, 2.0), level(-40.0, 5.0)], BANDS)
    }

    /// Frame `f` holds `f` and tenths of the band.
    fn window() -> Vec<f32> {
        (0..6).flat_map(|frame| (0..BANDS).map(move |band| frame as f32 + band as f32 / 10.0)).collect()
    }

    fn changed(augment: &SoundAugment, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        change(&window(), &scale(), augment, &mut rng, |_| &[10.0; 6 * BANDS])
    }

    #[test]
    fn nothing_asked_for_changes_nothing_and_a_seed_repeats() {
        assert_eq!(changed(&SoundAugment::default(), 1), window());
        let all = SoundAugment {
            shift: 2,
            gain_db: 3.0,
            noise_snr_db: Some([0.0, 20.0]),
            mixup: 0.4,
            masks: 2,
            time_mask: 2,
            band_mask: 2,
        };
        assert_eq!(changed(&all, 7), changed(&all, 7));
        assert_ne!(changed(&all, 7), changed(&all, 8));
        assert!((0..50).all(|seed| changed(&all, seed).iter().all(|value| value.is_finite())));
    }

    #[test]
    fn a_shift_moves_whole_frames() {
        assert_eq!(shifted(&window(), BANDS, 1)[..BANDS * 2], [&window()[..BANDS], &window()[..BANDS]].concat());
        let augment = SoundAugment { shift: 2, ..SoundAugment::default() };
        let moves: Vec<Vec<f32>> = (-2..=2).map(|by| shifted(&window(), BANDS, by)).collect();
        let seen: Vec<_> = (0..40).map(|seed| moves.iter().position(|m| *m == changed(&augment, seed))).collect();
        assert!((0..5).all(|by| seen.contains(&Some(by))) && !seen.contains(&None));
    }

    #[test]
    fn a_gain_is_the_same_number_of_decibels_in_each_band() {
        let augment = SoundAugment { gain_db: 6.0, ..SoundAugment::default() };
        let out = changed(&augment, 3);
        let decibels: Vec<f32> = (0..out.len()).map(|i| (out[i] - window()[i]) * scale().bands[i % BANDS].1).collect();
        assert!(decibels[0].abs() <= 6.0 && decibels[0] != 0.0);
        assert!(decibels.iter().all(|db| (db - decibels[0]).abs() < 1e-4));
    }

    #[test]
    fn noise_has_the_power_asked_for() {
        let power = |values: &[f32]| -> f32 {
            let one = |(i, value): (usize, &f32)| {
                let (mean, deviation) = scale().bands[i % BANDS];
                10.0_f32.powf((mean + deviation * value) / 10.0)
            };
            values.iter().enumerate().map(one).sum::<f32>() / values.len() as f32
        };
        for snr in [-10.0, 0.0, 10.0] {
            let mut values: Vec<f32> = (0..400).flat_map(|_| window()).collect();
            let before = power(&values);
            add_noise(&mut values, &scale(), snr, &mut ChaCha8Rng::seed_from_u64(2));
            let added = 10.0 * ((power(&values) - before) / before).log10();
            assert!((added + snr).abs() < 0.3, "{added} {snr}");
        }
    }

    #[test]
    fn masks_hide_whole_frames_and_bands_and_touch_nothing_else() {
        let augment = SoundAugment { time_mask: 3, ..SoundAugment::default() };
        let hidden = |frame: &[f32]| frame.iter().all(|value| *value == 0.0);
        let mut counts = Vec::new();
        for seed in 0..40 {
            let out = changed(&augment, seed);
            for (frame, was) in out.chunks(BANDS).zip(window().chunks(BANDS)) {
                assert!(hidden(frame) || frame == was);
            }
            counts.push(out.chunks(BANDS).filter(|frame| hidden(frame)).count());
        }
        assert_eq!((counts.iter().min(), counts.iter().max()), (Some(&0), Some(&3)));
        let bands = SoundAugment { band_mask: 9, ..SoundAugment::default() };
        // More than there are hide them all at most.
        assert!((0..40).any(|seed| hidden(&changed(&bands, seed))));
        for seed in 0..40 {
            let out = changed(&bands, seed);
            for band in 0..BANDS {
                let column = |values: &[f32]| values.iter().skip(band).step_by(BANDS).copied().collect::<Vec<_>>();
                assert!(hidden(&column(&out)) || column(&out) == column(&window()));
            }
        }
    }

    #[test]
    fn a_blend_lies_between_and_shares_have_the_moments_of_beta() {
        let augment = SoundAugment { mixup: 0.5, ..SoundAugment::default() };
        let out = changed(&augment, 5);
        let share = |i: usize| (out[i] - window()[i]) / (10.0 - window()[i]);
        assert!((0.0..=1.0).contains(&share(0)) && (0..out.len()).all(|i| (share(i) - share(0)).abs() < 1e-5));
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for a in [0.01, 0.3, 1.0] {
            let drawn: Vec<f32> = (0..20_000).map(|_| beta(a, &mut rng)).collect();
            let mean = drawn.iter().sum::<f32>() / 20_000.0;
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 20_000.0;
            assert!((mean - 0.5).abs() < 0.02 && (variance - 0.25 / (2.0 * a + 1.0)).abs() < 0.01, "{a}: {variance}");
        }
    }

    #[test]
    fn ranges_are_checked() {
        let said = |augment: SoundAugment| augment.check().map_err(|error| error.to_string());
        assert_eq!(said(SoundAugment::default()), Ok(()));
        let swapped = SoundAugment { noise_snr_db: Some([20.0, 10.0]), ..SoundAugment::default() };
        assert!(said(swapped).is_err_and(|error| error.contains("noise_snr_db")));
        assert!(said(SoundAugment { masks: 0, ..SoundAugment::default() }).is_err_and(|error| error.contains("masks")));
        assert!(said(SoundAugment { mixup: 2.0, ..SoundAugment::default() }).is_err_and(|e| e.contains("mixup")));
    }
}
