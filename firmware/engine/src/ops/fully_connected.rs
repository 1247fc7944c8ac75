//! Dense layer.

use neji_format::{FullyConnected, Model};

use crate::arena;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::{columns, mat_mul, pairs, words};

/// By blocks of sums.
pub(super) fn run_columns<I: Isa>(model: &Model<'_>, op: &FullyConnected, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let input_offset = i32::from(op.input.zero_point).wrapping_neg();
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let layer = super::layer(model, split.input(&op.input), op.input.zero_point, op.weights, &channels);
    if !I::fully_connected(&layer, split.output) {
        let kernel = if I::WORDS { words::mat_vec::<I> } else { columns::mat_vec::<I> };
        kernel(layer.input, input_offset, layer.weights, &channels, split.output);
    }
}

/// With weights in pairs of rows.
pub(super) fn run_pairs<I: Isa>(model: &Model<'_>, op: &FullyConnected, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let weights = model.constant_i16(op.weights);
    pairs::mat_vec::<I>(split.input(&op.input), op.input.zero_point, weights, &channels, split.output);
}

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &FullyConnected, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    let input_offset = i32::from(op.input.zero_point).wrapping_neg();
    let channels = super::channels::<E>(model, &op.requantization, &op.output);
    mat_mul::mat_vec::<I, E>(
        split.input(&op.input),
        input_offset,
        model.constant_i8(op.weights),
        &channels,
        split.output,
    );
}
