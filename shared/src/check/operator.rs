//! The operators one by one: shapes, constants, quantization, multipliers and sums.

use super::{constant, geometry, is_normal, same_quantization, sum};
use crate::decode::Model;
use crate::error::{DecodeError, Place};
use crate::operator::{
    Add, Concat, Conv2d, DepthwiseConv2d, FullyConnected, Load, Lut, LutFunction, Mean, Mul, Operator, Pad, Pool2d,
    PoolKind, Reshape, ResizeNearest, Sigmoid, Softmax, TransposeConv2d,
};
use crate::packing::{PAIRS_SHIFT_MIN, PAIRS_SUM_LIMIT, Packing, Pairs};
use crate::quant::{Multiplier, Requantization};
use crate::tensor::{Constant, Element, Shape, Tensor};

/// Most channels of a [`Softmax`]: each adds up to 2^19 to an i32.
const SOFTMAX_CHANNELS_MAX: u32 = 4095;

type Checked = Result<(), DecodeError>;

/// Checks one operator whose tensors lie in the arena and are not empty.
pub(super) fn check(model: &Model<'_>, index: u16, operator: &Operator) -> Checked {
    let element = model.plan().element;
    let known = match operator {
        Operator::Lut(_) | Operator::Softmax(_) => element == Element::I8,
        Operator::Sigmoid(_) => element == Element::I16,
        _ => true,
    };
    if !known {
        return Err(DecodeError::Element { place: Place::Operator(index) });
    }
    // What has no feature was not read.
    macro_rules! linked {
        ($($variant:ident($op:ident) if $feature:literal => $check:expr,)*) => {
            match operator {
                $(Operator::$variant($op) => if cfg!(feature = $feature) { $check } else { Ok(()) },)*
            }
        };
    }
    linked! {
        Conv2d(conv) if "conv2d" => conv2d(model, index, conv),
        DepthwiseConv2d(conv) if "depthwise-conv2d" => depthwise_conv2d(model, index, conv),
        FullyConnected(dense) if "fully-connected" => fully_connected(model, index, dense),
        TransposeConv2d(conv) if "transpose-conv2d" => transpose_conv2d(model, index, conv),
        Pool2d(pool) if "pool2d" => pool2d(element, index, pool),
        Mean(mean) if "mean" => check_mean(element, index, mean),
        Add(add) if "add" => check_add(element, index, add),
        Sub(sub) if "sub" => check_add(element, index, sub),
        Mul(mul) if "mul" => check_mul(element, index, mul),
        Load(load) if "load" => check_load(model, index, load),
        Concat(concat) if "concat" => check_concat(index, concat),
        Pad(pad) if "pad" => check_pad(index, pad),
        Reshape(reshape) if "reshape" => check_reshape(index, reshape),
        ResizeNearest(resize) if "resize-nearest" => resize_nearest(model, index, resize),
        Lut(lut) if "lut" => check_lut(model, index, lut),
        Softmax(softmax) if "softmax" => check_softmax(index, softmax),
        Sigmoid(sigmoid) if "sigmoid" => check_sigmoid(model, index, sigmoid),
    }
}

/// An error unless the shapes belong together.
fn shapes(operator: u16, belong: bool) -> Checked {
    if belong { Ok(()) } else { Err(DecodeError::Shape { operator }) }
}

/// An error unless the tensors share scale and zero point.
fn shared(operator: u16, a: &Tensor, b: &Tensor) -> Checked {
    if same_quantization(a, b) { Ok(()) } else { Err(DecodeError::Quantization { operator }) }
}

/// An error unless the bounds of the output are in order and values of it.
fn activation(element: Element, operator: u16, min: i16, max: i16) -> Checked {
    let (low, high) = element.range();
    if low <= min && min <= max && max <= high { Ok(()) } else { Err(DecodeError::Activation { operator }) }
}

/// The product of four sizes, or `None` beyond 64 bits.
fn product(sizes: [u32; 4]) -> Option<u64> {
    sizes.into_iter().try_fold(1_u64, |product, size| product.checked_mul(size.into()))
}

/// Which weights belong to an output channel.
#[derive(Clone, Copy)]
enum Order {
    /// Output channel by output channel.
    ChannelFirst,
    /// Element by element, all channels of each.
    ChannelLast,
    /// [`Packing::Pairs`] of rows of this many weights.
    Pairs(usize),
}

