//! Elementwise sum and difference; the output may lie at the offset of either input or of both.

use neji_format::{Add, Tensor};

use super::binary;
use crate::arena;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::elementwise::{Operand, Sums, sum};

/// Elements from which on tables of both operands are sooner made than not.
const MANY: usize = 1024;

/// By tables where there are many elements, none of them repeated.
fn run_tables(op: &Add, arena: &mut [i8]) {
    let shape = op.output.shape;
    let sums = match Sums::of(op) {
        Some(sums) if (op.input_a.shape, op.input_b.shape) == (shape, shape) && shape.len() >= MANY => sums,
        _ => return run(op, arena),
    };
    let split = arena::split(arena, &op.output);
    let operand = |tensor: &Tensor| {
        if tensor.offset == op.output.offset { Operand::Output } else { Operand::Apart(split.input(tensor)) }
    };
    let (a, b) = (operand(&op.input_a), operand(&op.input_b));
    sums.write(a, b, split.output);
}

/// All elements at once where the instruction set can and neither operand is repeated.
pub(super) fn run_whole<I: Isa>(op: &Add, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let [a, b] = [&op.input_a, &op.input_b].map(|t| (t.offset != op.output.offset).then(|| split.input(t)));
    let same = op.input_a.shape == op.output.shape && op.input_b.shape == op.output.shape;
    if !same || !I::add(op, a, b, split.output) {
        run_tables(op, arena);
    }
}

pub(super) fn run<E: Element>(op: &Add, arena: &mut [E]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| sum(op, a, b, i32::wrapping_add));
}

pub(super) fn run_difference<E: Element>(op: &Add, arena: &mut [E]) {
    binary::run(&op.input_a, &op.input_b, &op.output, arena, |a, b| sum(op, a, b, i32::wrapping_sub));
}
