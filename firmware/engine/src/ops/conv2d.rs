//! Convolution.

use neji_format::{Conv2d, Model};

use crate::blocks::Blocks;
use crate::element::Element;
use crate::isa::{Isa, Sliding};
use crate::kernels::{columns, conv, pairs, words};

/// By blocks of sums.
pub(super) fn run_columns<I: Isa>(model: &Model<'_>, op: &Conv2d, arena: &mut [i8]) {
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let mut blocks = Blocks::new(&op.window, &op.input, &op.output);
    if I::LAYERS {
        loop {
            let left = blocks;
            let Some(block) = blocks.next(arena) else { return };
            let layer = super::layer(model, block.input, op.input.zero_point, op.weights, &channels);
            let (input_shape, output_shape) = (block.input_shape, block.output_shape);
            if !I::conv_2d(&Sliding { layer, input_shape, window: &block.window, output_shape }, block.output) {
                blocks = left;
                break;
            }
        }
    }
    let kernel = if I::WORDS { words::conv2d::<I> } else { columns::conv2d::<I> };
    kernel(blocks.by(if I::WORDS { 5 } else { 4 }), arena, model.constant_words(op.weights), &channels);
}

/// With weights in pairs of rows.
pub(super) fn run_pairs<I: Isa>(model: &Model<'_>, op: &Conv2d, arena: &mut [i8]) {
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let blocks = Blocks::new(&op.window, &op.input, &op.output);
    pairs::conv2d::<I>(blocks, arena, model.constant_i16(op.weights), &channels);
}

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &Conv2d, arena: &mut [E]) {
    let channels = super::channels::<E>(model, &op.requantization, &op.output);
    let mut blocks = Blocks::new(&op.window, &op.input, &op.output);
    while let Some(block) = blocks.next(arena) {
        conv::conv2d::<I, E>(
            block.input,
            block.input_shape,
            E::narrowed(op.input.zero_point.into()),
            &block.window,
            model.constant_i8(op.weights),
            &channels,
            block.output,
            block.output_shape,
        );
    }
}
