//! The tables of the log-mel front end, computed in f64 and rounded once.
//!
//! The mel scales: Slaney's is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (a factor of 6.4 in 27 mels), from
//! M. Slaney, Auditory Toolbox (Interval Research, 1998); HTK's is `2595 log10(1 + f / 700)`. Bands are triangles between
//! `mels + 2` points that are equally far apart in mels, as in librosa's `filters.mel`.
//!
//! It is no part of the firmware, even behind a feature: the front end has no floats, and its tables come with the model.
#![forbid(unsafe_code)]

use neji_app::frontend::log_mel::LogMel;
use neji_app::frontend::log_mel::inputs::Window;
use neji_app::frontend::log_mel::moments::MOMENTS;
use neji_app::frontend::log_mel::steps::Steps;
use neji_format::front_end::{
    AXES_MAX, DECIMATION_MAX, FFT_LEN_MAX, FFT_LEN_MIN, INPUT_LEN_MAX, STATISTICS_FRAMES_MAX,
};
use neji_format::{
    Band, BandQuantizer, Element, Epsilon, LogMelFrontEnd, Multiplier, Shape, WindowStatistics, push_constant,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What frequencies are equally far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// Linear below 1 kHz, logarithmic above.
    Slaney,
    /// `2595 log10(1 + f / 700)`.
    Htk,
    /// Frequency itself. Bands as far apart as lines, from 0 to half the rate, are single lines.
    Linear,
}

impl MelScale {
    /// Where the logarithmic part of Slaney's scale begins.
    const BREAK_HZ: f64 = 1000.0;
    const BREAK_MEL: f64 = 15.0;

    fn mel(self, hz: f64) -> f64 {
        match self {
            Self::Slaney if hz < Self::BREAK_HZ => hz * 3.0 / 200.0,
            Self::Slaney => Self::BREAK_MEL + (hz / Self::BREAK_HZ).ln() / (6.4f64.ln() / 27.0),
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Linear => hz,
        }
    }

    fn hz(self, mel: f64) -> f64 {
        match self {
            Self::Slaney if mel < Self::BREAK_MEL => mel * 200.0 / 3.0,
            Self::Slaney => Self::BREAK_HZ * ((mel - Self::BREAK_MEL) * (6.4f64.ln() / 27.0)).exp(),
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            Self::Linear => mel,
        }
    }
}

/// What of the samples a frame's features are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Bands of the samples' spectrum.
    Spectrum,
    /// Bands of the spectrum of the envelope of what is high in the samples: how often something hits.
    Envelope,
    /// The samples themselves.
    Waveform,
}

/// What the front end is to compute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Samples a second, of each axis.
    pub sample_rate: u32,
    /// Axes of the sensor, whose samples come in turn: 1 to 6.
    pub axes: u8,
    /// What of the samples a frame's features are.
    pub transform: Transform,
    /// Samples to a value of an envelope, 1 to 1024; 1 of anything else. Frame and hop are counted in values.
    pub decimation: u16,
    /// Level, kurtosis and crest factor of each frame, in decibels, follow its bands.
    pub moments: bool,
    /// Values of a frame: a power of two from 16 to 8192.
    pub fft_len: u16,
    /// Values from frame to frame.
    pub hop: u16,
    /// Number of bands; a waveform has none.
    pub mels: u16,
    /// Where the lowest band begins.
    pub low_hz: f64,
    /// Where the highest band ends; 0 is half the rate of values.
    pub high_hz: f64,
    /// What frequencies are equally far apart.
    pub scale: MelScale,
    /// True where every band's triangle has the same area (librosa's `norm = "slaney"`), false where the same height.
    pub equal_area: bool,
    /// True where the first frame's middle is the first value.
    pub centered: bool,
    /// Added to the powers before the logarithm, in units of a full-scale sample's square.
    pub epsilon: f64,
    /// Frames that an input stands for.
    pub context: u16,
    /// Frames from an input to the next.
    pub stride: u16,
    /// The input is what is typical of each feature over `context` frames; then `stride` divides `context`.
    pub statistics: Option<WindowStatistics>,
    /// Where the samples since the last input span less, the sensor is at fault; 0 is never.
    pub range_min: u16,
    /// Where more than this share of the samples since the last input, in 1/1000, is at either end of the scale, the sensor is
    /// at fault; 1000 is never.
    pub saturated_max: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self::MLPERF
    }
}

