//! NUCLEO-H753ZI: an I2S microphone, or an accelerometer (LIS3DH) over SPI, whichever the model wants.
//!
//! PG14 (Arduino D2) is the alarm, PE13 (D3) the fault line, both active low.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::i2s::I2S;
use embassy_stm32::mode::Async;
use embassy_stm32::rcc::mux::Saisel;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, HSIPrescaler, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk, VoltageScale,
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

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m7", clock_hz: 400_000_000 };
/// Which level of the lines is the alarm: low, which is what a board without power gives.
const POLARITY: AlarmPolarity = AlarmPolarity::ActiveLow;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 256 * 1024]> = ConstStaticCell::new([0; 256 * 1024]);
/// Two seconds of sound waits while the model runs.
static WAITING: ConstStaticCell<[u8; 64 * 1024]> = ConstStaticCell::new([0; 64 * 1024]);
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

/// 400 MHz from the chip's own 64 MHz, and 76.8 MHz for I2S: 16 kHz is a 4800th of it.
fn clocks() -> Config {
    let mut config = Config::default();
    config.rcc.hsi = Some(HSIPrescaler::DIV1);
    let pll = Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        divp: Some(PllDiv::DIV2),
        divq: Some(PllDiv::DIV8),
        divr: None,
    };
    config.rcc.pll1 = Some(pll);
    let divp = Some(PllDiv::DIV5);
    config.rcc.pll2 = Some(Pll { prediv: PllPreDiv::DIV8, mul: PllMul::MUL48, divp, divq: None, ..pll });
    config.rcc.mux.spi123sel = Saisel::PLL2_P;
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV2;
    for prescaler in
        [&mut config.rcc.apb1_pre, &mut config.rcc.apb2_pre, &mut config.rcc.apb3_pre, &mut config.rcc.apb4_pre]
    {
        *prescaler = APBPrescaler::DIV2;
    }
    config.rcc.voltage_scale = VoltageScale::Scale1;
    config
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let (p, start) = stm32::start(clocks());
    let lines =
        Lines::new(Output::new(p.PG14, Level::Low, Speed::Low), Output::new(p.PE13, Level::Low, Speed::Low), POLARITY);
    let high = stm32::sensor_executor();
    let wire = Either::new(rtt::start(), stm32::serial(high, p.USART3, p.PD9, p.PD8));
    let mut station = Station::new(&ROOM, BOARD, lines, stm32::watchdog(p.IWDG1), rtt::Log, wire, start);

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
            let bus = Spi::new(p.SPI1, p.PA5, p.PB5, p.PA6, p.DMA2_CH3, p.DMA2_CH0, Irqs, config);
            let select = Output::new(p.PB6, Level::High, Speed::High);
            high.spawn(accelerometer(bus, select, rate, axes).expect("once"));
        }
        wanted => station.refuse(&Unmet { wanted, has: "sound of 8 to 48 kHz or vibration up to 1344 Hz" }).await,
    }
    station.watch(model, memory, &SAMPLES).await
}
