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
//! The features depend on the samples alone, not on how the stream is cut: [`LogMelStream::push`] takes any number of bytes.

pub mod columns;
pub mod decibel;
pub mod fft;
pub mod inputs;
pub mod statistics;
pub mod steps;

use neji_format::front_end::FFT_LEN_MAX;
use neji_format::{Band, Epsilon, LogMelFrontEnd, Model};

use self::decibel::Power;
use self::fft::Complex;
use self::inputs::{Inputs, Window};
use self::steps::Steps;
use crate::error::SensorFault;

/// Parameters and tables of the front end as [`LogMelFrontEnd`] has them; the tables stay where they are, in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMel<'a> {
    /// Samples of a frame: a power of two.
    pub fft_len: u16,
    /// Samples from the beginning of a frame to that of the next.
    pub hop: u16,
    /// True where the first frame's middle is the first sample. (The end of a stream never comes; who wants it centred pushes
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

    /// 32-bit words of memory that a stream keeps.
    pub const fn memory_words(&self) -> usize {
        let inputs = Inputs::memory_words(self.bands.len(), self.inputs, &self.steps);
        inputs.saturating_add(self.fft_len as usize / 2).saturating_add(self.bands.len())
    }

    /// 32-bit words of memory that a stream needs while it works on a frame.
    pub const fn work_words(&self) -> usize {
        self.fft_len as usize + 2
    }
}

/// What the samples since the last input were like.
#[derive(Debug, Clone, Copy)]
struct Range {
    least: i16,
    most: i16,
    count: u32,
    /// How many were at either end of the scale.
    saturated: u32,
}

impl Range {
    const EMPTY: Self = Self { least: i16::MAX, most: i16::MIN, count: 0, saturated: 0 };

    fn add(&mut self, sample: i16) {
        self.least = self.least.min(sample);
        self.most = self.most.max(sample);
        self.count = self.count.saturating_add(1);
        self.saturated = self.saturated.saturating_add((sample == i16::MAX || sample == i16::MIN).into());
    }
}

/// The front end at work: the last frame's worth of samples, the last frame's features, what the next inputs need of the
/// last frames.
#[derive(Debug)]
pub struct LogMelStream<'a> {
    config: LogMel<'a>,
    /// The last `fft_len` samples, a ring.
    samples: &'a mut [i16],
    /// Where the next sample goes, which is where the oldest is.
    oldest: usize,
    /// Samples that the next frame still lacks.
    missing: usize,
    /// First byte of a sample whose second has not come yet.
    low: Option<u8>,
    decibels: &'a mut [i32],
    inputs: Inputs<'a>,
    range: Range,
}

impl<'a> LogMelStream<'a> {
    /// A stream that begins with the next sample; `None` where `memory` is shorter than [`LogMel::memory_words`].
    ///
    /// What [`Model::parse`] refuses makes nonsense of features here, and nothing worse.
    pub fn new(config: LogMel<'a>, memory: &'a mut [u32]) -> Option<Self> {
        let fft_len = usize::from(config.fft_len.min(FFT_LEN_MAX));
        let (samples, rest) = memory.split_at_mut_checked(fft_len / 2)?;
        let (decibels, rest) = rest.split_at_mut_checked(config.bands.len())?;
        let mut stream = Self {
            samples: bytemuck::cast_slice_mut(samples),
            decibels: bytemuck::cast_slice_mut(decibels),
            inputs: Inputs::new(config.bands.len(), config.inputs, config.steps, rest)?,
            config,
            oldest: 0,
            missing: 0,
            low: None,
            range: Range::EMPTY,
        };
        stream.restart();
        Some(stream)
    }

    /// Forgets all samples and frames, as after a gap in the stream.
    pub fn restart(&mut self) {
        self.samples.fill(0);
        self.decibels.fill(0);
        self.inputs.restart();
        let fft_len = usize::from(self.config.fft_len);
        self.missing = if self.config.centered { fft_len / 2 } else { fft_len };
        (self.oldest, self.low, self.range) = (0, None, Range::EMPTY);
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
            let sample = i16::from_le_bytes([low, first]);
            self.range.add(sample);
            if let Some(place) = self.samples.get_mut(self.oldest) {
                *place = sample;
            }
            self.oldest += 1;
            if self.oldest >= self.samples.len() {
                self.oldest = 0;
            }
            self.missing -= 1;
        }
        self.missing = self.config.hop.into();
        self.frame(bytemuck::cast_slice_mut(even(work)));
        Some(self.inputs.push(self.decibels))
    }

    /// Whether the samples since this was last asked are those of a sensor that works.
    ///
    /// # Errors
    /// The fault that they show.
    pub fn check_sensor(&mut self) -> Result<(), SensorFault> {
        let Range { least, most, count, saturated } = core::mem::replace(&mut self.range, Range::EMPTY);
        if i32::from(most) - i32::from(least) < self.config.range_min.into() {
            return Err(SensorFault::Constant);
        }
        if u64::from(saturated) * 1000 > u64::from(count) * u64::from(self.config.saturated_max) {
            return Err(SensorFault::Saturated);
        }
        Ok(())
    }

    /// The last frame's features in 1/65536 dB, the lowest band first; zeros before the first frame.
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

    fn frame(&mut self, spectrum: &mut [Complex]) {
        let Some(spectrum) = spectrum.get_mut(..usize::from(self.config.fft_len) / 2 + 1) else { return };
        let Some((new, old)) = self.samples.split_at_checked(self.oldest) else { return };
        let frame = old.iter().chain(new).copied();
        let exponent = fft::power_spectrum(frame, self.config.window, self.config.sine, spectrum) - 64;
        let epsilon = self.config.epsilon;
        let epsilon = Power::new(epsilon.mantissa.into(), -i32::from(epsilon.shift));
        let mut weights = self.config.weights;
        for (&band, decibels) in self.config.bands.iter().zip(self.decibels.iter_mut()) {
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