/// Settings that no front end has.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SettingsError {
    /// The frame's length.
    #[error("fft_len is {0}; a power of two from {FFT_LEN_MIN} to {FFT_LEN_MAX}")]
    FftLen(u16),
    /// The number of axes.
    #[error("axes is {0}; 1 to {AXES_MAX}")]
    Axes(u8),
    /// Samples to a value.
    #[error("decimation is {0}; 1 to {DECIMATION_MAX} with transform = \"envelope\", 1 without")]
    Decimation(u16),
    /// A number that must not be 0 is.
    #[error("{0} is 0; at least 1")]
    Zero(&'static str),
    /// The bands' ends.
    #[error("the bands reach from low_hz = {low_hz} to high_hz = {high_hz}; within 0 and half the rate, {half}")]
    Range {
        /// Lower end.
        low_hz: f64,
        /// Upper end.
        high_hz: f64,
        /// Half the rate of values.
        half: f64,
    },
    /// Bands without a line.
    #[error("band {band} of {mels} has no line of the spectrum: take fewer mels or a larger fft_len")]
    Empty {
        /// The first such band.
        band: usize,
        /// All bands.
        mels: u16,
    },
    /// The least power.
    #[error("epsilon is {0}; above 1e-60 and at most 1")]
    Epsilon(f64),
    /// The share of saturated samples.
    #[error("saturated_max is {0}; at most 1000")]
    Saturated(u16),
    /// The frames of statistics.
    #[error(
        "statistics of context = {context} frames every stride = {stride}: the stride must divide the context, which is at most \
         {STATISTICS_FRAMES_MAX}, and with differences be at least 2"
    )]
    Statistics {
        /// Frames that an input stands for.
        context: u16,
        /// Frames from an input to the next.
        stride: u16,
    },
    /// A level of what has none.
    #[error(
        "statistics are level_free, which bands alone can be; say level_free = false, or leave moments and waveform out"
    )]
    Level,
    /// The input.
    #[error("an input has {0} elements, or its frames have; at most {INPUT_LEN_MAX}")]
    Input(usize),
}

impl Settings {
    /// The front end of MLPerf Tiny's anomaly detection benchmark and of the DCASE 2020 Task 2 baseline.
    pub const MLPERF: Self = Self {
        sample_rate: 16_000,
        axes: 1,
        transform: Transform::Spectrum,
        decimation: 1,
        moments: false,
        fft_len: 1024,
        hop: 512,
        mels: 128,
        low_hz: 0.0,
        high_hz: 0.0,
        scale: MelScale::Slaney,
        equal_area: true,
        centered: true,
        epsilon: f64::EPSILON,
        context: 5,
        stride: 1,
        statistics: None,
        range_min: 0,
        saturated_max: 1000,
    };

    /// Values a second.
    fn rate(&self) -> f64 {
        f64::from(self.sample_rate) / f64::from(self.decimation)
    }

    /// Where the highest band ends.
    pub fn top_hz(&self) -> f64 {
        if self.high_hz == 0.0 { self.rate() / 2.0 } else { self.high_hz }
    }

    /// Features of a frame, of all axes.
    pub fn features(&self) -> usize {
        let transformed = if self.transform == Transform::Waveform { self.fft_len } else { self.mels };
        (usize::from(transformed) + if self.moments { MOMENTS } else { 0 }) * usize::from(self.axes)
    }

    /// The model's input: frames of features, or rows that stand for many frames with what is typical of them as channels.
    pub fn input_shape(&self) -> Shape {
        let (context, features) = (u32::from(self.context), self.features() as u32);
        match self.statistics {
            Some(statistics) => {
                let blocks = context.checked_div(self.stride.into()).unwrap_or(0);
                Shape::new(statistics.rows(blocks), 1, features * statistics.groups())
            }
            None => Shape::new(context, features, 1),
        }
    }

    /// What of the samples the features are, as a blob has it.
    const fn to_format(self) -> neji_format::Transform {
        match self.transform {
            Transform::Spectrum => neji_format::Transform::Spectrum,
            Transform::Envelope => neji_format::Transform::Envelope { decimation: self.decimation },
            Transform::Waveform => neji_format::Transform::Waveform,
        }
    }

    /// Frames of an input and from one to the next, and what it takes of them.
    const fn window(&self) -> Window {
        Window { context: self.context, stride: self.stride, statistics: self.statistics }
    }

