//! Depthwise convolution.

use neji_format::{DepthwiseConv2d, Model};

use crate::blocks::Blocks;
use crate::element::Element;
use crate::isa::{Isa, Sliding};
use crate::kernels::{Channels, depthwise, taps};

/// By blocks of channels, where they fit.
pub(super) fn run_taps<I: Isa>(model: &Model<'_>, op: &DepthwiseConv2d, arena: &mut [i8]) {
    let channels = super::channels::<i8>(model, &op.requantization, &op.output);
    let mut blocks = Blocks::new(&op.window, &op.input, &op.output);
    if I::LAYERS {
        loop {
            let left = blocks;
            let Some(block) = blocks.next(arena) else { return };
            let layer = super::layer(model, block.input, op.input.zero_point, op.weights, &channels);
            let (input_shape, output_shape) = (block.input_shape, block.output_shape);
            if !I::depthwise_conv_2d(&Sliding { layer, input_shape, window: &block.window, output_shape }, block.output)
            {
                blocks = left;
                break;
            }
        }
    }
    if !taps::depthwise_conv2d::<I>(blocks, arena, model.constant_words(op.weights), &channels) {
        run_blocks::<I, i8>(model, op, &channels, blocks, arena);
    }
}

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &DepthwiseConv2d, arena: &mut [E]) {
    let channels = super::channels::<E>(model, &op.requantization, &op.output);
    run_blocks::<I, E>(model, op, &channels, Blocks::new(&op.window, &op.input, &op.output), arena);
}

fn run_blocks<I: Isa, E: Element>(
    model: &Model<'_>,
    op: &DepthwiseConv2d,
    channels: &Channels<'_>,
    mut blocks: Blocks,
    arena: &mut [E],
) {
    while let Some(block) = blocks.next(arena) {
        depthwise::depthwise_conv2d::<I, E>(
            block.input,
            block.input_shape,
            i32::from(op.input.zero_point).wrapping_neg(),
            &block.window,
            model.constant_i8(op.weights),
            channels,
            block.output,
            block.output_shape,
        );
    }
}
