//! Bounds of i32 sums, for the very weights of a blob.

use super::is_normal;
use crate::error::DecodeError;
use crate::quant::Multiplier;
use crate::tensor::{Element, Tensor};

/// Largest magnitude that a sum may reach, after its left shift. What is left to 2^31 holds the rounding, the zero point
/// and the residual's other term (16 * 255).
const LIMIT: u64 = (1 << 31) - 8192;

/// Largest `|q - zero_point|` of a tensor: 128 to 255, or 32,768 of int16.
pub(super) fn reach(element: Element, tensor: &Tensor) -> u64 {
    let (low, high) = element.range();
    let zero_point = i32::from(tensor.zero_point);
    (zero_point - i32::from(low)).max(i32::from(high) - zero_point).unsigned_abs().into()
}

/// Checks a multiplier and that an i64 sum of at most `magnitude` can be rounded once by its upper half: the shift goes right
/// by at least 8, the sum keeps within 48 bits, and the result fits 32.
pub(super) fn check_wide(
    operator: u16,
    channel: u32,
    magnitude: u64,
    multiplier: Multiplier,
) -> Result<(), DecodeError> {
    if !is_normal(multiplier) || multiplier.shift > 7 {
        return Err(DecodeError::Multiplier { operator, channel });
    }
    let right = (15 - i32::from(multiplier.shift)).unsigned_abs();
    if magnitude >= 1 << 47 || (magnitude << 15) >> right > LIMIT {
        return Err(DecodeError::AccumulatorOverflow { operator, channel });
    }
    Ok(())
}

/// Whether a sum of at most `magnitude` can be requantized by `multiplier` without an overflow.
#[inline(never)]
pub(super) fn fits(magnitude: u64, multiplier: Multiplier) -> bool {
    // The magnitude is compared first, so that the shift (at most 30) cannot push bits out.
    magnitude <= LIMIT && magnitude << multiplier.shift.max(0) <= LIMIT
}

/// Checks a multiplier and that a sum of at most `magnitude` can be requantized by it.
#[inline(never)]
pub(super) fn check(operator: u16, channel: u32, magnitude: u64, multiplier: Multiplier) -> Result<(), DecodeError> {
    if !is_normal(multiplier) {
        return Err(DecodeError::Multiplier { operator, channel });
    }
    if !fits(magnitude, multiplier) {
        return Err(DecodeError::AccumulatorOverflow { operator, channel });
    }
    Ok(())
}

/// An upper bound of `|requantize(value, multiplier)|` for `|value| <= magnitude`, where `fits(magnitude, multiplier)`.
pub(super) fn requantized(magnitude: u64, multiplier: Multiplier) -> u64 {
    let left = magnitude << multiplier.shift.max(0);
    // Both roundings add less than 1 each.
    let product = ((left * u64::from(multiplier.multiplier.unsigned_abs())) >> 31) + 1;
    (product >> multiplier.shift.min(0).unsigned_abs()) + 1
}
