//! A board in QEMU, whose sensor plays recordings.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use neji_machine::Board;
use neji_machine::live::{Feed, Live};

use crate::port::{Line, Port, WAIT};

/// What the sensor gives.
pub type Input = Arc<dyn Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + Send + Sync>;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the board takes it.
    None,
    /// So many bytes a second.
    BytesPerSecond(f64),
}

/// A board in QEMU.
#[derive(Clone)]
pub struct Emulated {
    /// Which.
    pub board: Board,
    /// Its firmware.
    pub elf: PathBuf,
    /// The blob in its flash.
    pub model: Vec<u8>,
    /// What its sensor gives, in any pieces; once, or for ever.
    pub input: Input,
    /// How fast.
    pub pace: Pace,
}

impl Line for Emulated {
    fn name(&self) -> String {
        format!("{} in QEMU", self.board.package)
    }

    fn open(&mut self) -> Result<Box<dyn Port>> {
        let (live, serial, feed) = Live::start(&self.board, &self.elf, &self.model)?;
        let mut from_board = serial.try_clone()?;
        let (said, heard) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from_board.read(&mut bytes) {
                if said.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let (begin, begun) = channel();
        let (input, pace) = (Arc::clone(&self.input), self.pace);
        // Ends with the board, whose pipe then breaks.
        thread::spawn(move || play(&begun, &input, pace, feed));
        Ok(Box::new(Emulation { live, serial, heard, begin: Some(begin), rest: Vec::new() }))
    }

    fn comes_back(&self) -> bool {
        false
    }
}

struct Emulation {
    live: Live,
    serial: TcpStream,
    heard: Receiver<Vec<u8>>,
    /// Taken where the sensor begins.
    begin: Option<Sender<()>>,
    /// Heard and not yet taken.
    rest: Vec<u8>,
}

impl Port for Emulation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.heard.recv_timeout(WAIT) {
                Ok(bytes) => self.rest = bytes,
                Err(RecvTimeoutError::Timeout) => return Ok(0),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other(
                        format!("QEMU has ended\n{}", self.live.stderr()).trim_end().to_owned(),
                    ));
                }
            }
        }
        let count = self.rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.rest.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.serial.write_all(bytes)
    }

    fn connected(&mut self) {
        if let Some(begin) = self.begin.take() {
            let _ = begin.send(());
        }
    }
}

/// Most bytes that are written at once.
const PIECE: usize = 1024;
/// Pieces a second where there is a pace: a board hears the PC between two of them.
const PIECES_PER_SECOND: f64 = 100.0;

/// Plays to the end of the input or of the board.
fn play(begin: &Receiver<()>, input: &Input, pace: Pace, mut feed: Feed) {
    // Once the board has been heard; never where it ended before.
    if begin.recv().is_err() {
        return;
    }
    let start = Instant::now();
    let mut written = 0.0;
    let length = match pace {
        Pace::None => PIECE,
        Pace::BytesPerSecond(rate) => ((rate / PIECES_PER_SECOND) as usize).clamp(1, PIECE),
    };
    let _ = input(&mut |bytes| {
        for piece in bytes.chunks(length) {
            if let Pace::BytesPerSecond(rate) = pace {
                let due = Duration::from_secs_f64(written / rate.max(1.0));
                thread::sleep(due.saturating_sub(start.elapsed()));
                written += piece.len() as f64;
            }
            feed.write_all(piece)?;
        }
        Ok(())
    });
}
