//! Elementwise product; the output may lie at the offset of either input or of both.

use neji_format::Mul;

use super::binary;
use crate::element::Element;
use crate::kernels::elementwise::product;

pub(super) fn run<E: Element>(op: &Mul, arena: &mut [E]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| product(op, a, b));
}
