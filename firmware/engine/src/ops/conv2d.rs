//! Convolution.

use neji_format::{Conv2d, Model};

use crate::arena;
use crate::isa::Isa;
use crate::kernels::conv::conv2d;

pub(super) fn run<I: Isa>(model: &Model<'_>, op: &Conv2d, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    conv2d::<I>(
        split.input(&op.input),
        op.input.shape,
        op.input.zero_point,
        &op.window,
        model.constant_i8(op.weights),
        &super::channels(model, &op.requantization, &op.output),
        split.output,
        op.output.shape,
    );
}
