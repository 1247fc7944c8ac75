//! Convolutions and dense layers.

use neji_format::{Conv2d, DepthwiseConv2d, Element, FullyConnected, Operator, Packing, TransposeConv2d};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::{Factor, Finish, Geometry, Image, fill};
use crate::case::{
    Case, Constants, Place, activation, bytes_of, factor, place, shape, tensor, values, weights, window, zero_point,
};

#[derive(Debug, Clone)]
struct Drawn {
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
    /// With kernels of three by three and channels by fours, on larger images.
    Square,
    Transposed,
}

fn pair(range: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = [i64; 2]> {
    [range.clone(), range]
}

/// Whether biases have 64 bits: most of int16, and where a sum of `summed` products could leave 32.
fn wide(element: Element, summed: i64) -> impl Strategy<Value = bool> {
    let share = if summed > 500 { 1.0 } else { 0.7 };
    proptest::bool::weighted(if element == Element::I16 { share } else { 0.0 })
}

/// Shapes first, then what fills them.
fn drawn(element: Element, kind: Kind, depth: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = Drawn> {
    let square = kind == Kind::Square;
    let dilation = if square || kind == Kind::Transposed { 1..=1 } else { 1..=3 };
    let (sizes, kernels) = if square { (3..=24, 3..=3) } else { (1..=7, 1..=4) };
    (pair(sizes), depth, 1..=9_i64, pair(kernels), pair(1..=3), pair(dilation), pair(0..=4), pair(0..=4))
        .prop_filter_map("fits", move |(size, depth, channels, kernel, stride, dilation, before, after)| {
            let (depth, stride) = if square { (depth * 4, [stride[0] % 2 + 1; 2]) } else { (depth, stride) };
            let channels = match kind {
                Kind::Depthwise => depth * (channels % 3 + 1),
                Kind::Square => depth,
                Kind::Full | Kind::Transposed => channels,
            };
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
            let depthwise = matches!(kind, Kind::Depthwise | Kind::Square);
            let summed = if depthwise { taps } else { taps * depth };
            let count = if depthwise { taps * output[2] } else { summed * output[2] };
            let bits = 14 + (summed.ilog2() / 2) as i8;
            let channel = (-20_000..20_000, factor(bits));
            (
                values(element, (size[0] * size[1] * depth) as usize),
                zero_point(element),
                weights(count as usize),
                proptest::collection::vec(channel, output[2] as usize),
                zero_point(element),
                activation(element),
                wide(element, summed),
            )
                .prop_map(
                    move |(values, zero_point_in, weights, channels, zero_point, activation, wide)| Drawn {
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
                        finish: Finish { channels, zero_point, activation, wide },
                        output,
                    },
                )
        })
}

/// Rows of `depth` weights each, two in a halfword, as the format says: four rows with four weights are a block.
fn paired(rows: &[i8], depth: usize) -> Vec<i8> {
    let count = rows.len() / depth;
    let at = |row: usize, index: usize| match row < count && index < depth {
        true => i32::from(rows[row * depth + index]),
        false => 0,
    };
    let mut bytes = Vec::new();
    for block in (0..count).step_by(4) {
        for quad in (0..depth).step_by(4) {
            for (row, index) in [0, 2].into_iter().flat_map(|row| [0, 2, 1, 3].map(|index| (row, index))) {
                let value = at(block + row, quad + index) + 256 * at(block + row + 1, quad + index);
                let halfword = i16::try_from(value).expect("no -128 beside a weight below 0");
                bytes.extend(halfword.to_le_bytes().map(u8::cast_signed));
            }
        }
    }
    bytes
}

/// Weights whose rows of `depth` can be in pairs.
fn small(weights: &mut [i8], depth: usize) {
    // 2^23 less the bias is 255 times a sum of 32,800 in magnitude.
    let divisor = (depth * 128 / 32_000 + 1) as i8;
    weights.iter_mut().for_each(|weight| *weight = (*weight).max(-127) / divisor);
}

/// The operator with its output somewhere.
fn case(element: Element, drawn: &Drawn, kind: Kind, packing: Packing, place: Place) -> Case {
    let Drawn { input: image, geometry, padding_after, weights: values, finish, output: size } = drawn;
    let window = window(*geometry, *padding_after);
    let (input_shape, output_shape) = (shape(image.sizes()), shape(*size));
    let place = match place {
        Place::Down(_) | Place::Up(_) if kind == Kind::Transposed => Place::Behind,
        place => place,
    };
    let [input_offset, output_offset] = place.offsets(element, input_shape, output_shape, *geometry);
    let input = tensor(input_offset, input_shape, image.zero_point);
    let output = tensor(output_offset, output_shape, finish.zero_point);
    let mut constants = Constants::default();
    let paired = match packing {
        Packing::Rows => None,
        Packing::Pairs => Some(paired(values, values.len() / size[2] as usize)),
    };
    let (weights, requantization) = constants.layer(paired.as_deref().unwrap_or(values), finish);
    let operator = match kind {
        Kind::Full => Operator::Conv2d(Conv2d { input, output, window, weights, packing, requantization }),
        Kind::Depthwise | Kind::Square => {
            Operator::DepthwiseConv2d(DepthwiseConv2d { input, output, window, weights, requantization })
        }
        Kind::Transposed => {
            Operator::TransposeConv2d(TransposeConv2d { input, output, window, weights, requantization })
        }
    };
    let meaning = match kind {
        Kind::Full => conv2d,
        Kind::Depthwise | Kind::Square => depthwise_conv2d,
        Kind::Transposed => transpose_conv2d,
    };
    let expected = meaning(image, *geometry, values, finish, *size);
    Case::new(element, vec![operator], constants, input, output, &image.values, &expected)
}

fn cases(element: Element, kind: Kind, depth: std::ops::RangeInclusive<i64>) -> BoxedStrategy<Case> {
    (drawn(element, kind, depth), place())
        .prop_map(move |(drawn, place)| case(element, &drawn, kind, Packing::Rows, place))
        .boxed()
}

/// Convolutions whose weights lie in pairs of rows.
fn in_pairs(depth: std::ops::RangeInclusive<i64>) -> BoxedStrategy<Case> {
    (drawn(Element::I8, Kind::Full, depth), place())
        .prop_map(move |(mut drawn, place)| {
            let row = drawn.weights.len() / drawn.output[2] as usize;
            small(&mut drawn.weights, row);
            case(Element::I8, &drawn, Kind::Full, Packing::Pairs, place)
        })
        .boxed()
}

fn fully_connected(element: Element, packing: Packing) -> impl Strategy<Value = Case> {
    // More rows in pairs than an engine may take at once.
    let most = if packing == Packing::Pairs { 140_usize } else { 11 };
    let layer = (1..=70_usize, 1..=most).prop_flat_map(move |(features, outputs)| {
        let channels = proptest::collection::vec((-20_000..20_000, factor(16)), outputs);
        (values(element, features), weights(features * outputs), channels)
    });
    let zero_points = [zero_point(element), zero_point(element)];
    let wide = wide(element, 70);
    (layer, zero_points, activation(element), wide).prop_map(
        move |((input, mut weights, channels), zero_points, activation, wide)| {
            if packing == Packing::Pairs {
                small(&mut weights, input.len());
            }
            let finish = Finish { channels, zero_point: zero_points[1], activation, wide };
            let row = |(output, row): (usize, &[i8])| {
                let centred = |x: i16| i64::from(x) - i64::from(zero_points[0]);
                finish.output(output as i64, input.iter().zip(row).map(|(&x, &w)| centred(x) * i64::from(w)).sum())
            };
            let expected: Vec<i16> = weights.chunks(input.len()).enumerate().map(row).collect();
            let from = tensor(0, shape([1, 1, input.len() as i64]), zero_points[0]);
            let to_shape = shape([1, 1, finish.channels.len() as i64]);
            let to = tensor(bytes_of(element, from.shape), to_shape, zero_points[1]);
            let mut constants = Constants::default();
            let values = match packing {
                Packing::Rows => weights,
                Packing::Pairs => paired(&weights, input.len()),
            };
            let (weights, requantization) = constants.layer(&values, &finish);
            let operator = FullyConnected { input: from, output: to, weights, packing, requantization };
            Case::new(element, vec![Operator::FullyConnected(operator)], constants, from, to, &input, &expected)
        },
    )
}

/// A kernel with more taps on one axis than a kernel of the engine remembers.
fn long_transposed() -> Case {
    let factor = Factor { multiplier: 1 << 30, shift: -6 };
    let drawn = Drawn {
        input: Image { height: 1, width: 12, channels: 1, values: (-6..6).collect(), zero_point: 1 },
        geometry: Geometry { kernel: [1, 11], stride: [1, 1], dilation: [1, 1], padding: [0, 2] },
        padding_after: [0, 0],
        weights: (-5..6).map(|w| w * 20).collect(),
        finish: Finish { channels: vec![(5, factor)], zero_point: -3, activation: (-128, 127), wide: false },
        output: [1, 20, 1],
    };
    case(Element::I8, &drawn, Kind::Transposed, Packing::Rows, Place::Behind)
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    use Element::{I8, I16};
    vec![
        ("conv2d", cases(I8, Kind::Full, 1..=6)),
        // Kernels beyond the patch that the engine gathers on the stack.
        ("deep conv2d", cases(I8, Kind::Full, 100..=530)),
        ("depthwise conv2d", cases(I8, Kind::Depthwise, 1..=40)),
        ("depthwise conv2d of three by three", cases(I8, Kind::Square, 1..=4)),
        ("transpose conv2d", cases(I8, Kind::Transposed, 1..=6)),
        ("long transpose conv2d", Just(long_transposed()).boxed()),
        ("fully connected", fully_connected(I8, Packing::Rows).boxed()),
        ("conv2d in pairs", in_pairs(1..=6)),
        ("deep conv2d in pairs", in_pairs(100..=530)),
        ("fully connected in pairs", fully_connected(I8, Packing::Pairs).boxed()),
        ("conv2d of int16", cases(I16, Kind::Full, 1..=6)),
        ("deep conv2d of int16", cases(I16, Kind::Full, 100..=300)),
        ("depthwise conv2d of int16", cases(I16, Kind::Depthwise, 1..=40)),
        ("transpose conv2d of int16", cases(I16, Kind::Transposed, 1..=6)),
        ("fully connected of int16", fully_connected(I16, Packing::Rows).boxed()),
    ]
}

fn conv2d(input: &Image, g: Geometry, weights: &[i8], finish: &Finish, shape: [i64; 3]) -> Vec<i16> {
    fill(shape, |y, x, o| {
        let mut sum = 0;
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                for i in 0..input.channels {
                    let weight = weights[(((o * g.kernel[0] + ky) * g.kernel[1] + kx) * input.channels + i) as usize];
                    let iy = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                    let ix = x * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                    sum += input.centred(iy, ix, i) * i64::from(weight);
                }
            }
        }
        finish.output(o, sum)
    })
}

