//! The first micro:bit (Cortex-M0) in QEMU, with the station of the second: the least memory that it runs in.
#![no_std]
#![no_main]

use cortex_m::peripheral::SYST;
use cortex_m_rt::entry;
use embassy_executor::Spawner;
use neji_engine::{Int8Only, Portable};
use static_cell::ConstStaticCell;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 4 * 1024]> = ConstStaticCell::new([0; 4 * 1024]);
/// Samples that wait while the model runs.
static WAITING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);

#[embassy_executor::task]
async fn station(spawner: Spawner, timer: SYST) {
    neji_twin::run::<Int8Only<Portable>>(spawner, timer, 16_000_000, MEMORY.take(), WAITING.take()).await
}

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("taken once");
    neji_twin::execute(|spawner| spawner.spawn(station(spawner, core.SYST).expect("once")))
}
