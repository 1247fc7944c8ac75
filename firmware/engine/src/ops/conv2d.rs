//! Convolution.

use neji_format::{Conv2d, Model};

use crate::arena;
use crate::element::Element;
use crate::isa::{Isa, Sliding};
use crate::kernels::{columns, conv, words};

/// By blocks of sums.
pub(super) fn run_columns<I: Isa>(model: &Model<'_>, op: &Conv2d, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let layer = super::layer(model, &split, &op.input, op.weights, &channels);
    let (input_shape, output_shape) = (op.input.shape, op.output.shape);
    if I::conv_2d(&Sliding { layer, input_shape, window: &op.window, output_shape }, split.output) {
        return;
    }
    let kernel = if I::WORDS { words::conv2d::<I> } else { columns::conv2d::<I> };
    kernel(
        layer.input,
        input_shape,
        op.input.zero_point,
        &op.window,
        layer.weights,
        &channels,
        split.output,
        output_shape,
    );
}

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &Conv2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    conv::conv2d::<I, E>(
        split.input(&op.input),
        op.input.shape,
        E::narrowed(op.input.zero_point.into()),
        &op.window,
        model.constant_i8(op.weights),
        &super::channels::<E>(model, &op.requantization, &op.output),
        split.output,
        op.output.shape,
    );
}
