//! What can go wrong once a model is parsed.

use core::fmt;

/// The arena given to [`Engine::run`](crate::Engine::run) is shorter than the plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaTooSmall {
    /// Bytes that the plan needs.
    pub needed: usize,
    /// Bytes that were given.
    pub given: usize,
}

impl fmt::Display for ArenaTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arena of {} bytes, the model needs {}", self.given, self.needed)
    }
}

impl core::error::Error for ArenaTooSmall {}
