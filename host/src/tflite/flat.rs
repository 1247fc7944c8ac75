//! A reader of flatbuffers that checks what it reads when it reads it.
//!
//! The `flatbuffers` crate's verifier does the checking: every table, offset, alignment and length goes through it. What it
//! has admitted is copied out, so that no unchecked access and no `unsafe` is needed (the crate's own accessors are unsafe to
//! call, and its generated code needs a schema compiler).

use anyhow::{Context, Result, anyhow, ensure};
use flatbuffers::{InvalidFlatbuffer, Verifier, VerifierOptions};

/// Where a field of a table lies; `None` where the writer left it at its default.
pub(super) type Field = Option<usize>;

/// A flatbuffer and the verifier that watches over it.
pub(super) struct Reader<'o, 'b> {
    bytes: &'b [u8],
    verifier: Verifier<'o, 'b>,
}

/// Longest text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// Limits for a file of `len` bytes. Tables may share what they point to, so that a file can unfold to the square of its
/// length; one that a converter writes is read once or twice.
pub(super) fn options(len: usize) -> VerifierOptions {
    VerifierOptions {
        max_depth: 64,
        max_tables: 1_000_000,
        max_apparent_size: len.saturating_mul(8).saturating_add(1 << 16),
        ignore_missing_null_terminator: true,
    }
}

fn invalid(error: &InvalidFlatbuffer) -> anyhow::Error {
    anyhow!("not a valid flatbuffer: {error:?}")
}

impl<'o, 'b> Reader<'o, 'b> {
    pub(super) fn new(options: &'o VerifierOptions, bytes: &'b [u8]) -> Self {
        Self { bytes, verifier: Verifier::new(options, bytes) }
    }

    /// The position of the root table of a file with this identifier.
    pub(super) fn root(&mut self, identifier: [u8; 4]) -> Result<usize> {
        let found = self.bytes.get(4..8).context("too short for a flatbuffer")?;
        ensure!(found == identifier, "identifier {:?}, not {:?}", found.escape_ascii().to_string(), "TFL3");
        self.offset(0)
    }

    /// The first `N` fields of the table at `position`.
    pub(super) fn table<const N: usize>(&mut self, position: usize) -> Result<[Field; N]> {
        let mut table = self.verifier.visit_table(position).map_err(|error| invalid(&error))?;
        let mut fields = [None; N];
        for (slot, field) in fields.iter_mut().enumerate() {
            // A vtable begins with its own and the table's length, two bytes each, as are its entries.
            *field = table.deref(4 + 2 * slot as u16).map_err(|error| invalid(&error))?;
        }
        table.finish();
        Ok(fields)
    }

    /// What the offset at `position` points to.
    pub(super) fn offset(&mut self, position: usize) -> Result<usize> {
        let offset = self.verifier.get_uoffset(position).map_err(|error| invalid(&error))?;
        position.checked_add(offset as usize).context("not a valid flatbuffer: an offset beyond the file")
    }

    /// `count` bytes from `position`.
    fn bytes(&mut self, position: usize, count: usize) -> Result<&'b [u8]> {
        self.verifier.range_in_buffer(position, count).map_err(|error| invalid(&error))?;
        self.bytes.get(position..position + count).context("not a valid flatbuffer: a range beyond the file")
    }

    fn word<const N: usize>(&mut self, field: Field) -> Result<Option<[u8; N]>> {
        let Some(position) = field else { return Ok(None) };
        let bytes = self.bytes(position, N)?;
        Ok(bytes.first_chunk().copied())
    }

    pub(super) fn u8(&mut self, field: Field, default: u8) -> Result<u8> {
        Ok(self.word::<1>(field)?.map_or(default, |[byte]| byte))
    }

    pub(super) fn i32(&mut self, field: Field, default: i32) -> Result<i32> {
        Ok(self.word(field)?.map_or(default, i32::from_le_bytes))
    }

    pub(super) fn u64(&mut self, field: Field, default: u64) -> Result<u64> {
        Ok(self.word(field)?.map_or(default, u64::from_le_bytes))
    }

    pub(super) fn f32(&mut self, field: Field, default: f32) -> Result<f32> {
        Ok(self.word(field)?.map_or(default, f32::from_le_bytes))
    }

    /// The elements of a vector of `size` bytes each; `None` where the field is missing.
    pub(super) fn vector(&mut self, field: Field, size: usize) -> Result<Option<&'b [u8]>> {
        let Some(position) = field else { return Ok(None) };
        let vector = self.offset(position)?;
        let len = self.verifier.get_uoffset(vector).map_err(|error| invalid(&error))? as usize;
        let bytes = len.checked_mul(size).context("not a valid flatbuffer: a vector longer than memory")?;
        self.bytes(vector + 4, bytes).map(Some)
    }

    pub(super) fn i32s(&mut self, field: Field) -> Result<Vec<i32>> {
        let bytes = self.vector(field, 4)?.unwrap_or_default();
        Ok(bytes.as_chunks().0.iter().copied().map(i32::from_le_bytes).collect())
    }

    pub(super) fn i64s(&mut self, field: Field) -> Result<Vec<i64>> {
        let bytes = self.vector(field, 8)?.unwrap_or_default();
        Ok(bytes.as_chunks().0.iter().copied().map(i64::from_le_bytes).collect())
    }

    pub(super) fn f32s(&mut self, field: Field) -> Result<Vec<f32>> {
        let bytes = self.vector(field, 4)?.unwrap_or_default();
        Ok(bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect())
    }

    /// A text; what is no UTF-8 is replaced, what is too long for a name cut.
    pub(super) fn text(&mut self, field: Field) -> Result<String> {
        let bytes = self.vector(field, 1)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned())
    }

    /// Positions of the tables of a vector.
    pub(super) fn tables(&mut self, field: Field) -> Result<Vec<usize>> {
        let Some(position) = field else { return Ok(Vec::new()) };
        let vector = self.offset(position)?;
        let count = self.vector(field, 4)?.unwrap_or_default().len() / 4;
        (0..count).map(|index| self.offset(vector + 4 + 4 * index)).collect()
    }
}
