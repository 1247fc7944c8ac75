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

use neji_format::{Constant, Model, Operator, Packing, Requantization, Tensor};

use crate::element::Element;
use crate::isa::{Isa, Layer};
use crate::kernels::Channels;

/// Runs one operator of a model of int8 activations.
pub(crate) fn run_i8<I: Isa>(model: &Model<'_>, operator: &Operator, arena: &mut [i8]) {
    match operator {
        Operator::Lut(op) if cfg!(feature = "lut") => lut::run(model, op, arena),
        Operator::Softmax(op) if cfg!(feature = "softmax") => softmax::run(op, arena),
        // The engine refuses such a model elsewhere.
        Operator::Conv2d(op) if cfg!(feature = "conv2d") && I::PAIRS && op.packing == Packing::Pairs => {
            conv2d::run_pairs::<I>(model, op, arena)
        }
        Operator::FullyConnected(op)
            if cfg!(feature = "fully-connected") && I::PAIRS && op.packing == Packing::Pairs =>
        {
            fully_connected::run_pairs::<I>(model, op, arena)
        }
        Operator::Conv2d(op) if cfg!(feature = "conv2d") && I::COLUMNS => conv2d::run_columns::<I>(model, op, arena),
        Operator::DepthwiseConv2d(op) if cfg!(feature = "depthwise-conv2d") && I::COLUMNS => {
            depthwise_conv2d::run_taps::<I>(model, op, arena)
        }
        Operator::FullyConnected(op) if cfg!(feature = "fully-connected") && I::COLUMNS => {
            fully_connected::run_columns::<I>(model, op, arena)
        }
        Operator::Pool2d(op) if cfg!(feature = "pool2d") && I::COLUMNS => pool2d::run_sums::<I>(op, arena),
        Operator::Add(op) if cfg!(feature = "add") && I::COLUMNS => add::run_whole::<I>(op, arena),
        _ => run::<I, i8>(model, operator, arena),
    }
}

/// Runs one operator of a model of int16 activations.
pub(crate) fn run_i16<I: Isa>(model: &Model<'_>, operator: &Operator, arena: &mut [i16]) {
    match operator {
        Operator::Sigmoid(op) if cfg!(feature = "sigmoid") => sigmoid::run(model, op, arena),
        _ => run::<I, i16>(model, operator, arena),
    }
}

/// Runs one operator that both have.
fn run<I: Isa, E: Element>(model: &Model<'_>, operator: &Operator, arena: &mut [E]) {
    // What int8 has more for, which calls what is here where it must.
    let here = !I::COLUMNS || size_of::<E>() > 1;
    match operator {
        Operator::Conv2d(op) if cfg!(feature = "conv2d") && here => conv2d::run::<I, E>(model, op, arena),
        Operator::DepthwiseConv2d(op) if cfg!(feature = "depthwise-conv2d") && here => {
            depthwise_conv2d::run::<I, E>(model, op, arena)
        }
        Operator::FullyConnected(op) if cfg!(feature = "fully-connected") && here => {
            fully_connected::run::<I, E>(model, op, arena)
        }
        Operator::TransposeConv2d(op) if cfg!(feature = "transpose-conv2d") => {
            transpose_conv2d::run::<I, E>(model, op, arena)
        }
        Operator::Pool2d(op) if cfg!(feature = "pool2d") && here => pool2d::run(op, arena),
        Operator::Mean(op) if cfg!(feature = "mean") => mean::run(op, arena),
        Operator::Add(op) if cfg!(feature = "add") && here => add::run(op, arena),
        Operator::Sub(op) if cfg!(feature = "sub") => add::run_difference(op, arena),
        Operator::Mul(op) if cfg!(feature = "mul") => mul::run(op, arena),
        Operator::Concat(op) if cfg!(feature = "concat") => concat::run(op, arena),
        Operator::Pad(op) if cfg!(feature = "pad") => pad::run(op, arena),
        Operator::Reshape(op) if cfg!(feature = "reshape") => reshape::run(op, arena),
        Operator::ResizeNearest(op) if cfg!(feature = "resize-nearest") => resize_nearest::run(model, op, arena),
        Operator::Load(op) if cfg!(feature = "load") => load::run(model, op, arena),
        // Either it has been run already, or it isn't linked and the engine has refused the model.
        _ => {}
    }
}

/// A layer of int8, for kernels that take it whole.
fn layer<'a>(
    model: &Model<'a>,
    input: &'a [i8],
    zero_point: i8,
    weights: Constant,
    channels: &'a Channels<'a>,
) -> Layer<'a> {
    Layer { input, zero_point, weights: model.constant_words(weights), channels }
}

/// The constants of a requantization.
#[inline(never)]
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
