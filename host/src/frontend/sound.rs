//! The log-mel front end: fitted to training recordings, run over samples.

use anyhow::{Context, Result, bail, ensure};
use neji_app::frontend::log_mel::decibel::DECIBEL_BITS;
use neji_app::frontend::log_mel::inputs::Inputs;
use neji_app::frontend::log_mel::{LogMel, LogMelStream};
use neji_format::{Element, LogMelFrontEnd};
use neji_tables::{Settings, Tables, quantizer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::{Sample, Signal, Sound};
use crate::quantize::scheme::Scheme;

/// Steps of int16 in one of int8.
const I16_PER_STEP: f32 = 256.0;
/// Least deviation of a feature in decibels (or steps of 16 bits): one that never varies must not count for everything.
const DEVIATION_MIN: f64 = 0.5;
/// Least deviation of a statistic, as a share of the median one of its group.
const SHARE_MIN: f64 = 0.05;
/// Least deviation of a statistic where its whole group hardly varies: they are no more exact than that.
const STATISTIC_MIN: f64 = 0.01;

/// `[front_end.normalise]`: how features become the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormaliseSettings {
    /// Mean and deviation of each band (or other feature) by itself, or of all together; of statistics, of all of a group (means,
    /// deviations, differences).
    pub per_band: bool,
    /// Deviations from the mean that int8 reaches, either way; 1 to 64. Where absent 6, of statistics 16: how far they are
    /// beyond what is normal tells how abnormal a machine is.
    pub deviations: Option<f64>,
}

impl Default for NormaliseSettings {
    fn default() -> Self {
        Self { per_band: true, deviations: None }
    }
}

/// What is normal of a feature, in decibels or, of a waveform, in steps of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// What becomes 0.
    pub mean: f64,
    /// What becomes 1.
    pub deviation: f64,
}

/// A sound front end that knows its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundFrontEnd {
    /// The spectrogram.
    pub settings: Settings,
    /// Of each feature, or one of all; of statistics, of each element of a block's row and then of the window's.
    pub levels: Vec<Level>,
    /// Size of a step of an int8 input, in deviations.
    pub scale: f32,
    /// Zero point of an int8 input.
    pub zero_point: i8,
}

impl SoundFrontEnd {
    /// The front end of a model whose input of `element`s has a scheme of its own.
    pub fn of_model(settings: Settings, levels: Vec<Level>, own: Scheme, element: Element) -> Self {
        let steps = match element {
            Element::I8 => 1.0,
            Element::I16 => I16_PER_STEP,
        };
        Self { settings, levels, scale: own.scale * steps, zero_point: own.zero_point }
    }

    /// Scale and zero point of an input of `element`s; int16 has finer steps about 0.
    pub fn scheme(&self, element: Element) -> Scheme {
        match element {
            Element::I8 => Scheme { scale: self.scale, zero_point: self.zero_point },
            Element::I16 => Scheme { scale: self.scale / I16_PER_STEP, zero_point: 0 },
        }
    }

    /// Decibels to steps of an input of `element`s, for each band or for all.
    pub fn quantizers(&self, element: Element) -> Vec<[i32; 3]> {
        let scale = self.scheme(element).scale.into();
        self.levels.iter().map(|level| quantizer(level.mean, level.deviation, scale)).collect()
    }
}

/// How many values there are, their sum and the sum of their squares.
type Sums = (u64, f64, f64);

