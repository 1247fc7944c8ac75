//! The twin of the Raspberry Pi Pico in QEMU: the same instructions, sizes and station, on the machine of MPS2 AN385.
//!
//! QEMU has no Cortex-M0 with the Pico's RAM. A Cortex-M3 runs all that the compiler makes for ARMv6-M, and is told to fault where a
//! Cortex-M0 does.
#![no_std]
#![no_main]

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use neji_embassy::{Board, Room};
use neji_engine::Portable;
use neji_twin::Memory;
use neji_twin::uart::{CMSDK, Uart};
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m0plus", clock_hz: 25_000_000 };
/// UART 0 (Arm AN385, memory map), which QEMU calls its first serial port.
const UART: usize = 0x4000_4000;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 128 * 1024]> = ConstStaticCell::new([0; 128 * 1024]);
/// Samples that wait while the model runs.
static WAITING: ConstStaticCell<[u8; 32 * 1024]> = ConstStaticCell::new([0; 32 * 1024]);
static ROOM: Room<Portable> = Room::new();

#[embassy_executor::task]
async fn station(core: Peripherals) {
    let memory = Memory { room: &ROOM, monitor: MEMORY.take(), waiting: WAITING.take() };
    neji_twin::run(BOARD, core, Uart::new(&CMSDK, UART), memory).await
}

#[entry]
fn main() -> ! {
    let mut core = Peripherals::take().expect("taken once");
    neji_twin::fault_as_armv6m(&mut core);
    neji_twin::execute(|spawner| spawner.spawn(station(core).expect("once")))
}