    /// Whether a front end can have these settings.
    ///
    /// # Errors
    /// The first that it can't.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !self.fft_len.is_power_of_two() || !(FFT_LEN_MIN..=FFT_LEN_MAX).contains(&self.fft_len) {
            return Err(SettingsError::FftLen(self.fft_len));
        }
        let numbers = [
            ("sample_rate", self.sample_rate),
            ("hop", self.hop.into()),
            ("mels", self.mels.into()),
            ("context", self.context.into()),
            ("stride", self.stride.into()),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(SettingsError::Zero(name));
        }
        if !(1..=AXES_MAX).contains(&self.axes) {
            return Err(SettingsError::Axes(self.axes));
        }
        let most = if self.transform == Transform::Envelope { DECIMATION_MAX } else { 1 };
        if !(1..=most).contains(&self.decimation) {
            return Err(SettingsError::Decimation(self.decimation));
        }
        if !(self.epsilon > 1e-60 && self.epsilon <= 1.0) {
            return Err(SettingsError::Epsilon(self.epsilon));
        }
        if self.saturated_max > 1000 {
            return Err(SettingsError::Saturated(self.saturated_max));
        }
        let (context, stride) = (self.context, self.stride);
        if let Some(statistics) = self.statistics {
            let uneven = !context.is_multiple_of(stride);
            if uneven || context > STATISTICS_FRAMES_MAX || statistics.differences && stride < 2 {
                return Err(SettingsError::Statistics { context, stride });
            }
            // A kurtosis is no louder where the sound is.
            if statistics.level_free && (self.moments || self.transform == Transform::Waveform) {
                return Err(SettingsError::Level);
            }
        }
        let features = self.features();
        let input = self.window().input_len(features).max(features * usize::from(context / stride));
        if input > INPUT_LEN_MAX as usize {
            return Err(SettingsError::Input(input));
        }
        if self.transform == Transform::Waveform { Ok(()) } else { self.check_bands() }
    }

    fn check_bands(&self) -> Result<(), SettingsError> {
        let (low_hz, high_hz, half) = (self.low_hz, self.top_hz(), self.rate() / 2.0);
        // Written so that what is no number is refused.
        if !(low_hz >= 0.0 && low_hz < high_hz && high_hz <= half) {
            return Err(SettingsError::Range { low_hz, high_hz, half });
        }
        match filter_bank(self).iter().position(|row| row.iter().all(|&weight| weight == 0.0)) {
            Some(band) => Err(SettingsError::Empty { band, mels: self.mels }),
            None => Ok(()),
        }
    }
}

/// The periodic Hann window: `sin^2(pi n / len)`.
pub fn hann(len: usize) -> Vec<f64> {
    (0..len).map(|n| (std::f64::consts::PI * n as f64 / len as f64).sin().powi(2)).collect()
}

/// The bands' weights, one row of `fft_len / 2 + 1` a band.
pub fn filter_bank(settings: &Settings) -> Vec<Vec<f64>> {
    let (low, high) = (settings.scale.mel(settings.low_hz), settings.scale.mel(settings.top_hz()));
    let intervals = f64::from(settings.mels) + 1.0;
    let points: Vec<f64> = (0..settings.mels + 2)
        .map(|point| settings.scale.hz(low + (high - low) * f64::from(point) / intervals))
        .collect();
    let line_hz = settings.rate() / f64::from(settings.fft_len);
    points
        .windows(3)
        .map(|corners| {
            let height = if settings.equal_area { 2.0 / (corners[2] - corners[0]) } else { 1.0 };
            let weight = |line: u16| {
                let hz = f64::from(line) * line_hz;
                let rise = (hz - corners[0]) / (corners[1] - corners[0]);
                let fall = (corners[2] - hz) / (corners[2] - corners[1]);
                rise.min(fall).max(0.0) * height
            };
            (0..=settings.fft_len / 2).map(weight).collect()
        })
        .collect()
}

/// A factor from 0 to 1 as mantissa and exponent; what is below 2^-32 becomes 0, what is above 1 becomes nearly 1.
fn multiplier(factor: f64) -> Multiplier {
    let mut shift = 0;
    let mut mantissa = factor.clamp(0.0, 1.0 - f64::EPSILON);
    if mantissa < 2f64.powi(-32) {
        return Multiplier { multiplier: 0, shift: 0 };
    }
    while mantissa < 0.5 && shift > -31 {
        (mantissa, shift) = (mantissa * 2.0, shift - 1);
    }
    let multiplier = (mantissa * 2f64.powi(31)).round();
    if multiplier < 2f64.powi(31) {
        Multiplier { multiplier: multiplier as i32, shift }
    } else if shift < 0 {
        Multiplier { multiplier: 1 << 30, shift: shift + 1 }
    } else {
        Multiplier { multiplier: i32::MAX, shift }
    }
}

