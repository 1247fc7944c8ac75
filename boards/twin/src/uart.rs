//! A USART of the STM32F405 (RM0090, 30.6), polled: QEMU takes no time for a bit.

use neji_app::link::Wire;

const STATUS: usize = 0x00;
const DATA: usize = 0x04;
const CONTROL_1: usize = 0x0c;

/// The receiver has a byte.
const RXNE: u32 = 1 << 5;
/// The transmitter takes one.
const TXE: u32 = 1 << 7;
/// The port, its transmitter and its receiver are on.
const ON: u32 = 1 << 13 | 1 << 3 | 1 << 2;

/// The port as the line to the PC.
pub struct Uart {
    base: usize,
}

impl Uart {
    /// Switches the port with registers from address `base` on, which must be one of this chip, on.
    pub fn new(base: usize) -> Self {
        let mut uart = Self { base };
        uart.write(CONTROL_1, ON);
        uart
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the board names a 4-byte aligned device of its memory map that nothing else touches; reading its registers
        // changes no memory.
        unsafe { ((self.base + offset) as *const u32).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `read`; writing them changes no memory either.
        unsafe { ((self.base + offset) as *mut u32).write_volatile(value) }
    }
}

impl Wire for Uart {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        for byte in buffer {
            if self.read(STATUS) & RXNE == 0 {
                break;
            }
            *byte = self.read(DATA) as u8;
            count += 1;
        }
        count
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0;
        for &byte in bytes {
            if self.read(STATUS) & TXE == 0 {
                break;
            }
            self.write(DATA, byte.into());
            count += 1;
        }
        count
    }
}
