//! Nearest neighbour resampling by tables of rows and columns.

use neji_format::{Model, ResizeNearest};

use crate::arena;
use crate::kernels::movement::resize_nearest;

pub(super) fn run<E: Copy>(model: &Model<'_>, op: &ResizeNearest, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    let (rows, columns) = (model.constant_u16(op.rows), model.constant_u16(op.columns));
    resize_nearest(split.input(&op.input), op.input.shape, rows, columns, split.output);
}
