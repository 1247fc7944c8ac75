//! Why a frame has no score, and why a stage cannot be set up.

use serde::{Deserialize, Serialize};

/// The sensor, not the part, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorFault {
    /// The lightest and the darkest pixel differ by less than the front end's `range_min`.
    Constant,
    /// More pixels than the front end's `saturated_max` are 0 or 255.
    Saturated,
    /// A frame ended before all its samples came.
    Dropped,
}

/// A front end that cannot work as configured or with the memory given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupError {
    /// An empty size, a crop outside of the sensor's frame, a resize larger than the crop, a crop of more than 2^24
    /// pixels, or an aligned image of more than 65534 possible labels.
    Geometry,
    /// The memory or the output slice is too small.
    MemoryTooSmall {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that there are.
        given: usize,
    },
}

/// Why a frame did not become an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The frame shows a fault of the sensor.
    SensorFault(SensorFault),
    /// No part of the expected size is in the frame.
    PartNotFound,
    /// The part touches the picture's border, so some of it lies outside.
    PartCut,
    /// What is in the frame has a part's size but does not look like one: its strip correlates too little with the template.
    PartUnlike,
    /// The caller's configuration or memory is wrong.
    Setup(SetupError),
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Geometry => f.write_str("the front end's sizes do not fit together"),
            Self::MemoryTooSmall { needed, given } => write!(f, "memory of {given} bytes, {needed} are needed"),
        }
    }
}

impl core::fmt::Display for SensorFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant frame",
            Self::Saturated => "saturated frame",
            Self::Dropped => "dropped samples",
        })
    }
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::SensorFault(fault) => write!(f, "sensor fault: {fault}"),
            Self::PartNotFound => f.write_str("part not found"),
            Self::PartCut => f.write_str("part cut off by the border"),
            Self::PartUnlike => f.write_str("part unlike the template"),
            Self::Setup(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SetupError {}
impl core::error::Error for Rejection {}

/// A model that this crate cannot monitor with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorError {
    /// The front end's sizes or the memory.
    Setup(SetupError),
    /// The front end does not make what the model takes.
    InputLength {
        /// Elements that the front end makes.
        front_end: usize,
        /// Elements of the model's input.
        model: usize,
    },
    /// The engine hasn't what the model needs: an operator, or int16 activations.
    NotLinked(neji_engine::RunError),
}

impl core::fmt::Display for MonitorError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::InputLength { front_end, model } => {
                write!(f, "the front end makes {front_end} elements, the model takes {model}")
            }
            Self::NotLinked(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MonitorError {}

/// What stops a [`crate::Station`], with the part's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<S, R, P> {
    /// The sensor could not be read.
    Sensor(S),
    /// A report could not be sent.
    Report(R),
    /// The alarm pin could not be set.
    Alarm(P),
}
