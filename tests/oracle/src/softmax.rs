//! Softmax in gemmlowp's fixed point, from its definition.
//!
//! A value with `n` integer bits is `raw / 2^(31 - n)`. Here raws are i64 that must stay in 32 bits; the constants are
//! computed from what they stand for.

use neji_format::{Element, Multiplier, Operator, Softmax};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::Factor;
use crate::case::{Case, Constants, image, shape, tensor};

/// Integer bits of scaled differences.
const DIFFERENCE_BITS: i32 = 5;
/// Integer bits of the sum of exponentials.
const SUM_BITS: i32 = 12;

/// The raw value of `real` with `integer_bits`.
fn raw(real: f64, integer_bits: i32) -> i64 {
    ((real * f64::from(31 - integer_bits).exp2()).round() as i64).min(i32::MAX.into())
}

/// `a * b / 2^31`, rounded: the product of two fixed-point numbers.
fn product(a: i64, b: i64) -> i64 {
    Factor { multiplier: i32::try_from(b).expect("32 bits"), shift: 0 }.apply(a)
}

/// `a / 2^exponent`, halves away from zero.
fn halved(a: i64, exponent: i8) -> i64 {
    let divisor = 1_i64 << exponent;
    a.signum() * ((a.abs() + divisor / 2) / divisor)
}

/// `a * 2^exponent`, saturating.
fn doubled(a: i64, exponent: i8) -> i64 {
    (a << exponent).clamp(i32::MIN.into(), i32::MAX.into())
}

/// `e^a` on `[-1/4, 0)`, no integer bits: the Taylor polynomial of degree 4 around -1/8.
fn exp_of_small(a: i64) -> i64 {
    let constant = raw((-0.125_f64).exp(), 0);
    let x = a + raw(0.125, 0);
    let x2 = product(x, x);
    let x3 = product(x2, x);
    let x4 = product(x2, x2);
    let tail = halved(product(halved(x4, 2) + x3, raw(1.0 / 3.0, 0)) + x2, 1);
    constant + product(constant, x + tail)
}

/// `e^a` for `a <= 0` with [`DIFFERENCE_BITS`]: the polynomial of what exceeds multiples of 1/4, times `e^-(2^k)` for each
/// bit of those.
fn exp_of_negative(a: i64) -> i64 {
    let quarter = raw(0.25, DIFFERENCE_BITS);
    let small = a.rem_euclid(quarter) - quarter;
    let mut result = exp_of_small(doubled(small, DIFFERENCE_BITS as i8));
    let quarters = (small - a) / quarter;
    for bit in 0..7 {
        if quarters >> bit & 1 == 1 {
            result = product(result, raw((-f64::from(bit - 2).exp2()).exp(), 0));
        }
    }
    if a == 0 { i32::MAX.into() } else { result }
}

/// `1 / (1 + a)` on `[0, 1)`: three steps of Newton and Raphson with two integer bits.
fn reciprocal(a: i64) -> i64 {
    let half = halved(a + i64::from(i32::MAX), 1);
    let mut x = raw(48.0 / 17.0, 2) + product(half, raw(-32.0 / 17.0, 2));
    for _ in 0..3 {
        x += doubled(product(x, raw(1.0, 2) - product(half, x)), 2);
    }
    doubled(x, 1)
}

fn softmax(logits: &[i16], factor: Factor, difference_min: i64) -> Vec<i16> {
    let largest = logits.iter().map(|&q| i64::from(q)).max().expect("a channel");
    let exponential = |&q: &i16| {
        let difference = i64::from(q) - largest;
        (difference >= difference_min).then(|| exp_of_negative(factor.apply(difference)))
    };
    let sum: i64 = logits.iter().filter_map(exponential).map(|e| halved(e, SUM_BITS as i8)).sum();
    // sum = (1 + fraction) * 2^exponent.
    let bits = i64::from(63 - sum.leading_zeros());
    let fraction = (sum << (31 - bits)) - (1 << 31);
    let scale = reciprocal(fraction);
    let exponent = bits - i64::from(31 - SUM_BITS);
    let quantized = |q: &i16| match exponential(q) {
        Some(e) => (halved(product(scale, e), (exponent + 31 - 8) as i8) - 128).clamp(-128, 127) as i16,
        None => -128,
    };
    logits.iter().map(quantized).collect()
}

/// With the factor that TensorFlow Lite makes of a scale.
fn cases() -> impl Strategy<Value = Case> {
    (image(Element::I8, 40), 0.002..0.5_f64).prop_map(|(image, scale)| {
        let real = (scale * f64::from(1 << 26)).min(f64::from(i32::MAX));
        let shift = real.log2().floor() as i32 + 1;
        let mantissa = (real / f64::from(shift).exp2() * f64::from(1_u32 << 31)).round().min(f64::from(i32::MAX));
        let radius = (31.0 * f64::from(1 << 26) / f64::from(shift).exp2()).floor() as i32;
        let factor = Factor { multiplier: mantissa as i32, shift: shift as i8 };
        let depth = image.channels as usize;
        let expected: Vec<i16> =
            image.values.chunks(depth).flat_map(|logits| softmax(logits, factor, -i64::from(radius))).collect();
        let input = tensor(0, shape(image.sizes()), image.zero_point);
        let output = tensor(input.shape.len(), input.shape, -128);
        let multiplier = Multiplier::from(factor);
        let operator = Operator::Softmax(Softmax { input, output, multiplier, difference_min: -radius });
        Case::new(Element::I8, vec![operator], Constants::default(), input, output, &image.values, &expected)
    })
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    vec![("softmax", cases().boxed())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixed point is no end in itself: it is within a step of the real softmax.
    #[test]
    fn it_is_nearly_the_real_one() {
        let logits: Vec<i16> = vec![-128, -20, 0, 31, 40, 41];
        let scale = 1.0 / 16.0;
        let found = softmax(&logits, Factor { multiplier: 1 << 30, shift: 23 }, -248);
        let exponentials: Vec<f64> = logits.iter().map(|&q| (f64::from(q) * scale).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        for (e, q) in exponentials.iter().zip(found) {
            assert!((f64::from(q) - (e / sum * 256.0 - 128.0)).abs() < 0.6, "{q}");
        }
    }
}
