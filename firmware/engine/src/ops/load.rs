//! A constant, copied from flash.

use neji_format::{Load, Model};

use crate::arena;
use crate::kernels::movement::copy;

pub(super) fn run(model: &Model<'_>, op: &Load, arena: &mut [i8]) {
    copy(model.constant_i8(op.values), arena::in_place(arena, &op.output), 0);
}
