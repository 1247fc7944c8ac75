//! The encoder (feature `alloc`).

use alloc::vec::Vec;

use crate::header::{ALIGNMENT, HEADER_BYTES, Header, checksum};
use crate::operator::Operator;
use crate::plan::Plan;
use crate::tensor::Constant;

/// A blob in the making.
#[derive(Debug, Clone)]
pub struct Blob<'a> {
    /// The head; `operator_count` is set by [`Blob::encode`].
    pub plan: Plan<'a>,
    /// Operators in order of execution.
    pub operators: Vec<Operator>,
    /// Constants, each begun at a multiple of 16; see [`push_constant`].
    pub constants: Vec<u8>,
    /// Memory for activations.
    pub arena_bytes: u32,
}

/// Appends `bytes` to a constants section at the next multiple of 16.
pub fn push_constant(constants: &mut Vec<u8>, bytes: &[u8]) -> Constant {
    constants.resize(constants.len().next_multiple_of(16), 0);
    let offset = constants.len() as u32;
    constants.extend_from_slice(bytes);
    Constant { offset, bytes: bytes.len() as u32 }
}

impl Blob<'_> {
    /// Writes header, postcard section and constants. The result is always whole multiples of 16 bytes.
    ///
    /// Nothing is checked here but sizes: [`Model::parse`](crate::Model::parse) of the result is the check.
    ///
    /// # Panics
    /// With more than 65,535 operators or 4 GiB.
    pub fn encode(&self) -> Vec<u8> {
        let operator_count = u16::try_from(self.operators.len()).expect("at most 65,535 operators");
        let plan = Plan { operator_count, ..self.plan };
        let mut bytes = alloc::vec![0; HEADER_BYTES];
        bytes = postcard::to_extend(&plan, bytes).expect("a vector grows");
        for operator in &self.operators {
            bytes = postcard::to_extend(operator, bytes).expect("a vector grows");
        }
        let plan_bytes = bytes.len() - HEADER_BYTES;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        let constants_offset = bytes.len();
        bytes.extend_from_slice(&self.constants);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        let length = |bytes| u32::try_from(bytes).expect("at most 4 GiB");
        let mut header = Header {
            total_bytes: length(bytes.len()),
            plan_bytes: length(plan_bytes),
            constants_offset: length(constants_offset),
            constants_bytes: length(bytes.len() - constants_offset),
            arena_bytes: self.arena_bytes,
            crc32: 0,
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        header.crc32 = checksum(&bytes);
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        bytes
    }
}

/// A copy of a blob at a 16-byte aligned address, for hosts that read it from a file.
#[derive(Debug, Clone)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// Copies `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = alloc::vec![0_u128; bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut::<u128, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}
