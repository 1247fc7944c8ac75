//! Logistic function and hyperbolic tangent of int16; the output may lie at the input's offset.

use neji_format::{Model, Sigmoid};

use crate::arena;
use crate::kernels::sigmoid::sigmoid;

pub(super) fn run(model: &Model<'_>, op: &Sigmoid, arena: &mut [i16]) {
    let Some(table) = model.constant_u16(op.table).first_chunk::<256>() else {
        return;
    };
    let split = arena::split(arena, &op.output);
    if op.input.offset == op.output.offset {
        split.output.iter_mut().for_each(|out| *out = sigmoid(op, table, *out));
    } else {
        let input = split.input(&op.input);
        split.output.iter_mut().zip(input).for_each(|(out, &q)| *out = sigmoid(op, table, q));
    }
}