/// The quantizer of a model whose input is `(decibels - mean) / deviation`, with the input's scale.
pub fn quantizer(mean: f64, deviation: f64, scale: f64) -> [i32; 3] {
    let factor = multiplier(1.0 / (deviation * scale * 65536.0));
    BandQuantizer { mean: (mean * 65536.0).round() as i32, multiplier: factor }.to_words()
}

/// What [`LogMel`] borrows.
#[derive(Debug, Clone)]
pub struct Tables {
    settings: Settings,
    window: Vec<u16>,
    sine: Vec<i32>,
    bands: Vec<[u16; 3]>,
    weights: Vec<u16>,
    epsilon: Epsilon,
}

impl Tables {
    /// The tables of `settings`, with a Hann window; of a waveform they are empty.
    pub fn new(settings: Settings) -> Self {
        let epsilon_shift = (31.0 - settings.epsilon.log2().floor()).clamp(0.0, 256.0);
        let epsilon =
            Epsilon { mantissa: (settings.epsilon * epsilon_shift.exp2()).round() as u32, shift: epsilon_shift as u16 };
        if settings.transform == Transform::Waveform {
            return Self { settings, window: vec![], sine: vec![], bands: vec![], weights: vec![], epsilon };
        }
        let len = usize::from(settings.fft_len);
        let sine = |k: usize| (std::f64::consts::TAU * k as f64 / len as f64).sin() * 2f64.powi(30);
        let (mut bands, mut weights) = (Vec::new(), Vec::new());
        for row in filter_bank(&settings) {
            let first = row.iter().position(|&weight| weight > 0.0).unwrap_or(0);
            let end = row.iter().rposition(|&weight| weight > 0.0).map_or(first, |last| last + 1);
            let largest = row.iter().copied().fold(0.0, f64::max);
            // The largest weight gets all of 16 bits.
            let shift = if largest > 0.0 { (15.0 - largest.log2().floor()).clamp(0.0, 64.0) } else { 0.0 };
            bands.push(Band { first: first as u16, len: (end - first) as u16, shift: shift as u16 }.to_words());
            weights.extend(row[first..end].iter().map(|weight| (weight * shift.exp2()).round().min(65535.0) as u16));
        }
        Self {
            settings,
            window: hann(len).into_iter().map(|weight| (weight * 65536.0).round().min(65535.0) as u16).collect(),
            sine: (0..=len / 4).map(|k| sine(k).round() as i32).collect(),
            bands,
            weights,
            epsilon,
        }
    }

    /// What was asked for.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The front end with these tables. `quantizers` is one for all, or as many as [`LogMelFrontEnd`] says.
    pub fn log_mel<'a>(&'a self, quantizers: &'a [[i32; 3]], element: Element, zero_point: i8) -> LogMel<'a> {
        let Settings { axes, moments, fft_len, hop, centered, range_min, saturated_max, .. } = self.settings;
        LogMel {
            axes,
            transform: self.settings.to_format(),
            moments,
            fft_len,
            hop,
            centered,
            window: &self.window,
            sine: &self.sine,
            bands: &self.bands,
            weights: &self.weights,
            epsilon: self.epsilon,
            steps: Steps { quantizers, element, zero_point },
            inputs: self.settings.window(),
            range_min,
            saturated_max,
        }
    }

    /// Appends the tables to a blob's constants.
    pub fn push(&self, quantizers: &[[i32; 3]], constants: &mut Vec<u8>) -> LogMelFrontEnd {
        let Settings { sample_rate, fft_len, hop, centered, range_min, saturated_max, .. } = self.settings;
        let Settings { axes, moments, context, stride, statistics, .. } = self.settings;
        let halves = |values: &[u16]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let words = |values: &[i32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        LogMelFrontEnd {
            sample_rate,
            axes,
            transform: self.settings.to_format(),
            moments,
            fft_len,
            hop,
            centered,
            window: push_constant(constants, &halves(&self.window)),
            sine: push_constant(constants, &words(&self.sine)),
            bands: push_constant(constants, &halves(self.bands.as_flattened())),
            weights: push_constant(constants, &halves(&self.weights)),
            epsilon: self.epsilon,
            quantizers: push_constant(constants, &words(quantizers.as_flattened())),
            context,
            stride,
            statistics,
            range_min,
            saturated_max,
        }
    }

    /// Bytes that the tables take of the flash, but for the quantizers.
    pub const fn bytes(&self) -> usize {
        2 * self.window.len() + 4 * self.sine.len() + 6 * self.bands.len() + 2 * self.weights.len()
    }
}
