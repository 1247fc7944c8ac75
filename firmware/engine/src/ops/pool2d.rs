//! Maximum, average and sum over windows.

use neji_format::Pool2d;

use crate::blocks::{Block, Blocks};
use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::pool::{Finish, average, pool2d};

/// Averages by sums of four channels, where the instruction set has them.
pub(super) fn run_sums<I: Isa>(op: &Pool2d, arena: &mut [i8]) {
    let finish = finish(op);
    let mut blocks = Blocks::new(&op.window, &op.input, &op.output);
    while let Some(block) = blocks.next(arena) {
        let Block { input, input_shape, ref window, output, output_shape } = block;
        if average::<I>(input, input_shape, window, &finish, output, output_shape).is_none() {
            pool2d(input, input_shape, window, &finish, output, output_shape);
        }
    }
}

pub(super) fn run<E: Element>(op: &Pool2d, arena: &mut [E]) {
    let finish = finish(op);
    let mut blocks = Blocks::new(&op.window, &op.input, &op.output);
    while let Some(block) = blocks.next(arena) {
        let Block { input, input_shape, ref window, output, output_shape } = block;
        pool2d(input, input_shape, window, &finish, output, output_shape);
    }
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
