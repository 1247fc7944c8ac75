//! The sound front end: samples to log-mel features, the model's usual view of a sound.
//!
//! A frame of `fft_len` samples begins every `hop` samples. For frame `t` and band `b`:
//!
//! ```text
//! P[k] = |sum_n x[t hop + n] w[n] e^(-2 pi i k n / fft_len)|^2     x in [-1, 1), k = 0 … fft_len / 2
//! m[b] = sum_k W[b][k] P[k]
//! d[b] = 10 log10(m[b] + epsilon)                                   in dB, Q16
//! q[b] = clamp(zero_point + (d[b] - mean[b]) * multiplier[b])       int8
//! ```
//!
//! This is librosa's `melspectrogram` with `power = 2` and the logarithm of the DCASE baselines. Window `w` and bands `W`
//! are data, so any window and any mel scale (Slaney's, HTK's) is the host's choice. The model's input is `context`
//! neighbouring frames, the oldest first.
//!
//! **The same bits on every core.** All arithmetic is on integers, so neither a flush to zero nor a contracted
//! multiplication nor a C library's logarithm can make a difference. It costs no exactness: the transform keeps 28 to 31
//! bits below a common exponent ([`fft`]) where f32 has 24, the sums over a band are exact, and the logarithm is off by
//! less than 1e-4 dB ([`decibel`]). What is left is the window's 16 bits, an error some 110 dB below the strongest line of
//! a frame of 64 samples and less in longer ones.
//!
//! The features depend on the samples alone, not on how the stream is cut: [`LogMelStream::push`] takes any number.

pub mod decibel;
pub mod fft;

use neji_engine::requantize::requantize;
use neji_format::Multiplier;

use self::decibel::Power;
use self::fft::{Complex, SINE_BITS};

/// Longest frame in samples.
pub const FFT_LEN_MAX: u16 = 8192;
/// Shortest frame in samples.
pub const FFT_LEN_MIN: u16 = 16;
/// Largest shift of `epsilon`.
const EPSILON_SHIFT_MAX: u16 = 256;

/// Where a band lies in the spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// Its first line.
    pub first: u16,
    /// Number of lines, and of its weights in [`LogMel::weights`]; 0 is a band that hears nothing.
    pub len: u16,
    /// Its weights are `weights / 2^shift`; at most 64.
    pub shift: u8,
}

/// How a band's decibels become int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandQuantizer {
    /// What becomes the zero point, in 1/65536 dB.
    pub mean: i32,
    /// Steps of 1/65536 dB; not negative, shift -31 to 0.
    pub multiplier: Multiplier,
}

/// Parameters and tables of the front end; the tables stay where they are, in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMel<'a> {
    /// Samples a second that the bands were made for. Nothing is computed from it.
    pub sample_rate: u32,
    /// Samples of a frame: a power of two, [`FFT_LEN_MIN`] to [`FFT_LEN_MAX`].
    pub fft_len: u16,
    /// Samples from the beginning of a frame to that of the next; at least 1, and may be more than a frame.
    pub hop: u16,
    /// True where the first frame's middle is the first sample, with zeros before it. (The end of a stream never comes;
    /// who wants it centred pushes `fft_len / 2` zeros.)
    pub centered: bool,
    /// `fft_len` weights in Q16. 1 is 65535.
    pub window: &'a [u16],
    /// `fft_len / 4 + 1` values `sin(2 pi k / fft_len)` in Q30.
    pub sine: &'a [i32],
    /// The mel bands.
    pub bands: &'a [Band],
    /// The bands' weights one after the other.
    pub weights: &'a [u16],
    /// `mantissa / 2^shift`, added to the powers; the mantissa is not 0 and the shift at most 256.
    pub epsilon: Epsilon,
    /// One for all bands or one for each.
    pub quantizers: &'a [BandQuantizer],
    /// Zero point of the model's input.
    pub zero_point: i8,
    /// Frames of an input, at least 1.
    pub context: u16,
}

/// The least power: `mantissa / 2^shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epsilon {
    /// Not 0, so that silence has a logarithm.
    pub mantissa: u32,
    /// At most 256.
    pub shift: u16,
}

/// A sound front end that cannot work as configured or with the memory given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMelError {
    /// The frame's length is no power of two, too short or too long, or the hop or the context is 0.
    Frame,
    /// The window or the sine table is not as long as the frame asks for, or a sine is beyond 1.
    Tables,
    /// There is no band, or this one is outside of the spectrum or of the weights, or has too large a shift.
    Band(usize),
    /// The bands have fewer weights than there are.
    Weights,
    /// Epsilon is 0 or too small.
    Epsilon,
    /// There are neither one nor as many quantizers as bands, or this one's factor is negative or more than 1.
    Quantizer(usize),
    /// The memory is too small.
    MemoryTooSmall {
        /// Words that are needed.
        needed: usize,
        /// Words that there are.
        given: usize,
    },
}

