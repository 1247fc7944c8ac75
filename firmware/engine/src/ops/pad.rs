//! Surrounds the input with its zero point.

use neji_format::Pad;

use crate::arena;
use crate::kernels::movement::pad;

pub(super) fn run(op: &Pad, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    pad(split.input(&op.input), op, op.input.zero_point, split.output);
}
