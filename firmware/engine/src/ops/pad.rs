//! Surrounds the input with its zero point.

use neji_format::Pad;

use crate::arena;
use crate::element::Element;
use crate::kernels::movement::pad;

pub(super) fn run<E: Element>(op: &Pad, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    pad(split.input(&op.input), op, E::narrowed(op.input.zero_point.into()), split.output);
}
