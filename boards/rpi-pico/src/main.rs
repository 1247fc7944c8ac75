//! Raspberry Pi Pico: an I2S microphone, or an accelerometer (LIS3DH) over I2C, whichever the model wants.
//!
//! GP14 is the alarm, GP15 the fault line, both active low.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::i2c::{self, I2c};
use embassy_rp::{Peri, bind_interrupts, peripherals};
use lis3dh_async::{Lis3dh, SlaveAddr};
use neji_app::AlarmPolarity;
use neji_app::link::Either;
use neji_embassy::sensor::Unmet;
use neji_embassy::{Board, Lines, Room, Samples, Station, Wanted, rp, rtt, vibration};
use neji_engine::Portable;
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m0plus", clock_hz: 125_000_000 };
/// Which level of the lines is the alarm: low, which is what a board without power gives.
const POLARITY: AlarmPolarity = AlarmPolarity::ActiveLow;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 128 * 1024]> = ConstStaticCell::new([0; 128 * 1024]);
/// A second of sound waits while the model runs.
static WAITING: ConstStaticCell<[u8; 32 * 1024]> = ConstStaticCell::new([0; 32 * 1024]);
static ROOM: Room<Portable> = Room::new();
static SAMPLES: Samples = Samples::new();

bind_interrupts!(struct Irqs {
    I2C0_IRQ => i2c::InterruptHandler<peripherals::I2C0>;
});

#[embassy_executor::task]
async fn microphone(mut microphone: rp::Microphone<'static>) {
    microphone.listen(&SAMPLES).await;
}

#[embassy_executor::task]
async fn accelerometer(
    bus: Peri<'static, peripherals::I2C0>,
    scl: Peri<'static, peripherals::PIN_5>,
    sda: Peri<'static, peripherals::PIN_4>,
    rate: u32,
    axes: u8,
) {
    let mut config = i2c::Config::default();
    config.frequency = 400_000;
    let bus = I2c::new_async(bus, scl, sda, Irqs, config);
    vibration::run(Lis3dh::new_i2c_without_config(bus, SlaveAddr::Default).await, rate, axes, &SAMPLES).await;
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let (p, start) = rp::start();
    let lines = Lines::new(Output::new(p.PIN_14, Level::Low), Output::new(p.PIN_15, Level::Low), POLARITY);
    let high = rp::sensor_executor();
    let wire = Either::new(rtt::start(), rp::serial(high, p.USB, BOARD.name));
    let mut station = Station::new(&ROOM, BOARD, lines, rp::watchdog(p.WATCHDOG), rtt::Log, wire, start);

    let model = station.model().await;
    let (waiting, memory) = (WAITING.take(), MEMORY.take());
    match Wanted::of(&model) {
        Wanted::Sound { rate } if rate <= 48_000 => {
            SAMPLES.begin(waiting, 2);
            let part = rp::Microphone::start(p.PIO0, p.DMA_CH0, p.PIN_10, p.PIN_11, p.PIN_12, rate);
            high.spawn(microphone(part).expect("once"));
        }
        Wanted::Vibration { rate, axes } if vibration::can(rate, axes) => {
            SAMPLES.begin(waiting, vibration::sample_bytes(axes));
            high.spawn(accelerometer(p.I2C0, p.PIN_5, p.PIN_4, rate, axes).expect("once"));
        }
        wanted => station.refuse(&Unmet { wanted, has: "sound up to 48 kHz or vibration up to 1344 Hz" }).await,
    }
    station.watch(model, memory, &SAMPLES).await
}
