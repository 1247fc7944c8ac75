//! Sums, tables, softmax and the operators that move elements.

use neji_engine::{Engine, Portable};
use neji_format::{
    Add, Lut, LutFunction, Multiplier, Operator, Pad, Reshape, ResizeNearest, Softmax, operator::Concat,
};
use proptest::prelude::*;

use crate::model::{Constants, activation, blob, factor, parse, run, shape, tensor, values};
use crate::oracle::{self, Factor, Image};

fn image(depth: i64) -> impl Strategy<Value = Image> {
    (1..=5_i64, 1..=5_i64, 1..=depth).prop_flat_map(|(height, width, channels)| {
        (values((height * width * channels) as usize), any::<i8>()).prop_map(move |(values, zero_point)| Image {
            height,
            width,
            channels,
            values,
            zero_point,
        })
    })
}

fn multiplier(factor: Factor) -> Multiplier {
    Multiplier { multiplier: factor.multiplier, shift: factor.shift }
}

/// A factor below 1.
fn fraction() -> impl Strategy<Value = Factor> {
    ((1_i32 << 30)..=i32::MAX, -6..=0_i8).prop_map(|(multiplier, shift)| Factor { multiplier, shift })
}

/// A table that moves every value: an affine map with an odd factor.
fn table() -> Vec<i8> {
    (0..=255_u8).map(|index| index.wrapping_mul(37).wrapping_add(11).cast_signed()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// The input and its image under a table; the sum lies at either or apart.
    #[test]
    fn add(
        pairs in proptest::collection::vec(any::<(i8, i8)>(), 1..50),
        zero_points: [i8; 3],
        factors in [fraction(), fraction()],
        output_factor in factor(27),
        activation in activation(),
        place in 0..3_usize,
    ) {
        let left_shift = 20;
        let scaled = |q: i8, zero_point: i8, factor: Factor| {
            factor.apply((i64::from(q) - i64::from(zero_point)) << left_shift)
        };
        let len = pairs.len();
        let a: Vec<i8> = pairs.iter().map(|pair| pair.0).collect();
        let b: Vec<i8> = a.iter().map(|&q| table()[(i64::from(q) + 128) as usize]).collect();
        let expected: Vec<i8> = a.iter().zip(&b).map(|(&a, &b)| {
            let sum = scaled(a, zero_points[0], factors[0]) + scaled(b, zero_points[1], factors[1]);
            let value = output_factor.apply(sum) + i64::from(zero_points[2]);
            value.clamp(activation.0.into(), activation.1.into()) as i8
        }).collect();
        let flat = shape([1, 1, len as i64]);
        let input_a = tensor(0, flat, zero_points[0]);
        let input_b = tensor(len, flat, zero_points[1]);
        // In place of either summand or apart.
        let output = tensor([0, len, 2 * len][place], flat, zero_points[2]);
        let mut constants = Constants::default();
        let table = constants.i8(&table());
        let lut = Lut { input: input_a, output: input_b, function: LutFunction::Quantize, table };
        let add = Add {
            input_a,
            input_b,
            output,
            left_shift,
            multiplier_a: multiplier(factors[0]),
            multiplier_b: multiplier(factors[1]),
            output_multiplier: multiplier(output_factor),
            activation_min: activation.0,
            activation_max: activation.1,
        };
        let found = run(vec![Operator::Lut(lut), Operator::Add(add)], constants, input_a, output, &a);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn add_to_itself(image in image(9), output_factor in factor(26)) {
        let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
        let half = Factor { multiplier: 1 << 30, shift: 0 };
        let expected: Vec<i8> = image.values.iter().map(|&q| {
            let value = half.apply((i64::from(q) - i64::from(image.zero_point)) << 19);
            (output_factor.apply(2 * value) + i64::from(image.zero_point)).clamp(-128, 127) as i8
        }).collect();
        let add = Add {
            input_a: input,
            input_b: input,
            output: input,
            left_shift: 19,
            multiplier_a: multiplier(half),
            multiplier_b: multiplier(half),
            output_multiplier: multiplier(output_factor),
            activation_min: -128,
            activation_max: 127,
        };
        prop_assert_eq!(run(vec![Operator::Add(add)], Constants::default(), input, input, &image.values), expected);
    }

    #[test]
    fn lut(image in image(9), in_place: bool) {
        let form = shape([image.height, image.width, image.channels]);
        let input = tensor(0, form, 0);
        let output = tensor(if in_place { 0 } else { form.len() + 1 }, form, 5);
        let expected: Vec<i8> = image.values.iter().map(|&q| table()[(i64::from(q) + 128) as usize]).collect();
        let mut constants = Constants::default();
        let table = constants.i8(&table());
        let lut = Operator::Lut(Lut { input, output, function: LutFunction::Tanh, table });
        prop_assert_eq!(run(vec![lut], constants, input, output, &image.values), expected);
    }

    /// An image, its image under a table and itself again, joined along each axis.
    #[test]
    fn concat(image in image(6), axis in 0..3_u8) {
        let sizes = [image.height, image.width, image.channels];
        let mut joined = sizes;
        joined[usize::from(axis)] *= 3;
        let mapped = Image {
            values: image.values.iter().map(|&q| table()[(i64::from(q) + 128) as usize]).collect(),
            ..image.clone()
        };
        let expected = oracle::fill(joined, |y, x, c| {
            let mut at = [y, x, c];
            let part = at[usize::from(axis)] / sizes[usize::from(axis)];
            at[usize::from(axis)] %= sizes[usize::from(axis)];
            let source = if part == 1 { &mapped } else { &image };
            source.at(at[0], at[1], at[2]).unwrap() as i8
        });
        let form = shape(sizes);
        let first = tensor(0, form, 0);
        let output = tensor(form.len(), shape(joined), 0);
        let second = tensor(form.len() * 4, form, 0);
        let mut constants = Constants::default();
        let table = constants.i8(&table());
        let lut = Operator::Lut(Lut { input: first, output: second, function: LutFunction::Relu, table });
        let inputs = [first, second, first].into_iter().collect();
        let concat = Operator::Concat(Concat { inputs, output, axis });
        prop_assert_eq!(run(vec![lut, concat], constants, first, output, &image.values), expected);
    }

    #[test]
    fn pad(image in image(6), around: [u8; 4]) {
        let [top, bottom, left, right] = around.map(|count| i64::from(count % 4));
        let padded = [image.height + top + bottom, image.width + left + right, image.channels];
        let expected = oracle::fill(padded, |y, x, c| {
            image.at(y - top, x - left, c).unwrap_or(image.zero_point.into()) as i8
        });
        let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
        let output = tensor(input.shape.len(), shape(padded), image.zero_point);
        let [top, bottom, left, right] = [top, bottom, left, right].map(|count| count as u16);
        let pad = Operator::Pad(Pad { input, output, top, bottom, left, right });
        prop_assert_eq!(run(vec![pad], Constants::default(), input, output, &image.values), expected);
    }

    #[test]
    fn reshape(image in image(6), in_place: bool) {
        let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
        let flat = shape([1, 1, input.shape.len() as i64]);
        let output = tensor(if in_place { 0 } else { input.shape.len() }, flat, image.zero_point);
        let reshape = Operator::Reshape(Reshape { input, output });
        let found = run(vec![reshape], Constants::default(), input, output, &image.values);
        prop_assert_eq!(found, image.values);
    }

    #[test]
    fn resize_nearest(image in image(6), factors in [1..=4_i64, 1..=4_i64]) {
        let resized = [image.height * factors[0], image.width * factors[1], image.channels];
        let expected = oracle::fill(resized, |y, x, c| image.at(y / factors[0], x / factors[1], c).unwrap() as i8);
        let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
        let output = tensor(input.shape.len(), shape(resized), image.zero_point);
        let resize = ResizeNearest {
            input,
            output,
            factor_height: factors[0] as u16,
            factor_width: factors[1] as u16,
        };
        let operator = Operator::ResizeNearest(resize);
        prop_assert_eq!(run(vec![operator], Constants::default(), input, output, &image.values), expected);
    }

    /// Within one step of the real softmax; with the scale's multiplier made as TensorFlow Lite makes it.
    #[test]
    fn softmax(image in image(40), scale in 0.002..0.5_f64) {
        let real = (scale * f64::from(1 << 26)).min(f64::from(i32::MAX));
        let shift = real.log2().floor() as i32 + 1;
        let mantissa = (real / f64::from(shift).exp2() * f64::from(1_u32 << 31)).round().min(f64::from(i32::MAX));
        let radius = (31.0 * f64::from(1 << 26) / f64::from(shift).exp2()).floor() as i32;
        let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
        let output = tensor(input.shape.len(), input.shape, -128);
        let softmax = Softmax {
            input,
            output,
            multiplier: Multiplier { multiplier: mantissa as i32, shift: shift as i8 },
            difference_min: -radius,
        };
        let found = run(vec![Operator::Softmax(softmax)], Constants::default(), input, output, &image.values);
        let depth = image.channels as usize;
        for (logits, found) in image.values.chunks(depth).zip(found.chunks(depth)) {
            let exponentials: Vec<f64> = logits.iter().map(|&q| (f64::from(q) * scale).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for (e, &q) in exponentials.iter().zip(found) {
                let expected = (e / sum * 256.0 - 128.0).min(127.0);
                prop_assert!((f64::from(q) - expected).abs() < 0.6, "{q} for {expected}");
            }
        }
    }
}

#[test]
fn a_short_arena_is_an_error_with_numbers() {
    let input = tensor(0, shape([2, 3, 4]), 0);
    let reshape = Operator::Reshape(Reshape { input, output: input });
    let bytes = blob(vec![reshape], Constants::default(), input, input);
    let engine = Engine::<Portable>::new(parse(&bytes));
    let error = engine.run(&mut [0; 23]).unwrap_err();
    assert_eq!((error.needed, error.given), (24, 23));
    assert_eq!(error.to_string(), "arena of 23 bytes, the model needs 24");
    assert_eq!(engine.run(&mut [0; 24]), Ok(()));
}
