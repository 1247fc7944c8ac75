//! The tables of the log-mel front end, computed in f64 and rounded once.
//!
//! The mel scales: Slaney's is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (a factor of 6.4 in 27 mels), from
//! M. Slaney, Auditory Toolbox (Interval Research, 1998); HTK's is `2595 log10(1 + f / 700)`. Bands are triangles between
//! `mels + 2` points that are equally far apart in mels, as in librosa's `filters.mel`.
//!
//! It depends on std and the front end's public types alone, so that a host that makes blobs can take it as it is. It is no
//! part of the firmware crate, even behind a feature: the front end has no floats, and its tables come with the model.

use neji_app::frontend::log_mel::{Band, BandQuantizer, Epsilon, LogMel};
use neji_format::Multiplier;

/// What frequencies are equally far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MelScale {
    /// Linear below 1 kHz, logarithmic above.
    Slaney,
    /// `2595 log10(1 + f / 700)`.
    Htk,
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
        }
    }

    fn hz(self, mel: f64) -> f64 {
        match self {
            Self::Slaney if mel < Self::BREAK_MEL => mel * 200.0 / 3.0,
            Self::Slaney => Self::BREAK_HZ * ((mel - Self::BREAK_MEL) * (6.4f64.ln() / 27.0)).exp(),
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        }
    }
}

/// What the front end is to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) sample_rate: u32,
    pub(crate) fft_len: u16,
    pub(crate) hop: u16,
    pub(crate) mels: u16,
    pub(crate) low_hz: f64,
    pub(crate) high_hz: f64,
    pub(crate) scale: MelScale,
    /// True where every band's triangle has the same area (librosa's `norm = "slaney"`), false where the same height.
    pub(crate) equal_area: bool,
    pub(crate) centered: bool,
    pub(crate) epsilon: f64,
    /// Frames of an input.
    pub(crate) context: u16,
}

impl Settings {
    /// The front end of MLPerf Tiny's anomaly detection benchmark and of the DCASE 2020 Task 2 baseline.
    pub(crate) const MLPERF: Self = Self {
        sample_rate: 16_000,
        fft_len: 1024,
        hop: 512,
        mels: 128,
        low_hz: 0.0,
        high_hz: 8000.0,
        scale: MelScale::Slaney,
        equal_area: true,
        centered: true,
        epsilon: f64::EPSILON,
        context: 5,
    };
}

/// The periodic Hann window: `sin^2(pi n / len)`.
pub(crate) fn hann(len: usize) -> Vec<f64> {
    (0..len).map(|n| (std::f64::consts::PI * n as f64 / len as f64).sin().powi(2)).collect()
}

/// The bands' weights, one row of `fft_len / 2 + 1` a band.
pub(crate) fn filter_bank(settings: &Settings) -> Vec<Vec<f64>> {
    let (low, high) = (settings.scale.mel(settings.low_hz), settings.scale.mel(settings.high_hz));
    let intervals = f64::from(settings.mels) + 1.0;
    let points: Vec<f64> = (0..settings.mels + 2)
        .map(|point| settings.scale.hz(low + (high - low) * f64::from(point) / intervals))
        .collect();
    let line_hz = f64::from(settings.sample_rate) / f64::from(settings.fft_len);
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

/// A positive factor below 2^31 as mantissa and exponent; 0 becomes 0.
pub(crate) fn multiplier(factor: f64) -> Multiplier {
    assert!(factor >= 0.0 && factor < 2f64.powi(31), "{factor}");
    let mut shift = 0;
    let mut mantissa = factor;
    while mantissa >= 1.0 {
        (mantissa, shift) = (mantissa / 2.0, shift + 1);
    }
    while mantissa > 0.0 && mantissa < 0.5 && shift > -31 {
        (mantissa, shift) = (mantissa * 2.0, shift - 1);
    }
    let multiplier = (mantissa * 2f64.powi(31)).round();
    if multiplier < 2f64.powi(31) {
        Multiplier { multiplier: multiplier as i32, shift }
    } else {
        Multiplier { multiplier: 1 << 30, shift: shift + 1 }
    }
}

/// The quantizer of a model whose input is `(decibels - mean) / deviation`, with the input's scale.
pub(crate) fn quantizer(mean: f64, deviation: f64, scale: f64) -> BandQuantizer {
    BandQuantizer { mean: (mean * 65536.0).round() as i32, multiplier: multiplier(1.0 / (deviation * scale * 65536.0)) }
}

/// What [`LogMel`] borrows.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    settings: Settings,
    window: Vec<u16>,
    sine: Vec<i32>,
    bands: Vec<Band>,
    weights: Vec<u16>,
    epsilon: Epsilon,
}

impl Tables {
    /// The tables of `settings`, with a Hann window.
    pub(crate) fn new(settings: Settings) -> Self {
        let len = usize::from(settings.fft_len);
        let sine = |k: usize| (std::f64::consts::TAU * k as f64 / len as f64).sin() * 2f64.powi(30);
        let (mut bands, mut weights) = (Vec::new(), Vec::new());
        for row in filter_bank(&settings) {
            let first = row.iter().position(|&weight| weight > 0.0).unwrap_or(0);
            let end = row.iter().rposition(|&weight| weight > 0.0).map_or(first, |last| last + 1);
            let largest = row.iter().copied().fold(0.0, f64::max);
            // The largest weight gets all of 16 bits.
            let shift = if largest > 0.0 { (15.0 - largest.log2().floor()).clamp(0.0, 64.0) } else { 0.0 };
            bands.push(Band { first: first as u16, len: (end - first) as u16, shift: shift as u8 });
            weights.extend(row[first..end].iter().map(|weight| (weight * shift.exp2()).round().min(65535.0) as u16));
        }
        let epsilon_shift = (31.0 - settings.epsilon.log2().floor()).clamp(0.0, 256.0);
        Self {
            settings,
            window: hann(len).into_iter().map(|weight| (weight * 65536.0).round().min(65535.0) as u16).collect(),
            sine: (0..=len / 4).map(|k| sine(k).round() as i32).collect(),
            bands,
            weights,
            epsilon: Epsilon {
                mantissa: (settings.epsilon * epsilon_shift.exp2()).round() as u32,
                shift: epsilon_shift as u16,
            },
        }
    }

    /// The front end with these tables.
    pub(crate) fn log_mel<'a>(&'a self, quantizers: &'a [BandQuantizer], zero_point: i8) -> LogMel<'a> {
        LogMel {
            sample_rate: self.settings.sample_rate,
            fft_len: self.settings.fft_len,
            hop: self.settings.hop,
            centered: self.settings.centered,
            window: &self.window,
            sine: &self.sine,
            bands: &self.bands,
            weights: &self.weights,
            epsilon: self.epsilon,
            quantizers,
            zero_point,
            context: self.settings.context,
        }
    }

    /// Bytes that the tables take of the flash.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.window.len() + 4 * self.sine.len() + size_of_val(&*self.bands) + 2 * self.weights.len()
    }
}
