//! nRF52840-DK: a PDM microphone, or an accelerometer (LIS3DH) over I2C, whichever the model wants.
//!
//! P1.05 (Arduino D4) is the alarm, P1.06 (D5) the fault line, both active low.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::pdm::{self, Frequency, Pdm, Ratio, SamplerState};
use embassy_nrf::twim::{self, Twim};
use embassy_nrf::{Peri, bind_interrupts, peripherals};
use lis3dh_async::{Lis3dh, SlaveAddr};
use neji_app::AlarmPolarity;
use neji_app::link::Either;
use neji_embassy::sensor::Unmet;
use neji_embassy::{Board, Lines, Room, Samples, Station, Wanted, nrf, rtt, vibration};
use neji_engine::ArmDsp;
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m4", clock_hz: 64_000_000 };
/// Which level of the lines is the alarm: low, which is what a board without power gives.
const POLARITY: AlarmPolarity = AlarmPolarity::ActiveLow;
/// What the PDM interface gives at 1.28 MHz.
const RATE: u32 = 16_000;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 128 * 1024]> = ConstStaticCell::new([0; 128 * 1024]);
/// A second of sound waits while the model runs.
static WAITING: ConstStaticCell<[u8; 32 * 1024]> = ConstStaticCell::new([0; 32 * 1024]);
/// What is written to the bus where it comes from flash, which DMA does not read.
static BUS: ConstStaticCell<[u8; 16]> = ConstStaticCell::new([0; 16]);
static ROOM: Room<ArmDsp> = Room::new();
static SAMPLES: Samples = Samples::new();

bind_interrupts!(struct Irqs {
    PDM => pdm::InterruptHandler<peripherals::PDM>;
    TWISPI0 => twim::InterruptHandler<peripherals::TWISPI0>;
});

#[embassy_executor::task]
async fn microphone(
    pdm: Peri<'static, peripherals::PDM>,
    clock: Peri<'static, peripherals::P1_03>,
    data: Peri<'static, peripherals::P1_04>,
) {
    let mut config = pdm::Config::default();
    (config.frequency, config.ratio) = (Frequency::_1280k, Ratio::Ratio80);
    let mut pdm = Pdm::new(pdm, Irqs, clock, data, config);
    let mut buffers = [[0; 160]; 2];
    let hear = |block: &[i16; 160]| {
        SAMPLES.push(block.iter().map(|sound| sound.to_le_bytes()));
        SamplerState::Sampled
    };
    // Ends with an error only, where the loop then hears nothing.
    let _ = pdm.run_task_sampler(&mut buffers, hear).await;
    SAMPLES.fail();
}

#[embassy_executor::task]
async fn accelerometer(
    bus: Peri<'static, peripherals::TWISPI0>,
    sda: Peri<'static, peripherals::P0_26>,
    scl: Peri<'static, peripherals::P0_27>,
    rate: u32,
    axes: u8,
) {
    let mut config = twim::Config::default();
    config.frequency = twim::Frequency::K400;
    let bus = Twim::new(bus, Irqs, sda, scl, config, BUS.take());
    vibration::run(Lis3dh::new_i2c_without_config(bus, SlaveAddr::Default).await, rate, axes, &SAMPLES).await;
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let (p, start) = nrf::start();
    let drive = OutputDrive::Standard;
    let lines = Lines::new(Output::new(p.P1_05, Level::Low, drive), Output::new(p.P1_06, Level::Low, drive), POLARITY);
    let high = nrf::sensor_executor();
    let port = nrf::Port {
        uarte: p.UARTE0,
        timer: p.TIMER1,
        channels: (p.PPI_CH0, p.PPI_CH1),
        group: p.PPI_GROUP0,
        rx: p.P0_08.into(),
        tx: p.P0_06.into(),
    };
    let wire = Either::new(rtt::start(), nrf::serial(high, port));
    let mut station = Station::new(&ROOM, BOARD, lines, nrf::watchdog(p.WDT), rtt::Log, wire, start);

    let model = station.model().await;
    let (waiting, memory) = (WAITING.take(), MEMORY.take());
    match Wanted::of(&model) {
        Wanted::Sound { rate: RATE } => {
            SAMPLES.begin(waiting, 2);
            high.spawn(microphone(p.PDM, p.P1_03, p.P1_04).expect("once"));
        }
        Wanted::Vibration { rate, axes } if vibration::can(rate, axes) => {
            SAMPLES.begin(waiting, vibration::sample_bytes(axes));
            high.spawn(accelerometer(p.TWISPI0, p.P0_26, p.P0_27, rate, axes).expect("once"));
        }
        wanted => station.refuse(&Unmet { wanted, has: "sound of 16000 Hz or vibration up to 1344 Hz" }).await,
    }
    station.watch(model, memory, &SAMPLES).await
}
