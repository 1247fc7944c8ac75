//! Import of int8 `.tflite` models: read, checked, lowered to the engine's operators with TensorFlow Lite's own numbers.
//!
//! Every factor and table is computed as TensorFlow Lite's kernels compute it when they are prepared, in the same precision,
//! so that the imported model gives the same bytes as its reference kernels.

mod builtin;
mod file;
mod flat;
#[cfg(test)]
mod hostile;
mod lower;
mod monitor;
#[cfg(test)]
mod samples;

pub use monitor::{FrontEndKind, Request, to_monitor};

use anyhow::Result;
use neji_format::{AlignedBytes, Decision, Provenance};
use sha2::{Digest, Sha256};

use crate::frontend::Fitted;
use crate::lowered::Lowered;
use crate::plan::bands;
use crate::quantize::assemble::{Edges, Memory, assemble};

/// Reads a model.
///
/// # Errors
/// Not a `.tflite` file, damaged, or a model that can't be imported: names the operator, its index and what is supported.
pub fn read(bytes: &[u8]) -> Result<Lowered> {
    let file = file::File::read(bytes)?;
    lower::lower(&file)
}

/// Whether a file's first bytes say that it is a `.tflite` model.
pub fn is_tflite(bytes: &[u8]) -> bool {
    bytes.get(4..8).is_some_and(|identifier| identifier == b"TFL3")
}

/// Reads a model and makes it a blob without front end and detector: raw int8 in, raw int8 out.
///
/// # Errors
/// As [`read`]; or the device would refuse it.
pub fn to_blob(bytes: &[u8], name: &str) -> Result<AlignedBytes> {
    to_blob_within(bytes, name, None)
}

/// [`to_blob`] with an arena of at most so many bytes, where some are given.
///
/// # Errors
/// As [`to_blob`]; or the arena can't be that small.
pub fn to_blob_within(bytes: &[u8], name: &str, ram_budget: Option<usize>) -> Result<AlignedBytes> {
    blob(bytes, name, &bands::within(read(bytes)?, ram_budget, false)?, Memory::Planned)
}

/// Makes a blob of a model whose window moves on by `hop` rows a run: raw rows in, raw int8 out.
///
/// # Errors
/// As [`to_blob`]; or the model keeps no rows from window to window.
pub fn to_streaming_blob(bytes: &[u8], name: &str, hop: u32) -> Result<AlignedBytes> {
    blob(bytes, name, &read(bytes)?, Memory::Streaming { hop })
}

fn blob(bytes: &[u8], name: &str, lowered: &Lowered, memory: Memory) -> Result<AlignedBytes> {
    let decision = Decision::EACH;
    let edges = Edges {
        front_end: Fitted::Raw,
        detector: crate::detect::Fitted::None,
        decision,
        provenance: provenance(bytes, name),
    };
    assemble(lowered, memory, &edges)
}

/// Where an imported blob comes from: the hash of the file stands for its settings.
pub fn provenance<'a>(bytes: &[u8], name: &'a str) -> Provenance<'a> {
    Provenance { config_hash: Sha256::digest(bytes).into(), ..Provenance::of(name) }
}
