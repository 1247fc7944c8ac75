//! Depthwise convolution.

use neji_format::{DepthwiseConv2d, Model};

use crate::arena;
use crate::element::Element;
use crate::isa::{Isa, Sliding};
use crate::kernels::{depthwise, taps};

/// By blocks of channels, where they fit.
pub(super) fn run_taps<I: Isa>(model: &Model<'_>, op: &DepthwiseConv2d, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let layer = super::layer(model, &split, &op.input, op.weights, &channels);
    let (input_shape, output_shape) = (op.input.shape, op.output.shape);
    if I::depthwise_conv_2d(&Sliding { layer, input_shape, window: &op.window, output_shape }, split.output) {
        return;
    }
    let done = taps::depthwise_conv2d::<I>(
        layer.input,
        input_shape,
        i32::from(op.input.zero_point).wrapping_neg(),
        &op.window,
        layer.weights,
        &channels,
        split.output,
        output_shape,
    );
    if !done {
        run::<I, i8>(model, op, arena);
    }
}

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &DepthwiseConv2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    depthwise::depthwise_conv2d::<I, E>(
        split.input(&op.input),
        op.input.shape,
        i32::from(op.input.zero_point).wrapping_neg(),
        &op.window,
        model.constant_i8(op.weights),
        &super::channels::<E>(model, &op.requantization, &op.output),
        split.output,
        op.output.shape,
    );
}
