//! The live link: what a board and a PC say to each other while the board watches.
//!
//! The board sends [`Event`]s, the PC [`Command`]s. Each is one frame, `COBS(version, sequence, postcard(message), CRC-32) ++ 0`,
//! of at most [`FRAME_BYTES_MAX`] bytes; `PROTOCOL.md` says it byte by byte. A zero occurs only at the end of a frame, so who comes
//! late or meets noise is in step again after the next one, and frames are numbered, so who misses one knows how many.
//!
//! Nothing here does I/O or allocates: an [`Encoder`] writes into the caller's bytes, a [`Decoder`] takes bytes one by one and gives
//! messages that borrow from its buffer. It serves a UART, USB CDC and RTT alike.
//!
//! ```
//! use neji_link::{Command, Decoder, Encoder, FRAME_BYTES_MAX, Frame};
//!
//! let mut buffer = [0; FRAME_BYTES_MAX];
//! let sent = Encoder::new().encode(&Command::Calibrate { scores: 64 }, &mut buffer).unwrap();
//!
//! let mut decoder = Decoder::<32>::new();
//! let noise = [0x55, 0x00];
//! let heard: Vec<_> = noise.iter().chain(sent).filter_map(|&byte| decoder.push::<Command>(byte)?.ok()).collect();
//! assert_eq!(heard, [Frame { sequence: 0, message: Command::Calibrate { scores: 64 } }]);
//! assert_eq!(decoder.broken(), 1);
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod command;
mod decoder;
mod encoder;
mod event;
pub mod frame;
mod text;

pub use command::{COMMAND_FRAME_BYTES_MAX, Command, Which};
pub use decoder::{Decoder, Frame, FrameError};
pub use encoder::{EncodeError, Encoder};
pub use event::{
    Cause, Event, Identity, Levels, Log, LogLevel, Map, ModelIdentity, Outcome, PIECE_BYTES_MAX, REASON_BYTES_MAX,
    Reason, Recording, RecordingPiece, ResetCause, Running, Score, Sensor, SensorFault, Spectrum, State,
    TEXT_BYTES_MAX, Trend, capability,
};
pub use text::{Text, cut};

/// Version of the protocol, the first byte of every frame. A variant may be appended to an `enum` without a new version;
/// whatever else changes raises it.
pub const PROTOCOL_VERSION: u8 = 1;
/// Longest message with all that a frame adds before it is stuffed: no run of bytes is longer than a code of COBS can say.
pub const MESSAGE_BYTES_MAX: usize = 253;
/// Longest frame: a byte of stuffing before the message, a zero behind it.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 2;
/// Bytes of a message that are not the postcard: version and sequence before it, the checksum behind it.
pub const OVERHEAD_BYTES: usize = 1 + 2 + 4;
