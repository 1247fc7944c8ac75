//! What can go wrong once a model is parsed.

use core::fmt;

/// Why [`Engine::run`](crate::Engine::run) did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunError {
    /// The arena is shorter than the plan needs.
    ArenaTooSmall {
        /// Bytes that the plan needs.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// int16 activations need an arena at an even address.
    ArenaMisaligned,
    /// int16 activations on kernels for int8 only.
    Int8Only,
    /// An operator whose weights lie in pairs of rows, which this instruction set does not read.
    Packed {
        /// Its index.
        operator: u16,
    },
    /// An operator whose Cargo feature this firmware was built without.
    NotLinked {
        /// Its index.
        operator: u16,
        /// The feature of this crate.
        feature: &'static str,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArenaTooSmall { needed, given } => {
                write!(f, "arena of {given} bytes, the model needs {needed}")
            }
            Self::ArenaMisaligned => f.write_str("the model's int16 activations need an arena at an even address"),
            Self::Int8Only => f.write_str("the model has int16 activations, this firmware computes int8 only"),
            Self::Packed { operator } => {
                // Short enough for a report of the device.
                write!(
                    f,
                    "operator {operator} has weights in pairs, which these kernels don't read: `neji pack --for any`"
                )
            }
            Self::NotLinked { operator, feature } => {
                write!(
                    f,
                    "operator {operator} needs neji-engine's feature {feature}, this firmware was built without it"
                )
            }
        }
    }
}

impl core::error::Error for RunError {}
