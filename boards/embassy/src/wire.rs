//! Lines to a PC, for the live link: none is ever waited for.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_time::Timer;
use embedded_io_async::{Read, Write};

/// A line to a PC.
pub trait Wire {
    /// Takes what has come; how many bytes, 0 where nothing has.
    fn hear(&mut self, buffer: &mut [u8]) -> usize;

    /// Sends as much of the front of `bytes` as there is room for now; how many bytes.
    fn say(&mut self, bytes: &[u8]) -> usize;
}

/// Two lines, of which the PC takes either: what the board says goes over the one that the PC was last heard on, and before that over
/// the first.
#[derive(Debug)]
pub struct Either<A, B> {
    first: A,
    second: B,
    is_second: bool,
}

impl<A, B> Either<A, B> {
    /// Begins with `first`.
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second, is_second: false }
    }
}

impl<A: Wire, B: Wire> Wire for Either<A, B> {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        for is_second in [false, true] {
            let count = if is_second { self.second.hear(buffer) } else { self.first.hear(buffer) };
            if count > 0 {
                self.is_second = is_second;
                return count;
            }
        }
        0
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        if self.is_second { self.second.say(bytes) } else { self.first.say(bytes) }
    }
}

/// A serial port, whose tasks run in interrupts: bytes wait here in both directions.
pub struct Serial {
    to_pc: Pipe<CriticalSectionRawMutex, 512>,
    from_pc: Pipe<CriticalSectionRawMutex, 64>,
}

/// Bits a second of a serial port that is one: what `neji monitor` takes without being told.
pub const BAUD: u32 = 115_200;

impl Serial {
    /// With nothing waiting.
    pub const fn new() -> Self {
        Self { to_pc: Pipe::new(), from_pc: Pipe::new() }
    }

    /// The port's sending end: sends for ever. What does not go out is lost, as on a line that nobody listens to.
    pub async fn send(&self, mut port: impl Write) -> ! {
        let mut bytes = [0; 64];
        loop {
            let count = self.to_pc.read(&mut bytes).await;
            let _ = port.write_all(bytes.get(..count).unwrap_or_default()).await;
            let _ = port.flush().await;
        }
    }

    /// The port's receiving end: listens for ever.
    pub async fn receive(&self, mut port: impl Read) -> ! {
        let mut bytes = [0; 64];
        loop {
            match port.read(&mut bytes).await {
                Ok(count) => self.from_pc.write_all(bytes.get(..count).unwrap_or_default()).await,
                // A byte that came broken makes a frame that is dropped. USB without a PC fails at once, and does so again.
                Err(_) => Timer::after_millis(10).await,
            }
        }
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire for &Serial {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        self.from_pc.try_read(buffer).unwrap_or(0)
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        self.to_pc.try_write(bytes).unwrap_or(0)
    }
}
