//! The monitor's words in those of the link.

use neji_format::{FrontEnd, Model, Plan, Transform};
use neji_link::{Levels, Outcome, Reason, ResetCause, Sensor, SensorFault, Trend};

use crate::calibrate::{CalibrationError, SCORES_MAX, SCORES_MIN};
use crate::judge::Calibration;
use crate::restart::Cause;
use crate::{drift, error, monitor};

pub(super) fn outcome(outcome: monitor::Outcome) -> Outcome {
    use monitor::Outcome as From;
    match outcome {
        From::Scored { score, smoothed, class, abnormal } => Outcome::Scored { score, smoothed, class, abnormal },
        From::Calibrating { score, left } => Outcome::Calibrating { score, left },
        From::PartNotFound => Outcome::PartNotFound,
        From::PartCut => Outcome::PartCut,
        From::PartUnlike => Outcome::PartUnlike,
        From::SensorFault(fault) => Outcome::SensorFault(match fault {
            error::SensorFault::Constant => SensorFault::Constant,
            error::SensorFault::Saturated => SensorFault::Saturated,
            error::SensorFault::Dropped => SensorFault::Dropped,
        }),
        From::WindowNotFull => Outcome::WindowNotFull,
    }
}

impl From<Cause> for ResetCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Unknown => Self::Unknown,
            Cause::PowerOn => Self::PowerOn,
            Cause::Pin => Self::Pin,
            Cause::BrownOut => Self::BrownOut,
            Cause::Watchdog => Self::Watchdog,
            Cause::Software => Self::Software,
            Cause::Lockup => Self::Lockup,
            Cause::Debugger => Self::Debugger,
        }
    }
}

pub(super) fn trend(trend: drift::Trend) -> Trend {
    match trend {
        drift::Trend::Steady => Trend::Steady,
        drift::Trend::Higher => Trend::Higher,
        drift::Trend::Lower => Trend::Lower,
    }
}

pub(super) fn reason(error: CalibrationError) -> Reason {
    match error {
        CalibrationError::NoNormal => Reason::NoNormal,
        CalibrationError::AlarmOn => Reason::AlarmOn,
        CalibrationError::Scores { .. } => Reason::Scores { least: SCORES_MIN, most: SCORES_MAX },
    }
}

/// Where levels come from that nobody has set.
pub(super) fn levels(calibration: Calibration) -> Levels {
    match calibration {
        Calibration::Blob => Levels::Blob,
        Calibration::Learning(calibrator) => Levels::Learning { left: calibrator.left() },
        Calibration::Learned(normal) => Levels::Learned { location: normal.location, scale: normal.scale },
    }
}

/// What the model's sensor gives.
pub(super) fn sensor(plan: &Plan<'_>) -> Sensor {
    match &plan.front_end {
        FrontEnd::Raw => Sensor::Raw { bytes: input_bytes(plan) },
        FrontEnd::Image(config) => Sensor::Image {
            width: config.sensor.width,
            height: config.sensor.height,
            rgb: config.pixel_format == neji_format::PixelFormat::Rgb888,
        },
        FrontEnd::LogMel(config) => {
            // Samples to a value, and those before the first that it looks at.
            let (decimation, before) = match config.transform {
                Transform::Spectrum | Transform::Waveform => (1, 0),
                Transform::Envelope { decimation } => (u32::from(decimation), 1),
            };
            let values = |count: u32| count.saturating_mul(decimation);
            let (fft_len, hop) = (u32::from(config.fft_len), u32::from(config.hop));
            let before_frame = if config.centered { fft_len / 2 } else { 0 };
            let between = u32::from(config.context).saturating_sub(1).saturating_mul(hop);
            Sensor::Sound {
                rate: config.sample_rate,
                axes: config.axes,
                stride: values(u32::from(config.stride).saturating_mul(hop)),
                window: values(between.saturating_add(fft_len).saturating_sub(before_frame)),
                lead: values(before_frame).saturating_add(before),
            }
        }
    }
}

/// Bytes of samples from one place where a frame or a step of a window may begin to the next.
pub(super) fn step_bytes(model: &Model<'_>) -> u64 {
    match sensor(model.plan()) {
        Sensor::Raw { bytes } => bytes.into(),
        Sensor::Image { width, height, rgb } => {
            u64::from(width).saturating_mul(height.into()).saturating_mul(if rgb { 3 } else { 1 })
        }
        Sensor::Sound { axes, stride, .. } => u64::from(stride).saturating_mul(u64::from(axes)).saturating_mul(2),
    }
}

fn input_bytes(plan: &Plan<'_>) -> u32 {
    u32::try_from(plan.element.bytes_of(&plan.input)).unwrap_or(u32::MAX)
}
