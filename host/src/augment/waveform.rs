//! Variants of recordings, made before the front end: what another place, another day or another machine of the kind could have
//! sounded like.
//!
//! Frames of a spectrogram are changed in every epoch ([`super::sound`]); a recording that is changed has to pass the front end anew, and what is
//! computed outright has no epochs. So `copies` variants of each normal training recording are made once, by the seed, and learned
//! from beside it. They stay on the side of validation that their recording is on, and neither thresholds nor figures are taken from
//! them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Sample, Signal, Sound, decode_wav};
use crate::render::item_seed;

/// `[train.waveform]`: what is 0, false or absent is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Waveform {
    /// Variants of each recording, 0 to 32.
    pub copies: u32,
    /// Most samples of each channel by which a variant begins later, up to 2^20; what is missing at the end is its last part
    /// backwards.
    pub shift: u32,
    /// Largest gain in dB, either way, 0 to 40; what is too loud is clipped.
    pub gain_db: f32,
    /// The sign of all samples is changed in half of the cases.
    pub polarity: bool,
    /// Largest change of speed and pitch together, as a share, 0 to 0.1.
    pub speed: f32,
    /// Signal-to-noise ratios in dB between which that of noise is drawn, -20 to 80, the lower first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_snr_db: Option<[f32; 2]>,
    /// A folder of WAV files that the noise is cut out of, such as the hall without the machine; absent, it is white.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<PathBuf>,
}

impl Waveform {
    /// Checks ranges, and that there are recordings.
    ///
    /// # Errors
    /// Names the key, its value and its range.
    pub fn check(&self, sounds: bool) -> Result<()> {
        let Self { copies, shift, gain_db, speed, noise_snr_db, .. } = *self;
        ensure!(copies <= 32, "train.waveform.copies is {copies}; 0 to 32");
        ensure!(shift <= 1 << 20, "train.waveform.shift is {shift}; 0 to {}", 1 << 20);
        ensure!((0.0..=40.0).contains(&gain_db), "train.waveform.gain_db is {gain_db}; 0 to 40");
        ensure!((0.0..=0.1).contains(&speed), "train.waveform.speed is {speed}; 0 to 0.1");
        if let Some([low, high]) = noise_snr_db {
            let range = -20.0..=80.0;
            ensure!(
                range.contains(&low) && range.contains(&high) && low <= high,
                "train.waveform.noise_snr_db is [{low}, {high}]; two numbers from -20 to 80, the lower first"
            );
        }
        ensure!(
            self.background.is_none() || noise_snr_db.is_some(),
            "train.waveform.background is noise without a level; set train.waveform.noise_snr_db"
        );
        let changes = Self { copies: 0, ..self.clone() } != Self::default();
        ensure!(
            changes == (copies > 0),
            "train.waveform.copies says how many variants there are, the other keys what they are like; set both or neither"
        );
        ensure!(
            copies == 0 || sounds,
            "[train.waveform] makes variants of recordings, but there is no [front_end.sound]; write [train.augment]"
        );
        Ok(())
    }
}

/// Makes variants.
#[derive(Debug, Clone)]
pub struct Varier<'s> {
    settings: &'s Waveform,
    backgrounds: Vec<Sound>,
}

impl<'s> Varier<'s> {
    /// For recordings like `sound`, whose rate the noise is brought to.
    ///
    /// # Errors
    /// The folder of noise can't be read, holds no WAV file, or one of other channels; names it.
    pub fn new(settings: &'s Waveform, sound: &Sound) -> Result<Self> {
        let backgrounds = settings.background.as_deref().map_or(Ok(Vec::new()), |folder| read(folder, sound))?;
        Ok(Self { settings, backgrounds })
    }

