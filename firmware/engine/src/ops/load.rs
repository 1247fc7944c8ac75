//! A constant, copied from flash.

use neji_format::{Load, Model};

use crate::arena;
use crate::element::Element;
use crate::kernels::movement::copy;

pub(super) fn run<E: Element>(model: &Model<'_>, op: &Load, arena: &mut [E]) {
    // The parser has seen that the constant is as long as the output, and it is aligned to 16.
    let values = bytemuck::try_cast_slice(model.constant(op.values)).unwrap_or(&[]);
    copy(values, arena::in_place(arena, &op.output), 0);
}
