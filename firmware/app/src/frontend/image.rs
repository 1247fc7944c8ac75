//! The image front end: resize, sensor checks, light, alignment, quantization.

use neji_engine::requantize::requantize;
use neji_format::{Element, ImageFrontEnd, Model, PixelFormat, Size};

use super::align::{self, Pose};
use super::mask::{Cut, labels_max, largest_component, touches_border};
use super::photometric::normalise;
use super::register::{CORRELATION_BITS, register};
use super::resize::{AreaResize, PixelStatistics};
use crate::error::{Rejection, SensorFault, SetupError};

/// Zero point of every image input: grey 0 is -128.
pub const ZERO_POINT: i32 = -128;
/// Steps of an int16 image input for a grey level, so that white, 32640, is nearly all of the range; its zero point is 0.
pub const I16_PER_LEVEL: i32 = 128;

/// How the front end divides its memory, in 32-bit words: the resized image, two rows of sums, the mask's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The resized image.
    pub image_words: usize,
    /// Two rows of sums, needed while the frame comes in.
    pub sum_words: usize,
    /// Labels and their forest, needed while the part is looked for; 0 without alignment.
    pub label_words: usize,
}

impl Layout {
    /// The layout of a configuration.
    pub fn of(config: &ImageFrontEnd) -> Self {
        let (width, height) = (usize::from(config.resize.width), usize::from(config.resize.height));
        let pixels = width.saturating_mul(height);
        let label_words = pixels.div_ceil(2) + labels_max(width, height);
        Self {
            image_words: pixels.div_ceil(4),
            sum_words: 2 * width,
            label_words: if config.alignment.is_some() { label_words } else { 0 },
        }
    }

    /// Words of what outlives a frame's arrival: image and sums.
    pub fn frame_words(self) -> usize {
        self.image_words + self.sum_words
    }
}

/// Memory that [`extract`] and [`measure`] need in bytes, with 3 bytes to spare so that it may begin anywhere.
pub fn memory_bytes(config: &ImageFrontEnd) -> usize {
    let layout = Layout::of(config);
    4 * (layout.frame_words() + layout.label_words) + 3
}

/// Bytes of a frame from the sensor.
pub fn frame_bytes(config: &ImageFrontEnd) -> usize {
    let pixel_bytes = if config.pixel_format == PixelFormat::Grey8 { 1 } else { 3 };
    usize::from(config.sensor.width) * usize::from(config.sensor.height) * pixel_bytes
}

/// Size of what comes out: the strip, or the resized image without alignment.
pub fn output_size(config: &ImageFrontEnd) -> Size {
    config.alignment.map_or(config.resize, |alignment| alignment.strip)
}

/// The template of a registration; empty where there is none.
pub fn template<'a>(model: &Model<'a>, config: &ImageFrontEnd) -> &'a [u8] {
    let registration = config.alignment.and_then(|alignment| alignment.registration);
    registration.map_or(&[], |registration| model.constant(registration.template))
}

/// Elements of what comes out.
pub fn output_len(config: &ImageFrontEnd) -> usize {
    let size = output_size(config);
    usize::from(size.width) * usize::from(size.height)
}

/// Checks that the sizes fit together, so that nothing later can overflow.
///
/// # Errors
/// [`SetupError::Geometry`].
pub fn check(config: &ImageFrontEnd) -> Result<(), SetupError> {
    let (crop, resize) = (config.crop, config.resize);
    let inside = |start: u16, len: u16, all: u16| u32::from(start) + u32::from(len) <= u32::from(all);
    let crop_fits =
        inside(crop.x, crop.width, config.sensor.width) && inside(crop.y, crop.height, config.sensor.height);
    let resize_fits = (1..=crop.width).contains(&resize.width) && (1..=crop.height).contains(&resize.height);
    let sums_fit = u32::from(crop.width) * u32::from(crop.height) <= 1 << 24;
    let aligned = config.alignment.is_none_or(|alignment| {
        labels_max(resize.width.into(), resize.height.into()) <= usize::from(u16::MAX)
            && alignment.strip.width > 0
            && alignment.strip.height > 0
            && alignment.length <= 1 << 24
            && alignment.breadth <= 1 << 24
    });
    if crop_fits && resize_fits && sums_fit && aligned { Ok(()) } else { Err(SetupError::Geometry) }
}

/// Judges the raw pixels of a frame.
///
/// # Errors
/// [`SensorFault::Constant`] before [`SensorFault::Saturated`].
pub fn check_sensor(config: &ImageFrontEnd, statistics: PixelStatistics) -> Result<(), SensorFault> {
    if statistics.max.saturating_sub(statistics.min) < config.range_min {
        return Err(SensorFault::Constant);
    }
    if u64::from(statistics.saturated) * 1000 > u64::from(config.saturated_max) * u64::from(statistics.pixels) {
        return Err(SensorFault::Saturated);
    }
    Ok(())
}

