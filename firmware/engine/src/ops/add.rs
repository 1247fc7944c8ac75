//! Elementwise sum and difference; the output may lie at the offset of either input or of both.

use neji_format::Add;

use super::binary;
use crate::element::Element;
use crate::kernels::elementwise::sum;

pub(super) fn run<E: Element>(op: &Add, arena: &mut [E]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| sum(op, a, b, i32::wrapping_add));
}

pub(super) fn run_difference<E: Element>(op: &Add, arena: &mut [E]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| sum(op, a, b, i32::wrapping_sub));
}
