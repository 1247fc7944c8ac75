//! Nearest neighbour upsampling by whole factors.

use neji_format::ResizeNearest;

use crate::arena;
use crate::kernels::movement::resize_nearest;

pub(super) fn run(op: &ResizeNearest, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    resize_nearest(split.input(&op.input), op, split.output);
}