/// Fits the front end to training samples: each feature's mean and deviation, or those of all; of statistics those of each
/// element of a row over the rows of all samples.
///
/// # Errors
/// Settings that no front end has, no samples, or samples that don't fit them.
pub fn fit(settings: &Settings, normalise: &NormaliseSettings, samples: &[&Sample]) -> Result<SoundFrontEnd> {
    settings.check().context("[front_end.sound]")?;
    let per_band = normalise.per_band;
    let deviations = normalise.deviations.unwrap_or(if settings.statistics.is_some() { 16.0 } else { 6.0 });
    ensure!((1.0..=64.0).contains(&deviations), "front_end.normalise.deviations is {deviations}; it must be 1 to 64");
    ensure!(!samples.is_empty(), "no training recordings to fit the front end to");
    let tables = Tables::new(*settings);
    let neutral = [quantizer(0.0, 1.0, 1.0)];
    let config = tables.log_mel(&neutral, Element::I8, 0);
    let features = settings.features();
    // Frames are alike, and blocks are; means are not like deviations, nor blocks like a window.
    let (row, sets) = match settings.statistics {
        Some(statistics) => (features * statistics.groups() as usize, statistics.quantizer_sets() as usize),
        None => (features, 1),
    };
    // Sums in the order of the samples: the same figures on any number of threads.
    let each = samples
        .par_iter()
        .map(|sample| {
            check(settings, sample)?;
            let mut sums: Vec<Sums> = vec![(0, 0.0, 0.0); sets * row];
            values(&config, sample, |values| {
                let (blocks, last) = values.split_at(values.len().saturating_sub(row));
                let of_blocks = blocks.iter().enumerate().map(|(index, value)| (index % row, value));
                let of_last = last.iter().enumerate().map(|(index, value)| ((sets - 1) * row + index, value));
                for (index, &value) in of_blocks.chain(of_last) {
                    let value = f64::from(value) / f64::from(1 << DECIBEL_BITS);
                    let sum = &mut sums[index];
                    *sum = (sum.0 + 1, sum.1 + value, sum.2 + value * value);
                }
            })?;
            Ok(sums)
        })
        .collect::<Result<Vec<_>>>()?;
    let add = |a: Sums, b: Sums| (a.0 + b.0, a.1 + b.1, a.2 + b.2);
    let mut sums = vec![(0, 0.0, 0.0); sets * row];
    for own in each {
        sums.iter_mut().zip(own).for_each(|(sum, own)| *sum = add(*sum, own));
    }
    if !per_band {
        let groups = sums.chunks(features).map(|group| group.iter().copied().fold((0, 0.0, 0.0), add));
        // One stands for all, or each for all of its group.
        let features = if settings.statistics.is_some() { features } else { 1 };
        sums = groups.flat_map(|group| vec![group; features]).collect();
    }
    let mut levels: Vec<Level> = sums.into_iter().map(level).collect();
    for group in levels.chunks_mut(features) {
        let least = match settings.statistics {
            Some(_) => (SHARE_MIN * median(group)).max(STATISTIC_MIN),
            None => DEVIATION_MIN,
        };
        group.iter_mut().for_each(|level| level.deviation = level.deviation.max(least));
    }
    Ok(SoundFrontEnd { settings: *settings, levels, scale: (deviations / 128.0) as f32, zero_point: 0 })
}

/// Mean and deviation of values.
fn level((count, sum, squares): Sums) -> Level {
    let count = count.max(1) as f64;
    let mean = sum / count;
    Level { mean, deviation: (squares / count - mean * mean).max(0.0).sqrt() }
}

/// The median deviation.
fn median(group: &[Level]) -> f64 {
    let mut deviations: Vec<f64> = group.iter().map(|level| level.deviation).collect();
    deviations.sort_by(f64::total_cmp);
    deviations.get(deviations.len() / 2).copied().unwrap_or(0.0)
}

/// Whether a sample can be what the front end hears; whole reasons are in the message.
///
/// # Errors
/// Another kind, rate, number of channels or bands; names the file and the cure.
pub fn check(settings: &Settings, sample: &Sample) -> Result<()> {
    let path = sample.path.display();
    match &sample.signal {
        Signal::Image { .. } => bail!("{path}: a picture; [front_end.sound] takes sounds or features"),
        Signal::Sound(sound) => hears(settings.sample_rate, settings.axes, sound).with_context(|| path.to_string()),
        Signal::Features(features) => {
            let wanted = settings.features();
            ensure!(
                features.bands == wanted,
                "{path}: {} bands, the front end has {wanted}; change front_end.sound.mels",
                features.bands
            );
            Ok(())
        }
    }
}

