//! Joins tensors along one axis.

use neji_format::operator::Concat;

use crate::arena;
use crate::kernels::movement::{interleave, run_len};

pub(super) fn run<E: Copy>(op: &Concat, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    let stride = run_len(op.output.shape, op.axis);
    let mut start = 0_usize;
    for tensor in &op.inputs {
        let input = split.input(tensor);
        let len = run_len(tensor.shape, op.axis);
        interleave(input, len, split.output, start, stride);
        start = start.saturating_add(len);
    }
}
