//! The twin of the NUCLEO-F446RE in QEMU: the same core, memory map and station, on the machine of an STM32F405.
#![no_std]
#![no_main]

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use neji_app::link::Either;
use neji_embassy::{Board, Room, rtt};
use neji_engine::ArmDsp;
use neji_twin::Memory;
use neji_twin::uart::{STM32F4, Uart};
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m4", clock_hz: 168_000_000 };
/// USART1, which QEMU calls its first serial port.
const UART: usize = 0x4001_1000;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 64 * 1024]> = ConstStaticCell::new([0; 64 * 1024]);
/// Samples that wait while the model runs.
static WAITING: ConstStaticCell<[u8; 16 * 1024]> = ConstStaticCell::new([0; 16 * 1024]);
static ROOM: Room<ArmDsp> = Room::new();

#[embassy_executor::task]
async fn station(core: Peripherals) {
    let memory = Memory { room: &ROOM, monitor: MEMORY.take(), waiting: WAITING.take() };
    // Over the port until QEMU's GDB stub speaks over RTT, as a probe does.
    let wire = Either::new(Uart::new(&STM32F4, UART), rtt::start());
    neji_twin::run(BOARD, core, wire, memory).await
}

#[entry]
fn main() -> ! {
    let core = Peripherals::take().expect("taken once");
    neji_twin::execute(|spawner| spawner.spawn(station(core).expect("once")))
}
