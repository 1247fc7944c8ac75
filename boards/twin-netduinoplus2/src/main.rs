//! The twin of the NUCLEO-F446RE in QEMU: the same core, memory map and station, on the machine of an STM32F405.
#![no_std]
#![no_main]

use cortex_m::peripheral::SYST;
use cortex_m_rt::entry;
use embassy_executor::Spawner;
use neji_engine::ArmDsp;
use static_cell::ConstStaticCell;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 64 * 1024]> = ConstStaticCell::new([0; 64 * 1024]);
/// Samples that wait while the model runs.
static WAITING: ConstStaticCell<[u8; 16 * 1024]> = ConstStaticCell::new([0; 16 * 1024]);

#[embassy_executor::task]
async fn station(spawner: Spawner, timer: SYST) {
    neji_twin::run::<ArmDsp>(spawner, timer, 168_000_000, MEMORY.take(), WAITING.take()).await
}

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("taken once");
    neji_twin::execute(|spawner| spawner.spawn(station(spawner, core.SYST).expect("once")))
}
