//! From int8 operators to a blob: offsets in the arena, the edges, the bytes.

use anyhow::{Result, anyhow, ensure};
use neji_format::header::ARENA_BYTES_MAX;
use neji_format::{AlignedBytes, Blob, Decision, Model, Operator, Plan, Provenance, Streaming, Tensor};

use crate::detect;
use crate::frontend::Fitted;
use crate::lowered::Lowered;
use crate::plan::stream::{Streamed, stream};
use crate::plan::{self, Layout, Use};

/// Whether tensors may share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// As little as the planner finds.
    Planned,
    /// Every tensor for itself, so that all can be looked at after a run.
    Separate,
    /// As little as is found where rows are kept from window to window, which move on by `hop` rows.
    Streaming {
        /// New rows a run, at least 1.
        hop: u32,
    },
}

/// What surrounds the network.
#[derive(Debug, Clone)]
pub struct Edges<'a> {
    /// Samples to input.
    pub front_end: Fitted,
    /// Output to score.
    pub detector: detect::Fitted,
    /// Scores to alarm.
    pub decision: Decision,
    /// Where the blob comes from.
    pub provenance: Provenance<'a>,
}

/// Offsets of all tensors.
pub fn layout(lowered: &Lowered, memory: Memory, keep_input: bool) -> Layout {
    let bytes: Vec<usize> = lowered.tensors.iter().map(|tensor| lowered.element.bytes_of(tensor)).collect();
    if memory == Memory::Separate {
        let mut end = 0;
        let mut next = |bytes: &usize| {
            let start = end;
            end += bytes.next_multiple_of(plan::arena::ALIGNMENT);
            start
        };
        return Layout { offsets: bytes.iter().map(&mut next).collect(), bytes: end };
    }
    plan::lay_out(&lifetimes(lowered, keep_input))
}

/// The lifetimes of all tensors.
pub fn lifetimes(lowered: &Lowered, keep_input: bool) -> Vec<plan::Lifetime> {
    let bytes: Vec<usize> = lowered.tensors.iter().map(|tensor| lowered.element.bytes_of(tensor)).collect();
    let uses: Vec<Use> = lowered.steps.iter().map(|step| step.tensors.clone()).collect();
    plan::lifetimes(&bytes, &uses, 0, lowered.output, keep_input)
}

/// Operators whose tensors have their places.
struct Placed {
    operators: Vec<Operator>,
    input: Tensor,
    output: Tensor,
    arena_bytes: usize,
    streaming: Option<Streaming>,
}

impl From<Streamed> for Placed {
    fn from(streamed: Streamed) -> Self {
        let Streamed { operators, input, output, arena_bytes, streaming } = streamed;
        Self { operators, input, output, arena_bytes, streaming: Some(streaming) }
    }
}

fn place(lowered: &Lowered, memory: Memory, keep_input: bool) -> Placed {
    let layout = layout(lowered, memory, keep_input);
    let placed = |index: usize| Tensor { offset: layout.offsets[index] as u32, ..lowered.tensors[index] };
    let operators = lowered.steps.iter().map(|step| {
        let mut operator = step.operator.clone();
        operator.for_each_tensor_mut(|tensor| tensor.offset = lowered.place(&layout.offsets, tensor.offset));
        operator
    });
    Placed {
        operators: operators.collect(),
        input: placed(0),
        output: placed(lowered.output),
        arena_bytes: layout.bytes,
        streaming: None,
    }
}

/// Writes the blob and reads it back.
///
/// # Errors
/// The device would refuse it: says why.
pub fn assemble(lowered: &Lowered, memory: Memory, edges: &Edges<'_>) -> Result<AlignedBytes> {
    let keep_input = edges.detector.keeps_input();
    let placed = match memory {
        Memory::Planned | Memory::Separate => place(lowered, memory, keep_input),
        Memory::Streaming { hop } => stream(lowered, hop)?.into(),
    };
    let needed = placed.arena_bytes;
    ensure!(needed <= ARENA_BYTES_MAX as usize, "the activations need {needed} bytes, an arena has {ARENA_BYTES_MAX}");
    let mut constants = lowered.constants.clone();
    let Placed { operators, input, output, arena_bytes, streaming } = placed;
    let detector = edges.detector.to_format(lowered.element, &input, &output, &mut constants)?;
    let plan = Plan {
        element: lowered.element,
        provenance: edges.provenance,
        front_end: edges.front_end.to_format(lowered.element, &mut constants),
        streaming,
        detector,
        decision: edges.decision,
        input,
        output,
        operator_count: 0,
    };
    let blob = Blob { plan, operators, constants, arena_bytes: arena_bytes as u32 };
    let bytes = AlignedBytes::new(&blob.encode());
    accepted(&bytes)?;
    Ok(bytes)
}

/// The model in a blob that was made here.
///
/// # Errors
/// The device would refuse it: says why.
pub fn accepted(bytes: &AlignedBytes) -> Result<Model<'_>> {
    Model::parse(bytes.as_slice()).map_err(|error| anyhow!("the device would refuse this model: {error}"))
}
