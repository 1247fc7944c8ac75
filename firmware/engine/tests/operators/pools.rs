//! Pooling and the global mean.

use neji_format::{Mean, Multiplier, Operator, Pool2d, PoolKind};
use proptest::prelude::*;

use crate::model::{Constants, activation, factor, run, shape, tensor, values, window};
use crate::oracle::{self, Geometry, Image};

/// Image, geometry, padding after, output shape.
type Case = (Image, Geometry, [i64; 2], [i64; 3]);

fn case() -> impl Strategy<Value = Case> {
    let pair = |range: std::ops::RangeInclusive<i64>| [range.clone(), range];
    (pair(1..=8), 1..=35_i64, pair(1..=4), pair(1..=3), pair(0..=3), pair(0..=3))
        .prop_filter_map("fits", |(size, depth, kernel, stride, before, after)| {
            let mut output = [0, 0, depth];
            let (mut padding, mut padding_after) = ([0; 2], [0; 2]);
            for axis in 0..2 {
                padding[axis] = before[axis].min(kernel[axis] - 1);
                padding_after[axis] = after[axis].min(kernel[axis] - 1);
                let padded = size[axis] + padding[axis] + padding_after[axis];
                if padded < kernel[axis] {
                    return None;
                }
                output[axis] = (padded - kernel[axis]) / stride[axis] + 1;
            }
            Some((size, depth, Geometry { kernel, stride, dilation: [1, 1], padding }, padding_after, output))
        })
        .prop_flat_map(|(size, depth, geometry, padding_after, output)| {
            (values((size[0] * size[1] * depth) as usize), any::<i8>()).prop_map(move |(values, zero_point)| {
                let image = Image { height: size[0], width: size[1], channels: depth, values, zero_point };
                (image, geometry, padding_after, output)
            })
        })
}

fn engine(case: &Case, kind: PoolKind, zero_point: i8, multiplier: Multiplier, activation: (i8, i8)) -> Vec<i8> {
    let (image, geometry, padding_after, output) = case;
    let input = tensor(0, shape([image.height, image.width, image.channels]), image.zero_point);
    let output = tensor(input.shape.len(), shape(*output), zero_point);
    let pool = Pool2d {
        kind,
        input,
        output,
        window: window(*geometry, *padding_after),
        multiplier,
        activation_min: activation.0,
        activation_max: activation.1,
    };
    run(vec![Operator::Pool2d(pool)], Constants::default(), input, output, &image.values)
}

const NO_MULTIPLIER: Multiplier = Multiplier { multiplier: 0, shift: 0 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn max(case in case(), activation in activation()) {
        let (low, high) = (activation.0.into(), activation.1.into());
        let expected = oracle::pool2d(&case.0, case.1, case.3, |window| window.iter().max().unwrap().clamp(&low, &high).to_owned());
        prop_assert_eq!(engine(&case, PoolKind::Max, case.0.zero_point, NO_MULTIPLIER, activation), expected);
    }

    #[test]
    fn average(case in case(), activation in activation()) {
        let expected = oracle::pool2d(&case.0, case.1, case.3, |window| {
            // f64::round takes halves away from zero; these quotients are exact to far below a half's distance.
            let mean = window.iter().sum::<i64>() as f64 / window.len() as f64;
            (mean.round() as i64).clamp(activation.0.into(), activation.1.into())
        });
        prop_assert_eq!(engine(&case, PoolKind::Average, case.0.zero_point, NO_MULTIPLIER, activation), expected);
    }

    #[test]
    fn sum(case in case(), factor in factor(9), zero_point: i8, activation in activation()) {
        let zero_point_in = i64::from(case.0.zero_point);
        let expected = oracle::pool2d(&case.0, case.1, case.3, |window| {
            let sum = window.iter().map(|q| q - zero_point_in).sum();
            (factor.apply(sum) + i64::from(zero_point)).clamp(activation.0.into(), activation.1.into())
        });
        let multiplier = Multiplier { multiplier: factor.multiplier, shift: factor.shift };
        prop_assert_eq!(engine(&case, PoolKind::Sum, zero_point, multiplier, activation), expected);
    }

    #[test]
    fn mean(case in case(), factor in factor(10), zero_point: i8) {
        let image = case.0;
        let expected = oracle::fill([1, 1, image.channels], |_, _, c| {
            let pixels = (0..image.height).flat_map(|y| (0..image.width).map(move |x| (y, x)));
            let sum: i64 = pixels.map(|(y, x)| image.centred(y, x, c)).sum();
            (factor.apply(sum) + i64::from(zero_point)).clamp(-128, 127) as i8
        });
        let input = tensor(image.channels as usize, shape([image.height, image.width, image.channels]), image.zero_point);
        let output = tensor(0, shape([1, 1, image.channels]), zero_point);
        let multiplier = Multiplier { multiplier: factor.multiplier, shift: factor.shift };
        let operator = Operator::Mean(Mean { input, output, multiplier });
        prop_assert_eq!(run(vec![operator], Constants::default(), input, output, &image.values), expected);
    }
}
