//! Mean over height and width.

use neji_format::Mean;

use crate::arena;
use crate::element::Element;
use crate::kernels::pool::mean;

pub(super) fn run<E: Element>(op: &Mean, arena: &mut [E]) {
    let split = arena::split(arena, &op.output);
    let (multiplier, shift) = (op.multiplier.multiplier, op.multiplier.shift.into());
    let input = split.input(&op.input);
    mean(input, op.input.zero_point, op.output.zero_point, multiplier, shift, split.output);
}
