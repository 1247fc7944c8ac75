//! The zero-copy decoder: checks a blob once, then hands out views of it.

use crate::error::DecodeError;
use crate::header::{ALIGNMENT, HEADER_BYTES, Header, checksum};
use crate::operator::Operator;
use crate::plan::Plan;
use crate::read::Reader;
use crate::tensor::{Constant, Element};

/// A checked blob. Copy: a handful of slices into flash.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    bytes: &'a [u8],
    header: Header,
    plan: Plan<'a>,
    operators: &'a [u8],
    constants: &'a [u8],
}

impl<'a> Model<'a> {
    /// Checks everything about the blob at the beginning of `bytes`, which may be longer (a flash region) and must be
    /// 16-byte aligned.
    ///
    /// # Errors
    /// Whatever could make running the model fail; see [`DecodeError`].
    // A function of its own: what it copies of the plan is off the stack when the model runs.
    #[inline(never)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::parse(bytes)?;
        let remainder = bytes.as_ptr().addr() % ALIGNMENT;
        if remainder != 0 {
            return Err(DecodeError::Misaligned { remainder: remainder as u8 });
        }
        // Header::parse has compared the sections with each other and with the length of the slice.
        let bytes = bytes.get(..header.total_bytes as usize).unwrap_or(&[]);
        let computed = checksum(bytes);
        if computed != header.crc32 {
            return Err(DecodeError::Checksum { stored: header.crc32, computed });
        }
        let (head, constants) = bytes.split_at_checked(header.constants_offset as usize).unwrap_or((bytes, &[]));
        let section = head.get(HEADER_BYTES..).and_then(|rest| rest.get(..header.plan_bytes as usize)).unwrap_or(&[]);
        let mut reader = Reader::new(section);
        let plan = reader.plan();
        let operators = reader.rest().ok_or(DecodeError::Plan)?;
        if !cfg!(feature = "int16") && plan.element == Element::I16 {
            return Err(DecodeError::Int8Only);
        }
        for operator in 0..plan.operator_count {
            let before = reader.clone();
            if reader.operator().is_none() {
                return Err(match before.not_linked() {
                    Some(number) => DecodeError::NotLinked { operator, number },
                    None => DecodeError::Operator { operator },
                });
            }
        }
        let left = reader.rest().map_or(0, |rest| rest.len() as u32);
        if left > 0 {
            return Err(DecodeError::TrailingBytes { left });
        }
        let model = Self { bytes, header, plan, operators, constants };
        crate::check::model(&model)?;
        Ok(model)
    }

    /// The blob itself, without what follows it in flash.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Front end, detector, decision, provenance, input and output.
    pub fn plan(&self) -> &Plan<'a> {
        &self.plan
    }

    /// Memory for activations in bytes.
    pub fn arena_bytes(&self) -> usize {
        self.header.arena_bytes as usize
    }

    /// The operators in order; each is decoded when it is reached.
    pub fn operators(&self) -> Operators<'a> {
        Operators { reader: Reader::new(self.operators), left: self.plan.operator_count }
    }

    /// The model with none of its operators but the one at `index`, or with none at all where there are fewer.
    ///
    /// Running these one after another in one arena is running the model. For tools: [`Model::bytes`] stay the whole blob's.
    pub fn only(mut self, index: u16) -> Self {
        let mut operators = self.operators();
        for _ in 0..index {
            operators.next();
        }
        self.operators = operators.reader.rest().unwrap_or(&[]);
        self.plan.operator_count = operators.left.min(1);
        self
    }

    /// The model with the operators of a streaming model's run `run`, counted from 0, alone; itself where it does not stream.
    pub fn phase(mut self, run: u32) -> Self {
        let operators = self.phase_operators(run);
        if let Some(streaming) = &mut self.plan.streaming {
            streaming.phases = 1;
        }
        self.plan.operator_count = operators.left;
        self.operators = operators.reader.rest().unwrap_or(&[]);
        self
    }

    /// The operators of a streaming model's run `run`, counted from 0, in order; all where it does not stream.
    pub fn phase_operators(&self, run: u32) -> Operators<'a> {
        let mut operators = self.operators();
        let phases = self.plan.streaming.map_or(1, |streaming| streaming.phases);
        let (Some(count), Some(phase)) = (self.plan.operator_count.checked_div(phases), run.checked_rem(phases.into()))
        else {
            return operators;
        };
        for _ in 0..phase.saturating_mul(count.into()) {
            operators.next();
        }
        operators.left = count;
        operators
    }

    /// The section that all constants lie in.
    pub fn constants(&self) -> &'a [u8] {
        self.constants
    }

    /// The bytes of a constant; empty where it lies outside, which [`Model::parse`] has excluded.
    pub fn constant(&self, constant: Constant) -> &'a [u8] {
        let start = constant.offset as usize;
        self.constants.get(start..start.saturating_add(constant.bytes as usize)).unwrap_or(&[])
    }

    /// A constant as int8, and up to three bytes of what follows it, so that words that begin in it can be read.
    pub fn constant_words(&self, constant: Constant) -> &'a [i8] {
        let start = constant.offset as usize;
        let end = start.saturating_add(constant.bytes as usize);
        let longer = self.constants.get(start..end.saturating_add(3));
        bytemuck::cast_slice(longer.unwrap_or_else(|| self.constant(constant)))
    }

    /// A constant as int8.
    pub fn constant_i8(&self, constant: Constant) -> &'a [i8] {
        bytemuck::cast_slice(self.constant(constant))
    }

    /// A constant as little-endian i32; empty where it is not aligned, which [`Model::parse`] has excluded.
    pub fn constant_i32(&self, constant: Constant) -> &'a [i32] {
        bytemuck::try_cast_slice(self.constant(constant)).unwrap_or(&[])
    }

    /// A constant as little-endian i64; empty where it is not aligned, which [`Model::parse`] has excluded.
    pub fn constant_i64(&self, constant: Constant) -> &'a [i64] {
        bytemuck::try_cast_slice(self.constant(constant)).unwrap_or(&[])
    }

    /// A constant as little-endian i16; empty where it is not aligned, which [`Model::parse`] has excluded.
    pub fn constant_i16(&self, constant: Constant) -> &'a [i16] {
        bytemuck::try_cast_slice(self.constant(constant)).unwrap_or(&[])
    }

    /// A constant as little-endian u32; empty where it is not aligned, which [`Model::parse`] has excluded.
    pub fn constant_u32(&self, constant: Constant) -> &'a [u32] {
        bytemuck::try_cast_slice(self.constant(constant)).unwrap_or(&[])
    }

    /// A constant as little-endian u16; empty where it is not aligned.
    pub fn constant_u16(&self, constant: Constant) -> &'a [u16] {
        bytemuck::try_cast_slice(self.constant(constant)).unwrap_or(&[])
    }
}

/// Iterates over the operators of a checked blob.
#[derive(Debug, Clone)]
pub struct Operators<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl Iterator for Operators<'_> {
    type Item = Operator;

    fn next(&mut self) -> Option<Operator> {
        self.left = self.left.checked_sub(1)?;
        self.reader.operator()
    }
}
