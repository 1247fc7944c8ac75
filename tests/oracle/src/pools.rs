//! Pooling and the global mean.

use neji_format::{Element, Mean, Multiplier, Operator, Pool2d, PoolKind};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::{Factor, Geometry, Image, fill};
use crate::case::{Case, Constants, activation, factor, place, shape, tensor, values, window, zero_point};

/// Image, geometry, padding after, output shape.
type Drawn = (Image, Geometry, [i64; 2], [i64; 3]);

fn drawn(element: Element) -> impl Strategy<Value = Drawn> {
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
        .prop_flat_map(move |(size, depth, geometry, padding_after, output)| {
            (values(element, (size[0] * size[1] * depth) as usize), zero_point(element)).prop_map(
                move |(values, zero_point)| {
                    let image = Image { height: size[0], width: size[1], channels: depth, values, zero_point };
                    (image, geometry, padding_after, output)
                },
            )
        })
}

/// What a pool makes of the values that lie under its window.
fn reduce(kind: PoolKind, window: &[i64], zero_point_in: i64, zero_point: i64, factor: Factor) -> i64 {
    match kind {
        PoolKind::Max => *window.iter().max().expect("a window holds an element"),
        // f64::round takes halves away from zero; these quotients are exact to far below a half's distance.
        PoolKind::Average => (window.iter().sum::<i64>() as f64 / window.len() as f64).round() as i64,
        PoolKind::Sum => factor.apply(window.iter().map(|q| q - zero_point_in).sum()) + zero_point,
    }
}

fn pool(element: Element, kind: PoolKind) -> impl Strategy<Value = Case> {
    (drawn(element), factor(9), zero_point(element), activation(element), place()).prop_map(
        move |(drawn, factor, zero_point, activation, place)| {
            let (image, geometry, padding_after, size) = drawn;
            let sum = kind == PoolKind::Sum;
            let zero_point = if sum { zero_point } else { image.zero_point };
            let expected = pool2d(&image, geometry, size, |window| {
                let value = reduce(kind, window, image.zero_point.into(), zero_point.into(), factor);
                value.clamp(activation.0.into(), activation.1.into())
            });
            let shapes = [shape(image.sizes()), shape(size)];
            let [from, to] = place.offsets(element, shapes[0], shapes[1], geometry);
            let (input, output) = (tensor(from, shapes[0], image.zero_point), tensor(to, shapes[1], zero_point));
            let window = window(geometry, padding_after);
            let multiplier = if sum { factor.into() } else { Multiplier { multiplier: 0, shift: 0 } };
            let (activation_min, activation_max) = activation;
            let pool = Pool2d { kind, input, output, window, multiplier, activation_min, activation_max };
            Case::new(
                element,
                vec![Operator::Pool2d(pool)],
                Constants::default(),
                input,
                output,
                &image.values,
                &expected,
            )
        },
    )
}

fn mean(element: Element) -> impl Strategy<Value = Case> {
    let (low, high) = element.range();
    (drawn(element), factor(10), zero_point(element)).prop_map(move |((image, ..), factor, zero_point)| {
        let expected = fill([1, 1, image.channels], |_, _, c| {
            let pixels = (0..image.height).flat_map(|y| (0..image.width).map(move |x| (y, x)));
            let sum: i64 = pixels.map(|(y, x)| image.centred(y, x, c)).sum();
            (factor.apply(sum) + i64::from(zero_point)).clamp(low.into(), high.into()) as i16
        });
        let input = tensor(image.channels as usize * element.bytes(), shape(image.sizes()), image.zero_point);
        let output = tensor(0, shape([1, 1, image.channels]), zero_point);
        let operator = Operator::Mean(Mean { input, output, multiplier: factor.into() });
        Case::new(element, vec![operator], Constants::default(), input, output, &image.values, &expected)
    })
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    use Element::{I8, I16};
    vec![
        ("max pool", pool(I8, PoolKind::Max).boxed()),
        ("average pool", pool(I8, PoolKind::Average).boxed()),
        ("sum pool", pool(I8, PoolKind::Sum).boxed()),
        ("mean", mean(I8).boxed()),
        ("max pool of int16", pool(I16, PoolKind::Max).boxed()),
        ("average pool of int16", pool(I16, PoolKind::Average).boxed()),
        ("sum pool of int16", pool(I16, PoolKind::Sum).boxed()),
        ("mean of int16", mean(I16).boxed()),
    ]
}

/// The values under each window that lie inside the input, given to `reduce`.
fn pool2d(input: &Image, g: Geometry, shape: [i64; 3], reduce: impl Fn(&[i64]) -> i64) -> Vec<i16> {
    fill(shape, |y, x, c| {
        let taps = (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx)));
        let inside: Vec<i64> = taps
            .filter_map(|(ky, kx)| {
                input.at(y * g.stride[0] + ky - g.padding[0], x * g.stride[1] + kx - g.padding[1], c)
            })
            .collect();
        i16::try_from(reduce(&inside)).expect("reduce clamps")
    })
}
