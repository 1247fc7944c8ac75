//! One file an operator: unpack it and call its kernel.

mod add;
mod binary;
mod concat;
mod conv2d;
mod depthwise_conv2d;
mod fully_connected;
mod load;
mod lut;
mod mean;
mod mul;
mod pad;
mod pool2d;
mod reshape;
mod resize_nearest;
mod sigmoid;
mod softmax;
mod transpose_conv2d;

use neji_format::{Model, Operator, Requantization, Tensor};

use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::Channels;

/// Runs one operator of a model of int8 activations.
pub(crate) fn run_i8<I: Isa>(model: &Model<'_>, operator: &Operator, arena: &mut [i8]) {
    match operator {
        Operator::Lut(op) => lut::run(model, op, arena),
        Operator::Softmax(op) => softmax::run(op, arena),
        Operator::Conv2d(op) if I::COLUMNS => conv2d::run_columns::<I>(model, op, arena),
        Operator::DepthwiseConv2d(op) if I::COLUMNS => depthwise_conv2d::run_taps::<I>(model, op, arena),
        Operator::FullyConnected(op) if I::COLUMNS => fully_connected::run_columns::<I>(model, op, arena),
        Operator::Pool2d(op) if I::COLUMNS => pool2d::run_sums::<I>(op, arena),
        Operator::Add(op) if I::COLUMNS => add::run_whole::<I>(op, arena),
        _ => run::<I, i8>(model, operator, arena),
    }
}

/// Runs one operator of a model of int16 activations.
pub(crate) fn run_i16<I: Isa>(model: &Model<'_>, operator: &Operator, arena: &mut [i16]) {
    match operator {
        Operator::Sigmoid(op) => sigmoid::run(model, op, arena),
        _ => run::<I, i16>(model, operator, arena),
    }
}

/// Runs one operator that both have.
fn run<I: Isa, E: Element>(model: &Model<'_>, operator: &Operator, arena: &mut [E]) {
    match operator {
        Operator::Conv2d(op) => conv2d::run::<I, E>(model, op, arena),
        Operator::DepthwiseConv2d(op) => depthwise_conv2d::run::<I, E>(model, op, arena),
        Operator::FullyConnected(op) => fully_connected::run::<I, E>(model, op, arena),
        Operator::TransposeConv2d(op) => transpose_conv2d::run::<I, E>(model, op, arena),
        Operator::Pool2d(op) => pool2d::run(op, arena),
        Operator::Mean(op) => mean::run(op, arena),
        Operator::Add(op) => add::run(op, arena),
        Operator::Sub(op) => add::run_difference(op, arena),
        Operator::Mul(op) => mul::run(op, arena),
        Operator::Concat(op) => concat::run(op, arena),
        Operator::Pad(op) => pad::run(op, arena),
        Operator::Reshape(op) => reshape::run(op, arena),
        Operator::ResizeNearest(op) => resize_nearest::run(model, op, arena),
        Operator::Load(op) => load::run(model, op, arena),
        // The parser admits each of these with one kind of element only, which has run it already.
        Operator::Lut(_) | Operator::Softmax(_) | Operator::Sigmoid(_) => {}
    }
}

/// The constants of a requantization.
fn channels<'a, E: Element>(model: &Model<'a>, requantization: &Requantization, output: &Tensor) -> Channels<'a> {
    let shift = model.constant_i8(requantization.shift);
    Channels {
        bias: E::bias(model, requantization.bias, shift.len()),
        multiplier: model.constant_i32(requantization.multiplier),
        shift,
        zero_point: output.zero_point.into(),
        activation_min: requantization.activation_min,
        activation_max: requantization.activation_max,
    }
}
