//! What crosses crates, as one test binary.

mod bench;
mod boards;
mod calibration;
mod conformance;
mod hostile;
#[cfg(unix)]
mod monitor;
mod profile;
mod real;
mod report;
mod scenario;
mod sound;
mod story;
