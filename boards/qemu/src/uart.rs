//! The UART of Arm's MPS boards (Cortex-M System Design Kit TRM, "APB UART"), polled.

use core::convert::Infallible;

const DATA: usize = 0x0;
const STATE: usize = 0x4;
const CONTROL: usize = 0x8;
const DIVISOR: usize = 0x10;

/// The transmitter's register holds a byte.
const FULL: u32 = 1 << 0;
/// The receiver's does.
const RECEIVED: u32 = 1 << 1;

/// A port without interrupts.
#[derive(Debug)]
pub struct Uart {
    base: usize,
}

impl Uart {
    /// Switches the UART with registers from address `base` on, which must be one of this board, on. QEMU asks for a divisor and then
    /// takes no time for a bit.
    pub fn new(base: usize) -> Self {
        let mut uart = Self { base };
        uart.write_register(DIVISOR, 16);
        uart.write_register(CONTROL, 3);
        uart
    }

    fn register(&self, offset: usize) -> u32 {
        // SAFETY: the board names a 4-byte aligned device of its memory map that nothing else touches; reading its registers
        // changes no memory.
        unsafe { ((self.base + offset) as *const u32).read_volatile() }
    }

    fn write_register(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `register`; writing them changes no memory either.
        unsafe { ((self.base + offset) as *mut u32).write_volatile(value) }
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}

impl embedded_io::ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.register(STATE) & RECEIVED != 0)
    }
}

impl embedded_io::Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = buffer.first_mut() else { return Ok(0) };
        while self.register(STATE) & RECEIVED == 0 {}
        *byte = self.register(DATA) as u8;
        Ok(1)
    }
}

impl embedded_io::Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.register(STATE) & FULL != 0 {}
            self.write_register(DATA, byte.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.register(STATE) & FULL != 0 {}
        Ok(())
    }
}
