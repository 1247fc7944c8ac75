//! Convolution.

use neji_format::{Conv2d, Model};

use crate::arena;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::conv::conv2d;

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &Conv2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    conv2d::<I, E>(
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
