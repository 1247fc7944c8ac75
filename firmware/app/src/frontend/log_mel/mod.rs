//! The sound front end: samples to log-mel features, the model's usual view of a sound.
//!
//! [`LogMelFrontEnd`] has the formulas. It is librosa's `melspectrogram` with `power = 2` and the logarithm of the DCASE
//! baselines. Window and bands are data, so any window and any mel scale (Slaney's, HTK's) is the host's choice.
//!
//! **The same bits on every core.** All arithmetic is on integers, so neither a flush to zero nor a contracted
//! multiplication nor a C library's logarithm can make a difference. It costs no exactness: the transform keeps 28 to 31
//! bits below a common exponent ([`fft`]) where f32 has 24, the sums over a band are exact, and the logarithm is off by
//! less than 1e-4 dB ([`decibel`]). What is left is the window's 16 bits, an error some 110 dB below the strongest line of
//! a frame of 64 samples and less in longer ones.
//!
//! Vibration has more to say: bands of the [`envelope`]'s spectrum, [moments](mod@moments) of each frame, several axes, or the samples as
//! they are. All are features of a frame, and what becomes of frames ([`inputs`]) knows no difference.
//!
//! The features depend on the samples alone, not on how the stream is cut: [`LogMelStream::push`] takes any number of bytes.

pub mod columns;
pub mod decibel;
pub mod envelope;
pub mod fft;
pub mod inputs;
pub mod moments;
pub mod statistics;
pub mod steps;
mod sums;

use neji_format::front_end::{AXES_MAX, FFT_LEN_MAX};
use neji_format::{Band, Epsilon, LogMelFrontEnd, Model, Transform};

use self::decibel::Power;
use self::envelope::Envelope;
use self::fft::Complex;
use self::inputs::{Inputs, Window};
use self::moments::{MOMENTS, moments};
use self::steps::Steps;
use crate::error::SensorFault;

/// Fraction bits of features.
const FEATURE_BITS: u32 = decibel::DECIBEL_BITS;

/// Parameters and tables of the front end as [`LogMelFrontEnd`] has them; the tables stay where they are, in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMel<'a> {
    /// Axes, whose samples come in turn.
    pub axes: u8,
    /// What of the samples the features are.
    pub transform: Transform,
    /// Three features of the frame in time follow.
    pub moments: bool,
    /// Values of a frame, samples or of the envelope: a power of two.
    pub fft_len: u16,
    /// Values from the beginning of a frame to that of the next.
    pub hop: u16,
    /// True where the first frame's middle is the first value. (The end of a stream never comes; who wants it centred pushes
    /// `fft_len / 2` zeros.)
    pub centered: bool,
    /// `fft_len` weights in Q16.
    pub window: &'a [u16],
    /// `fft_len / 4 + 1` values `sin(2 pi k / fft_len)` in Q30.
    pub sine: &'a [i32],
    /// The bands: [`Band`] as words.
    pub bands: &'a [[u16; 3]],
    /// The bands' weights one after the other.
    pub weights: &'a [u16],
    /// Added to the powers.
    pub epsilon: Epsilon,
    /// Decibels to elements.
    pub steps: Steps<'a>,
    /// Frames of an input and from one to the next, and what it takes of them.
    pub inputs: Window,
    /// Smallest range of samples of a sensor that works.
    pub range_min: u16,
    /// Largest share of samples at the ends of the scale, in 1/1000.
    pub saturated_max: u16,
}

impl<'a> LogMel<'a> {
    /// The front end of a model whose it is.
    pub fn of(model: &Model<'a>, config: &LogMelFrontEnd) -> Self {
        let plan = model.plan();
        Self {
            axes: config.axes,
            transform: config.transform,
            moments: config.moments,
            fft_len: config.fft_len,
            hop: config.hop,
            centered: config.centered,
            window: model.constant_u16(config.window),
            sine: model.constant_i32(config.sine),
            bands: model.constant_u16(config.bands).as_chunks().0,
            weights: model.constant_u16(config.weights),
            epsilon: config.epsilon,
            steps: Steps {
                quantizers: model.constant_i32(config.quantizers).as_chunks().0,
                element: plan.element,
                zero_point: plan.input.zero_point,
            },
            inputs: Window { context: config.context, stride: config.stride, statistics: config.statistics },
            range_min: config.range_min,
            saturated_max: config.saturated_max,
        }
    }

    /// Features of a frame.
    pub const fn features(&self) -> usize {
        self.axis_features().saturating_mul(self.axes as usize)
    }

    /// Features of a frame of one axis.
    const fn axis_features(&self) -> usize {
        let transformed = match self.transform {
            Transform::Spectrum | Transform::Envelope { .. } => self.bands.len(),
            Transform::Waveform => self.fft_len as usize,
        };
        transformed.saturating_add(if self.moments { MOMENTS } else { 0 })
    }

    /// Samples to a value.
    pub const fn decimation(&self) -> u16 {
        match self.transform {
            Transform::Spectrum | Transform::Waveform => 1,
            Transform::Envelope { decimation } => decimation,
        }
    }

