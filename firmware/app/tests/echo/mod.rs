//! Models that give back what they are given, for tests of what is around a model.

use neji_format::{
    AlignedBytes, Blob, Decision, Detector, Element, FrontEnd, Operator, Plan, Provenance, Reshape, Shape, Tensor,
};

/// A blob whose output is its input, steps of 1, with a detector over `constants`.
pub(crate) fn blob(
    front_end: FrontEnd,
    detector: Detector,
    decision: Decision,
    shape: Shape,
    constants: Vec<u8>,
) -> AlignedBytes {
    let behind = shape.len().next_multiple_of(16) as u32;
    let tensor = |offset| Tensor { offset, shape, scale: 1.0, zero_point: 0 };
    let plan = Plan {
        provenance: Provenance::of("echo"),
        front_end,
        detector,
        decision,
        element: Element::I8,
        streaming: None,
        input: tensor(0),
        output: tensor(behind),
        operator_count: 0,
    };
    let operators = vec![Operator::Reshape(Reshape { input: tensor(0), output: tensor(behind) })];
    AlignedBytes::new(&Blob { plan, operators, constants, arena_bytes: 2 * behind }.encode())
}
