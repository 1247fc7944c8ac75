//! What crosses crates, as one test binary.

mod hostile;
