//! Bytes to messages.

use serde::Deserialize;

use crate::encoder::after;
use crate::{MESSAGE_BYTES_MAX, PROTOCOL_VERSION, frame};

/// A message and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<M> {
    /// The sender's number of the frame.
    pub sequence: u16,
    /// What it says.
    pub message: M,
}

/// Why bytes between two zeros are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// More bytes than the decoder holds, or than a frame may have.
    TooLong,
    /// The stuffing is broken.
    Stuffing,
    /// Too short, or the checksum does not match.
    Checksum,
    /// A whole frame of another version of the protocol.
    Version {
        /// The sender's.
        found: u8,
    },
    /// A whole frame with a message that is not known here or has something behind it.
    Message,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong => f.write_str("a frame that is too long"),
            Self::Stuffing => f.write_str("a frame with broken stuffing"),
            Self::Checksum => f.write_str("a frame with a wrong checksum"),
            Self::Version { found } => {
                write!(f, "the other side speaks version {found} of the protocol, this one {PROTOCOL_VERSION}")
            }
            Self::Message => f.write_str("a message that is not known here"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Finds frames in a stream of bytes, with a buffer of `N` bytes: the longest frame without its zero.
///
/// What is longer is dropped up to its end. After any bytes at all, the next frame behind a zero is understood.
#[derive(Debug, Clone)]
pub struct Decoder<const N: usize> {
    buffer: [u8; N],
    filled: usize,
    too_long: bool,
    expected: Option<u16>,
    lost: u32,
    broken: u32,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// A decoder at the beginning of a frame.
    pub const fn new() -> Self {
        Self { buffer: [0; N], filled: 0, too_long: false, expected: None, lost: 0, broken: 0 }
    }

    /// Frames that the other side sent and that did not arrive here whole, by the numbers of those that did; stops at the largest
    /// number there is. Where the other side has started anew, what was on its way then is not counted.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// What lay between two zeros and was no frame of this protocol.
    pub fn broken(&self) -> u32 {
        self.broken
    }

    /// Takes a byte; a message or an error at the end of each frame that is not empty.
    pub fn push<'d, M: Deserialize<'d>>(&'d mut self, byte: u8) -> Option<Result<Frame<M>, FrameError>> {
        if byte != 0 {
            match self.buffer.get_mut(self.filled) {
                Some(place) => {
                    *place = byte;
                    self.filled = self.filled.wrapping_add(1);
                }
                None => self.too_long = true,
            }
            return None;
        }
        let filled = core::mem::take(&mut self.filled);
        if core::mem::take(&mut self.too_long) {
            self.broken = self.broken.saturating_add(1);
            return Some(Err(FrameError::TooLong));
        }
        if filled == 0 {
            return None;
        }
        // Parted, so that the message may borrow from the buffer while counters change.
        let Self { buffer, expected, lost, broken, .. } = self;
        let found = read(buffer.get_mut(..filled).unwrap_or(&mut []));
        match &found {
            // Whole, and only not understood.
            Ok((sequence, _)) => {
                *lost = lost.saturating_add(missing(*expected, *sequence).into());
                *expected = Some(after(*sequence));
            }
            Err(_) => *broken = broken.saturating_add(1),
        }
        Some(found.and_then(|(sequence, body)| match postcard::take_from_bytes(body) {
            Ok((message, [])) => Ok(Frame { sequence, message }),
            _ => {
                *broken = broken.saturating_add(1);
                Err(FrameError::Message)
            }
        }))
    }
}

/// Frames between the last and this one. 0 is only ever the first.
fn missing(expected: Option<u16>, sequence: u16) -> u16 {
    match expected {
        Some(expected) if sequence != 0 && sequence >= expected => sequence.wrapping_sub(expected),
        // Over the end, where 1 comes behind 65535.
        Some(expected) if sequence != 0 => sequence.wrapping_sub(expected).wrapping_sub(1),
        _ => 0,
    }
}

/// The number of a frame without its zero, and its message.
fn read(frame: &mut [u8]) -> Result<(u16, &[u8]), FrameError> {
    let message = frame::unstuff(frame).ok_or(FrameError::Stuffing)?;
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let (checked, checksum) = message.split_last_chunk::<4>().ok_or(FrameError::Checksum)?;
    if frame::checksum(checked) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Checksum);
    }
    let (&found, rest) = checked.split_first().ok_or(FrameError::Checksum)?;
    if found != PROTOCOL_VERSION {
        return Err(FrameError::Version { found });
    }
    let (sequence, body) = rest.split_first_chunk::<2>().ok_or(FrameError::Message)?;
    Ok((u16::from_le_bytes(*sequence), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_between_two_numbers_are_missing() {
        assert_eq!(missing(None, 700), 0);
        assert_eq!((missing(Some(5), 5), missing(Some(5), 8)), (0, 3));
        // 65534, 65535, 1, 2: and the first since a start misses none.
        assert_eq!((missing(Some(65_534), 1), missing(Some(65_534), 2), missing(Some(9), 0)), (2, 3, 0));
        assert_eq!((after(0), after(65_535)), (1, 1));
    }
}
