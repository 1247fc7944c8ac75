//! Maximum, average and sum over windows.

use neji_format::Pool2d;

use crate::arena;
use crate::element::Element;
use crate::kernels::pool::{Finish, pool2d};

pub(super) fn run<E: Element>(op: &Pool2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    let finish = Finish {
        kind: op.kind,
        zero_point_in: op.input.zero_point.into(),
        zero_point_out: op.output.zero_point.into(),
        multiplier: op.multiplier.multiplier,
        shift: op.multiplier.shift.into(),
        activation_min: op.activation_min,
        activation_max: op.activation_max,
    };
    pool2d(split.input(&op.input), op.input.shape, &op.window, &finish, split.output, op.output.shape);
}
