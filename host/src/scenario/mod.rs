//! Streams of sound as an engineer has them: sources, faults, what happens to a sensor, and what must come of it.

pub mod board;
pub mod config;
#[cfg(test)]
mod double;
pub mod judge;
pub mod mix;
pub mod play;
pub mod run;
mod source;
pub mod spectrogram;
pub mod timeline;
pub mod wav;

pub use config::Scenario;
pub use mix::{Item, SensorStream};
