//! What crosses crates, as one test binary.

mod boards;
mod conformance;
mod hostile;
mod real;
mod report;
mod story;
