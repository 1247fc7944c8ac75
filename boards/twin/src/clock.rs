//! SysTick as embassy's clock, a tick a millisecond, and as the watchdog.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Waker;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;
use embassy_time_driver::{Driver, time_driver_impl};
use embassy_time_queue_utils::Queue;
use neji_app::Cause;

/// Without being fed for so many milliseconds, the watchdog bites. Longer than the loop waits for a sensor.
const PATIENCE: u32 = 5000;
/// In the word that tells a start of the watchdog's bite.
const BITTEN: u32 = 0x4269_7465;

static NOW: AtomicU32 = AtomicU32::new(0);
static FED: AtomicU32 = AtomicU32::new(0);

struct Clock {
    queue: Mutex<RefCell<Queue>>,
}

time_driver_impl!(static CLOCK: Clock = Clock { queue: Mutex::new(RefCell::new(Queue::new())) });

impl Driver for Clock {
    /// Milliseconds of 49 days: a run is shorter.
    fn now(&self) -> u64 {
        NOW.load(Ordering::Relaxed).into()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            self.queue.borrow_ref_mut(cs).schedule_wake(at, waker);
        });
    }
}

/// The word behind those that the station keeps: what a chip has a register for.
fn bitten() -> *mut u32 {
    unsafe extern "C" {
        static mut _bitten: u32;
    }
    &raw mut _bitten
}

#[exception]
fn SysTick() {
    // Load and store, since the M0 has no atomic addition; this handler is the only writer.
    let now = NOW.load(Ordering::Relaxed).wrapping_add(1);
    NOW.store(now, Ordering::Relaxed);
    if now.wrapping_sub(FED.load(Ordering::Relaxed)) > PATIENCE {
        // SAFETY: memory.x lays the word out, word-aligned, in RAM that is nobody else's.
        unsafe { bitten().write_volatile(BITTEN) };
        SCB::sys_reset();
    }
    critical_section::with(|cs| {
        CLOCK.queue.borrow_ref_mut(cs).next_expiration(now.into());
    });
}

/// Starts clock and watchdog; says whether the watchdog ended the life before, as a chip's register would.
pub fn start(mut timer: SYST, clock_hz: u32) -> Cause {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(clock_hz / 1000 - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
    // SAFETY: as in the handler, which writes it at the end of a life only.
    unsafe {
        let cause = if bitten().read_volatile() == BITTEN { Cause::Watchdog } else { Cause::Unknown };
        bitten().write_volatile(0);
        cause
    }
}

/// Feeds the watchdog.
pub fn feed() {
    FED.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
}
