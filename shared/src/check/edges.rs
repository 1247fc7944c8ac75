//! Front end, streaming and decision.

use super::{constant, is_normal, sound, sum};
use crate::decode::Model;
use crate::detector::{Aggregate, Decision, Detector, Drift};
use crate::error::{DecisionFault, DecodeError, FrontEndFault, Place, StreamingFault};
use crate::front_end::{
    Alignment, FrontEnd, ImageFrontEnd, Photometric, REGISTRATION_DIRECTIONS_MAX, REGISTRATION_PIXELS_MAX,
    REGISTRATION_ROUNDS_MAX, Registration, Size,
};

/// Most pixels of a frame: the sum of all grey levels still fits 32 bits.
const PIXELS_MAX: u32 = 1 << 24;
/// Most scores that an aggregate stands for.
const SCORES_MAX: u16 = 4096;
/// Largest deviation of normal scores.
const SCALE_MAX: u32 = 1 << 30;
/// Largest limit of a drift's sums.
const LIMIT_MAX: u32 = 1 << 24;

/// Pixels of a size, which fit 32 bits.
fn pixels(size: Size) -> u32 {
    u32::from(size.width) * u32::from(size.height)
}

/// Checks the front end and that it fills the model's input.
pub(super) fn front_end(model: &Model<'_>) -> Result<(), DecodeError> {
    let plan = model.plan();
    match &plan.front_end {
        FrontEnd::Raw => Ok(()),
        FrontEnd::Image(image_front_end) => {
            image(image_front_end, plan.input.shape.len() as u32).map_err(DecodeError::FrontEnd)?;
            let Some(alignment) = image_front_end.alignment else { return Ok(()) };
            let Some(registration) = alignment.registration else { return Ok(()) };
            let template = u64::from(pixels(alignment.strip));
            constant(model, Place::FrontEnd, registration.template, Some(template))
        }
        FrontEnd::LogMel(config) => sound::log_mel(model, config),
    }
}

fn image(config: &ImageFrontEnd, needed: u32) -> Result<(), FrontEndFault> {
    let ImageFrontEnd { sensor, crop, resize, .. } = *config;
    if !(1..=PIXELS_MAX).contains(&pixels(sensor)) {
        return Err(FrontEndFault::Sensor);
    }
    let inside = |start: u16, len: u16, whole: u16| len > 0 && u32::from(start) + u32::from(len) <= whole.into();
    if !inside(crop.x, crop.width, sensor.width) || !inside(crop.y, crop.height, sensor.height) {
        return Err(FrontEndFault::Crop);
    }
    if !(1..=crop.width).contains(&resize.width) || !(1..=crop.height).contains(&resize.height) {
        return Err(FrontEndFault::Resize);
    }
    if config.saturated_max > 1000 {
        return Err(FrontEndFault::Saturated);
    }
    if let Photometric::Percentile { percent, target } = config.photometric
        && (!(1..=100).contains(&percent) || target == 0)
    {
        return Err(FrontEndFault::Photometric);
    }
    if !is_normal(config.quantize) || !sum::fits(255, config.quantize) {
        return Err(FrontEndFault::Quantize);
    }
    let size = match &config.alignment {
        Some(alignment) => strip(alignment)?,
        None => resize,
    };
    let given = pixels(size);
    if given == needed { Ok(()) } else { Err(FrontEndFault::OutputLength { needed, given }) }
}

/// Checks the alignment and returns the size of its strip.
fn strip(alignment: &Alignment) -> Result<Size, FrontEndFault> {
    let Alignment { area_min, area_max, length, breadth, strip, .. } = *alignment;
    if !(1..=PIXELS_MAX).contains(&pixels(strip)) {
        return Err(FrontEndFault::Strip);
    }
    // A part without a pixel has no centroid.
    if area_min == 0 || area_min > area_max {
        return Err(FrontEndFault::Area);
    }
    if !(1..=1 << 24).contains(&length) || !(1..=1 << 24).contains(&breadth) {
        return Err(FrontEndFault::Extent);
    }
    if alignment.registration.is_some_and(|registration| !is_bounded(&registration, strip)) {
        return Err(FrontEndFault::Registration);
    }
    Ok(strip)
}

/// Whether a registration looks at few strips, whose sums fit 32 bits.
fn is_bounded(registration: &Registration, strip: Size) -> bool {
    (1..=REGISTRATION_ROUNDS_MAX).contains(&registration.rounds)
        && registration.directions <= REGISTRATION_DIRECTIONS_MAX
        && pixels(strip) <= REGISTRATION_PIXELS_MAX
        && (-1000..=1000).contains(&registration.correlation_min)
}

/// Checks that a streaming model's lists are of one length and end in the output, and that its state lies in the arena apart
/// from the input. Its detector sees the output alone.
pub(super) fn streaming(model: &Model<'_>) -> Result<(), DecodeError> {
    let plan = model.plan();
    let Some(streaming) = plan.streaming else { return Ok(()) };
    let fault = |fault| Err(DecodeError::Streaming(fault));
    let Some(count) = plan.operator_count.checked_div(streaming.phases) else { return fault(StreamingFault::Phases) };
    if count == 0 || count.checked_mul(streaming.phases) != Some(plan.operator_count) {
        return fault(StreamingFault::Phases);
    }
    let ends = |index: u16| index.checked_rem(count) == Some(count - 1);
    let given = (0_u16..).zip(model.operators());
    if given.filter(|&(index, _)| ends(index)).any(|(_, operator)| *operator.output() != plan.output) {
        return fault(StreamingFault::Output);
    }
    let state = streaming.state_bytes;
    if state > model.header().arena_bytes || plan.input.offset < state || plan.output.offset < state {
        return fault(StreamingFault::State);
    }
    if streaming.full_after == 0 {
        return fault(StreamingFault::FullAfter);
    }
    if matches!(plan.front_end, FrontEnd::Image(_)) || matches!(plan.detector, Detector::Reconstruction(_)) {
        return fault(StreamingFault::Edges);
    }
    Ok(())
}

/// Whether sums that drift is seen by can reach their limit, and no further than 32 bits.
fn watches(drift: &Drift) -> bool {
    (1..=LIMIT_MAX).contains(&drift.limit) && drift.slack < drift.clip && drift.clip <= i16::MAX.cast_unsigned()
}

/// Checks the decision.
pub(super) fn decision(decision: &Decision) -> Result<(), DecodeError> {
    let fault = if !(1..=SCORES_MAX).contains(&decision.scores) {
        DecisionFault::Scores
    } else if matches!(decision.aggregate, Aggregate::TopK(count) if !(1..=64).contains(&count)) {
        DecisionFault::Aggregate
    } else if decision.release > decision.threshold {
        DecisionFault::Release
    } else if !(1..=32768).contains(&decision.smoothing) {
        DecisionFault::Smoothing
    } else if !(1..=32).contains(&decision.window) {
        DecisionFault::Window
    } else if !(1..=decision.window).contains(&decision.required) {
        DecisionFault::Required
    } else if decision.normal.is_some_and(|normal| !(1..=SCALE_MAX).contains(&normal.scale)) {
        DecisionFault::Normal
    } else if decision.drift.is_some_and(|drift| decision.normal.is_none() || !watches(&drift)) {
        DecisionFault::Drift
    } else {
        return Ok(());
    };
    Err(DecodeError::Decision(fault))
}
