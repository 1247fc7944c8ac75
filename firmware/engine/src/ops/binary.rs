//! What two operands have in common, whatever is computed: where they lie, and broadcasting.

use neji_format::Tensor;

use crate::arena;
use crate::kernels::elementwise::broadcast;

/// Writes `combine(a, b)` to every element of `output`. Each input may lie exactly where the output does.
pub(super) fn run(a: &Tensor, b: &Tensor, output: &Tensor, arena: &mut [i8], combine: impl Fn(i8, i8) -> i8) {
    let split = arena::split(arena, output);
    let in_place = [a.offset == output.offset, b.offset == output.offset];
    let (values_a, values_b) = (split.input(a), split.input(b));
    let out = split.output;
    if a.shape == b.shape {
        match in_place {
            [true, true] => out.iter_mut().for_each(|out| *out = combine(*out, *out)),
            [true, false] => out.iter_mut().zip(values_b).for_each(|(out, &b)| *out = combine(*out, b)),
            [false, true] => out.iter_mut().zip(values_a).for_each(|(out, &a)| *out = combine(a, *out)),
            [false, false] => {
                for ((out, &a), &b) in out.iter_mut().zip(values_a).zip(values_b) {
                    *out = combine(a, b);
                }
            }
        }
        return;
    }
    let value = |values: &[i8], index: usize| values.get(index).copied().unwrap_or(0);
    broadcast(output.shape, a.shape, b.shape, out, |out, index_a, index_b| {
        // An operand that lies where the output does has its shape, so its element is the one that is replaced.
        let a = if in_place[0] { *out } else { value(values_a, index_a) };
        let b = if in_place[1] { *out } else { value(values_b, index_b) };
        *out = combine(a, b);
    });
}
