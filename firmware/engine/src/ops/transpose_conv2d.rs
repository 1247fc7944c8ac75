//! Transposed convolution.

use neji_format::{Model, TransposeConv2d};

use crate::arena;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::transpose_conv::transpose_conv2d;

pub(super) fn run<I: Isa, E: Element>(model: &Model<'_>, op: &TransposeConv2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    transpose_conv2d::<I, E>(
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
