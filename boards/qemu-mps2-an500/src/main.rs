//! MPS2 AN500 (Cortex-M7) in QEMU: two user LEDs of the FPGAIO block: LED 0 is the alarm, LED 1 the fault line.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use neji_engine::ArmDsp;
use neji_qemu::{Board, Learner, Live, Pin, run_live};

/// The kernels of this core.
type Isa = ArmDsp;

/// Arena, front end and frame buffer.
const MEMORY_BYTES: usize = 512 * 1024;

/// FPGAIO LED register (Arm AN385, AN386 and AN500, table of the memory map).
const LEDS: usize = 0x4002_8000;

/// UART 0 (Arm AN385, AN386 and AN500, memory map).
const UART: usize = 0x4000_4000;

#[entry]
fn main() -> ! {
    static mut MEMORY: [u8; MEMORY_BYTES] = [0; MEMORY_BYTES];
    let board = Board {
        memory: MEMORY,
        ticks_per_second: 25_000_000,
        alarm: Pin::new(LEDS, 1 << 0),
        fault: Pin::new(LEDS, 1 << 1),
    };
    let (name, firmware) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    run_live::<Isa, Learner<'_>, _, _>(board, Live { uart: UART, board: name, core: "cortex-m7", firmware })
}
