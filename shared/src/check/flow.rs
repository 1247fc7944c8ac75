//! Data flow: what an operator reads is what an earlier one wrote.

use super::{same_quantization, same_tensor};
use crate::decode::Model;
use crate::error::{DecodeError, Place};
use crate::operator::{CONCAT_INPUTS_MAX, Operator};
use crate::plan::Streaming;
use crate::tensor::{Element, Tensor};

/// Whether the memory of two tensors that lie in the arena has a byte in common.
fn overlap(element: Element, a: &Tensor, b: &Tensor) -> bool {
    let end = |tensor: &Tensor| tensor.offset as usize + element.bytes_of(tensor);
    (a.offset as usize) < end(b) && (b.offset as usize) < end(a)
}

/// Whether the memory of two tensors is the same.
fn same_memory(a: &Tensor, b: &Tensor) -> bool {
    a.offset == b.offset && a.shape.len() == b.shape.len()
}

/// Checks what operator `index` reads and where it writes; its tensors lie in the arena.
pub(super) fn operator(model: &Model<'_>, index: u16, operator: &Operator) -> Result<(), DecodeError> {
    let element = model.plan().element;
    let output = operator.output();
    for input in operator.inputs() {
        let moves = matches!(operator, Operator::Reshape(_));
        if overlap(element, input, output) && !moves && !(operator.in_place() && same_memory(input, output)) {
            return Err(DecodeError::Overlap { operator: index });
        }
    }

    // Each list of a streaming model begins with the new rows.
    let (list, in_list) = match model.plan().streaming {
        Some(Streaming { phases, .. }) => {
            let count = model.plan().operator_count.checked_div(phases).unwrap_or(0);
            let in_list = index.checked_rem(count).unwrap_or(index);
            (model.phase(index.checked_div(count).unwrap_or(0).into()), usize::from(in_list))
        }
        None => (*model, usize::from(index)),
    };

    // One pass over the operators before this one, for all its inputs: the last that touched an input's memory must have
    // written exactly that tensor.
    // What lies in a streaming model's state was written by an earlier run, or is 0.
    let state = model.plan().streaming.map_or(0, |streaming| streaming.state_bytes as usize);
    let kept = |tensor: &Tensor| tensor.offset as usize + element.bytes_of(tensor) <= state;
    let mut whole = [false; CONCAT_INPUTS_MAX];
    for (whole, input) in whole.iter_mut().zip(operator.inputs()) {
        *whole = kept(input);
    }
    let written = core::iter::once(model.plan().input).chain(list.operators().map(|earlier| *earlier.output()));
    for write in written.take(in_list + 1) {
        for (whole, input) in whole.iter_mut().zip(operator.inputs()) {
            if overlap(element, &write, input) && !kept(input) {
                *whole = same_tensor(&write, input);
            }
        }
    }
    for (whole, input) in whole.iter().zip(operator.inputs()) {
        if !whole {
            return Err(DecodeError::NotProduced { place: Place::Operator(index), offset: input.offset });
        }
    }
    Ok(())
}

/// Checks that the plan's output is what the last operator writes, and that the input outlives the run where the
/// detector compares the two.
pub(super) fn output(model: &Model<'_>) -> Result<(), DecodeError> {
    let plan = model.plan();
    let last = model.operators().last().map_or(plan.input, |operator| *operator.output());
    if !same_memory(&last, &plan.output) || last.shape != plan.output.shape || !same_quantization(&last, &plan.output) {
        return Err(DecodeError::NotProduced { place: Place::Output, offset: plan.output.offset });
    }
    if matches!(plan.detector, crate::detector::Detector::Reconstruction(_)) {
        for (operator, step) in (0_u16..).zip(model.operators()) {
            if overlap(plan.element, step.output(), &plan.input) {
                return Err(DecodeError::InputOverwritten { operator });
            }
        }
    }
    Ok(())
}
