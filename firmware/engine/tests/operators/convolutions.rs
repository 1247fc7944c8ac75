//! Convolutions and dense layers.

use neji_format::{Conv2d, DepthwiseConv2d, FullyConnected, Operator, TransposeConv2d};
use proptest::prelude::*;

use crate::model::{Constants, activation, factor, run, shape, tensor, values, window};
use crate::oracle::{self, Factor, Finish, Geometry, Image};

#[derive(Debug, Clone)]
struct Case {
    input: Image,
    geometry: Geometry,
    padding_after: [i64; 2],
    weights: Vec<i8>,
    finish: Finish,
    output: [i64; 3],
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Full,
    Depthwise,
    Transposed,
}

fn pair(range: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = [i64; 2]> {
    [range.clone(), range]
}

/// Shapes first, then what fills them.
fn case(kind: Kind, depth: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = Case> {
    let dilation = if kind == Kind::Transposed { 1..=1 } else { 1..=3 };
    (pair(1..=7), depth, 1..=9_i64, pair(1..=4), pair(1..=3), pair(dilation), pair(0..=4), pair(0..=4))
        .prop_filter_map("fits", move |(size, depth, channels, kernel, stride, dilation, before, after)| {
            let channels = if kind == Kind::Depthwise { depth * (channels % 3 + 1) } else { channels };
            let mut output = [0, 0, channels];
            let (mut padding, mut padding_after) = ([0; 2], [0; 2]);
            for axis in 0..2 {
                let extent = (kernel[axis] - 1) * dilation[axis] + 1;
                padding[axis] = before[axis].min(extent);
                padding_after[axis] = after[axis].min(extent);
                let around = padding[axis] + padding_after[axis];
                output[axis] = match kind {
                    // Sometimes a row more than the input reaches.
                    Kind::Transposed => (size[axis] - 1) * stride[axis] + kernel[axis] - around + around % 2,
                    _ if size[axis] + around < extent => return None,
                    _ => (size[axis] + around - extent) / stride[axis] + 1,
                };
                if output[axis] < 1 {
                    return None;
                }
            }
            Some((size, depth, Geometry { kernel, stride, dilation, padding }, padding_after, output))
        })
        .prop_flat_map(move |(size, depth, geometry, padding_after, output)| {
            let taps = geometry.kernel[0] * geometry.kernel[1];
            let summed = if kind == Kind::Depthwise { taps } else { taps * depth };
            let weights = if kind == Kind::Depthwise { taps * output[2] } else { summed * output[2] };
            let bits = 14 + (summed.ilog2() / 2) as i8;
            let channel = (-20_000..20_000, factor(bits));
            (
                values((size[0] * size[1] * depth) as usize),
                any::<i8>(),
                values(weights as usize),
                proptest::collection::vec(channel, output[2] as usize),
                any::<i8>(),
                activation(),
            )
                .prop_map(move |(values, zero_point_in, weights, channels, zero_point, activation)| Case {
                    input: Image {
                        height: size[0],
                        width: size[1],
                        channels: depth,
                        values,
                        zero_point: zero_point_in,
                    },
                    geometry,
                    padding_after,
                    weights,
                    finish: Finish { channels, zero_point, activation },
                    output,
                })
        })
}

/// Runs the case's operator, with the output before or behind the input.
fn engine(case: &Case, kind: Kind, output_first: bool) -> Vec<i8> {
    let Case { input: image, geometry: g, padding_after, .. } = case;
    let window = window(*g, *padding_after);
    let input_shape = shape([image.height, image.width, image.channels]);
    let output_shape = shape(case.output);
    let (input_offset, output_offset) = if output_first { (output_shape.len(), 0) } else { (0, input_shape.len() + 3) };
    let input = tensor(input_offset, input_shape, image.zero_point);
    let output = tensor(output_offset, output_shape, case.finish.zero_point);
    let mut constants = Constants::default();
    let weights = constants.i8(&case.weights);
    let requantization = constants.requantization(&case.finish.channels, case.finish.activation);
    let operator = match kind {
        Kind::Full => Operator::Conv2d(Conv2d { input, output, window, weights, requantization }),
        Kind::Depthwise => {
            Operator::DepthwiseConv2d(DepthwiseConv2d { input, output, window, weights, requantization })
        }
        Kind::Transposed => {
            Operator::TransposeConv2d(TransposeConv2d { input, output, window, weights, requantization })
        }
    };
    run(vec![operator], constants, input, output, &image.values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conv2d(case in case(Kind::Full, 1..=6), output_first: bool) {
        let expected = oracle::conv2d(&case.input, case.geometry, &case.weights, &case.finish, case.output);
        prop_assert_eq!(engine(&case, Kind::Full, output_first), expected);
    }

    #[test]
    fn depthwise_conv2d(case in case(Kind::Depthwise, 1..=40), output_first: bool) {
        let expected = oracle::depthwise_conv2d(&case.input, case.geometry, &case.weights, &case.finish, case.output);
        prop_assert_eq!(engine(&case, Kind::Depthwise, output_first), expected);
    }

    #[test]
    fn transpose_conv2d(case in case(Kind::Transposed, 1..=6), output_first: bool) {
        let expected = oracle::transpose_conv2d(&case.input, case.geometry, &case.weights, &case.finish, case.output);
        prop_assert_eq!(engine(&case, Kind::Transposed, output_first), expected);
    }

    #[test]
    fn fully_connected(
        (input, weights, channels) in (1..=70_usize, 1..=11_usize).prop_flat_map(|(features, outputs)| (
            values(features),
            values(features * outputs),
            proptest::collection::vec((-20_000..20_000, factor(16)), outputs),
        )),
        zero_points: [i8; 2],
        activation in activation(),
    ) {
        let finish = Finish { channels, zero_point: zero_points[1], activation };
        let expected: Vec<i8> = weights.chunks(input.len()).enumerate().map(|(output, row)| {
            let products = input.iter().zip(row).map(|(&x, &w)| (i64::from(x) - i64::from(zero_points[0])) * i64::from(w));
            finish.output(output as i64, products.sum())
        }).collect();
        let from = tensor(0, shape([1, 1, input.len() as i64]), zero_points[0]);
        let to = tensor(input.len(), shape([1, 1, finish.channels.len() as i64]), zero_points[1]);
        let mut constants = Constants::default();
        let weights = constants.i8(&weights);
        let requantization = constants.requantization(&finish.channels, activation);
        let operator = FullyConnected { input: from, output: to, weights, requantization };
        prop_assert_eq!(run(vec![Operator::FullyConnected(operator)], constants, from, to, &input), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Kernels beyond the patch on the stack.
    #[test]
    fn deep_conv2d(case in case(Kind::Full, 100..=530), output_first: bool) {
        let expected = oracle::conv2d(&case.input, case.geometry, &case.weights, &case.finish, case.output);
        prop_assert_eq!(engine(&case, Kind::Full, output_first), expected);
    }
}

/// More taps on one axis than the kernel of a transposed convolution remembers.
#[test]
fn transpose_conv2d_with_a_long_kernel() {
    let factor = Factor { multiplier: 1 << 30, shift: -6 };
    let case = Case {
        input: Image { height: 1, width: 12, channels: 1, values: (-6..6).collect(), zero_point: 1 },
        geometry: Geometry { kernel: [1, 11], stride: [1, 1], dilation: [1, 1], padding: [0, 2] },
        padding_after: [0, 0],
        weights: (-5..6).map(|w| w * 20).collect(),
        finish: Finish { channels: vec![(5, factor)], zero_point: -3, activation: (-128, 127) },
        output: [1, 20, 1],
    };
    let expected = oracle::transpose_conv2d(&case.input, case.geometry, &case.weights, &case.finish, case.output);
    assert_eq!(engine(&case, Kind::Transposed, false), expected);
}
