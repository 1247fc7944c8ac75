//! An output pin that is one bit of a register.

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, OutputPin};

/// One bit of a memory-mapped output register.
#[derive(Debug)]
pub struct Pin {
    register: usize,
    mask: u32,
}

impl Pin {
    /// The bits `mask` of the 32-bit output register at address `register`, which must be one of this board.
    pub const fn new(register: usize, mask: u32) -> Self {
        Self { register, mask }
    }

    /// As [`Pin::new`], for a port whose pins are inputs until their bits are set in the register at `direction`.
    pub fn with_direction(direction: usize, register: usize, mask: u32) -> Self {
        Self::new(direction, mask).write(true);
        Self::new(register, mask)
    }

    fn write(&mut self, high: bool) {
        let register = self.register as *mut u32;
        // SAFETY: the board names a 4-byte aligned device register of its memory map, which reads and writes without
        // a side effect on memory; nothing else touches it, since neither interrupts nor a second core write pins.
        unsafe {
            let bits = register.read_volatile();
            register.write_volatile(if high { bits | self.mask } else { bits & !self.mask });
        }
    }
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.write(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.write(true);
        Ok(())
    }
}