/// Whether a sound is what a front end of this rate and number of axes hears.
fn hears(rate: u32, axes: u8, sound: &Sound) -> Result<()> {
    ensure!(
        sound.channels == u16::from(axes),
        "{} channels, the front end hears {axes}; choose one (--channel 0, or data_options.channel), or change \
         front_end.sound.axes",
        sound.channels
    );
    ensure!(
        sound.rate == rate,
        "{} samples a second, the front end takes {rate}; resample (--rate {rate}, or data_options.rate), or change \
         front_end.sound.sample_rate",
        sound.rate
    );
    Ok(())
}

/// Whether a sound is what the model of a front end hears.
///
/// # Errors
/// Another rate or number of channels; names the file and the cure.
pub fn heard(config: &LogMelFrontEnd, sample: &Sample) -> Result<()> {
    hears(config.sample_rate, config.axes, sample.sound()?).with_context(|| sample.path.display().to_string())
}

/// Little-endian bytes of a sound's samples.
pub fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// A frame of features made elsewhere, as the device's own code has decibels; what is beyond its range is at its end.
fn decibels(row: &[f32]) -> Vec<i32> {
    row.iter().map(|&value| (f64::from(value) * f64::from(1 << DECIBEL_BITS)).round() as i32).collect()
}

/// Calls `look` at the end of each frame of a recording with its decibels, what is kept for inputs, and whether one is due.
///
/// # Errors
/// A recording without an input; names the file and the cure.
fn listen(config: &LogMel<'_>, sample: &Sample, mut look: impl FnMut(&[i32], &Inputs<'_>, bool)) -> Result<()> {
    const MEMORY: &str = "memory of the length that was asked for";
    let LogMel { inputs: window, steps, fft_len, .. } = *config;
    let mut count = 0;
    if let Signal::Features(features) = &sample.signal {
        let mut memory = vec![0; Inputs::memory_words(features.bands, window, &steps)];
        let mut inputs = Inputs::new(features.bands, window, steps, &mut memory).context(MEMORY)?;
        for row in features.rows() {
            let decibels = decibels(row);
            let due = inputs.push(&decibels);
            look(&decibels, &inputs, due);
            count += 1;
        }
    } else {
        let samples = bytes(&sample.sound()?.samples);
        let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
        let mut stream = LogMelStream::new(*config, &mut memory).context(MEMORY)?;
        let mut rest = &samples[..];
        while let Some(due) = stream.push(&mut rest, &mut work) {
            look(stream.decibels(), stream.inputs(), due);
            count += 1;
        }
    }
    ensure!(
        count >= u32::from(window.context),
        "{}: {count} frames of {fft_len} samples, an input is of {} frames; remove it, or lower front_end.sound.context",
        sample.path.display(),
        window.context
    );
    Ok(())
}

/// Calls `look` with the features of each frame of a recording, in 1/65,536.
pub(crate) fn frames(config: &LogMel<'_>, sample: &Sample, mut look: impl FnMut(&[i32])) -> Result<()> {
    listen(config, sample, |features, _, _| look(features))
}

/// Calls `look` with what is quantized: the decibels of each frame of a recording, or the statistics of each input.
fn values(config: &LogMel<'_>, sample: &Sample, mut look: impl FnMut(&[i32])) -> Result<()> {
    listen(config, sample, |decibels, inputs, due| match inputs.statistics() {
        None => look(decibels),
        Some(statistics) if due => look(&statistics.values().collect::<Vec<i32>>()),
        Some(_) => {}
    })
}