/// Normalises a resized image in place and finds the part; `None` without alignment. `template` is that of [`template`],
/// `labels` as in [`Layout`].
///
/// # Errors
/// [`Rejection::PartNotFound`] where the largest component is smaller or larger than the alignment allows,
/// [`Rejection::PartCut`] where it must be whole and touches the border, [`Rejection::PartUnlike`] where it correlates
/// less with the template than it must.
pub fn prepare(
    config: &ImageFrontEnd,
    template: &[u8],
    image: &mut [u8],
    labels: &mut [u32],
) -> Result<Option<Pose>, Rejection> {
    normalise(config.photometric, image);
    let Some(alignment) = config.alignment else { return Ok(None) };
    let width = usize::from(config.resize.width);
    let Some((labels, nodes)) = labels.split_at_mut_checked(image.len().div_ceil(2)) else {
        let layout = Layout::of(config);
        return Err(too_small(4 * layout.label_words, 4 * labels.len()));
    };
    let labels: &mut [u16] = bytemuck::cast_slice_mut(labels);
    let labels = labels.get_mut(..image.len()).unwrap_or(&mut []);
    let cut = Cut::of(image, width, alignment.polarity, alignment.threshold);
    let area = largest_component(image, width, cut, labels, nodes);
    if area == 0 || area < alignment.area_min || area > alignment.area_max {
        return Err(Rejection::PartNotFound);
    }
    if alignment.whole_only && touches_border(labels, width) {
        return Err(Rejection::PartCut);
    }
    let pose = align::pose(labels, width, alignment.heading).ok_or(Rejection::PartNotFound)?;
    let Some(registration) = alignment.registration else { return Ok(Some(pose)) };
    let pose = register(image, config.resize, pose, &alignment, &registration, template);
    let least = i64::from(registration.correlation_min) << CORRELATION_BITS;
    if i64::from(pose.correlation) * 1000 < least { Err(Rejection::PartUnlike) } else { Ok(Some(pose)) }
}

/// Quantizes a prepared image, or the strip of `pose`, into `out`, the bytes of a model's input of `element`s.
///
/// int8 is the grey level less 128; int16 is 128 times the grey level.
pub fn emit(config: &ImageFrontEnd, image: &[u8], pose: Option<&Pose>, element: Element, out: &mut [i8]) {
    let level = |grey: u8| requantize(grey.into(), config.quantize.multiplier, config.quantize.shift.into());
    match element {
        Element::I8 => {
            emit_with(config, image, pose, out, |grey| level(grey).saturating_add(ZERO_POINT).clamp(-128, 127) as i8)
        }
        Element::I16 => {
            let out = bytemuck::try_cast_slice_mut(out).unwrap_or(&mut []);
            emit_with(config, image, pose, out, |grey| (level(grey).clamp(0, 255) * I16_PER_LEVEL) as i16);
        }
    }
}

fn emit_with<E>(config: &ImageFrontEnd, image: &[u8], pose: Option<&Pose>, out: &mut [E], quantize: impl Fn(u8) -> E) {
    match (pose, config.alignment) {
        (Some(pose), Some(alignment)) => align::strip(image, config.resize, pose, &alignment, |index, grey| {
            if let Some(out) = out.get_mut(index) {
                *out = quantize(grey);
            }
        }),
        _ => {
            for (out, &grey) in out.iter_mut().zip(image) {
                *out = quantize(grey);
            }
        }
    }
}

fn too_small(needed: usize, given: usize) -> Rejection {
    Rejection::Setup(SetupError::MemoryTooSmall { needed, given })
}

/// Runs a whole frame up to the pose.
fn pass<'m>(
    config: &ImageFrontEnd,
    template: &[u8],
    mut pixels: &[u8],
    memory: &'m mut [u8],
) -> Result<(&'m mut [u8], Option<Pose>), Rejection> {
    check(config).map_err(Rejection::Setup)?;
    let layout = Layout::of(config);
    let (needed, given) = (memory_bytes(config), memory.len());
    let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
    let (image, words) = words.split_at_mut_checked(layout.image_words).ok_or(too_small(needed, given))?;
    let (sums, labels) = words.split_at_mut_checked(layout.sum_words).ok_or(too_small(needed, given))?;
    let labels = labels.get_mut(..layout.label_words).ok_or(too_small(needed, given))?;
    let image: &mut [u8] = bytemuck::cast_slice_mut(image);
    let image = &mut image[..usize::from(config.resize.width) * usize::from(config.resize.height)];
    let mut resize = AreaResize::new(config);
    if !resize.push(&mut pixels, image, sums) {
        return Err(Rejection::SensorFault(SensorFault::Dropped));
    }
    check_sensor(config, resize.statistics()).map_err(Rejection::SensorFault)?;
    let pose = prepare(config, template, image, labels)?;
    Ok((image, pose))
}

/// Turns a frame into the model's input: the one-call form of what the monitor does piece by piece.
///
/// `template` is that of [`template`], `memory` at least [`memory_bytes`] long, `out` exactly [`output_len`]. Samples beyond a frame are ignored.
///
/// # Errors
/// A [`Rejection`]; `out` is then unchanged.
pub fn extract(
    config: &ImageFrontEnd,
    template: &[u8],
    pixels: &[u8],
    memory: &mut [u8],
    out: &mut [i8],
) -> Result<(), Rejection> {
    if out.len() != output_len(config) {
        return Err(too_small(output_len(config), out.len()));
    }
    let (image, pose) = pass(config, template, pixels, memory)?;
    emit(config, image, pose.as_ref(), Element::I8, out);
    Ok(())
}

/// Measures the part of a frame by the same path as [`extract`], so that a host can fit an alignment to its data.
///
/// # Errors
/// A [`Rejection`]; [`Rejection::PartNotFound`] also without alignment.
pub fn measure(config: &ImageFrontEnd, template: &[u8], pixels: &[u8], memory: &mut [u8]) -> Result<Pose, Rejection> {
    let (_, pose) = pass(config, template, pixels, memory)?;
    pose.ok_or(Rejection::PartNotFound)
}