/// Length and order of `rows` rows of `depth` weights each, a row an output channel.
fn rows(packing: Packing, rows: u32, depth: Option<u64>) -> (Option<u64>, Order) {
    let needed = depth.and_then(|depth| packing.bytes(rows.into(), depth));
    match packing {
        Packing::Rows => (needed, Order::ChannelFirst),
        // Longer rows need more bytes than a constant has.
        Packing::Pairs => (needed, Order::Pairs(depth.and_then(|depth| depth.try_into().ok()).unwrap_or(usize::MAX))),
    }
}

/// Checks weights, biases, multipliers and shifts of `channels` output channels, and that no sum can overflow:
/// `|bias| + sum |weight| * max |q - zero_point|`, and this shifted left where the shift is positive.
fn accumulators(
    model: &Model<'_>,
    operator: u16,
    input: &Tensor,
    weights: (Constant, Option<u64>, Order),
    requantization: &Requantization,
    channels: u32,
) -> Checked {
    let place = Place::Operator(operator);
    let (weights, needed, order) = weights;
    let Requantization { bias, multiplier, shift, activation_min, activation_max } = *requantization;
    let element = model.plan().element;
    activation(element, operator, activation_min, activation_max)?;
    constant(model, place, weights, needed)?;
    if let Order::Pairs(depth) = order {
        let beyond = Pairs::new(model.constant_i16(weights), depth);
        let mut rows = channels as usize..(channels as usize).next_multiple_of(4);
        if element == Element::I16 || rows.any(|row| (0..depth).any(|index| beyond.weight(row, index) != 0)) {
            return Err(DecodeError::Packing { operator, channel: channels });
        }
    }
    // Sums of 64 bits are for int16.
    let wide = cfg!(feature = "int16") && element == Element::I16 && u64::from(bias.bytes) == u64::from(channels) * 8;
    constant(model, place, bias, Some(u64::from(channels) * if wide { 8 } else { 4 }))?;
    constant(model, place, multiplier, Some(u64::from(channels) * 4))?;
    constant(model, place, shift, Some(channels.into()))?;

    let halfwords = model.constant_i16(weights);
    let weights = model.constant_i8(weights);
    // geometry and shapes have refused tensors without channels.
    let count = (channels as usize).max(1);
    let each = weights.len() / count;
    let reach = sum::reach(element, input);
    let multipliers = model.constant_i32(multiplier).iter().zip(model.constant_i8(shift));
    for (channel, (&multiplier, &shift)) in (0_u32..).zip(multipliers) {
        let magnitude = match order {
            Order::ChannelFirst => magnitude(weights, channel as usize * each, 1, each),
            Order::ChannelLast => magnitude(weights, channel as usize, count, each),
            Order::Pairs(depth) => {
                magnitude_of_pairs(halfwords, channel, depth).ok_or(DecodeError::Packing { operator, channel })?
            }
        };
        let multiplier = Multiplier { multiplier, shift };
        let sum = magnitude * reach;
        if wide {
            let bias = model.constant_i64(bias).get(channel as usize).map_or(0, |bias| bias.unsigned_abs());
            sum::check_wide(operator, channel, bias.saturating_add(sum), multiplier)?;
        } else {
            let bias = model.constant_i32(bias).get(channel as usize).map_or(0, |bias| bias.unsigned_abs());
            sum::check(operator, channel, u64::from(bias) + sum, multiplier)?;
            let small = u64::from(bias) + sum < PAIRS_SUM_LIMIT && (PAIRS_SHIFT_MIN..=0).contains(&shift);
            if matches!(order, Order::Pairs(_)) && !small {
                return Err(DecodeError::Packing { operator, channel });
            }
        }
    }
    Ok(())
}

/// [`magnitude`] of a row; none where it holds 128, which is no int8, or goes on behind its end.
fn magnitude_of_pairs(halfwords: &[i16], channel: u32, depth: usize) -> Option<u64> {
    let (pairs, mut sum) = (Pairs::new(halfwords, depth), 0);
    for index in 0..depth.next_multiple_of(4) {
        let weight = pairs.weight(channel as usize, index);
        if weight > 127 || index >= depth && weight != 0 {
            return None;
        }
        sum += u64::from(weight.unsigned_abs());
    }
    Some(sum)
}

/// `sum |weight|` over `count` weights from `start` on, `step` apart; below 2^40 for any constant of 32-bit length.
#[inline(never)]
fn magnitude(weights: &[i8], start: usize, step: usize, count: usize) -> u64 {
    let mut sum = 0;
    let mut at = start;
    for _ in 0..count {
        sum += u64::from(weights.get(at).map_or(0, |weight| weight.unsigned_abs()));
        at = at.wrapping_add(step);
    }
    sum
}

