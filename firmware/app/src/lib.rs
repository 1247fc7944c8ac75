//! neji-app: from a sensor's samples to a verdict and an alarm.
//!
//! The one idea: what decides a score exists once. The host links this crate, so training, evaluation and simulation use
//! the device's own front end, score and decision. All arithmetic is on integers, so that every core, with or without a
//! floating point unit, gives the same bits.
//!
//! [`Monitor`] does no I/O: it takes samples and gives verdicts. [`Station`] is the blocking loop around it: a [`Sensor`],
//! a [`ReportWriter`] and an [`AlarmPin`]. [`link::LinkStation`] has a live link to a PC around it instead, in both directions.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod aggregate;
pub mod alarm;
pub mod calibrate;
pub mod decide;
pub mod drift;
pub mod driver;
pub mod error;
pub mod frontend;
pub mod judge;
pub mod learn;
pub mod link;
pub mod monitor;
pub mod paced;
pub mod queue;
pub mod report;
pub mod restart;
pub mod ring;
pub mod score;
pub mod sensor;
pub mod state;

pub use aggregate::Aggregator;
pub use alarm::{AlarmPin, AlarmPolarity};
pub use calibrate::CalibrationError;
pub use decide::{Decided, Decider};
pub use drift::Trend;
pub use error::{Error, MonitorError, Rejection, SensorFault, SetupError};
pub use judge::{Calibration, Judge};
pub use learn::{Fixed, Learner, Tables};
pub use link::LinkStation;
pub use monitor::{Monitor, Outcome, Verdict};
pub use paced::{Pace, PacedSensor};
pub use queue::QueueSensor;
pub use report::{FrameDecoder, FrameError, Report, ReportWriter};
pub use restart::{Cause, RETAINED_WORDS, Restart, Retained, Stage, Why};
pub use ring::Ring;
pub use score::Classification;
pub use sensor::{Sensor, Station};
pub use state::{STATE_BYTES, StateError};
