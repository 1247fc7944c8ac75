//! The same elements in another shape: a copy, or nothing where input and output lie at one offset.

use neji_format::Reshape;

use crate::arena;

pub(super) fn run<E: Copy>(op: &Reshape, arena: &mut [E]) {
    arena::copy(arena, &op.input, &op.output);
}