fn conv2d(model: &Model<'_>, index: u16, conv: &Conv2d) -> Checked {
    let (input, output, window) = (&conv.input, &conv.output, &conv.window);
    geometry::convolution(index, window, input.shape, output.shape)?;
    let [channels_out, channels_in] = [output.shape.channels, input.shape.channels];
    let depth = product([1, window.kernel_height.into(), window.kernel_width.into(), channels_in]);
    let (needed, order) = rows(conv.packing, channels_out, depth);
    accumulators(model, index, input, (conv.weights, needed, order), &conv.requantization, channels_out)
}

fn depthwise_conv2d(model: &Model<'_>, index: u16, conv: &DepthwiseConv2d) -> Checked {
    let (input, output, window) = (&conv.input, &conv.output, &conv.window);
    geometry::convolution(index, window, input.shape, output.shape)?;
    let channels = output.shape.channels;
    shapes(index, channels.is_multiple_of(input.shape.channels))?;
    let needed = product([1, window.kernel_height.into(), window.kernel_width.into(), channels]);
    let weights = (conv.weights, needed, Order::ChannelLast);
    accumulators(model, index, input, weights, &conv.requantization, channels)
}

fn transpose_conv2d(model: &Model<'_>, index: u16, conv: &TransposeConv2d) -> Checked {
    let (input, output, window) = (&conv.input, &conv.output, &conv.window);
    geometry::transposed(index, window, input.shape, output.shape)?;
    let [channels_out, channels_in] = [output.shape.channels, input.shape.channels];
    let needed = product([channels_out, window.kernel_height.into(), window.kernel_width.into(), channels_in]);
    let weights = (conv.weights, needed, Order::ChannelFirst);
    accumulators(model, index, input, weights, &conv.requantization, channels_out)
}

fn fully_connected(model: &Model<'_>, index: u16, dense: &FullyConnected) -> Checked {
    // The arena holds both, so neither length exceeds 32 bits.
    let features_in = dense.input.shape.len() as u64;
    let features_out = dense.output.shape.len() as u32;
    let (needed, order) = rows(dense.packing, features_out, Some(features_in));
    accumulators(model, index, &dense.input, (dense.weights, needed, order), &dense.requantization, features_out)
}

fn pool2d(element: Element, index: u16, pool: &Pool2d) -> Checked {
    let (input, output) = (&pool.input, &pool.output);
    geometry::pool(index, &pool.window, input.shape, output.shape)?;
    shapes(index, input.shape.channels == output.shape.channels)?;
    activation(element, index, pool.activation_min, pool.activation_max)?;
    let count = u64::from(pool.window.kernel_height) * u64::from(pool.window.kernel_width);
    match pool.kind {
        PoolKind::Max => shared(index, input, output),
        PoolKind::Average => {
            shared(index, input, output)?;
            // Twice the largest value covers the sum with the half count that rounding adds.
            let (_, largest) = element.range();
            sum::check(
                index,
                0,
                count * (2 * u64::from(largest.unsigned_abs()) + 1),
                Multiplier { multiplier: 0, shift: 0 },
            )
        }
        PoolKind::Sum => sum::check(index, 0, count * sum::reach(element, input), pool.multiplier),
    }
}

fn check_mean(element: Element, index: u16, mean: &Mean) -> Checked {
    let Shape { height, width, channels } = mean.input.shape;
    shapes(index, mean.output.shape == Shape::new(1, 1, channels))?;
    let count = u64::from(height) * u64::from(width);
    sum::check(index, 0, count * sum::reach(element, &mean.input), mean.multiplier)
}

/// An error unless every dimension of the output is that of both inputs, or of one where the other has 1.
fn broadcast(operator: u16, a: Shape, b: Shape, output: Shape) -> Checked {
    let joined = |a: u32, b: u32, output: u32| output == a.max(b) && (a == b || a == 1 || b == 1);
    shapes(
        operator,
        joined(a.height, b.height, output.height)
            && joined(a.width, b.width, output.width)
            && joined(a.channels, b.channels, output.channels),
    )
}

fn check_mul(element: Element, index: u16, mul: &Mul) -> Checked {
    broadcast(index, mul.input_a.shape, mul.input_b.shape, mul.output.shape)?;
    activation(element, index, mul.activation_min, mul.activation_max)?;
    sum::check(index, 0, sum::reach(element, &mul.input_a) * sum::reach(element, &mul.input_b), mul.multiplier)
}

fn check_load(model: &Model<'_>, index: u16, load: &Load) -> Checked {
    constant(model, Place::Operator(index), load.values, Some(model.plan().element.bytes_of(&load.output) as u64))
}

