//! Messages to frames.

use serde::Serialize;

use crate::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, OVERHEAD_BYTES, PROTOCOL_VERSION, frame};

/// Why a message does not become a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// It does not fit the caller's bytes, or a frame.
    TooLong {
        /// Bytes of the frame that there were, [`FRAME_BYTES_MAX`] at most.
        room: usize,
    },
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong { room } => write!(f, "the message does not fit a frame of {room} bytes"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Writes one side's frames and numbers them: 0 is the first since its start, then 1 to 65535 again and again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoder {
    next: u16,
}

impl Encoder {
    /// Before the first frame.
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// The number that the next frame will have.
    pub fn next_sequence(&self) -> u16 {
        self.next
    }

    /// Writes `message` as a frame to the front of `buffer`, its zero included. [`FRAME_BYTES_MAX`] bytes are enough for every
    /// message that this crate can send.
    ///
    /// # Errors
    /// It does not fit; no number is used up then.
    pub fn encode<'b>(&mut self, message: &impl Serialize, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let room = buffer.len().min(FRAME_BYTES_MAX);
        let too_long = EncodeError::TooLong { room };
        let length = body(message, self.next, buffer.get_mut(..room).unwrap_or(&mut [])).ok_or(too_long)?;
        let written = buffer.get_mut(..length).ok_or(too_long)?;
        frame::stuff(written);
        self.next = after(self.next);
        Ok(written)
    }
}

/// The number behind `sequence`.
pub(crate) fn after(sequence: u16) -> u16 {
    sequence.checked_add(1).unwrap_or(1)
}

/// Lays out what is stuffed then; the length of the frame.
fn body(message: &impl Serialize, sequence: u16, frame: &mut [u8]) -> Option<usize> {
    let (_, rest) = frame.split_first_mut()?;
    let (version, rest) = rest.split_first_mut()?;
    *version = PROTOCOL_VERSION;
    let (number, rest) = rest.split_first_chunk_mut::<2>()?;
    *number = sequence.to_le_bytes();
    // Of what is left, the checksum and the zero must fit behind.
    let room = rest.len().checked_sub(5)?.min(MESSAGE_BYTES_MAX - OVERHEAD_BYTES);
    let length = postcard::to_slice(message, rest.get_mut(..room)?).ok()?.len();
    let checked = frame.get(1..)?.get(..3usize.checked_add(length)?)?;
    let checksum = frame::checksum(checked).to_le_bytes();
    let (place, _) = frame.get_mut(4usize.checked_add(length)?..)?.split_first_chunk_mut::<4>()?;
    *place = checksum;
    length.checked_add(9)
}
