//! Parameters of the front end: how a sensor's samples become the model's input. The arithmetic is neji-app's.

use serde::{Deserialize, Serialize};

use crate::quant::Multiplier;

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

/// Finds the part, turns it so that its principal axis lies along the strip, and resamples it.
///
/// Mask by threshold, largest 8-connected component, centroid and principal axis by second moments, the thicker end to
/// the left, then bilinear resampling of a `length x breadth` rectangle to `strip`.
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
    /// Turn the part by 180 degrees where its thicker end lies to the right.
    pub thick_end_first: bool,
    /// Extent along the axis that the strip's width covers, in 1/256 pixel of the resized image.
    pub length: u32,
    /// Extent across the axis that the strip's height covers, in 1/256 pixel.
    pub breadth: u32,
    /// Size of the strip: the model's input.
    pub strip: Size,
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

/// How samples become the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontEnd {
    /// Samples are the int8 input tensor itself.
    Raw,
    /// Frames of an image sensor.
    Image(ImageFrontEnd),
}