impl core::fmt::Display for LogMelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Frame => f.write_str("the frame's length, hop or context is none that the front end can have"),
            Self::Tables => f.write_str("the window or the sine table does not fit the frame"),
            Self::Band(band) => write!(f, "band {band} is outside of the spectrum or of the weights"),
            Self::Weights => f.write_str("there are more weights than the bands have"),
            Self::Epsilon => f.write_str("the least power is 0 or out of range"),
            Self::Quantizer(band) => write!(f, "quantizer {band} is missing or its factor is out of range"),
            Self::MemoryTooSmall { needed, given } => write!(f, "memory of {given} words, {needed} are needed"),
        }
    }
}

impl core::error::Error for LogMelError {}

impl LogMel<'_> {
    /// Number of mel bands.
    pub const fn mels(&self) -> usize {
        self.bands.len()
    }

    /// Elements of the model's input.
    pub const fn input_len(&self) -> usize {
        self.bands.len().saturating_mul(self.context as usize)
    }

    /// 32-bit words of memory that a stream needs.
    pub const fn memory_words(&self) -> usize {
        let (samples, spectrum) = (self.fft_len as usize / 2, self.fft_len as usize + 2);
        self.input_len().div_ceil(4).saturating_add(samples + spectrum + self.bands.len())
    }

    /// Checks all that could make a stream go wrong.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), LogMelError> {
        let fits = (FFT_LEN_MIN..=FFT_LEN_MAX).contains(&self.fft_len) && self.fft_len.is_power_of_two();
        if !fits || self.hop == 0 || self.context == 0 {
            return Err(LogMelError::Frame);
        }
        let fft_len = usize::from(self.fft_len);
        let lengths = self.window.len() == fft_len && self.sine.len() == fft_len / 4 + 1;
        if !lengths || self.sine.iter().any(|sine| sine.unsigned_abs() > 1 << SINE_BITS) {
            return Err(LogMelError::Tables);
        }
        if self.bands.is_empty() {
            return Err(LogMelError::Band(0));
        }
        let mut weights = self.weights.len();
        for (index, band) in self.bands.iter().enumerate() {
            let left = weights.checked_sub(band.len.into()).ok_or(LogMelError::Band(index))?;
            if usize::from(band.first) + usize::from(band.len) > fft_len / 2 + 1 || band.shift > 64 {
                return Err(LogMelError::Band(index));
            }
            weights = left;
        }
        if weights > 0 {
            return Err(LogMelError::Weights);
        }
        if self.epsilon.mantissa == 0 || self.epsilon.shift > EPSILON_SHIFT_MAX {
            return Err(LogMelError::Epsilon);
        }
        if self.quantizers.len() != 1 && self.quantizers.len() != self.bands.len() {
            return Err(LogMelError::Quantizer(self.quantizers.len().min(self.bands.len())));
        }
        let wrong = |quantizer: &BandQuantizer| {
            quantizer.multiplier.multiplier < 0 || !(-31..=0).contains(&quantizer.multiplier.shift)
        };
        self.quantizers.iter().position(wrong).map_or(Ok(()), |index| Err(LogMelError::Quantizer(index)))
    }
}

/// The front end at work: the last frame's worth of samples, the last frame's features, the last inputs' columns.
#[derive(Debug)]
pub struct LogMelStream<'a> {
    config: LogMel<'a>,
    /// The last `fft_len` samples, a ring.
    samples: &'a mut [i16],
    /// Where the next sample goes, which is where the oldest is.
    oldest_sample: usize,
    /// Samples that the next frame still lacks.
    missing: usize,
    spectrum: &'a mut [Complex],
    decibels: &'a mut [i32],
    /// The last `context` frames quantized, a ring.
    columns: &'a mut [i8],
    /// Where the next frame goes.
    oldest_column: usize,
    /// Frames that the first input still lacks.
    missing_columns: u16,
}

