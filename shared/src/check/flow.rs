//! Data flow: what an operator reads is what earlier ones wrote.
//!
//! An input is the whole output of one operator, some rows of it, or rows that several have written one beside the other:
//! a model that is computed in bands of rows reads and writes tensors so.

use super::same_quantization;
use crate::decode::Model;
use crate::error::{DecodeError, Place};
use crate::operator::{CONCAT_INPUTS_MAX, Operator};
use crate::plan::Streaming;
use crate::tensor::{Element, Tensor};

/// The byte behind a tensor that lies in the arena.
#[inline(never)]
fn end(element: Element, tensor: &Tensor) -> usize {
    tensor.offset as usize + element.bytes_of(tensor)
}

/// Whether the memory of two tensors that lie in the arena has a byte in common.
#[inline(never)]
fn overlap(element: Element, a: &Tensor, b: &Tensor) -> bool {
    (a.offset as usize) < end(element, b) && (b.offset as usize) < end(element, a)
}

/// Whether one of the tensors is rows of the other, or both are rows of one.
fn same_rows(element: Element, a: &Tensor, b: &Tensor) -> bool {
    let row = (a.shape.width as usize).saturating_mul(a.shape.channels as usize).saturating_mul(element.bytes());
    (a.shape.width, a.shape.channels) == (b.shape.width, b.shape.channels)
        && same_quantization(a, b)
        && (a.offset.abs_diff(b.offset) as usize).is_multiple_of(row)
}

/// The bytes of an input of which it is known that its rows were written there and that nothing has been written over
/// them; one run, so that it takes no memory. What is written apart from the run starts a new one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    from: usize,
    to: usize,
}

impl Known {
    /// Takes note of a write.
    fn write(&mut self, element: Element, write: &Tensor, input: &Tensor) {
        if !overlap(element, write, input) {
            return;
        }
        let from = (write.offset as usize).max(input.offset as usize);
        let to = end(element, write).min(end(element, input));
        if same_rows(element, write, input) {
            let touches = from <= self.to && self.from <= to;
            *self = if touches { Self { from: from.min(self.from), to: to.max(self.to) } } else { Self { from, to } };
        } else if from < self.to && self.from < to {
            *self = Self::default();
        }
    }
}

/// Whether the memory of two tensors is the same.
fn same_memory(a: &Tensor, b: &Tensor) -> bool {
    a.offset == b.offset && a.shape.len() == b.shape.len()
}

/// Checks what operator `index` reads and where it writes; its tensors lie in the arena.
pub(super) fn operator(model: &Model<'_>, index: u16, operator: &Operator) -> Result<(), DecodeError> {
    let element = model.plan().element;
    let output = operator.output();
    for input in operator.inputs().filter(|input| overlap(element, input, output)) {
        let by_rows = operator.rows(element).is_some_and(|rows| rows.may_overlap(input.offset, output.offset));
        let moves = matches!(operator, Operator::Reshape(_));
        if !(moves || by_rows || (operator.in_place() && same_memory(input, output))) {
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
    // What lies in a streaming model's state was written by an earlier run, or is 0.
    let state = model.plan().streaming.map_or(0, |streaming| streaming.state_bytes as usize);

    // One pass over the operators before this one, for all its inputs.
    let mut known = [Known::default(); CONCAT_INPUTS_MAX];
    let written = core::iter::once(model.plan().input).chain(list.operators().map(|earlier| *earlier.output()));
    for write in written.take(in_list + 1) {
        for (known, input) in known.iter_mut().zip(operator.inputs()) {
            known.write(element, &write, input);
        }
    }
    for (known, input) in known.iter().zip(operator.inputs()) {
        let whole = Known { from: input.offset as usize, to: end(element, input) };
        if *known != whole && whole.to > state {
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