    /// 32-bit words of memory that a stream keeps.
    pub const fn memory_words(&self) -> usize {
        let inputs = Inputs::memory_words(self.features(), self.inputs, &self.steps);
        let values = (self.fft_len as usize / 2).saturating_mul(self.axes as usize);
        inputs.saturating_add(values).saturating_add(self.features())
    }

    /// 32-bit words of memory that a stream needs while it works on a frame.
    pub const fn work_words(&self) -> usize {
        match self.transform {
            Transform::Spectrum | Transform::Envelope { .. } => self.fft_len as usize + 2,
            Transform::Waveform => 0,
        }
    }
}

/// What is kept of an axis from sample to sample.
#[derive(Debug, Clone, Copy)]
struct Axis {
    envelope: Envelope,
    /// The least and the largest sample since the last input.
    least: i16,
    most: i16,
}

impl Axis {
    const NEW: Self = Self { envelope: Envelope::NEW, least: i16::MAX, most: i16::MIN };
}

/// The front end at work: the last frame's worth of values, the last frame's features, what the next inputs need of the last
/// frames.
#[derive(Debug)]
pub struct LogMelStream<'a> {
    config: LogMel<'a>,
    /// The last `fft_len` values of each axis, a ring each, one behind the other.
    values: &'a mut [i16],
    /// Where the next value goes in each ring, which is where the oldest is.
    oldest: usize,
    /// Values that the next frame still lacks.
    missing: usize,
    /// Samples of each axis that the next value still lacks.
    samples: u16,
    axes: [Axis; AXES_MAX as usize],
    /// Whose sample comes next.
    axis: usize,
    /// First byte of a sample whose second has not come yet.
    low: Option<u8>,
    decibels: &'a mut [i32],
    inputs: Inputs<'a>,
    /// Samples since the last input, and how many of them were at either end of the scale.
    count: u32,
    saturated: u32,
}

impl<'a> LogMelStream<'a> {
    /// A stream that begins with the next sample; `None` where `memory` is shorter than [`LogMel::memory_words`].
    ///
    /// What [`Model::parse`] refuses makes nonsense of features here, and nothing worse.
    pub fn new(config: LogMel<'a>, memory: &'a mut [u32]) -> Option<Self> {
        let fft_len = usize::from(config.fft_len.min(FFT_LEN_MAX));
        let (values, rest) = memory.split_at_mut_checked(fft_len / 2 * usize::from(config.axes))?;
        let (decibels, rest) = rest.split_at_mut_checked(config.features())?;
        let mut stream = Self {
            values: bytemuck::cast_slice_mut(values),
            decibels: bytemuck::cast_slice_mut(decibels),
            inputs: Inputs::new(config.features(), config.inputs, config.steps, rest)?,
            config,
            oldest: 0,
            missing: 0,
            samples: 0,
            axes: [Axis::NEW; AXES_MAX as usize],
            axis: 0,
            low: None,
            count: 0,
            saturated: 0,
        };
        stream.restart();
        Some(stream)
    }

    /// Forgets all samples and frames, as after a gap in the stream; the next sample is of the first axis.
    pub fn restart(&mut self) {
        self.values.fill(0);
        self.decibels.fill(0);
        self.inputs.restart();
        let fft_len = usize::from(self.config.fft_len);
        self.missing = if self.config.centered { fft_len / 2 } else { fft_len };
        self.samples = self.config.decimation();
        self.axes = [Axis::NEW; AXES_MAX as usize];
        (self.oldest, self.axis, self.low, self.count, self.saturated) = (0, 0, None, 0, 0);
    }

