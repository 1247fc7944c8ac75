//! Maximum, average and sum over windows.

use neji_format::Pool2d;

use crate::arena;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::pool::{Finish, average, pool2d};

/// Averages by sums of four channels, where the instruction set has them.
pub(super) fn run_sums<I: Isa>(op: &Pool2d, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let input = split.input(&op.input);
    if average::<I>(input, op.input.shape, &op.window, &finish(op), split.output, op.output.shape).is_none() {
        run(op, arena);
    }
}

pub(super) fn run<E: Element>(op: &Pool2d, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    pool2d(split.input(&op.input), op.input.shape, &op.window, &finish(op), split.output, op.output.shape);
}

fn finish(op: &Pool2d) -> Finish {
    Finish {
        kind: op.kind,
        zero_point_in: op.input.zero_point.into(),
        zero_point_out: op.output.zero_point.into(),
        multiplier: op.multiplier.multiplier,
        shift: op.multiplier.shift.into(),
        activation_min: op.activation_min,
        activation_max: op.activation_max,
    }
}
