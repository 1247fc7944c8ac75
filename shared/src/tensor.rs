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

/// What the activations of a model are. Weights are int8 with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Element {
    /// int8 with scale and zero point.
    #[default]
    I8,
    /// int16 with scale; the zero point is 0 (TensorFlow Lite's 16x8).
    I16,
}

impl Element {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
        }
    }

    /// Bytes of a tensor in the arena; saturates.
    pub const fn bytes_of(self, tensor: &Tensor) -> usize {
        tensor.shape.len().saturating_mul(self.bytes())
    }

    /// Smallest and largest value.
    pub const fn range(self) -> (i16, i16) {
        match self {
            Self::I8 => (i8::MIN as i16, i8::MAX as i16),
            Self::I16 => (i16::MIN, i16::MAX),
        }
    }
}

/// An activation: `real = scale * (q - zero_point)`, stored in the arena at `offset`, row-major NHWC, int8 or little-endian
/// int16 as [`Plan::element`](crate::Plan::element) says.
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
