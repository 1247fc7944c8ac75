//! Any function of one element, by table; the output may lie at the input's offset.

use neji_format::{Lut, Model};

use crate::arena;
use crate::kernels::elementwise::look_up;

pub(super) fn run(model: &Model<'_>, op: &Lut, arena: &mut [i8]) {
    let Some(table) = model.constant_i8(op.table).first_chunk::<256>() else {
        return;
    };
    let split = arena::split(arena, &op.output);
    if op.input.offset == op.output.offset {
        split.output.iter_mut().for_each(|out| *out = look_up(table, *out));
    } else {
        let input = split.input(&op.input);
        split.output.iter_mut().zip(input).for_each(|(out, &q)| *out = look_up(table, q));
    }
}
