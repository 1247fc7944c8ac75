//! What the boards of the nRF52 series share.

use embassy_executor::{InterruptExecutor, SendSpawner};
use embassy_nrf::config::{Config, HfclkSource};
use embassy_nrf::interrupt::{Interrupt, InterruptExt as _, Priority};
use embassy_nrf::pac::power::vals::Threshold;
use embassy_nrf::wdt::{self, HaltConfig, SleepConfig, Watchdog, WatchdogHandle};
use embassy_nrf::{Peri, Peripherals, interrupt, pac, peripherals};
use neji_app::{Cause, Restart, Why};

use crate::restart;
use crate::station::{Feed, WATCHDOG};

static SENSOR: InterruptExecutor = InterruptExecutor::new();

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