    /// A variant of `sound`, as long as it.
    ///
    /// # Errors
    /// It can't be resampled.
    pub fn variant(&self, sound: &Sound, rng: &mut ChaCha8Rng) -> Result<Sound> {
        let settings = self.settings;
        let (channels, frames) = (usize::from(sound.channels.max(1)), sound.frames());
        let mut varied = sound.clone();
        if settings.speed > 0.0 && frames > 0 {
            let share = f64::from(super::either_way(settings.speed, rng));
            let rate = (f64::from(sound.rate) * (1.0 + share)).round().max(1.0) as u32;
            // Played faster it is taken to have been sampled faster.
            varied = Sound { rate, ..varied }.resampled(sound.rate)?;
            varied.samples = mirrored(&varied.samples, channels, 0, frames);
        }
        if settings.shift > 0 {
            let by = rng.random_range(0..=settings.shift as usize);
            varied.samples = mirrored(&varied.samples, channels, by, frames);
        }
        let mut factor = 1.0;
        if settings.gain_db > 0.0 {
            factor = 10f64.powf(f64::from(super::either_way(settings.gain_db, rng)) / 20.0);
        }
        if settings.polarity && rng.random::<bool>() {
            factor = -factor;
        }
        let mut real: Vec<f64> = varied.samples.iter().map(|&sample| factor * f64::from(sample)).collect();
        if let Some([low, high]) = settings.noise_snr_db {
            let snr = f64::from(rng.random_range(low..=high));
            let noise = self.noise(real.len(), channels, rng);
            add(&mut real, &noise, snr);
        }
        varied.samples = real.into_iter().map(|x| x.round().clamp(-32_768.0, 32_767.0) as i16).collect();
        Ok(varied)
    }

    /// As many samples of noise.
    fn noise(&self, count: usize, channels: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        if self.backgrounds.is_empty() {
            // Sums of even numbers are as good as normal ones here.
            return (0..count).map(|_| (0..4).map(|_| rng.random::<f64>() - 0.5).sum()).collect();
        }
        let sound = &self.backgrounds[rng.random_range(0..self.backgrounds.len())];
        let begin = rng.random_range(0..sound.frames()) * channels;
        let endless = sound.samples.iter().cycle().skip(begin);
        endless.take(count).map(|&sample| f64::from(sample)).collect()
    }
}

/// `frames` moments from moment `begin` on; behind the end it goes backwards, and forwards again.
fn mirrored(samples: &[i16], channels: usize, begin: usize, frames: usize) -> Vec<i16> {
    let all = samples.len() / channels;
    let turn = 2 * all;
    let moment = |at: usize| {
        let at = at % turn;
        let at = if at < all { at } else { turn - 1 - at };
        &samples[at * channels..][..channels]
    };
    if all == 0 { Vec::new() } else { (begin..begin + frames).flat_map(moment).copied().collect() }
}

/// Adds `noise` at `snr` dB below `signal`'s power; nothing to or of what is silent.
fn add(signal: &mut [f64], noise: &[f64], snr: f64) {
    let power = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
    let (loud, noisy) = (power(signal), power(noise));
    if loud > 0.0 && noisy > 0.0 {
        let factor = (loud / noisy * 10f64.powf(-snr / 10.0)).sqrt();
        signal.iter_mut().zip(noise).for_each(|(x, noise)| *x += factor * noise);
    }
}

/// The recordings of a folder at the rate of `like`.
fn read(folder: &Path, like: &Sound) -> Result<Vec<Sound>> {
    let what = || format!("train.waveform.background: reading {}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in folder.read_dir().with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav")) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "train.waveform.background: no WAV files in {}", folder.display());
    let sound = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let sound = decode_wav(&bytes, None).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            sound.channels == like.channels && sound.frames() > 0,
            "{}: {} channels, {} moments; the recordings have {} channels",
            path.display(),
            sound.channels,
            sound.frames(),
            like.channels
        );
        if sound.rate == like.rate { Ok(sound) } else { sound.resampled(like.rate) }
    };
    files.par_iter().map(sound).collect()
}

