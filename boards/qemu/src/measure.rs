//! What a run costs: time by SysTick, stack by paint.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
pub use neji_semihosting::stack_bytes;

/// SysTick counts 24 bits down.
const PERIOD: u32 = 1 << 24;

static WRAPS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    // Load and store, since the M0 has no atomic addition; this handler is the only writer.
    WRAPS.store(WRAPS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Ticks of the core's clock since [`Clock::start`]. With QEMU's `-icount` they are proportional to instructions.
#[derive(Debug)]
pub struct Clock;

impl Clock {
    /// Starts SysTick on the core's clock.
    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(PERIOD - 1);
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Self
    }

    /// Ticks since the start; wraps after 2^64.
    pub fn ticks(&self) -> u64 {
        loop {
            let wraps = WRAPS.load(Ordering::Relaxed);
            let down = SYST::get_current();
            // A wrap between the two reads would pair an old count with a new value.
            if WRAPS.load(Ordering::Relaxed) == wraps {
                return u64::from(wraps) * u64::from(PERIOD) + u64::from((PERIOD - down) & (PERIOD - 1));
            }
        }
    }
}
