//! Parameters of the front end: how a sensor's samples become the model's input. The arithmetic is neji-app's.

use serde::{Deserialize, Serialize};

use crate::quant::Multiplier;
use crate::tensor::Constant;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

/// A rectangle in pixels; `x`, `y` is its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

/// What one pixel of the sensor is in the stream of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelFormat {
    /// One byte of luminance.
    Grey8,
    /// Three bytes, red first; the front end takes their luma `(77 R + 150 G + 29 B + 128) >> 8`.
    Rgb888,
}

/// Takes the light out of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Photometric {
    /// Pixels stay as they are.
    None,
    /// Scales the image so that its `percent`-th percentile becomes `target`; brighter pixels saturate at 255.
    Percentile {
        /// 1 to 100.
        percent: u8,
        /// Grey level that the percentile becomes, 1 to 255.
        target: u8,
    },
}

/// Whether the part is darker or lighter than what it lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Polarity {
    /// A dark part on a light ground.
    Dark,
    /// A light part on a dark ground.
    Light,
    /// Decided for each image: the ground is what most of the border looks like.
    Auto,
}

/// Where the mask's threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaskThreshold {
    /// Otsu's method on each image's histogram (IEEE Trans. SMC 9(1), 1979).
    Otsu,
    /// A fixed grey level of the normalised image.
    Fixed(u8),
}

/// Which way a strip lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heading {
    /// Along the part's principal axis, either end first.
    Axis,
    /// Along the part's principal axis, turned by 180 degrees where its thicker end lies to the right.
    ThickEndFirst,
    /// As the picture does, about the part's centroid: parts that are round, or always lie one way.
    Upright,
}

/// Corrects the pose that the moments give, by the correlation of the strip with a template.
///
/// A turn about the part's middle, a shift along its axis and one across are searched one after the other, each by one step
/// back and one forth; what correlates best stays. The first steps are half of the farthest, each round halves them.
/// Correlation is normalised and free of the mean, so neither gain nor offset of the grey levels counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What a strip of a normal part looks like, the mean of many: a grey level a byte, rows of the strip's width.
    pub template: Constant,
    /// The tangent of the farthest turn, Q16.
    pub turn: u16,
    /// The farthest shift along the axis, in 1/256 pixel of the resized image.
    pub along: u16,
    /// The farthest shift across the axis, in 1/256 pixel.
    pub across: u16,
    /// Rounds of the search, at most [`REGISTRATION_ROUNDS_MAX`].
    pub rounds: u8,
    /// `2^directions` of them, evenly spread over a circle, are tried first: 0 keeps the axis, 1 tries either end, at most
    /// [`REGISTRATION_DIRECTIONS_MAX`].
    pub directions: u8,
    /// A part whose strip correlates less is `PartUnlike`; in 1/1000, -1000 lets all pass, at most 1000.
    pub correlation_min: i16,
}

/// Most rounds of [`Registration`], each of six strips.
pub const REGISTRATION_ROUNDS_MAX: u8 = 8;
/// Most halvings of a circle in [`Registration`]: 64 directions.
pub const REGISTRATION_DIRECTIONS_MAX: u8 = 6;
/// Most pixels of a strip that is registered: sums of squares stay within 32 bits.
pub const REGISTRATION_PIXELS_MAX: u32 = 1 << 16;

/// Finds the part, turns it so that its principal axis lies along the strip, and resamples it.
///
/// Mask by threshold, largest 8-connected component, centroid and, where `heading` asks for it, principal axis by second moments, the
/// pose corrected by `registration`, then bilinear resampling of a `length x breadth` rectangle to `strip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alignment {
    /// Part against ground.
    pub polarity: Polarity,
    /// How the mask is cut.
    pub threshold: MaskThreshold,
    /// Fewest pixels (of the resized image) of a part; less is `PartNotFound`.
    pub area_min: u32,
    /// Most pixels of a part; more is `PartNotFound`.
    pub area_max: u32,
    /// A part that touches the border of the resized image is `PartCut`.
    pub whole_only: bool,
    /// Which way the strip lies before it is registered.
    pub heading: Heading,
    /// Extent along the axis that the strip's width covers, in 1/256 pixel of the resized image.
    pub length: u32,
    /// Extent across the axis that the strip's height covers, in 1/256 pixel.
    pub breadth: u32,
    /// Size of the strip: the model's input.
    pub strip: Size,
    /// Correction of the pose by a template.
    pub registration: Option<Registration>,
}

