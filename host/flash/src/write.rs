//! Writing a board's flash so that the power may fail at any time.
//!
//! Only sectors that differ are touched. Of each part that changes the first sector, which holds what makes the device take
//! the rest for firmware or for a model, is erased before anything else and written after everything else, its first page last: in between there
//! is no header, and the device refuses the model or, without vectors, does not start. A new model leaves the firmware alone.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::greeting::greeting;
use crate::image::{Digest, MODEL, Part};
use crate::plan::{Layout, Wanted, compare, layouts};
use crate::target::{Sector, Target};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long the device has to say which model it runs; `None` does not wait for its word.
    pub wait: Option<Duration>,
    /// Write every sector, whether it differs or not.
    pub all: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { wait: Some(Duration::from_secs(10)), all: false }
    }
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A part's bytes are compared with what is there.
    Reading {
        /// The part.
        part: &'static str,
        /// So many of them so far.
        bytes: u64,
        /// Of so many.
        of: u64,
    },
    /// A part's sectors are written.
    Writing {
        /// The part.
        part: &'static str,
        /// So many bytes so far.
        bytes: u64,
        /// Of so many that differ.
        of: u64,
    },
    /// All is read back.
    Verifying,
    /// The firmware starts.
    Starting,
    /// Its word is waited for.
    Waiting,
}

impl Event {
    /// What is being done, for people.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Reading { .. } => "reading",
            Self::Writing { .. } => "writing",
            Self::Verifying => "reading back",
            Self::Starting => "starting the firmware",
            Self::Waiting => "waiting for the device",
        }
    }
}

/// What happened to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// `firmware` or `model`.
    pub part: &'static str,
    /// Bytes that it has.
    pub bytes: u64,
    /// Bytes that were written: 0 where all was there already.
    pub written: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Part by part.
    pub parts: Vec<Written>,
    /// The device's own word for its model, where it was waited for.
    pub digest: Option<Digest>,
}

/// How many bytes are written at once: enough that a probe need not prepare often, few enough to see them go.
const STEP: u64 = 64 * 1024;

/// Writes `parts`, reads them back, starts the firmware, and waits until it says that it runs the model among them.
///
/// # Errors
/// See [`Error`]. Whatever it is, the device has what it had before, or refuses what is half written, or has all of it.
pub fn write(
    target: &mut dyn Target,
    parts: &[Part],
    options: Options,
    told: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let mut layouts = layouts(target, parts)?;
    target.halt()?;
    for layout in &mut layouts {
        let (part, of, mut done) = (layout.name, layout.bytes(), 0);
        told(Event::Reading { part, bytes: 0, of });
        compare(target, layout, |bytes| {
            done += bytes;
            told(Event::Reading { part, bytes: done, of });
        })?;
        layout.sectors.iter_mut().for_each(|wanted| wanted.changes |= options.all);
    }
    let written = layouts.iter().map(|layout| Written {
        part: layout.name,
        bytes: layout.bytes(),
        written: layout.bytes_to_write(),
    });
    let written: Vec<Written> = written.collect();
    layouts.retain(Layout::changes);
    change(target, &layouts, told)?;

    told(Event::Verifying);
    verify(target, parts)?;
    told(Event::Starting);
    target.start()?;
    let digest = match (options.wait, parts.iter().find(|part| part.name == MODEL)) {
        (Some(timeout), Some(model)) => {
            told(Event::Waiting);
            Some(agree(greeting(target, timeout)?, model)?)
        }
        _ => None,
    };
    Ok(Outcome { parts: written, digest })
}

/// Erases and writes what changes.
fn change(target: &mut dyn Target, layouts: &[Layout], told: &mut dyn FnMut(Event)) -> Result<()> {
    let heads: Vec<Sector> = layouts.iter().map(|layout| layout.sectors[0].sector).collect();
    for head in heads {
        target.erase(&[head])?;
    }
    let mut done = vec![0; layouts.len()];
    let mut tell = |index: usize, bytes: u64| {
        done[index] += bytes;
        let layout: &Layout = &layouts[index];
        told(Event::Writing { part: layout.name, bytes: done[index], of: layout.bytes_to_write() });
    };
    for (index, layout) in layouts.iter().enumerate() {
        tell(index, 0);
        let changed: Vec<&Wanted> = layout.sectors.iter().skip(1).filter(|wanted| wanted.changes).collect();
        let mut rest = changed.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let more = rest.iter().take_while(|wanted| {
                let fits = bytes == 0 || bytes + wanted.bytes() <= STEP;
                bytes += wanted.bytes();
                fits
            });
            let (now, after) = rest.split_at(more.count());
            let sectors: Vec<Sector> = now.iter().map(|wanted| wanted.sector).collect();
            target.erase(&sectors)?;
            program(target, now)?;
            tell(index, now.iter().map(|wanted| wanted.bytes()).sum());
            rest = after;
        }
    }
    // The model before the firmware that looks for it.
    for (index, layout) in layouts.iter().enumerate().rev() {
        let head = &layout.sectors[0];
        let (first, rest) = first_page(head, target.page_bytes(head.sector));
        target.program(&rest)?;
        target.program(&[first])?;
        tell(index, head.bytes());
    }
    Ok(())
}

/// Bytes and the address where they go.
type Chunk<'a> = (u64, &'a [u8]);

/// The first page of what `head` holds, and what follows.
fn first_page(head: &Wanted, page: u64) -> (Chunk<'_>, Vec<Chunk<'_>>) {
    let mut chunks = head.chunks.iter().map(|(address, bytes)| (*address, bytes.as_slice()));
    let (address, bytes) = chunks.next().unwrap_or((head.sector.address, &[]));
    let (first, more) = bytes.split_at(bytes.len().min((page - address % page) as usize));
    let more = (!more.is_empty()).then_some((address + first.len() as u64, more));
    ((address, first), more.into_iter().chain(chunks).collect())
}

fn program(target: &mut dyn Target, sectors: &[&Wanted]) -> Result<()> {
    let chunks = sectors.iter().flat_map(|wanted| &wanted.chunks);
    let chunks: Vec<Chunk<'_>> = chunks.map(|(address, bytes)| (*address, bytes.as_slice())).collect();
    target.program(&chunks)
}

/// Reads all back, what was not written too: a neighbour may have suffered.
fn verify(target: &mut dyn Target, parts: &[Part]) -> Result<()> {
    for part in parts {
        for chunk in &part.chunks {
            let mut found = vec![0; chunk.bytes.len()];
            target.read(chunk.address, &mut found)?;
            let differs = found.iter().zip(&chunk.bytes).position(|(found, wanted)| found != wanted);
            if let Some(index) = differs {
                let address = chunk.address + index as u64;
                return Err(Error::Verify {
                    part: part.name,
                    address,
                    found: found[index],
                    wanted: chunk.bytes[index],
                });
            }
        }
    }
    Ok(())
}

/// Compares the device's word with the model that was written.
fn agree(found: Digest, model: &Part) -> Result<Digest> {
    let chunk = &model.chunks[0];
    match Digest::of(&chunk.bytes) {
        Some(written) if written != found => Err(Error::OtherModel {
            found: found.crc32,
            found_bytes: found.bytes,
            expected: written.crc32,
            bytes: written.bytes,
            address: chunk.address,
        }),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests;
