//! The fixed 64-byte header of a blob.

use crate::error::DecodeError;

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 64;
/// First four bytes of every blob.
pub const MAGIC: [u8; 4] = *b"NEJI";
/// Version of the layout that this crate reads and writes.
pub const FORMAT_VERSION: u16 = 5;
/// Names the arithmetic: TensorFlow Lite's int8 with double rounding. A device that computes otherwise must refuse.
pub const ARITHMETIC: [u8; 16] = *b"neji.int8.v1\0\0\0\0";
/// Alignment of the blob, of the constants section and of every constant in it, in bytes.
pub const ALIGNMENT: usize = 16;

/// The header's fields, in the order in which they lie in the blob, all little-endian.
///
/// | offset | field |
/// |---:|---|
/// | 0 | magic, `NEJI` |
/// | 4 | `format_version: u16` |
/// | 6 | `header_bytes: u16` = 64 |
/// | 8 | arithmetic id, 16 bytes, zero padded |
/// | 24 | `total_bytes: u32`, the whole blob |
/// | 28 | `plan_bytes: u32`, the postcard section, which begins at 64 |
/// | 32 | `constants_offset: u32`, a multiple of 16 |
/// | 36 | `constants_bytes: u32` |
/// | 40 | `arena_bytes: u32` |
/// | 44 | reserved, 16 zero bytes |
/// | 60 | `crc32: u32` (CRC-32/ISO-HDLC) over all bytes of the blob but these four |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the whole blob.
    pub total_bytes: u32,
    /// Length of the postcard section, which follows the header.
    pub plan_bytes: u32,
    /// Where the constants begin.
    pub constants_offset: u32,
    /// Length of the constants section.
    pub constants_bytes: u32,
    /// Memory that activations need at run time.
    pub arena_bytes: u32,
    /// Checksum over every other byte.
    pub crc32: u32,
}
/// Largest arena: 1 GiB.
pub const ARENA_BYTES_MAX: u32 = 1 << 30;
/// Offset of the checksum in the header.
pub const CRC_OFFSET: usize = 60;
/// Offset of the reserved bytes in the header.
const RESERVED_OFFSET: usize = 44;

/// What the lower and the upper four bits of a byte do to a CRC-32/ISO-HDLC, the one of zlib and Ethernet. Both together are
/// what a table for whole bytes has, in 128 bytes of flash instead of 1 KiB.
static CRC: [[u32; 16]; 2] = {
    let mut tables = [[0; 16]; 2];
    let mut index = 0;
    while index < 32 {
        let (half, bits) = (index / 16, index % 16);
        let mut register = (bits as u32) << (4 * half);
        let mut bit = 0;
        while bit < 8 {
            register = (register >> 1) ^ if register & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[half][bits] = register;
        index += 1;
    }
    tables
};

/// Checksum over all of `blob` but the four bytes at [`CRC_OFFSET`]; a shorter blob counts as it is.
pub fn checksum(blob: &[u8]) -> u32 {
    let (before, rest) = blob.split_at_checked(CRC_OFFSET).unwrap_or((blob, &[]));
    !update(update(!0, before), rest.get(4..).unwrap_or(&[]))
}

/// The register after `bytes`.
#[inline(never)]
fn update(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, &byte| {
        let index = register as u8 ^ byte;
        (register >> 8) ^ CRC[0][usize::from(index & 15)] ^ CRC[1][usize::from(index >> 4)]
    })
}

/// Copies `N` bytes at `offset`, which lies inside the header.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[offset..offset + N]);
    bytes
}

impl Header {
    /// Reads the header at the beginning of `bytes` and checks all of it but the checksum, which needs the whole blob.
    ///
    /// # Errors
    /// [`DecodeError`]'s variants from `Truncated` to `Header`. The sections must lie in order without a gap wider than
    /// alignment asks for.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let given = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // What is there of the magic is judged first: whoever hands over a text file should not read "cut off".
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            let mut found = [0; 4];
            found[..known].copy_from_slice(&bytes[..known]);
            return Err(DecodeError::Magic { found });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::Truncated { needed: HEADER_BYTES as u32, given });
        };
        let u32_at = |offset| u32::from_le_bytes(field(header, offset));
        let version = u16::from_le_bytes(field(header, 4));
        if version != FORMAT_VERSION {
            return Err(DecodeError::FormatVersion { found: version });
        }
        let header_bytes = u16::from_le_bytes(field(header, 6));
        if usize::from(header_bytes) != HEADER_BYTES {
            return Err(DecodeError::Header { field: 6, found: header_bytes.into() });
        }
        let arithmetic = field(header, 8);
        if arithmetic != ARITHMETIC {
            return Err(DecodeError::Arithmetic { found: arithmetic });
        }
        let parsed = Self {
            total_bytes: u32_at(24),
            plan_bytes: u32_at(28),
            constants_offset: u32_at(32),
            constants_bytes: u32_at(36),
            arena_bytes: u32_at(40),
            crc32: u32_at(CRC_OFFSET),
        };
        let plan_end = parsed.plan_bytes.checked_add(HEADER_BYTES as u32);
        let constants_offset = plan_end.and_then(|end| end.checked_next_multiple_of(ALIGNMENT as u32));
        if constants_offset != Some(parsed.constants_offset) {
            return Err(DecodeError::Header { field: 32, found: parsed.constants_offset });
        }
        if !parsed.constants_bytes.is_multiple_of(ALIGNMENT as u32) {
            return Err(DecodeError::Header { field: 36, found: parsed.constants_bytes });
        }
        if parsed.constants_offset.checked_add(parsed.constants_bytes) != Some(parsed.total_bytes) {
            return Err(DecodeError::Header { field: 24, found: parsed.total_bytes });
        }
        if field(header, RESERVED_OFFSET) != [0; CRC_OFFSET - RESERVED_OFFSET] {
            return Err(DecodeError::Header { field: RESERVED_OFFSET as u8, found: u32_at(RESERVED_OFFSET) });
        }
        // Keeps coordinates of padded windows and offsets in the arena below 2^31.
        if parsed.arena_bytes > ARENA_BYTES_MAX {
            return Err(DecodeError::Header { field: 40, found: parsed.arena_bytes });
        }
        if given < parsed.total_bytes {
            return Err(DecodeError::Truncated { needed: parsed.total_bytes, given });
        }
        Ok(parsed)
    }

    /// The 64 bytes of the header, `crc32` included.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes[8..24].copy_from_slice(&ARITHMETIC);
        let fields = [self.total_bytes, self.plan_bytes, self.constants_offset, self.constants_bytes, self.arena_bytes];
        for (slot, value) in bytes[24..RESERVED_OFFSET].chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes[CRC_OFFSET..].copy_from_slice(&self.crc32.to_le_bytes());
        bytes
    }
}
