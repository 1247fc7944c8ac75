//! Quantization parameters of operators.

use serde::{Deserialize, Serialize};

use crate::tensor::Constant;

/// A real factor as a 31-bit mantissa and a power of two: `real = multiplier / 2^31 * 2^shift`.
///
/// The form of TensorFlow Lite's `QuantizeMultiplier`: `multiplier` is 0 or in `[2^30, 2^31)` (for a mean, which divides the
/// mantissa by its count, one bit less is allowed: `[2^29, 2^31)`), `shift` is positive for a left shift and negative for a
/// right shift, in `[-31, 30]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multiplier {
    /// Mantissa in Q31.
    pub multiplier: i32,
    /// Exponent; positive shifts left.
    pub shift: i8,
}

/// How sums become outputs, per output channel.
///
/// `out = clamp(zero_point + requantize(acc + bias[c], multiplier[c], shift[c]), activation_min, activation_max)`
///
/// Biases of 4 bytes make i32 sums, which are rounded twice. With int16 activations biases may have 8 bytes: then sums are i64
/// and rounded once, by the upper half of the multiplier, as in TensorFlow Lite's 16x8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requantization {
    /// i32 or i64 little-endian, one an output channel: `scale_input * scale_weights[c]`, zero point 0.
    pub bias: Constant,
    /// i32 little-endian mantissas, one an output channel ([`Multiplier::multiplier`]).
    pub multiplier: Constant,
    /// i8 exponents, one an output channel ([`Multiplier::shift`]).
    pub shift: Constant,
    /// Lower bound of the output, inclusive: the fused activation.
    pub activation_min: i16,
    /// Upper bound of the output, inclusive.
    pub activation_max: i16,
}
