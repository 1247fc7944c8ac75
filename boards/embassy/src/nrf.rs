//! What the boards of the nRF52 series share.

use embassy_executor::{InterruptExecutor, SendSpawner};
use embassy_nrf::buffered_uarte::{self, BufferedUarte, BufferedUarteRx, BufferedUarteTx};
use embassy_nrf::config::{Config, HfclkSource};
use embassy_nrf::gpio::AnyPin;
use embassy_nrf::interrupt::{Interrupt, InterruptExt as _, Priority};
use embassy_nrf::pac::power::vals::Threshold;
use embassy_nrf::wdt::{self, HaltConfig, SleepConfig, Watchdog, WatchdogHandle};
use embassy_nrf::{Peri, Peripherals, bind_interrupts, interrupt, pac, peripherals, uarte};
use neji_app::{Cause, Restart, Why};
use static_cell::ConstStaticCell;

use crate::restart;
use crate::serial::Serial;
use crate::station::{Feed, WATCHDOG};

static SENSOR: InterruptExecutor = InterruptExecutor::new();
static SERIAL: Serial = Serial::new();
/// What the port's DMA reads and writes.
static BYTES: ConstStaticCell<[[u8; 128]; 2]> = ConstStaticCell::new([[0; 128]; 2]);

bind_interrupts!(struct Irqs {
    UARTE0 => buffered_uarte::InterruptHandler<peripherals::UARTE0>;
});

/// Starts the chip on its crystal, with a supply below 2.1 V being a reason to restart: the brown-out detector itself, at
/// 1.7 V, is always on.
pub fn start() -> (Peripherals, Restart) {
    let reasons = pac::POWER.resetreas().read();
    pac::POWER.resetreas().write_value(reasons);
    let start = restart::begin(Cause::of_nrf52(reasons.0), None);
    let mut config = Config::default();
    config.hfclk_source = HfclkSource::ExternalXtal;
    let peripherals = embassy_nrf::init(config);
    pac::POWER.pofcon().write(|w| {
        w.set_pof(true);
        w.set_threshold(Threshold::V21);
    });
    pac::POWER.intenset().write(|w| w.set_pofwarn(true));
    // SAFETY: the handler is below, and needs nothing.
    unsafe { Interrupt::CLOCK_POWER.enable() };
    (peripherals, start)
}

#[interrupt]
fn CLOCK_POWER() {
    if pac::POWER.events_pofwarn().read() != 0 {
        restart::restart(Why::SupplyLow)
    }
}

/// Starts the watchdog, which sleeps where a debugger halts the core.
pub fn watchdog(timer: Peri<'static, peripherals::WDT>) -> impl Feed {
    let mut config = wdt::Config::default();
    config.timeout_ticks = (WATCHDOG.as_millis() * 32_768 / 1000) as u32;
    config.action_during_debug_halt = HaltConfig::Pause;
    config.action_during_sleep = SleepConfig::Run;
    // One that runs already was started by the same firmware, before a restart that left it running.
    let handle = Watchdog::try_new::<_, 1>(timer, config).map(|(_, [handle])| handle).ok();
    Dog(handle)
}

struct Dog(Option<WatchdogHandle>);

impl Feed for Dog {
    fn feed(&mut self) {
        if let Some(handle) = &mut self.0 {
            handle.pet();
        }
    }
}

#[interrupt]
unsafe fn EGU1_SWI1() {
    // SAFETY: this is the interrupt that the executor is started with.
    unsafe { SENSOR.on_interrupt() }
}

/// The executor of the sensor's task, in an interrupt above the loop and below the HAL's own.
pub fn sensor_executor() -> SendSpawner {
    Interrupt::EGU1_SWI1.set_priority(Priority::P6);
    SENSOR.start(Interrupt::EGU1_SWI1)
}

/// What the serial port takes of the chip.
pub struct Port {
    /// The port.
    pub uarte: Peri<'static, peripherals::UARTE0>,
    /// Counts the bytes that came.
    pub timer: Peri<'static, peripherals::TIMER1>,
    /// Has them counted.
    pub channels: (Peri<'static, peripherals::PPI_CH0>, Peri<'static, peripherals::PPI_CH1>),
    /// Stops with them.
    pub group: Peri<'static, peripherals::PPI_GROUP0>,
    /// Where the PC is heard.
    pub rx: Peri<'static, AnyPin>,
    /// Where the board speaks.
    pub tx: Peri<'static, AnyPin>,
}

/// Starts the serial port, which the chip of the board's debugger hands to the PC over USB.
pub fn serial(spawner: SendSpawner, port: Port) -> &'static Serial {
    let [heard, said] = BYTES.take();
    let Port { uarte, timer, channels: (first, second), group, rx, tx } = port;
    // 115200 bits a second by default.
    let config = uarte::Config::default();
    let (rx, tx) = BufferedUarte::new(uarte, timer, first, second, group, rx, tx, Irqs, config, heard, said).split();
    spawner.spawn(receive(rx).expect("once"));
    spawner.spawn(send(tx).expect("once"));
    &SERIAL
}

#[embassy_executor::task]
async fn receive(port: BufferedUarteRx<'static>) {
    SERIAL.receive(port).await;
}

#[embassy_executor::task]
async fn send(port: BufferedUarteTx<'static>) {
    SERIAL.send(port).await;
}
