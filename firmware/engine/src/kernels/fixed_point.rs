//! Softmax in fixed point.
//!
//! A number with `n` integer bits is an i32 of value `raw / 2^(31 - n)`. Products are `doubling_high_multiply`, which adds
//! the integer bits of its factors. The exponential and the reciprocal are gemmlowp's published approximations
//! (`fixedpoint.h`): a Taylor polynomial on a quarter times constants for the higher bits, and Newton-Raphson.

use crate::element::Element;
use crate::requantize::{doubling_high_multiply, rounding_divide_by_power_of_two};

/// Integer bits of scaled differences.
const DIFFERENCE_BITS: u32 = 5;
/// Integer bits of the sum of exponentials.
const SUM_BITS: u32 = 12;

/// [`doubling_high_multiply`], once in an image.
#[inline(never)]
fn multiply(a: i32, b: i32) -> i32 {
    doubling_high_multiply(a, b)
}

/// [`rounding_divide_by_power_of_two`], once in an image.
#[inline(never)]
fn divide(value: i32, exponent: u32) -> i32 {
    rounding_divide_by_power_of_two(value, exponent)
}

/// `value * 2^exponent`, saturating.
const fn shift_left(value: i32, exponent: u32) -> i32 {
    let high = i32::MAX >> exponent;
    if value > high {
        i32::MAX
    } else if value < -high - 1 {
        i32::MIN
    } else {
        value << exponent
    }
}

/// `e^a` for `a` in `[-1/4, 0)`; no integer bits. The Taylor polynomial of degree 4 around -1/8.
fn exp_quarter(a: i32) -> i32 {
    const EXP_OF_MINUS_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = a.wrapping_add(1 << 28);
    let x2 = multiply(x, x);
    let x3 = multiply(x2, x);
    let x4 = multiply(x2, x2);
    let higher = divide(multiply(divide(x4, 2).wrapping_add(x3), THIRD).wrapping_add(x2), 1);
    EXP_OF_MINUS_EIGHTH.wrapping_add(multiply(EXP_OF_MINUS_EIGHTH, x.wrapping_add(higher)))
}

/// `e^a` for `a <= 0` with [`DIFFERENCE_BITS`] integer bits; the result has none.
#[inline(never)]
fn exp_of_negative(a: i32) -> i32 {
    /// `2^31 e^(-2^k)` for k = -2 to 4.
    const FACTORS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    const QUARTER: i32 = 1 << (31 - DIFFERENCE_BITS - 2);
    if a == 0 {
        return i32::MAX;
    }
    let fraction = (a & (QUARTER - 1)).wrapping_sub(QUARTER);
    let remainder = fraction.wrapping_sub(a);
    let mut result = exp_quarter(shift_left(fraction, DIFFERENCE_BITS));
    let mut bit = QUARTER;
    for factor in FACTORS {
        if remainder & bit != 0 {
            result = multiply(result, factor);
        }
        bit = bit.wrapping_shl(1);
    }
    result
}

/// `1 / (1 + a)` for `a` in `[0, 1)`; no integer bits. Three steps of Newton-Raphson from `48/17 - 32/17 d`.
fn reciprocal_of_one_plus(a: i32) -> i32 {
    const TWO_BITS_48_17: i32 = 1_515_870_810;
    const TWO_BITS_MINUS_32_17: i32 = -1_010_580_540;
    const TWO_BITS_ONE: i32 = 1 << 29;
    // (a + 1) / 2, rounded; a is not negative.
    let half_denominator = ((i64::from(a) + i64::from(i32::MAX) + 1) >> 1) as i32;
    let mut x = TWO_BITS_48_17.wrapping_add(multiply(half_denominator, TWO_BITS_MINUS_32_17));
    for _ in 0..3 {
        let error = TWO_BITS_ONE.wrapping_sub(multiply(half_denominator, x));
        x = x.wrapping_add(shift_left(multiply(x, error), 2));
    }
    shift_left(x, 1)
}

/// Softmax of one vector, as TensorFlow Lite's int8 reference computes it; scale 1/256, zero point -128.
///
/// `difference_min` bounds the differences for which `difference << shift` stays in i32.
pub(crate) fn softmax(input: &[i8], multiplier: i32, shift: u32, difference_min: i32, output: &mut [i8]) {
    let largest = i32::from(input.iter().copied().max().unwrap_or(0));
    let exponential = |q: i8| {
        let difference = i32::from(q).wrapping_sub(largest);
        let scaled = multiply(difference.wrapping_shl(shift), multiplier);
        (difference >= difference_min).then(|| exp_of_negative(scaled))
    };
    let mut sum = 0_i32;
    for &q in input {
        sum = sum.wrapping_add(divide(exponential(q).unwrap_or(0), SUM_BITS));
    }
    // sum = 2^bits (1 + a) with a in [0, 1).
    let headroom = sum.leading_zeros();
    let mantissa = sum.cast_unsigned().wrapping_shl(headroom).wrapping_sub(1 << 31).cast_signed();
    let scale = reciprocal_of_one_plus(mantissa);
    let bits = SUM_BITS.wrapping_sub(headroom).wrapping_add(31 - 8);
    for (&q, out) in input.iter().zip(output) {
        // Above 31 bits, at sums of 512 and more, every share is less than half a step.
        let probability = exponential(q).filter(|_| bits <= 31).map_or(0, |e| divide(multiply(scale, e), bits));
        *out = i8::narrowed(probability.wrapping_sub(128));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials() {
        assert_eq!(exp_of_negative(0), i32::MAX);
        // e^-1 2^31 = 790,015,084; the polynomial leaves out 2^31 (1/8)^5 / 120 = 546 at its ends.
        assert!(exp_of_negative(-(1 << 26)).abs_diff(790_015_084) < 600);
        assert!(exp_of_negative(-(1 << 23)).abs_diff(1_895_147_668) < 200);
    }

    #[test]
    fn reciprocals() {
        // 1 / (1 + 1/2) 2^31 = 1,431,655,765; 1 / 1 saturates.
        assert!(reciprocal_of_one_plus(1 << 30).abs_diff(1_431_655_765) < 64);
        assert!(reciprocal_of_one_plus(0) > i32::MAX - 64);
    }

    #[test]
    fn equal_logits_share() {
        let mut output = [0; 4];
        softmax(&[3; 4], 1 << 30, 20, -15, &mut output);
        assert_eq!(output, [-64; 4]);
    }

    #[test]
    fn a_share_of_a_thousandth_is_zero() {
        let mut output = [0; 1000];
        softmax(&[7; 1000], 1 << 30, 20, -15, &mut output);
        assert_eq!(output, [-128; 1000]);
    }
}