/// The inputs of a sound or of features.
pub(super) fn of_recording(config: &LogMel<'_>, sample: &Sample) -> Result<Vec<Vec<i8>>> {
    let path = sample.path.display();
    let features = config.features();
    match &sample.signal {
        Signal::Features(made) => {
            ensure!(made.bands == features, "{path}: {} bands, the model takes {features}", made.bands);
        }
        _ => {
            let (channels, axes) = (sample.sound()?.channels, u16::from(config.axes));
            ensure!(channels == axes, "{path}: {channels} channels, the model hears {axes}");
        }
    }
    let bytes = config.inputs.input_len(features) * config.steps.element.bytes();
    let mut found = Vec::new();
    listen(config, sample, |_, inputs, due| {
        if due {
            let mut input = vec![0; bytes];
            inputs.copy_to(&mut input);
            found.push(input);
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use neji_format::{Shape, WindowStatistics};

    use super::*;
    use crate::dataset::Features;
    use crate::frontend::{Extractor, Fitted};

    const SETTINGS: Settings =
        Settings { sample_rate: 8000, fft_len: 256, hop: 128, mels: 16, context: 3, stride: 2, ..Settings::MLPERF };

    fn sample(signal: Signal) -> Sample {
        Sample {
            path: "a/noise.wav".into(),
            name: "noise.wav".into(),
            label: 0,
            class: "normal".into(),
            section: None,
            domain: None,
            signal,
            window: None,
            variant: false,
            file_hash: [0; 32],
        }
    }

    fn noise(frames: usize, amplitude: i32) -> Sample {
        let mut state = 5_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 - 32768) * amplitude / 32768
        };
        let samples = (0..frames).map(|_| next() as i16).collect();
        sample(Signal::Sound(Sound { rate: 8000, channels: 1, samples }))
    }

    fn elements(fitted: &Fitted, element: Element, sample: &Sample) -> Vec<Vec<i32>> {
        let prepared = fitted.prepare(element);
        let inputs = prepared.extractor().inputs(sample).expect("of its kind").expect("inputs");
        inputs.iter().map(|bytes| crate::element::values(element, bytes)).collect()
    }

    #[test]
    fn what_it_was_fitted_to_has_mean_0_and_deviation_1() {
        let sample = noise(40_000, 9000);
        let fitted = fit(&SETTINGS, &NormaliseSettings::default(), &[&sample]).expect("fits");
        assert_eq!(fitted.levels.len(), 16);
        let scale = f64::from(fitted.scale);
        let inputs = elements(&Fitted::Sound(fitted), Element::I8, &sample);
        // (40,000 - 128) / 128 frames, from the third on every second begins an input.
        assert_eq!(inputs.len(), ((40_000 - 128) / 128 + 1 - 3) / 2 + 1);
        for band in 0..16 {
            let values: Vec<f64> = inputs
                .iter()
                .flat_map(|input| input.iter().skip(band).step_by(16))
                .map(|&q| f64::from(q) * scale)
                .collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            assert!(mean.abs() < 0.1 && (variance - 1.0).abs() < 0.2, "band {band}: {mean} {variance}");
        }
        let together = NormaliseSettings { per_band: false, ..NormaliseSettings::default() };
        assert_eq!(fit(&SETTINGS, &together, &[&sample]).expect("fits").levels.len(), 1);
    }

    const STATISTICS: Settings =
        Settings { context: 24, stride: 8, statistics: Some(WindowStatistics::ALL), ..SETTINGS };

    #[test]
    fn each_statistic_is_fitted_to_itself_that_of_blocks_apart_from_that_of_the_window() {
        let samples: Vec<Sample> = (0..12).map(|n| noise(9000 + 128 * n, 3000 + 900 * n as i32)).collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let sound = fit(&STATISTICS, &NormaliseSettings::default(), &samples).expect("fits");
        // Sixteen bands' means, deviations and differences, of blocks and of the window.
        assert_eq!((sound.levels.len(), sound.scale), (2 * 48, 1.0 / 8.0));
        // Some recordings are louder than others: that is no part of it. Longer means vary less.
        let group = |index: usize| &sound.levels[16 * index..][..16];
        let varies = |group: &[Level]| group.iter().map(|level| level.deviation).sum::<f64>() / 16.0;
        assert!(group(3).iter().all(|level| level.deviation < 1.5), "{:?}", group(3));
        assert!((0..3).all(|index| varies(group(index)) > 1.2 * varies(group(index + 3))));
        // 10 log10 of deviations of about 2 dB: that of a line of noise is 5.6 dB, a band has several.
        let mean = |index: usize| group(index).iter().map(|level| level.mean).sum::<f64>() / 16.0;
        let means = [mean(3), mean(4), mean(5)];
        assert!((1.0..6.0).contains(&means[1]) && (1.0..6.0).contains(&means[2]) && means[0].abs() < 1e-3, "{means:?}");

        let scale = f64::from(sound.scale);
        let fitted = Fitted::Sound(sound.clone());
        assert_eq!(fitted.shape(), Some(Shape::new(4, 1, 48)));
        let inputs: Vec<Vec<i32>> = samples.iter().flat_map(|s| elements(&fitted, Element::I8, s)).collect();
        for element in 0..2 * 48 {
            let rows = inputs.iter().flat_map(|input| match element {
                0..48 => input[..3 * 48].chunks(48).map(|row| row[element]).collect(),
                _ => vec![input[2 * 48 + element]],
            });
            let (count, sum, squares) = rows
                .map(|q| f64::from(q) * scale)
                .fold((0.0, 0.0, 0.0), |(n, sum, squares), v| (n + 1.0, sum + v, squares + v * v));
            let variance: f64 = squares / count - (sum / count).powi(2);
            assert!(
                (sum / count).abs() < 0.05 && (variance - 1.0).abs() < 0.1,
                "{element}: {sum} {variance} of {count}"
            );
        }
        let together = NormaliseSettings { per_band: false, ..NormaliseSettings::default() };
        let levels = fit(&STATISTICS, &together, &samples).expect("fits").levels;
        assert!(levels.chunks(16).all(|group| group.iter().all(|level| *level == group[0])));
        assert!(levels.len() == 96 && levels[0] != levels[16] && levels[0] != levels[48]);
        let narrow = NormaliseSettings { deviations: Some(4.0), ..NormaliseSettings::default() };
        assert_eq!(fit(&STATISTICS, &narrow, &samples).expect("fits").scale, 1.0 / 32.0);
    }

    #[test]
    fn what_hardly_varies_counts_for_no_more_than_twenty_times_what_does() {
        // All bands are noise but the first, which is always the same.
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 4096.0
        };
        let values = (0..400 * 16).map(|index| if index % 16 == 0 { -40.0 } else { next() - 40.0 }).collect();
        let features = sample(Signal::Features(Features { frames: 400, bands: 16, values }));
        let plain = WindowStatistics { level_free: false, ..WindowStatistics::ALL };
        let settings = Settings { statistics: Some(plain), ..STATISTICS };
        let levels = fit(&settings, &NormaliseSettings::default(), &[&features]).expect("fits").levels;
        for group in levels.chunks(16) {
            assert!((group[0].deviation / median(group) - SHARE_MIN).abs() < 1e-9, "{group:?}");
            assert!(group[1..].iter().all(|level| level.deviation > 0.3 * median(group)));
        }
    }

    #[test]
    fn a_recording_as_long_as_the_window_has_one_input_and_a_shorter_one_is_refused() {
        let rows = |frames: usize| {
            let values = (0..frames * 16).map(|i| (i * 7 % 11) as f32 - 40.0).collect();
            sample(Signal::Features(Features { frames, bands: 16, values }))
        };
        let settings = Settings { context: 200, stride: 200, ..STATISTICS };
        let fitted = Fitted::Sound(fit(&settings, &NormaliseSettings::default(), &[&rows(200)]).expect("fits"));
        assert_eq!(elements(&fitted, Element::I8, &rows(200)).len(), 1);
        let prepared = fitted.prepare(Element::I8);
        let error = prepared.extractor().inputs(&rows(199)).expect_err("too short").to_string();
        assert!(
            error.contains("noise.wav") && error.contains("199 frames") && error.contains("of 200 frames"),
            "{error}"
        );
        let error = fit(&settings, &NormaliseSettings::default(), &[&rows(200), &rows(9)]).expect_err("too short");
        assert!(format!("{error:#}").contains("9 frames"), "{error:#}");
        let uneven = Settings { stride: 30, ..settings };
        let error = format!("{:#}", fit(&uneven, &NormaliseSettings::default(), &[&rows(200)]).expect_err("refused"));
        assert!(error.contains("stride = 30"), "{error}");
    }

    #[test]
    fn features_that_the_device_would_have_made_are_its_inputs() {
        for settings in [SETTINGS, STATISTICS] {
            features_are_inputs(settings);
        }
    }

    fn features_are_inputs(settings: Settings) {
        let heard = noise(9000, 20_000);
        let sound = fit(&settings, &NormaliseSettings::default(), &[&heard]).expect("fits");
        let (tables, neutral) = (Tables::new(settings), [quantizer(0.0, 1.0, 1.0)]);
        let mut values = Vec::new();
        let config = tables.log_mel(&neutral, Element::I8, 0);
        // Decibels in Q16 are exact in f32.
        listen(&config, &heard, |row, _, _| values.extend(row.iter().map(|&v| v as f32 / 65536.0))).expect("a sound");
        let made = sample(Signal::Features(Features { frames: values.len() / 16, bands: 16, values }));
        let fitted = Fitted::Sound(sound);
        for element in [Element::I8, Element::I16] {
            assert_eq!(elements(&fitted, element, &heard), elements(&fitted, element, &made));
        }
        let coarse = elements(&fitted, Element::I8, &heard);
        let fine = elements(&fitted, Element::I16, &heard);
        for (coarse, fine) in coarse.iter().flatten().zip(fine.iter().flatten()) {
            assert!((f64::from(*fine) / 256.0 - f64::from(*coarse)).abs() <= 0.51, "{coarse} {fine}");
        }
    }

    #[test]
    fn other_recordings_are_refused_by_name_and_cure() {
        let good = noise(9000, 20_000);
        let refused = |change: fn(&mut Sound)| {
            let mut other = good.clone();
            let Signal::Sound(sound) = &mut other.signal else { panic!("a sound") };
            change(sound);
            format!("{:#}", fit(&SETTINGS, &NormaliseSettings::default(), &[&good, &other]).expect_err("refused"))
        };
        assert!(refused(|sound| sound.rate = 16_000).contains("noise.wav: 16000 samples a second"));
        assert!(refused(|sound| sound.channels = 2).contains("--channel"));
        let few = sample(Signal::Features(Features { frames: 9, bands: 8, values: vec![0.0; 72] }));
        let error = fit(&SETTINGS, &NormaliseSettings::default(), &[&few]).expect_err("refused").to_string();
        assert!(error.contains("8 bands") && error.contains("mels"), "{error}");
        let fitted = Fitted::Sound(fit(&SETTINGS, &NormaliseSettings::default(), &[&good]).expect("fits"));
        let prepared = fitted.prepare(Element::I8);
        let short = noise(300, 100);
        let error = prepared.extractor().inputs(&short).expect_err("too short").to_string();
        assert!(error.contains("noise.wav") && error.contains("3 frames"), "{error}");
        let wrong = Settings { mels: 200, ..SETTINGS };
        let error = format!("{:#}", fit(&wrong, &NormaliseSettings::default(), &[&good]).expect_err("refused"));
        assert!(error.contains("fewer mels"), "{error}");
        let _ = Extractor::Raw.inputs(&good).expect_err("no front end");
    }
}
