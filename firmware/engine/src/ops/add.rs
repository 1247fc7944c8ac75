//! Elementwise sum; the output may lie at the offset of either input or of both.

use neji_format::Add;

use crate::arena;
use crate::kernels::elementwise::add;

pub(super) fn run(op: &Add, arena: &mut [i8]) {
    let split = arena::split(arena, &op.output);
    let in_place = [op.input_a.offset == op.output.offset, op.input_b.offset == op.output.offset];
    let (a, b) = (split.input(&op.input_a), split.input(&op.input_b));
    match in_place {
        [true, true] => split.output.iter_mut().for_each(|out| *out = add(op, *out, *out)),
        [true, false] => split.output.iter_mut().zip(b).for_each(|(out, &b)| *out = add(op, *out, b)),
        [false, true] => split.output.iter_mut().zip(a).for_each(|(out, &a)| *out = add(op, a, *out)),
        [false, false] => {
            for ((out, &a), &b) in split.output.iter_mut().zip(a).zip(b) {
                *out = add(op, a, b);
            }
        }
    }
}