fn depthwise_conv2d(input: &Image, g: Geometry, weights: &[i8], finish: &Finish, shape: [i64; 3]) -> Vec<i16> {
    let multiplier = shape[2] / input.channels;
    fill(shape, |y, x, o| {
        let mut sum = 0;
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                let weight = weights[((ky * g.kernel[1] + kx) * shape[2] + o) as usize];
                let iy = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                let ix = x * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                sum += input.centred(iy, ix, o / multiplier) * i64::from(weight);
            }
        }
        finish.output(o, sum)
    })
}

/// In scatter form, as the operator is defined: every input adds to the outputs that it reaches.
fn transpose_conv2d(input: &Image, g: Geometry, weights: &[i8], finish: &Finish, shape: [i64; 3]) -> Vec<i16> {
    let mut sums = vec![0_i64; (shape[0] * shape[1] * shape[2]) as usize];
    let index = |y: i64, x: i64, o: i64| ((y * shape[1] + x) * shape[2] + o) as usize;
    for iy in 0..input.height {
        for ix in 0..input.width {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    let (y, x) = (iy * g.stride[0] + ky - g.padding[0], ix * g.stride[1] + kx - g.padding[1]);
                    if !(0..shape[0]).contains(&y) || !(0..shape[1]).contains(&x) {
                        continue;
                    }
                    for o in 0..shape[2] {
                        for i in 0..input.channels {
                            let tap = (o * g.kernel[0] + ky) * g.kernel[1] + kx;
                            let weight = i64::from(weights[(tap * input.channels + i) as usize]);
                            sums[index(y, x, o)] += input.centred(iy, ix, i) * weight;
                        }
                    }
                }
            }
        }
    }
    fill(shape, |y, x, o| finish.output(o, sums[index(y, x, o)]))
}