fn check_add(element: Element, index: u16, add: &Add) -> Checked {
    broadcast(index, add.input_a.shape, add.input_b.shape, add.output.shape)?;
    activation(element, index, add.activation_min, add.activation_max)?;
    if add.left_shift > 22 {
        return Err(DecodeError::Parameter { operator: index });
    }
    let mut total = 0;
    for (input, multiplier) in [(&add.input_a, add.multiplier_a), (&add.input_b, add.multiplier_b)] {
        // A factor of 1 or more would shift the input left once again.
        if !is_normal(multiplier) || multiplier.shift > 0 {
            return Err(DecodeError::Multiplier { operator: index, channel: 0 });
        }
        let magnitude = sum::reach(element, input) << add.left_shift;
        sum::check(index, 0, magnitude, multiplier)?;
        total += sum::requantized(magnitude, multiplier);
    }
    sum::check(index, 0, total, add.output_multiplier)
}

fn check_concat(index: u16, concat: &Concat) -> Checked {
    if concat.inputs.is_empty() || concat.axis > 2 {
        return Err(DecodeError::Parameter { operator: index });
    }
    let sizes = |shape: Shape| [shape.height, shape.width, shape.channels];
    let output = sizes(concat.output.shape);
    let mut joined = 0_u64;
    for input in &concat.inputs {
        shared(index, input, &concat.output)?;
        for (axis, (size, whole)) in (0_u8..).zip(sizes(input.shape).into_iter().zip(output)) {
            if axis == concat.axis {
                joined += u64::from(size);
            } else {
                shapes(index, size == whole)?;
            }
        }
    }
    shapes(index, joined == u64::from(output[usize::from(concat.axis)]))
}

fn check_pad(index: u16, pad: &Pad) -> Checked {
    let (input, output) = (pad.input.shape, pad.output.shape);
    let padded = |size: u32, before: u16, after: u16| u64::from(size) + u64::from(before) + u64::from(after);
    shapes(
        index,
        u64::from(output.height) == padded(input.height, pad.top, pad.bottom)
            && u64::from(output.width) == padded(input.width, pad.left, pad.right)
            && output.channels == input.channels,
    )?;
    shared(index, &pad.input, &pad.output)
}

fn check_reshape(index: u16, reshape: &Reshape) -> Checked {
    shapes(index, reshape.input.shape.len() == reshape.output.shape.len())?;
    shared(index, &reshape.input, &reshape.output)
}

fn resize_nearest(model: &Model<'_>, index: u16, resize: &ResizeNearest) -> Checked {
    let (input, output) = (resize.input.shape, resize.output.shape);
    shapes(index, input.channels == output.channels)?;
    for (table, from, to) in [(resize.rows, input.height, output.height), (resize.columns, input.width, output.width)] {
        constant(model, Place::Operator(index), table, Some(u64::from(to) * 2))?;
        if model.constant_u16(table).iter().any(|&source| u32::from(source) >= from) {
            return Err(DecodeError::Parameter { operator: index });
        }
    }
    shared(index, &resize.input, &resize.output)
}

fn check_lut(model: &Model<'_>, index: u16, lut: &Lut) -> Checked {
    shapes(index, lut.input.shape == lut.output.shape)?;
    constant(model, Place::Operator(index), lut.table, Some(256))
}

fn check_sigmoid(model: &Model<'_>, index: u16, sigmoid: &Sigmoid) -> Checked {
    shapes(index, sigmoid.input.shape == sigmoid.output.shape)?;
    constant(model, Place::Operator(index), sigmoid.table, Some(512))?;
    let known = matches!(sigmoid.function, LutFunction::Logistic | LutFunction::Tanh);
    if !known || sigmoid.multiplier == 0 || sigmoid.shift > 30 {
        return Err(DecodeError::Parameter { operator: index });
    }
    Ok(())
}

fn check_softmax(index: u16, softmax: &Softmax) -> Checked {
    let Softmax { input, output, multiplier, difference_min } = softmax;
    shapes(index, input.shape == output.shape)?;
    if output.zero_point != -128 || output.scale.to_bits() != (1.0_f32 / 256.0).to_bits() {
        return Err(DecodeError::Quantization { operator: index });
    }
    if input.shape.channels > SOFTMAX_CHANNELS_MAX {
        return Err(DecodeError::AccumulatorOverflow { operator: index, channel: SOFTMAX_CHANNELS_MAX });
    }
    // A positive minimum would drop the largest logit too, and with it the sum's only certain term.
    if *difference_min > 0 {
        return Err(DecodeError::Parameter { operator: index });
    }
    if multiplier.shift < 0 {
        return Err(DecodeError::Multiplier { operator: index, channel: 0 });
    }
    sum::check(index, 0, difference_min.unsigned_abs().min(255).into(), *multiplier)
}
