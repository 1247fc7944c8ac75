//! What two operands have in common, whatever is computed: where they lie, and broadcasting.

use neji_format::Tensor;

use crate::arena;
use crate::element::Element;
use crate::kernels::elementwise::broadcast;

/// Writes `combine(a, b)` to every element of `output`. Each input may lie exactly where the output does.
pub(super) fn run<E: Element>(a: &Tensor, b: &Tensor, output: &Tensor, arena: &mut [E], combine: impl Fn(E, E) -> E) {
    let split = arena::split(arena, output);
    let in_place = [a.offset == output.offset, b.offset == output.offset];
    let (values_a, values_b) = (split.input(a), split.input(b));
    broadcast(output.shape, a.shape, b.shape, split.output, |out, index_a, index_b| {
        // An operand that lies where the output does has its shape, so its element is the one that is replaced.
        let operand = |in_place: bool, values: &[E], index: usize| {
            if in_place { *out } else { values.get(index).copied().unwrap_or(E::zeroed()) }
        };
        *out = combine(operand(in_place[0], values_a, index_a), operand(in_place[1], values_b, index_b));
    });
}
