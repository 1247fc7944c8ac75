//! What is to be in flash: the firmware of an ELF image, and a model.

use neji_format::Header;
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, elf};

use crate::error::{Error, Result};

/// Bytes and where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first one's address.
    pub address: u64,
    /// At least one.
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// The address behind the last byte.
    pub fn end(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }
}

/// What is written as one: until it is whole, the device must not take it for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `firmware` or `model`.
    pub name: &'static str,
    /// In the order of their addresses, apart from each other. What begins the first tells the device that there is
    /// something: vectors, or the magic of a model.
    pub chunks: Vec<Chunk>,
}

/// A part's name.
pub const FIRMWARE: &str = "firmware";
/// A part's name.
pub const MODEL: &str = "model";

impl Part {
    /// The loadable segments of an ELF image by their physical addresses: what a loader writes to flash.
    ///
    /// # Errors
    /// It is no ELF image of 32 bits, has nothing to load, or segments overlap.
    pub fn firmware(image: &[u8]) -> Result<Self> {
        let broken = |reason: &dyn std::fmt::Display| Error::Image { reason: reason.to_string() };
        let file = ElfFile32::<Endianness>::parse(image).map_err(|error| broken(&error))?;
        let mut chunks = Vec::new();
        for header in file.elf_program_headers() {
            let endian = file.endian();
            if header.p_type(endian) != elf::PT_LOAD || header.p_filesz(endian) == 0 {
                continue;
            }
            let bytes = header.data(endian, image).map_err(|()| broken(&"a segment is not in the file"))?;
            chunks.push(Chunk { address: header.p_paddr(endian).into(), bytes: bytes.to_vec() });
        }
        if chunks.is_empty() {
            return Err(broken(&"it has nothing to load"));
        }
        chunks.sort_by_key(|chunk| chunk.address);
        if let Some(pair) = chunks.windows(2).find(|pair| pair[0].end() > pair[1].address) {
            return Err(Error::Overlap { first: FIRMWARE, second: FIRMWARE, address: pair[1].address });
        }
        Ok(Self { name: FIRMWARE, chunks })
    }

    /// The blob `model` in its region at `address`.
    ///
    /// # Panics
    /// It is empty.
    pub fn model(address: u64, model: &[u8]) -> Self {
        assert!(!model.is_empty(), "a model has a header");
        Self { name: MODEL, chunks: vec![Chunk { address, bytes: model.to_vec() }] }
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a model calls itself: the device's word is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The checksum in its header, over all of it.
    pub crc32: u32,
    /// Its length.
    pub bytes: u32,
}

impl Digest {
    /// Of a blob, whose header is read and no more.
    pub fn of(model: &[u8]) -> Option<Self> {
        let header = Header::parse(model).ok()?;
        Some(Self { crc32: header.crc32, bytes: header.total_bytes })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF image with these segments: physical address and bytes; `memory` more bytes each that are zeroed in RAM.
    pub(crate) fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |value: u16, out: &mut Vec<u8>| out.extend(value.to_le_bytes());
        half(2, &mut image);
        half(40, &mut image);
        let word = |value: u32, out: &mut Vec<u8>| out.extend(value.to_le_bytes());
        for value in [1, 0, 52, 0, 0] {
            word(value, &mut image);
        }
        for value in [52, 32, segments.len() as u16, 40, 0, 0] {
            half(value, &mut image);
        }
        let mut offset = 52 + 32 * segments.len() as u32;
        for (address, bytes) in segments {
            // The virtual address is RAM's, as that of initial values.
            let length = bytes.len() as u32;
            for value in [1, offset, 0x2000_0000, *address, length, length + 8, 6, 4] {
                word(value, &mut image);
            }
            offset += length;
        }
        segments.iter().for_each(|(_, bytes)| image.extend_from_slice(bytes));
        image
    }

    #[test]
    fn segments_lie_at_their_physical_addresses_in_order() {
        let part = Part::firmware(&elf(&[(0x200, b"data"), (0, b"vectors"), (0x300, b"")])).unwrap();
        let chunk = |address, bytes: &[u8]| Chunk { address, bytes: bytes.to_vec() };
        assert_eq!(part.chunks, [chunk(0, b"vectors"), chunk(0x200, b"data")]);
        assert_eq!((part.name, part.len()), ("firmware", 11));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let error = |bytes: &[u8]| Part::firmware(bytes).unwrap_err().to_string();
        assert!(error(b"hello").contains("no ELF image"));
        assert!(error(&elf(&[])).contains("nothing to load"));
        assert!(error(&elf(&[(0, b"1234"), (3, b"5")])).contains("overlap at 0x3"));
        let whole = elf(&[(0, b"1234")]);
        for length in 0..whole.len() {
            error(&whole[..length]);
        }
    }
}
