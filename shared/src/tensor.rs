//! Activations in the arena and constants in flash.

use serde::{Deserialize, Serialize};

/// Shape of an activation, NHWC with N = 1. A vector of n features is `1 x 1 x n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Channels, the fastest index.
    pub channels: u32,
}

impl Shape {
    /// A shape of `height x width x channels`.
    pub const fn new(height: u32, width: u32, channels: u32) -> Self {
        Self { height, width, channels }
    }

    /// Number of elements, or `None` if it exceeds `u32`.
    pub const fn checked_len(self) -> Option<u32> {
        match self.height.checked_mul(self.width) {
            Some(pixels) => pixels.checked_mul(self.channels),
            None => None,
        }
    }

    /// Number of elements of a shape that was checked; saturates.
    pub const fn len(self) -> usize {
        (self.height as usize).saturating_mul(self.width as usize).saturating_mul(self.channels as usize)
    }

    /// True where a dimension is zero.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// An int8 activation: `real = scale * (q - zero_point)`, stored in the arena at `offset`, row-major NHWC.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Byte offset in the arena.
    pub offset: u32,
    /// NHWC, N = 1.
    pub shape: Shape,
    /// Real size of one step; for people and for the edges, kernels don't read it.
    pub scale: f32,
    /// The quantized value that stands for real zero.
    pub zero_point: i8,
}

/// A run of bytes in the constants section, 16-byte aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Byte offset from the beginning of the constants section, a multiple of 16.
    pub offset: u32,
    /// Length in bytes.
    pub bytes: u32,
}