/// Parameters of the image front end, in the order in which its stages run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFrontEnd {
    /// Size of the frames that the sensor gives.
    pub sensor: Size,
    /// Layout of a pixel in the stream.
    pub pixel_format: PixelFormat,
    /// The part of the frame that is used.
    pub crop: Rect,
    /// The crop is resized to this by area; never larger than the crop.
    pub resize: Size,
    /// Frames whose lightest and darkest pixel differ by less are a sensor fault (`Constant`).
    pub range_min: u8,
    /// Frames of which more than this share (in 1/1000) is 0 or 255 are a sensor fault (`Saturated`).
    pub saturated_max: u16,
    /// Removal of the light.
    pub photometric: Photometric,
    /// Alignment of the part, where the task has one.
    pub alignment: Option<Alignment>,
    /// Grey level to int8: `q = clamp(zero_point + requantize(grey, multiplier))`; identity is 1.0 (2^30, shift 1), zero
    /// point -128.
    pub quantize: Multiplier,
}

/// The least power: `mantissa / 2^shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epsilon {
    /// Not 0, so that silence has a logarithm.
    pub mantissa: u32,
    /// At most 256.
    pub shift: u16,
}

/// Where a band of [`LogMelFrontEnd`] lies in the spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// Its first line.
    pub first: u16,
    /// Number of lines, and of its weights; 0 is a band that hears nothing.
    pub len: u16,
    /// Its weights are `weights / 2^shift`; at most 64.
    pub shift: u16,
}

impl Band {
    /// From the three words that a blob has of it.
    pub const fn from_words([first, len, shift]: [u16; 3]) -> Self {
        Self { first, len, shift }
    }

    /// The three words that a blob has of it.
    pub const fn to_words(self) -> [u16; 3] {
        [self.first, self.len, self.shift]
    }
}

/// How a feature of [`LogMelFrontEnd`], or what is typical of it, becomes an element of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandQuantizer {
    /// What becomes the zero point, in 1/65536 dB (of a waveform, of a step of 16 bits).
    pub mean: i32,
    /// Steps of 1/65536 dB: 0, or a mantissa in `[2^29, 2^31)`; shift -31 to 0.
    pub multiplier: Multiplier,
}

impl BandQuantizer {
    /// From the three words that a blob has of it.
    pub const fn from_words([mean, multiplier, shift]: [i32; 3]) -> Self {
        // What no shift can be stays none.
        let shift = if shift < -128 || shift > 127 { i8::MIN } else { shift as i8 };
        Self { mean, multiplier: Multiplier { multiplier, shift } }
    }

    /// The three words that a blob has of it.
    pub const fn to_words(self) -> [i32; 3] {
        [self.mean, self.multiplier.multiplier, self.multiplier.shift as i32]
    }
}

/// What of the samples a frame's features are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transform {
    /// Bands of the samples' spectrum.
    Spectrum,
    /// Bands of the spectrum of the envelope of what is high in the samples.
    Envelope {
        /// Samples to a value of the envelope, 1 to [`DECIMATION_MAX`].
        decimation: u16,
    },
    /// The samples of the frame themselves; there are no bands.
    Waveform,
}

/// What of a window's frames is in the input of [`LogMelFrontEnd`], in place of the frames.
///
/// A row of the input stands for some neighbouring frames `t` of features `d[t][b]`, in decibels. It has of each feature `b`, one
/// group behind the other,
///
/// ```text
/// mean[b] - level                  mean[b] = mean over t of d[t][b]; level = mean over b of mean[b], or 0
/// log(deviation[b])                deviation[b] = sqrt(mean over t of (d[t][b] - mean[b])^2)
/// log(difference[b])               difference[b] = mean of |d[t][b] - d[t - 1][b]|
/// ```
///
/// with `log(x) = 10 log10(x + 0.05)`, or `x`. The window has a row; before it may be one for each of its blocks of `stride`
/// frames, the oldest first. Differences are of frames of the same block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowStatistics {
    /// Each row's own level is taken off its means, so that how loud a machine is makes no difference.
    pub level_free: bool,
    /// Deviations and differences are logarithms.
    pub logarithms: bool,
    /// There are differences, which need a `stride` of at least 2.
    pub differences: bool,
    /// There is a row for each block.
    pub blocks: bool,
}

impl WindowStatistics {
    /// Mean and deviation of the window.
    pub const PLAIN: Self = Self { level_free: false, logarithms: false, differences: false, blocks: false };
    /// All of it: what tells most of a machine where nothing else is known.
    pub const ALL: Self = Self { level_free: true, logarithms: true, differences: true, blocks: true };

    /// Elements of a row for each feature.
    pub const fn groups(self) -> u32 {
        if self.differences { 3 } else { 2 }
    }

    /// Rows of an input whose window has so many blocks.
    pub const fn rows(self, blocks: u32) -> u32 {
        if self.blocks { blocks.saturating_add(1) } else { 1 }
    }

    /// Sets of quantizers, where each element has its own: that of the blocks and that of the window.
    pub const fn quantizer_sets(self) -> u32 {
        if self.blocks { 2 } else { 1 }
    }
}

impl Default for WindowStatistics {
    fn default() -> Self {
        Self::ALL
    }
}

