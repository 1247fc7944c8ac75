//! Elementwise product; the output may lie at the offset of either input or of both.

use neji_format::Mul;

use super::binary;
use crate::kernels::elementwise::product;

pub(super) fn run(op: &Mul, arena: &mut [i8]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| product(op, a, b));
}
