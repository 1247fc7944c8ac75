//! Which sectors have to change: all parts are read first, and what is there already stays.

use crate::error::{Error, Result};
use crate::image::Part;
use crate::target::{Sector, Target};

/// What a sector is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The sector.
    pub sector: Sector,
    /// Addresses and bytes in it, in order; the rest does not matter.
    pub chunks: Vec<(u64, Vec<u8>)>,
    /// False where it holds them already.
    pub changes: bool,
}

impl Wanted {
    /// Bytes that it is to hold.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// A part, sector by sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `firmware` or `model`.
    pub name: &'static str,
    /// In order; the first is what makes the device take it for something.
    pub sectors: Vec<Wanted>,
}

impl Layout {
    /// Whether anything of it has to be written.
    pub fn changes(&self) -> bool {
        self.sectors.iter().any(|wanted| wanted.changes)
    }

    /// Bytes that have to be written. The first sector is written again whenever any other is.
    pub fn bytes_to_write(&self) -> u64 {
        let written = self.sectors.iter().enumerate().filter(|(index, wanted)| wanted.changes || *index == 0);
        if self.changes() { written.map(|(_, wanted)| wanted.bytes()).sum() } else { 0 }
    }

    /// Bytes of the part.
    pub fn bytes(&self) -> u64 {
        self.sectors.iter().map(Wanted::bytes).sum()
    }
}

/// Cuts `parts` into the chip's sectors; nothing is read yet, and all is taken to change.
///
/// # Errors
/// There is no flash at an address, parts overlap, or a sector has bytes of two parts: erasing it for one would take the
/// other's.
pub fn layouts(target: &dyn Target, parts: &[Part]) -> Result<Vec<Layout>> {
    let mut layouts: Vec<Layout> = Vec::new();
    for part in parts {
        let mut sectors: Vec<Wanted> = Vec::new();
        for chunk in &part.chunks {
            let mut at = chunk.address;
            for sector in target.sectors(chunk.address..chunk.end()) {
                if sector.address > at {
                    break;
                }
                let from = (at - chunk.address) as usize;
                let end = chunk.end().min(sector.end());
                let bytes = chunk.bytes[from..(end - chunk.address) as usize].to_vec();
                match sectors.last_mut().filter(|last| last.sector == sector) {
                    Some(last) => last.chunks.push((at, bytes)),
                    None => sectors.push(Wanted { sector, chunks: vec![(at, bytes)], changes: true }),
                }
                at = end;
            }
            if at < chunk.end() {
                return Err(Error::NoFlash { part: part.name, address: at, chip: target.chip() });
            }
        }
        for other in &layouts {
            let shared = |wanted: &&Wanted| sectors.iter().any(|mine| mine.sector == wanted.sector);
            if let Some(wanted) = other.sectors.iter().find(shared) {
                let Sector { address, bytes } = wanted.sector;
                return Err(Error::SharedSector { first: other.name, second: part.name, address, bytes });
            }
        }
        layouts.push(Layout { name: part.name, sectors });
    }
    Ok(layouts)
}

/// Reads what is there and marks what changes; `read` is told of bytes as they are read.
///
/// # Errors
/// The chip does not answer.
pub fn compare(target: &mut dyn Target, layout: &mut Layout, mut read: impl FnMut(u64)) -> Result<()> {
    for wanted in &mut layout.sectors {
        wanted.changes = false;
        for (address, bytes) in &wanted.chunks {
            let mut found = vec![0; bytes.len()];
            target.read(*address, &mut found)?;
            wanted.changes |= found != *bytes;
            read(bytes.len() as u64);
        }
    }
    Ok(())
}
