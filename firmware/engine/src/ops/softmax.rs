//! Softmax over the channels of each pixel.

use neji_format::Softmax;

use crate::arena;
use crate::kernels::fixed_point::softmax;

pub(super) fn run(op: &Softmax, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let depth = (op.input.shape.channels as usize).max(1);
    let shift = op.multiplier.shift.max(0).unsigned_abs().into();
    let pixels = split.input(&op.input).chunks_exact(depth);
    for (input, output) in pixels.zip(split.output.chunks_exact_mut(depth)) {
        softmax(input, op.multiplier.multiplier, shift, op.difference_min, output);
    }
}
