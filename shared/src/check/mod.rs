//! What [`Model::parse`] checks after everything has decoded: that running the plan cannot fail.
//!
//! No memory is taken: operators are decoded again wherever they are looked at. The time is at most the blob's length
//! times the number of operators.

mod detector;
mod edges;
mod flow;
mod geometry;
mod operator;
mod sound;
mod sum;

use crate::decode::Model;
use crate::error::{DecodeError, Place};
use crate::quant::Multiplier;
use crate::tensor::{Constant, Element, Tensor};

/// Checks the decoded plan: tensors and data flow, each operator, then front end, detector and decision.
pub(crate) fn model(model: &Model<'_>) -> Result<(), DecodeError> {
    let plan = model.plan();
    if !model.arena_bytes().is_multiple_of(plan.element.bytes()) {
        return Err(DecodeError::Element { place: Place::Input });
    }
    tensor(model, Place::Input, &plan.input)?;
    tensor(model, Place::Output, &plan.output)?;
    for (index, step) in (0_u16..).zip(model.operators()) {
        for read in step.inputs() {
            tensor(model, Place::Operator(index), read)?;
        }
        tensor(model, Place::Operator(index), step.output())?;
        flow::operator(model, index, &step)?;
        operator::check(model, index, &step)?;
    }
    flow::output(model)?;
    edges::streaming(model)?;
    edges::front_end(model)?;
    detector::detector(model)?;
    edges::decision(&plan.decision)
}

/// Checks that a tensor has elements and a scale, and lies inside the arena.
// Once in an image, as some others: the compiler would have each where it is called.
#[inline(never)]
fn tensor(model: &Model<'_>, place: Place, tensor: &Tensor) -> Result<(), DecodeError> {
    let shape = tensor.shape;
    if shape.height == 0 || shape.width == 0 || shape.channels == 0 {
        return Err(DecodeError::EmptyTensor { place });
    }
    let given = model.header().arena_bytes;
    let element = model.plan().element;
    let bytes = element.bytes() as u32;
    let end = shape.checked_len().and_then(|len| len.checked_mul(bytes)?.checked_add(tensor.offset));
    match end {
        Some(needed) if needed <= given => {}
        needed => return Err(DecodeError::ArenaTooSmall { place, needed: needed.unwrap_or(u32::MAX), given }),
    }
    if !tensor.offset.is_multiple_of(bytes) || (element == Element::I16 && tensor.zero_point != 0) {
        return Err(DecodeError::Element { place });
    }
    // Positive and finite, in integers: a core without FPU should not need float routines for this.
    if !(1..f32::INFINITY.to_bits()).contains(&tensor.scale.to_bits()) {
        return Err(DecodeError::Scale { place });
    }
    Ok(())
}

/// Checks that a constant lies in its section, begins at a multiple of 16 and has `needed` bytes; `None` is more than
/// 64 bits can say.
#[inline(never)]
fn constant(model: &Model<'_>, place: Place, constant: Constant, needed: Option<u64>) -> Result<(), DecodeError> {
    let Constant { offset, bytes } = constant;
    let end = u64::from(offset) + u64::from(bytes);
    if end > u64::from(model.header().constants_bytes) {
        return Err(DecodeError::ConstantOutOfBounds { place, offset, bytes });
    }
    if !(offset as usize).is_multiple_of(crate::header::ALIGNMENT) {
        return Err(DecodeError::ConstantMisaligned { place, offset });
    }
    if needed != Some(bytes.into()) {
        let needed = needed.and_then(|needed| u32::try_from(needed).ok()).unwrap_or(u32::MAX);
        return Err(DecodeError::ConstantLength { place, needed, given: bytes });
    }
    Ok(())
}

/// Whether a multiplier is what `QuantizeMultiplier` makes, or a mean of it: 0, or a mantissa in `[2^29, 2^31)`, and a shift
/// in `[-31, 30]`.
fn is_normal(multiplier: Multiplier) -> bool {
    (multiplier.multiplier == 0 || multiplier.multiplier >= 1 << 29) && (-31..=30).contains(&multiplier.shift)
}

/// Whether two tensors share scale and zero point.
fn same_quantization(a: &Tensor, b: &Tensor) -> bool {
    a.scale.to_bits() == b.scale.to_bits() && a.zero_point == b.zero_point
}
