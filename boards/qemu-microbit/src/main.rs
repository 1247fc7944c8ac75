//! micro:bit (Cortex-M0) in QEMU: two pins of the GPIO: P0.03 is the alarm, P0.02 the fault line.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use neji_engine::{Int8Only, Portable};
use neji_qemu::{Board, Fixed, Pin, run};

/// The kernels of this core; its flash is too short for those of int16 activations.
type Isa = Int8Only<Portable>;

/// Arena, front end and frame buffer.
const MEMORY_BYTES: usize = 8 * 1024;

/// GPIO registers OUT and DIR (nRF51 reference manual, section GPIO).
const OUT: usize = 0x5000_0504;
const DIRECTION: usize = 0x5000_0514;

#[entry]
fn main() -> ! {
    static mut MEMORY: [u8; MEMORY_BYTES] = [0; MEMORY_BYTES];
    let alarm = Pin::with_direction(DIRECTION, OUT, 1 << 3);
    let fault = Pin::with_direction(DIRECTION, OUT, 1 << 2);
    run::<Isa, Fixed, _, _>(Board { memory: MEMORY, ticks_per_second: 16_000_000, alarm, fault })
}
