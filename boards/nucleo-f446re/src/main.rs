//! NUCLEO-F446RE: an I2S microphone, or an accelerometer (LIS3DH) over SPI, whichever the model wants.
//!
//! PA8 (Arduino D7) is the alarm, PB10 (D6) the fault line, both active low.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::i2s::I2S;
use embassy_stm32::mode::Async;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllRDiv, PllSource, Sysclk,
};
use embassy_stm32::spi::mode::Master;
use embassy_stm32::spi::{self, Spi};
use embassy_stm32::time::Hertz;
use embassy_stm32::{Config, bind_interrupts, dma, peripherals};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use lis3dh_async::Lis3dh;
use neji_app::AlarmPolarity;
use neji_app::link::Either;
use neji_embassy::sensor::Unmet;
use neji_embassy::{Board, Lines, Room, Samples, Station, Wanted, rtt, stm32, vibration};
use neji_engine::ArmDsp;
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m4", clock_hz: 168_000_000 };
/// Which level of the lines is the alarm: low, which is what a board without power gives.
const POLARITY: AlarmPolarity = AlarmPolarity::ActiveLow;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 64 * 1024]> = ConstStaticCell::new([0; 64 * 1024]);
/// Half a second of sound waits while the model runs.
static WAITING: ConstStaticCell<[u8; 16 * 1024]> = ConstStaticCell::new([0; 16 * 1024]);
/// Where DMA puts both channels, 32 ms of them.
static FRAMES: ConstStaticCell<[u16; 1024]> = ConstStaticCell::new([0; 1024]);
static ROOM: Room<ArmDsp> = Room::new();
static SAMPLES: Samples = Samples::new();

bind_interrupts!(struct Irqs {
    DMA1_STREAM3 => dma::InterruptHandler<peripherals::DMA1_CH3>;
    DMA2_STREAM0 => dma::InterruptHandler<peripherals::DMA2_CH0>;
    DMA2_STREAM3 => dma::InterruptHandler<peripherals::DMA2_CH3>;
});

#[embassy_executor::task]
async fn microphone(mut line: I2S<'static, u16>) {
    stm32::listen(&mut line, &SAMPLES).await;
}

#[embassy_executor::task]
async fn accelerometer(bus: Spi<'static, Async, Master>, select: Output<'static>, rate: u32, axes: u8) {
    let Ok(bus) = ExclusiveDevice::new(bus, select, Delay);
    vibration::run(Lis3dh::new_spi_without_config(bus).await, rate, axes, &SAMPLES).await;
}

/// 168 MHz from the 8 MHz that the ST-LINK gives, and 76.8 MHz for I2S: 16 kHz is a 4800th of it.
fn clocks() -> Config {
    let mut config = Config::default();
    config.rcc.hse = Some(Hse { freq: Hertz(8_000_000), mode: HseMode::Bypass });
    config.rcc.pll_src = PllSource::HSE;
    let pll = Pll { prediv: PllPreDiv::DIV4, mul: PllMul::MUL168, divp: Some(PllPDiv::DIV2), divq: None, divr: None };
    config.rcc.pll = Some(pll);
    config.rcc.plli2s = Some(Pll { mul: PllMul::MUL192, divp: None, divr: Some(PllRDiv::DIV5), ..pll });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    (config.rcc.apb1_pre, config.rcc.apb2_pre) = (APBPrescaler::DIV4, APBPrescaler::DIV2);
    config
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let (p, start) = stm32::start(clocks());
    let lines =
        Lines::new(Output::new(p.PA8, Level::Low, Speed::Low), Output::new(p.PB10, Level::Low, Speed::Low), POLARITY);
    let high = stm32::sensor_executor();
    let wire = Either::new(rtt::start(), stm32::serial(high, p.USART2, p.PA3, p.PA2));
    let mut station = Station::new(&ROOM, BOARD, lines, stm32::watchdog(p.IWDG), rtt::Log, wire, start);

    let model = station.model().await;
    let (waiting, memory) = (WAITING.take(), MEMORY.take());
    match Wanted::of(&model) {
        Wanted::Sound { rate: rate @ 8_000..=48_000 } => {
            SAMPLES.begin(waiting, 2);
            let (frames, config) = (FRAMES.take(), stm32::microphone(rate));
            let line = I2S::new_rxonly_nomck(p.SPI2, p.PB15, p.PB12, p.PB13, p.DMA1_CH3, frames, Irqs, config);
            high.spawn(microphone(line).expect("once"));
        }
        Wanted::Vibration { rate, axes } if vibration::can(rate, axes) => {
            SAMPLES.begin(waiting, vibration::sample_bytes(axes));
            let mut config = spi::Config::default();
            (config.frequency, config.mode) = (Hertz(8_000_000), spi::MODE_3);
            let bus = Spi::new(p.SPI1, p.PA5, p.PA7, p.PA6, p.DMA2_CH3, p.DMA2_CH0, Irqs, config);
            let select = Output::new(p.PB6, Level::High, Speed::High);
            high.spawn(accelerometer(bus, select, rate, axes).expect("once"));
        }
        wanted => station.refuse(&Unmet { wanted, has: "sound of 8 to 48 kHz or vibration up to 1344 Hz" }).await,
    }
    station.watch(model, memory, &SAMPLES).await
}
