//! A serial port as a line to a PC, across interrupts.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_time::Timer;
use embedded_io_async::{Read, Write};
use neji_app::link::Wire;

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
        // Less than USB's longest packet: behind a full one a PC waits for another before it hands on what came.
        let mut bytes = [0; 63];
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
