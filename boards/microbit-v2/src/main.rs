//! micro:bit v2: a sound monitor out of the box, or one of vibration; lights show level and state, the speaker the alarm.
//!
//! Edge pins: 1 is the alarm, 2 the fault line, both active low.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::Spawner;
use embassy_nrf::gpio::{AnyPin, Level as Pin, Output, OutputDrive};
use embassy_nrf::pwm::{DutyCycle, SimpleConfig, SimplePwm};
use embassy_nrf::saadc::{self, CallbackResult, ChannelConfig, Gain, Resolution, Saadc};
use embassy_nrf::twim::{self, Twim};
use embassy_nrf::{Peri, bind_interrupts, peripherals};
use embassy_time::Timer;
use lis3dh_async::{Lis3dh, SlaveAddr};
use neji_app::AlarmPolarity;
use neji_app::link::Either;
use neji_embassy::level::{Level, Silence};
use neji_embassy::matrix::{self, Face};
use neji_embassy::sensor::Unmet;
use neji_embassy::{Board, Lines, Room, Samples, Station, Wanted, nrf, rtt, vibration};
use neji_engine::ArmDsp;
use static_cell::ConstStaticCell;

const BOARD: Board = Board { name: env!("CARGO_PKG_NAME"), core: "cortex-m4", clock_hz: 64_000_000 };
/// Which level of the lines is the alarm: low, which is what a board without power gives.
const POLARITY: AlarmPolarity = AlarmPolarity::ActiveLow;
/// What its own microphone gives.
const RATE: u32 = 16_000;

/// Arena, front end and frame.
static MEMORY: ConstStaticCell<[u8; 64 * 1024]> = ConstStaticCell::new([0; 64 * 1024]);
/// Half a second of sound waits while the model runs.
static WAITING: ConstStaticCell<[u8; 16 * 1024]> = ConstStaticCell::new([0; 16 * 1024]);
/// What is written to the bus where it comes from flash, which DMA does not read.
static BUS: ConstStaticCell<[u8; 16]> = ConstStaticCell::new([0; 16]);
static ROOM: Room<ArmDsp> = Room::new();
static SAMPLES: Samples = Samples::new();
static LEVEL: Level = Level::new();
static FACE: Face = Face::new();
static BEEPS: AtomicBool = AtomicBool::new(false);

bind_interrupts!(struct Irqs {
    SAADC => saadc::InterruptHandler;
    TWISPI0 => twim::InterruptHandler<peripherals::TWISPI0>;
});

#[embassy_executor::task]
async fn microphone(adc: Peri<'static, peripherals::SAADC>, pin: Peri<'static, peripherals::P0_05>) {
    let mut channel = ChannelConfig::single_ended(pin);
    channel.gain = Gain::Gain4;
    let mut config = saadc::Config::default();
    config.resolution = Resolution::_14bit;
    let mut adc = Saadc::new(adc, Irqs, config, [channel]);
    let (mut buffers, mut silence) = ([[[0]; 128]; 2], Silence::default());
    let hear = |block: &[[i16; 1]]| {
        let sounds = block.iter().map(|&[value]| silence.take_off(value << 1));
        // What the speaker says is not the machine's.
        if BEEPS.load(Ordering::Relaxed) {
            SAMPLES.lose(sounds.count() as u32);
        } else {
            SAMPLES.push(sounds.inspect(|&sound| LEVEL.hear(sound)).map(i16::to_le_bytes));
        }
        CallbackResult::Continue
    };
    adc.run_timer_sampler::<(), _, 128>(&mut buffers, (16_000_000 / RATE) as u16, hear).await;
}

#[embassy_executor::task]
async fn accelerometer(
    bus: Peri<'static, peripherals::TWISPI0>,
    sda: Peri<'static, peripherals::P0_16>,
    scl: Peri<'static, peripherals::P0_08>,
    rate: u32,
    axes: u8,
) {
    let bus = Twim::new(bus, Irqs, sda, scl, twim::Config::default(), BUS.take());
    vibration::run(Lis3dh::new_i2c_without_config(bus, SlaveAddr::Alternate).await, rate, axes, &SAMPLES).await;
}

#[embassy_executor::task]
async fn lights(rows: [Output<'static>; 5], columns: [Output<'static>; 5]) {
    matrix::show(rows, columns, &FACE, &LEVEL).await;
}

/// Half a second of a tone where an alarm begins, and again every minute that it lasts.
#[embassy_executor::task]
async fn speaker(pwm: Peri<'static, peripherals::PWM0>, pin: Peri<'static, peripherals::P0_00>) {
    let mut pwm = SimplePwm::new_1ch(pwm, pin, &SimpleConfig::default());
    pwm.set_period(2000);
    loop {
        FACE.alarm().await;
        BEEPS.store(true, Ordering::Relaxed);
        pwm.set_duty(0, DutyCycle::normal(pwm.max_duty() / 2));
        Timer::after_millis(500).await;
        pwm.set_duty(0, DutyCycle::inverted(0));
        BEEPS.store(false, Ordering::Relaxed);
        FACE.alarm_over(60).await;
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let (p, start) = nrf::start();
    let low = |pin: Peri<'static, AnyPin>| Output::new(pin, Pin::Low, OutputDrive::Standard);
    let lines = Lines::new(low(p.P0_03.into()), low(p.P0_04.into()), POLARITY);
    let high = nrf::sensor_executor();
    let port = nrf::Port {
        uarte: p.UARTE0,
        timer: p.TIMER1,
        channels: (p.PPI_CH0, p.PPI_CH1),
        group: p.PPI_GROUP0,
        rx: p.P1_08.into(),
        tx: p.P0_06.into(),
    };
    let wire = Either::new(rtt::start(), nrf::serial(high, port));
    let mut station = Station::new(&ROOM, BOARD, lines, nrf::watchdog(p.WDT), (rtt::Log, &FACE), wire, start);
    let rows = [p.P0_21.into(), p.P0_22.into(), p.P0_15.into(), p.P0_24.into(), p.P0_19.into()].map(low);
    let columns = [p.P0_28.into(), p.P0_11.into(), p.P0_31.into(), p.P1_05.into(), p.P0_30.into()].map(low);
    high.spawn(lights(rows, columns).expect("once"));
    spawner.spawn(speaker(p.PWM0, p.P0_00).expect("once"));
    // Switches the microphone on.
    let _power = Output::new(p.P0_20, Pin::High, OutputDrive::HighDrive);

    let model = station.model().await;
    let (waiting, memory) = (WAITING.take(), MEMORY.take());
    match Wanted::of(&model) {
        Wanted::Sound { rate: RATE } => {
            SAMPLES.begin(waiting, 2);
            high.spawn(microphone(p.SAADC, p.P0_05).expect("once"));
        }
        Wanted::Vibration { rate, axes } if vibration::can(rate, axes) => {
            SAMPLES.begin(waiting, vibration::sample_bytes(axes));
            high.spawn(accelerometer(p.TWISPI0, p.P0_16, p.P0_08, rate, axes).expect("once"));
        }
        wanted => station.refuse(&Unmet { wanted, has: "sound of 16000 Hz or vibration up to 1344 Hz" }).await,
    }
    station.watch(model, memory, &SAMPLES).await
}
