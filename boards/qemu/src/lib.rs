//! What the boards that run in QEMU share: a file of the PC as sensor and as report line, pins, counters, the exit code.
#![no_std]

pub mod bench;
pub mod live;
pub mod measure;
pub mod pin;
pub mod run;
pub mod semihosting;
pub mod uart;

use core::fmt::Write as _;
use core::panic::PanicInfo;

use cortex_m_semihosting::{debug, hio};

pub use live::{Link, Live, run_live};
pub use neji_app::{Fixed, Learner};
pub use pin::Pin;
pub use run::{Board, Knowledge, run};

/// Ends QEMU: status 0 where all went well, 1 otherwise.
pub fn exit(well: bool) -> ! {
    loop {
        debug::exit(if well { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "{info}");
    }
    exit(false)
}
