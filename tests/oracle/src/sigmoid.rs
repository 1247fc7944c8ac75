//! Logistic function and hyperbolic tangent of int16: a line between the points of the table.

use neji_format::{Element, LutFunction, Operator, Sigmoid};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::case::{Case, Constants, bytes_of, image, shape, tensor};

/// `65536 * logistic(i / 24)`, rounded: points every 1/24, not all of them TensorFlow Lite's own.
fn points() -> Vec<u16> {
    let point = |i: u32| 65536.0 / (1.0 + (-f64::from(i) / 24.0).exp());
    (0..256).map(|i| point(i).round().min(65535.0) as u16).collect()
}

/// The value at `x`, in 1/512 (logistic) or 1/256 (tanh) of the distance of two points, as exact as integers are.
fn apply(tanh: bool, points: &[u16], x: i64) -> i16 {
    let step = if tanh { 256 } else { 512 };
    let (index, fraction) = ((x.abs() / step) as usize, x.abs() % step);
    // The line, times the step: 65536 * step is one.
    let line = match points.get(index..index + 2) {
        Some(&[a, b]) => i64::from(a) * (step - fraction) + i64::from(b) * fraction,
        _ if tanh => 65535 * step,
        _ => 32767 * 1024,
    };
    let one = 65536 * step;
    // logistic(-x) = 1 - logistic(x), in 1/32768; tanh(-x) = -tanh(x) = 1 - 2 logistic. Halves round up for x >= 0 and down
    // below it.
    let (value, divisor) = match (tanh, x >= 0) {
        (false, true) => (line, 1024),
        (false, false) => (one - line, 1024),
        (true, true) => (line - one / 2, 256),
        (true, false) => (one / 2 - line, 256),
    };
    let half = divisor / 2 - i64::from(x < 0);
    (value + half).div_euclid(divisor).clamp(-32768, 32767) as i16
}

fn cases(function: LutFunction) -> impl Strategy<Value = Case> {
    (image(Element::I16, 9), 1..=u16::MAX, 0..=16_u8, any::<bool>()).prop_map(
        move |(image, multiplier, shift, in_place)| {
            let points = points();
            let scaled = |q: i16| {
                let half = if shift == 0 { 0 } else { 1_i64 << (shift - 1) };
                (i64::from(q) * i64::from(multiplier) + half) >> shift
            };
            let tanh = function == LutFunction::Tanh;
            let expected: Vec<i16> = image.values.iter().map(|&q| apply(tanh, &points, scaled(q))).collect();
            let form = shape(image.sizes());
            let input = tensor(0, form, 0);
            let output = tensor(if in_place { 0 } else { bytes_of(Element::I16, form) }, form, 0);
            let mut constants = Constants::default();
            let table = constants.u16(&points);
            let operator = Operator::Sigmoid(Sigmoid { input, output, function, multiplier, shift, table });
            Case::new(Element::I16, vec![operator], constants, input, output, &image.values, &expected)
        },
    )
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    vec![
        ("logistic of int16", cases(LutFunction::Logistic).boxed()),
        ("tanh of int16", cases(LutFunction::Tanh).boxed()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integers are no end in themselves.
    #[test]
    fn they_are_nearly_the_real_ones() {
        let points = points();
        for x in (-140_000..140_000_i64).step_by(777) {
            let logistic = 1.0 / (1.0 + (-(x as f64) / 512.0 / 24.0).exp());
            assert!((f64::from(apply(false, &points, x)) / 32768.0 - logistic).abs() < 3e-4, "{x}");
            let tanh = (x as f64 / 256.0 / 48.0).tanh();
            assert!((f64::from(apply(true, &points, x)) / 32768.0 - tanh).abs() < 3e-4, "{x}");
        }
    }
}