/// Parameters and tables of the sound front end: 16-bit samples, of sound or vibration, to frames of a log-mel spectrogram and
/// its kin, or to what is typical of many.
///
/// A frame is `fft_len` values times `window`, one begins every `hop` values. For frame `t` and band `b`:
///
/// ```text
/// P[k] = |sum_n x[t hop + n] w[n] e^(-2 pi i k n / fft_len)|^2     x in [-1, 1), k = 0 … fft_len / 2
/// m[b] = sum_k W[b][k] P[k]
/// d[b] = 10 log10(m[b] + epsilon)                                   in dB, Q16
/// q[b] = clamp(zero_point + (d[b] - mean[b]) * multiplier[b])       zero point of the model's input
/// ```
///
/// What the bands are is data: mel bands of any scale, or single lines of the spectrum. The values `x` are the samples, or with
/// [`Transform::Envelope`] `x[i] = mean of |s[n] - s[n - 1]| / 2` over `decimation` samples `s`, less the frame's mean. With
/// [`Transform::Waveform`] `d` is the frame's samples in order, of which 1 is a step of 16 bits, in Q16.
///
/// With `moments` three features follow: level `10 log10(var x + epsilon)`, kurtosis `10 log10(mean of (x - mean)^4 / var^2)`
/// and crest factor `10 log10(max (x - mean)^2 / var)` of the frame without its window. With several `axes` all features of the
/// first come first.
///
/// The model's input is `context` neighbouring frames, the oldest first, and is run every `stride` frames. With `statistics`
/// it is what is typical of them, [`WindowStatistics`], in place of `d` itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMelFrontEnd {
    /// Samples a second and axis that the bands were made for, at least 1. Nothing is computed from it.
    pub sample_rate: u32,
    /// Axes, whose samples come in turn: 1 to [`AXES_MAX`].
    pub axes: u8,
    /// What of the samples the features are.
    pub transform: Transform,
    /// Three features of the frame in time follow those of the transform.
    pub moments: bool,
    /// Values of a frame: a power of two, [`FFT_LEN_MIN`] to [`FFT_LEN_MAX`].
    pub fft_len: u16,
    /// Values from the beginning of a frame to that of the next; at least 1, and may be more than a frame.
    pub hop: u16,
    /// True where the first frame's middle is the first value, with zeros before it.
    pub centered: bool,
    /// `fft_len` weights, u16 in Q16. 1 is 65535. Empty of a waveform, as are sine, bands and weights.
    pub window: Constant,
    /// `fft_len / 4 + 1` values `sin(2 pi k / fft_len)`, i32 in Q30.
    pub sine: Constant,
    /// The bands, the lowest first: three u16 each, [`Band`].
    pub bands: Constant,
    /// The bands' weights one after the other, u16.
    pub weights: Constant,
    /// Added to the powers.
    pub epsilon: Epsilon,
    /// One for all or one for each feature, with `statistics` for each element of a row: three i32 each, [`BandQuantizer`]. Rows
    /// of blocks share theirs, the window's has as many behind them.
    pub quantizers: Constant,
    /// Frames that an input stands for, at least 1.
    pub context: u16,
    /// Frames from an input to the next, at least 1.
    pub stride: u16,
    /// The input is what is typical of the frames: then `stride` divides `context`, which is at most
    /// [`STATISTICS_FRAMES_MAX`].
    pub statistics: Option<WindowStatistics>,
    /// Where the largest and the smallest sample of an axis since the last input differ by less, the sensor is at fault (`Constant`).
    pub range_min: u16,
    /// Where more than this share (in 1/1000) of the samples since the last input is at either end of the scale, the sensor is
    /// at fault (`Saturated`).
    pub saturated_max: u16,
}

/// Longest frame of [`LogMelFrontEnd`] in samples.
pub const FFT_LEN_MAX: u16 = 8192;
/// Shortest frame of [`LogMelFrontEnd`] in samples.
pub const FFT_LEN_MIN: u16 = 16;
/// Most frames that statistics are of.
pub const STATISTICS_FRAMES_MAX: u16 = 8192;
/// Fraction bits of the sine table of [`LogMelFrontEnd`].
pub const SINE_BITS: u32 = 30;
/// Most axes of [`LogMelFrontEnd`].
pub const AXES_MAX: u8 = 6;
/// Most samples to a value of an envelope.
pub const DECIMATION_MAX: u16 = 1024;
/// Features of a frame's moments: level, kurtosis, crest factor.
pub const MOMENTS: u32 = 3;
/// Most elements of the input, and most features of a frame.
pub const INPUT_LEN_MAX: u32 = 1 << 20;

/// How samples become the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontEnd {
    /// Samples are the int8 input tensor itself.
    Raw,
    /// Frames of an image sensor.
    Image(ImageFrontEnd),
    /// A stream of sound, 16 bits a sample, little-endian.
    LogMel(LogMelFrontEnd),
}