/// The data with variants of their normal training recordings behind them.
///
/// # Errors
/// Features that were made elsewhere, or as [`Varier::new`].
pub fn varied(data: &Dataset, settings: &Waveform, seed: u64) -> Result<Dataset> {
    let normal: Vec<&Sample> = data.train.iter().filter(|sample| sample.label == 0).collect();
    let first = normal.first().context("no normal training samples to make variants of")?;
    let varier = Varier::new(settings, first.sound()?)?;
    let mut made = Vec::new();
    for copy in 0..settings.copies {
        let seed = item_seed(seed, u64::from(copy));
        let one = |(index, sample): (usize, &&Sample)| {
            let mut rng = ChaCha8Rng::seed_from_u64(item_seed(seed, index as u64));
            let sound = varier.variant(sample.sound()?, &mut rng);
            let sound = sound.with_context(|| format!("a variant of {}", sample.path.display()))?;
            let name = format!("{}~variant{copy}", sample.name);
            let (signal, window) = (Signal::Sound(sound), sample.window.clone());
            Ok(Sample { name, signal, window, variant: true, ..sample.without_signal() })
        };
        made.extend(normal.par_iter().enumerate().map(one).collect::<Result<Vec<_>>>()?);
    }
    let train = data.train.iter().cloned().chain(made).collect();
    Ok(Dataset { train, origin: Some(data.hash()), ..data.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone() -> Sound {
        let sample = |n: usize| (8000.0 * (n as f64 * std::f64::consts::TAU * 440.0 / 16_000.0).sin()).round() as i16;
        Sound { rate: 16_000, channels: 1, samples: (0..8000).map(sample).collect() }
    }

    fn variant(settings: &Waveform, seed: u64) -> Sound {
        let varier = Varier::new(settings, &tone()).expect("settings");
        varier.variant(&tone(), &mut ChaCha8Rng::seed_from_u64(seed)).expect("a variant")
    }

    fn some(change: impl Fn(&mut Waveform)) -> Waveform {
        let mut settings = Waveform { copies: 1, ..Waveform::default() };
        change(&mut settings);
        settings
    }

    fn power(samples: impl Iterator<Item = f64>) -> f64 {
        samples.map(|x| x * x).sum()
    }

    #[test]
    fn nothing_asked_for_changes_nothing_and_a_seed_repeats() {
        assert_eq!(variant(&Waveform::default(), 1), tone());
        let all = some(|w| {
            (w.shift, w.gain_db, w.polarity, w.speed) = (500, 6.0, true, 0.02);
            w.noise_snr_db = Some([0.0, 20.0]);
        });
        assert_eq!(variant(&all, 7), variant(&all, 7));
        assert_ne!(variant(&all, 7), variant(&all, 8));
        assert!((0..20).all(|seed| variant(&all, seed).samples.len() == tone().samples.len()));
    }

    #[test]
    fn a_shift_begins_later_and_ends_backwards() {
        assert_eq!(mirrored(&[1, 2, 3, 4], 1, 2, 4), [3, 4, 4, 3]);
        assert_eq!(mirrored(&[1, -1, 2, -2, 3, -3], 2, 1, 3), [2, -2, 3, -3, 3, -3]);
        assert_eq!(mirrored(&[1, 2], 1, 5, 4), [2, 2, 1, 1]);
        assert!(mirrored(&[], 1, 5, 4).is_empty());
        let shifted = variant(&some(|w| w.shift = 100), 3);
        let by = (0..=100).find(|by| shifted.samples[..7000] == tone().samples[*by..][..7000]);
        assert!(by.is_some_and(|by| by > 0), "{by:?}");
    }

    #[test]
    fn gain_polarity_and_speed_are_what_they_say() {
        let ratio = |settings: &Waveform, seed| {
            let of = |sound: Sound| power(sound.samples.into_iter().map(f64::from));
            10.0 * (of(variant(settings, seed)) / of(tone())).log10()
        };
        let gains: Vec<f64> = (0..30).map(|seed| ratio(&some(|w| w.gain_db = 6.0), seed)).collect();
        assert!(gains.iter().all(|gain| gain.abs() < 6.01) && gains.iter().any(|gain| gain.abs() > 3.0), "{gains:?}");
        let turned: Vec<i16> = tone().samples.iter().map(|x| -x).collect();
        let signs: Vec<bool> =
            (0..20).map(|seed| variant(&some(|w| w.polarity = true), seed).samples == turned).collect();
        assert!(signs.contains(&true) && signs.contains(&false));
        // Zeros of a tone tell its pitch.
        let crossings = |sound: &Sound| sound.samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        let pitches: Vec<f64> = (0..30)
            .map(|seed| crossings(&variant(&some(|w| w.speed = 0.05), seed)) as f64 / crossings(&tone()) as f64)
            .collect();
        assert!(pitches.iter().all(|pitch| (0.94..1.06).contains(pitch)), "{pitches:?}");
        assert!(pitches.iter().any(|pitch| *pitch > 1.02) && pitches.iter().any(|pitch| *pitch < 0.98), "{pitches:?}");
    }

    #[test]
    fn noise_has_the_power_asked_for_and_comes_of_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(folder.path().join("hall.wav"), spec).expect("made");
        (0..1000).for_each(|n| writer.write_sample(if n / 20 % 2 == 0 { 900i16 } else { -900 }).expect("written"));
        writer.finalize().expect("whole");
        for background in [None, Some(folder.path().to_owned())] {
            for snr in [0.0, 10.0] {
                let settings = some(|w| (w.noise_snr_db, w.background) = (Some([snr; 2]), background.clone()));
                let noisy = variant(&settings, 2);
                let added = noisy.samples.iter().zip(tone().samples).map(|(&a, b)| f64::from(a) - f64::from(b));
                let signal = power(tone().samples.into_iter().map(f64::from));
                let found = 10.0 * (signal / power(added)).log10();
                assert!((found - f64::from(snr)).abs() < 0.3, "{found} {snr}");
            }
        }
        let nowhere = some(|w| (w.noise_snr_db, w.background) = (Some([0.0; 2]), Some("nowhere".into())));
        let error = format!("{:#}", Varier::new(&nowhere, &tone()).expect_err("no folder"));
        assert!(error.contains("nowhere"), "{error}");
        let empty = tempfile::tempdir().expect("a folder");
        let empty = some(|w| (w.noise_snr_db, w.background) = (Some([0.0; 2]), Some(empty.path().to_owned())));
        assert!(Varier::new(&empty, &tone()).expect_err("no file").to_string().contains("no WAV files"));
        let stereo = Sound { channels: 2, ..tone() };
        let settings = some(|w| (w.noise_snr_db, w.background) = (Some([0.0; 2]), Some(folder.path().to_owned())));
        assert!(Varier::new(&settings, &stereo).expect_err("another form").to_string().contains("hall.wav"));
    }

    #[test]
    fn ranges_are_checked() {
        let said = |settings: Waveform, sounds| settings.check(sounds).map_err(|error| error.to_string());
        assert_eq!(said(Waveform::default(), false), Ok(()));
        assert_eq!(said(some(|w| w.shift = 9), true), Ok(()));
        assert!(said(some(|w| w.shift = 9), false).is_err_and(|e| e.contains("no [front_end.sound]")));
        assert!(said(some(|_| {}), true).is_err_and(|e| e.contains("set both")));
        assert!(said(Waveform { polarity: true, ..Waveform::default() }, true).is_err_and(|e| e.contains("copies")));
        assert!(said(some(|w| w.speed = 0.5), true).is_err_and(|e| e.contains("speed")));
        assert!(said(some(|w| w.noise_snr_db = Some([9.0, 1.0])), true).is_err_and(|e| e.contains("lower first")));
        assert!(said(some(|w| w.background = Some("x".into())), true).is_err_and(|e| e.contains("without a level")));
    }
}
