//! What a board can do with its flash, whatever the way there: a debug probe, QEMU, a test.

use std::ops::Range;

use crate::error::Result;
use crate::rtt::Heard;

/// What flash is erased by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sector {
    /// Of its first byte.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
}

impl Sector {
    /// The address behind it.
    pub fn end(self) -> u64 {
        self.address + self.bytes
    }
}

/// What a byte of erased flash is.
pub const ERASED: u8 = 0xff;

/// A chip with flash, halted or running. Every operation ends, with an error where the chip does not answer.
pub trait Target {
    /// The chip's name, for people.
    fn chip(&self) -> String;

    /// The sectors that hold any byte of `range`, in order. They need not cover all of it: a gap has no flash.
    fn sectors(&self, range: Range<u64>) -> Vec<Sector>;

    /// What is programmed at once in a sector of [`Target::sectors`]: it divides the sector.
    fn page_bytes(&self, sector: Sector) -> u64;

    /// Stops what runs, so that nothing reads flash while it is written.
    ///
    /// # Errors
    /// The chip does not answer.
    fn halt(&mut self) -> Result<()>;

    /// Fills `buffer` with what lies at `address`.
    ///
    /// # Errors
    /// The chip does not answer.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()>;

    /// Erases `sectors`, of [`Target::sectors`], in order: all their bytes are [`ERASED`] then.
    ///
    /// # Errors
    /// The chip does not answer or refuses. A sector may then be half erased.
    fn erase(&mut self, sectors: &[Sector]) -> Result<()>;

    /// Writes bytes at addresses, in order, into pages that were erased and not written since.
    ///
    /// # Errors
    /// The chip does not answer or refuses. Some of it may then be written.
    fn program(&mut self, chunks: &[(u64, &[u8])]) -> Result<()>;

    /// Starts the firmware from its reset.
    ///
    /// # Errors
    /// The chip does not answer.
    fn start(&mut self) -> Result<()>;

    /// Some more bytes of what the firmware says, by the number of the channel, or none where there are no new ones. Does not
    /// wait long.
    ///
    /// # Errors
    /// The line is cut, or the firmware has ended.
    fn hear(&mut self) -> Result<Heard>;

    /// Says `bytes` to the firmware, over the line that it is heard on. What does not go out at once is dropped, as is everything where
    /// there is no such line.
    ///
    /// # Errors
    /// The line is cut.
    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Where [`Target::hear`] listens, for people.
    fn line(&self) -> &'static str;
}
