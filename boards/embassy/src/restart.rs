//! Restarts whose reason outlives them: the words of memory, the handlers that write them.
//!
//! The words lie in a region of their own, `RETAINED` of memory.x, in no section of the image: so neither the start of the
//! firmware nor a loader touches them, and they have the same place in the next firmware.

use core::cell::Cell;
use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, exception};
use critical_section::Mutex;
use neji_app::{Cause, RETAINED_WORDS, Restart, Retained, Stage, Why};

/// How this chip is reset.
static RESET: Mutex<Cell<fn() -> !>> = Mutex::new(Cell::new(system_reset));

/// The core's own way, which resets all of most chips.
fn system_reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

fn with<R>(work: impl FnOnce(&mut Retained<'_>) -> R) -> R {
    unsafe extern "C" {
        static mut _retained: [u32; RETAINED_WORDS];
    }
    critical_section::with(|_| {
        let place = &raw mut _retained;
        // SAFETY: memory.x lays the words out in RAM that is nobody else's, word-aligned; any bits are words; and this is the
        // only reference, since no interrupt comes in between.
        let words = unsafe { &mut *place };
        work(&mut Retained::new(words))
    })
}

/// Takes what is known of the end before. To be called once, first of all; `reset` is how the chip resets itself where the
/// core's own way is not enough.
pub fn begin(cause: Cause, reset: Option<fn() -> !>) -> Restart {
    if let Some(reset) = reset {
        critical_section::with(|cs| RESET.borrow(cs).set(reset));
    }
    with(|retained| retained.begin(cause))
}

/// Says what is done from now on.
pub fn stage(stage: Stage) {
    with(|retained| retained.stage(stage));
}

/// Says that the firmware works: the next failure is the first of its row.
pub fn settle() {
    with(|retained| retained.settle());
}

/// Restarts. The lines fall to what they are without a driver: active.
pub fn restart(why: Why) -> ! {
    end(why, "")
}

fn end(why: Why, place: &str) -> ! {
    with(|retained| retained.end(why, place));
    let reset = critical_section::with(|cs| RESET.borrow(cs).get());
    reset()
}

/// CFSR, and the number of the core in CPUID: ARMv6-M has no CFSR (ARMv6-M and ARMv7-M Architecture Reference Manuals, B3.2).
fn fault_status() -> u32 {
    const CPUID: *const u32 = 0xe000_ed00 as *const u32;
    const CFSR: *const u32 = 0xe000_ed28 as *const u32;
    const ARMV6_M: u32 = 0xc;
    // SAFETY: both are registers of the core, word-aligned, read without a side effect; CFSR only where it is one.
    unsafe {
        let is_armv6 = CPUID.read_volatile() >> 16 & 0xf == ARMV6_M;
        if is_armv6 { 0 } else { CFSR.read_volatile() }
    }
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    end(Why::HardFault { pc: frame.pc(), lr: frame.lr(), status: fault_status() }, "")
}

/// Says nothing now: a panic may come where something is being said. It is told after the restart.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("", 0), |location| (location.file(), location.line()));
    end(Why::Panic { line }, file)
}