impl<'a> LogMelStream<'a> {
    /// A stream that begins with the next sample. `memory` is [`LogMel::memory_words`] long or longer.
    ///
    /// # Errors
    /// As [`LogMel::check`], and [`LogMelError::MemoryTooSmall`].
    pub fn new(config: LogMel<'a>, memory: &'a mut [u32]) -> Result<Self, LogMelError> {
        config.check()?;
        let (given, needed) = (memory.len(), config.memory_words());
        let too_small = LogMelError::MemoryTooSmall { needed, given };
        let fft_len = usize::from(config.fft_len);
        let (samples, rest) = memory.split_at_mut_checked(fft_len / 2).ok_or(too_small)?;
        let (spectrum, rest) = rest.split_at_mut_checked(fft_len + 2).ok_or(too_small)?;
        let (decibels, rest) = rest.split_at_mut_checked(config.mels()).ok_or(too_small)?;
        let columns = rest.get_mut(..config.input_len().div_ceil(4)).ok_or(too_small)?;
        let columns = bytemuck::try_cast_slice_mut(columns).map_err(|_| too_small)?;
        let mut stream = Self {
            samples: bytemuck::try_cast_slice_mut(samples).map_err(|_| too_small)?,
            spectrum: bytemuck::try_cast_slice_mut(spectrum).map_err(|_| too_small)?,
            decibels: bytemuck::try_cast_slice_mut(decibels).map_err(|_| too_small)?,
            columns: columns.get_mut(..config.input_len()).ok_or(too_small)?,
            config,
            oldest_sample: 0,
            missing: 0,
            oldest_column: 0,
            missing_columns: 0,
        };
        stream.restart();
        Ok(stream)
    }

    /// Forgets all samples and frames, as after a gap in the stream.
    pub fn restart(&mut self) {
        self.samples.fill(0);
        self.decibels.fill(0);
        self.columns.fill(0);
        let fft_len = usize::from(self.config.fft_len);
        self.missing = if self.config.centered { fft_len / 2 } else { fft_len };
        (self.oldest_sample, self.oldest_column, self.missing_columns) = (0, 0, self.config.context);
    }

    /// Parameters and tables.
    pub fn config(&self) -> &LogMel<'a> {
        &self.config
    }

    /// Takes samples off the front of `samples` up to the end of the next frame; true where there is a new frame.
    ///
    /// ```text
    /// while stream.push(&mut samples) {
    ///     … stream.decibels(), stream.input(&mut input) …
    /// }
    /// ```
    pub fn push(&mut self, samples: &mut &[i16]) -> bool {
        while self.missing > 0 {
            let room = self.samples.len().saturating_sub(self.oldest_sample);
            let count = self.missing.min(room).min(samples.len());
            let Some((now, later)) = samples.split_at_checked(count) else { return false };
            let Some(place) = self.samples.get_mut(self.oldest_sample..).filter(|_| count > 0) else { return false };
            for (place, &sample) in place.iter_mut().zip(now) {
                *place = sample;
            }
            *samples = later;
            self.missing -= count;
            self.oldest_sample += count;
            if self.oldest_sample >= self.samples.len() {
                self.oldest_sample = 0;
            }
        }
        self.missing = self.config.hop.into();
        self.frame();
        true
    }

    /// The last frame's features in 1/65536 dB, the lowest band first; zeros before the first frame.
    pub fn decibels(&self) -> &[i32] {
        self.decibels
    }

    /// Puts the last `context` frames, quantized, in `out`, the oldest first; false where there are not yet as many, or
    /// where `out` is not [`LogMel::input_len`] long.
    pub fn input(&self, out: &mut [i8]) -> bool {
        if self.missing_columns > 0 || out.len() != self.columns.len() {
            return false;
        }
        let Some((new, old)) = self.columns.split_at_checked(self.oldest_column) else { return false };
        for (out, &value) in out.iter_mut().zip(old.iter().chain(new)) {
            *out = value;
        }
        true
    }

    fn frame(&mut self) {
        let Some((new, old)) = self.samples.split_at_checked(self.oldest_sample) else { return };
        let frame = old.iter().chain(new).copied();
        let exponent = fft::power_spectrum(frame, self.config.window, self.config.sine, self.spectrum) - 64;
        let epsilon = self.config.epsilon;
        let epsilon = Power::new(epsilon.mantissa.into(), -i32::from(epsilon.shift));
        let mut weights = self.config.weights;
        for (band, decibels) in self.config.bands.iter().zip(self.decibels.iter_mut()) {
            let Some((own, rest)) = weights.split_at_checked(band.len.into()) else { break };
            weights = rest;
            let lines = self.spectrum.get(band.first.into()..).unwrap_or_default();
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
        self.quantize();
    }

    fn quantize(&mut self) {
        let column = self.columns.get_mut(self.oldest_column..).unwrap_or_default();
        // One for all, or one for each.
        let quantizers = self.config.quantizers.iter().cycle();
        for ((out, &decibels), quantizer) in column.iter_mut().zip(self.decibels.iter()).zip(quantizers) {
            let Multiplier { multiplier, shift } = quantizer.multiplier;
            let steps = requantize(decibels.saturating_sub(quantizer.mean), multiplier, shift.into());
            *out = steps.saturating_add(self.config.zero_point.into()).clamp(-128, 127) as i8;
        }
        self.missing_columns = self.missing_columns.saturating_sub(1);
        self.oldest_column += self.config.mels();
        if self.oldest_column >= self.columns.len() {
            self.oldest_column = 0;
        }
    }
}
