//! The one rounding rule: an i32 times a real factor, as gemmlowp and TensorFlow Lite round it.
//!
//! A factor is `multiplier / 2^31 * 2^shift` (Jacob et al. 2018, eq. 6). It is applied in two roundings, first to the
//! high half of the doubled 64-bit product, then by a right shift: "double rounding". Whoever rounds once gets other
//! bits for about one value in some thousands.

/// High 32 bits of `2 * a * b`, rounded to nearest, ties towards plus infinity; `i32::MAX` for the one product that
/// overflows, `i32::MIN` squared.
///
/// gemmlowp's `SaturatingRoundingDoublingHighMul`. It nudges by the product's sign and divides truncating, which is the
/// same as the floor of `(a b + 2^30) / 2^31` used here.
#[inline(always)]
pub const fn doubling_high_multiply(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // |a b| < 2^62, so neither the sum nor the quotient overflows.
    ((a as i64 * b as i64 + (1 << 30)) >> 31) as i32
}

/// `value / 2^exponent`, rounded to nearest, ties away from zero. `exponent` is 0 to 31; higher bits are ignored.
///
/// gemmlowp's `RoundingDivideByPOT`.
#[inline(always)]
pub const fn rounding_divide_by_power_of_two(value: i32, exponent: u32) -> i32 {
    let mask = (1_u32.wrapping_shl(exponent)).wrapping_sub(1) as i32;
    let remainder = value & mask;
    let threshold = (mask >> 1).wrapping_add((value < 0) as i32);
    (value.wrapping_shr(exponent)).wrapping_add((remainder > threshold) as i32)
}

/// `value * multiplier / 2^31 * 2^shift` with double rounding; `shift` is -31 to 30, positive to the left.
///
/// TensorFlow Lite's `MultiplyByQuantizedMultiplier`. A left shift that leaves i32 wraps: `Model::parse` admits only
/// accumulators and shifts for which it does not happen or is the defined result.
#[inline(always)]
pub const fn requantize(value: i32, multiplier: i32, shift: i32) -> i32 {
    let (left, right) = if shift > 0 { (shift as u32, 0) } else { (0, shift.unsigned_abs()) };
    rounding_divide_by_power_of_two(doubling_high_multiply(value.wrapping_shl(left), multiplier), right)
}

/// `value * multiplier / 2^31 * 2^shift`, rounded once, by the upper 16 bits of the multiplier; `shift` is -31 to 7 and
/// `value` keeps within 48 bits.
///
/// TensorFlow Lite's `MultiplyByQuantizedMultiplier` of 64-bit sums, which layers of int16 activations have.
#[inline(always)]
pub const fn requantize_wide(value: i64, multiplier: i32, shift: i32) -> i32 {
    let upper = if multiplier < 0x7fff_0000 { (multiplier + (1 << 15)) >> 16 } else { 0x7fff };
    let right = (15 - shift) as u32;
    let half = 1_i64.wrapping_shl(right.wrapping_sub(1));
    (value.wrapping_mul(upper as i64).wrapping_add(half)).wrapping_shr(right) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_keeps_the_nearest_and_rounds_twice() {
        // 2^30 / 2^31 = 0.5: 5 -> 2.5 -> 3, -5 -> -2.5 -> -2 (first rounding: ties up).
        assert_eq!(requantize(5, 1 << 30, 0), 3);
        assert_eq!(requantize(-5, 1 << 30, 0), -2);
        // Second rounding: ties away from zero. 3 * 1 (2^30, shift 1) is 3; 0.5 * 2^-1 of 6: 3 -> 1.5 -> 2.
        assert_eq!(requantize(3, 1 << 30, 1), 3);
        assert_eq!(requantize(6, 1 << 30, -1), 2);
        assert_eq!(requantize(-6, 1 << 30, -1), -2);
        // Both: 5 -> 2.5 -> 3 -> 1.5 -> 2, though 5 / 4 = 1.25.
        assert_eq!(requantize(5, 1 << 30, -1), 2);
    }

    #[test]
    fn a_wide_sum_is_rounded_once() {
        // 5 / 4 = 1.25, which double rounding makes 2.
        assert_eq!(requantize_wide(5, 1 << 30, -1), 1);
        // 6 / 4 = 1.5 and -6 / 4 = -1.5 go up.
        assert_eq!((requantize_wide(6, 1 << 30, -1), requantize_wide(-6, 1 << 30, -1)), (2, -1));
        // The largest multiplier is 32767 / 32768.
        assert_eq!(requantize_wide(1 << 20, i32::MAX, 0), (1 << 20) - 32);
    }

    #[test]
    fn extremes() {
        assert_eq!(doubling_high_multiply(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(doubling_high_multiply(i32::MIN, i32::MAX), -i32::MAX);
        assert_eq!(rounding_divide_by_power_of_two(i32::MIN, 31), -1);
        assert_eq!(rounding_divide_by_power_of_two(i32::MAX, 31), 1);
        assert_eq!(rounding_divide_by_power_of_two(1 << 30, 31), 1);
        assert_eq!(rounding_divide_by_power_of_two(-(1 << 30), 31), -1);
        assert_eq!(rounding_divide_by_power_of_two(7, 0), 7);
    }
}