    /// Parameters and tables.
    pub fn config(&self) -> &LogMel<'a> {
        &self.config
    }

    /// Takes samples (16 bits, little-endian) off the front of `samples` up to the end of the next frame, whose
    /// [`LogMelStream::decibels`] are then known; whether an input is due with it, or `None` where the frame is not complete.
    ///
    /// `work` is [`LogMel::work_words`] long or longer; its content is lost.
    pub fn push(&mut self, samples: &mut &[u8], work: &mut [u32]) -> Option<bool> {
        while self.missing > 0 {
            let (&first, rest) = samples.split_first()?;
            *samples = rest;
            let Some(low) = self.low.take() else {
                self.low = Some(first);
                continue;
            };
            self.take(i16::from_le_bytes([low, first]));
        }
        self.missing = self.config.hop.into();
        self.frame(bytemuck::cast_slice_mut(even(work)));
        Some(self.inputs.push(self.decibels))
    }

    /// Takes the next axis' sample.
    fn take(&mut self, sample: i16) {
        let len = usize::from(self.config.fft_len);
        if let Some(axis) = self.axes.get_mut(self.axis) {
            (axis.least, axis.most) = (axis.least.min(sample), axis.most.max(sample));
            let value = match self.config.transform {
                Transform::Spectrum | Transform::Waveform => Some(sample),
                Transform::Envelope { decimation } => {
                    axis.envelope.push(sample);
                    (self.samples <= 1).then(|| axis.envelope.take(decimation))
                }
            };
            let place = self.values.get_mut(self.axis.saturating_mul(len).saturating_add(self.oldest));
            if let (Some(value), Some(place)) = (value, place) {
                *place = value;
            }
        }
        self.count = self.count.saturating_add(1);
        self.saturated = self.saturated.saturating_add((sample == i16::MAX || sample == i16::MIN).into());
        self.axis += 1;
        if self.axis < self.config.axes.into() {
            return;
        }
        self.axis = 0;
        self.samples = self.samples.saturating_sub(1);
        if self.samples > 0 {
            return;
        }
        self.samples = self.config.decimation();
        self.oldest += 1;
        if self.oldest >= len {
            self.oldest = 0;
        }
        self.missing -= 1;
    }

    /// Whether the samples since this was last asked are those of a sensor that works, on every axis.
    ///
    /// # Errors
    /// The fault that they show.
    pub fn check_sensor(&mut self) -> Result<(), SensorFault> {
        let (count, saturated) = (core::mem::take(&mut self.count), core::mem::take(&mut self.saturated));
        let mut stuck = false;
        for axis in self.axes.iter_mut().take(self.config.axes.into()) {
            stuck |= i32::from(axis.most) - i32::from(axis.least) < self.config.range_min.into();
            (axis.least, axis.most) = (Axis::NEW.least, Axis::NEW.most);
        }
        if stuck {
            return Err(SensorFault::Constant);
        }
        if u64::from(saturated) * 1000 > u64::from(count) * u64::from(self.config.saturated_max) {
            return Err(SensorFault::Saturated);
        }
        Ok(())
    }

    /// The last frame's features in 1/65536 dB (a waveform's in 1/65536 of a step of 16 bits), those of the first axis first:
    /// the lowest band first, then moments; zeros before the first frame.
    pub fn decibels(&self) -> &[i32] {
        self.decibels
    }

    /// Puts the bytes of the input that is due in `out`: the last `context` frames' elements, the oldest first, or their
    /// statistics.
    pub fn input(&self, out: &mut [i8]) {
        self.inputs.copy_to(out);
    }

    /// What is kept of the last frames.
    pub fn inputs(&self) -> &Inputs<'a> {
        &self.inputs
    }

    /// Computes the features of the frame that ends here.
    fn frame(&mut self, spectrum: &mut [Complex]) {
        let config = self.config;
        let Epsilon { mantissa, shift } = config.epsilon;
        let epsilon = Power::new(mantissa.into(), -i32::from(shift));
        let rings = self.values.chunks_exact(usize::from(config.fft_len).max(1));
        for (ring, features) in rings.zip(self.decibels.chunks_exact_mut(config.axis_features().max(1))) {
            let Some((new, old)) = ring.split_at_checked(self.oldest) else { return };
            let frame = old.iter().chain(new).copied();
            let (transformed, in_time) =
                features.split_at_mut(features.len().saturating_sub(if config.moments { MOMENTS } else { 0 }));
            match config.transform {
                Transform::Spectrum => config.bands(frame, epsilon, spectrum, transformed),
                Transform::Envelope { .. } => {
                    let mean = envelope::mean(ring);
                    config.bands(frame.map(|value| value.wrapping_sub(mean)), epsilon, spectrum, transformed);
                }
                Transform::Waveform => {
                    for (feature, sample) in transformed.iter_mut().zip(frame) {
                        *feature = i32::from(sample).wrapping_shl(FEATURE_BITS);
                    }
                }
            }
            if !in_time.is_empty() {
                for (feature, moment) in in_time.iter_mut().zip(moments(ring, epsilon)) {
                    *feature = moment;
                }
            }
        }
    }
}

impl LogMel<'_> {
    /// Puts the decibels of the bands of a frame in `decibels`.
    fn bands(&self, frame: impl Iterator<Item = i16>, epsilon: Power, spectrum: &mut [Complex], decibels: &mut [i32]) {
        let Some(spectrum) = spectrum.get_mut(..usize::from(self.fft_len) / 2 + 1) else { return };
        let exponent = fft::power_spectrum(frame, self.window, self.sine, spectrum) - 64;
        let mut weights = self.weights;
        for (&band, decibels) in self.bands.iter().zip(decibels) {
            let band = Band::from_words(band);
            let Some((own, rest)) = weights.split_at_checked(band.len.into()) else { break };
            weights = rest;
            let lines = spectrum.get(band.first.into()..).unwrap_or_default();
            // Products have 48 bits, and there are at most 2^12 + 1 of them.
            let (mut low, mut high) = (0u64, 0u64);
            for (&line, &weight) in lines.iter().zip(own) {
                let (line_low, line_high) = fft::halves(line);
                low += line_low * u64::from(weight);
                high += line_high * u64::from(weight);
            }
            let sum = (u128::from(high) << 32) + u128::from(low);
            *decibels = Power::new(sum, exponent - i32::from(band.shift)).plus(epsilon).decibels();
        }
    }
}

/// As many words as make whole complex numbers.
fn even(words: &mut [u32]) -> &mut [[u32; 2]] {
    words.as_chunks_mut().0
}
