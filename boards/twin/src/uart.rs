//! UARTs of the machines, polled: QEMU takes no time for a bit.

use neji_app::link::Wire;

/// What the registers of a kind of UART are.
#[derive(Debug)]
pub struct Chip {
    /// Where the data are.
    data: usize,
    /// Where it is told what there is room for.
    state: usize,
    /// The bit of the state that says that the receiver has a byte.
    received: u32,
    /// The bit of the state that says whether the transmitter takes one, and what it is where it does.
    room: (u32, u32),
    /// What is written where to switch it on, in this order.
    on: &'static [(usize, u32)],
}

/// A USART of the STM32F405 (RM0090, 30.6): on with its transmitter and its receiver.
pub static STM32F4: Chip = Chip {
    data: 0x04,
    state: 0x00,
    received: 1 << 5,
    room: (1 << 7, 1 << 7),
    on: &[(0x0c, 1 << 13 | 1 << 3 | 1 << 2)],
};

/// The UART of Arm's MPS boards (Cortex-M System Design Kit TRM, "APB UART"). QEMU asks for a divisor, and for no certain one.
pub static CMSDK: Chip =
    Chip { data: 0x00, state: 0x04, received: 1 << 1, room: (1 << 0, 0), on: &[(0x10, 16), (0x08, 1 << 1 | 1 << 0)] };

/// A port as the line to the PC.
#[derive(Debug)]
pub struct Uart {
    chip: &'static Chip,
    base: usize,
}

impl Uart {
    /// Switches the port with registers from address `base` on, which must be a `chip` of this machine, on.
    pub fn new(chip: &'static Chip, base: usize) -> Self {
        let mut uart = Self { chip, base };
        for &(offset, value) in chip.on {
            uart.write(offset, value);
        }
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
            if self.read(self.chip.state) & self.chip.received == 0 {
                break;
            }
            *byte = self.read(self.chip.data) as u8;
            count += 1;
        }
        count
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        let (bit, free) = self.chip.room;
        let mut count = 0;
        for &byte in bytes {
            if self.read(self.chip.state) & bit != free {
                break;
            }
            self.write(self.chip.data, byte.into());
            count += 1;
        }
        count
    }
}
