//! What the boards that run in QEMU share: a file of the PC as sensor and as report line, pins, counters, the exit code.
#![no_std]

pub mod bench;
pub mod live;
pub mod measure;
pub mod pin;
pub mod run;
pub mod uart;

use core::fmt::Write as _;
use core::panic::PanicInfo;

use cortex_m_semihosting::hio;

pub use live::{Link, Live, run_live};
pub use neji_app::{Fixed, Learner};
pub use neji_semihosting::{self as semihosting, exit};
pub use pin::Pin;
pub use run::{Board, Knowledge, run};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "{info}");
    }
    exit(false)
}
