//! @NAME@: watches @WHAT@ with a model of neji, on @BOARD@ in QEMU.
//!
//! The PC's files are sensor and line: samples are read from `samples.bin`, reports go to `reports.bin`. What the monitor does is
//! in `watch.rs`; for another board only this file changes.
#![no_std]
#![no_main]

@LIVE@mod live;
mod watch;

use core::convert::Infallible;

use cortex_m_rt::entry;
use neji_app::Sensor;
@LIVE@use neji_app::link::About;
@ENGINE@
@LIVE@use neji_link::ResetCause;
use neji_qemu::semihosting::File;
@LIVE@use neji_qemu::{Link, Pin, exit};
@STILL@use neji_qemu::{Pin, exit};

/// The kernels of this core.
type Isa = @ISA@;

/// Arena, front end and frame buffer: `neji inspect` says what a model needs.
const MEMORY_BYTES: usize = @MEMORY@;

@REGISTERS@
@LIVE@
@LIVE@/// What `neji monitor` is told of this board.
@LIVE@const ABOUT: About<'_> = About {
@LIVE@    board: "@PACKAGE@",
@LIVE@    core: "@CORE@",
@LIVE@    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
@LIVE@    clock_hz: @TICKS@,
@LIVE@    // QEMU starts its machines from power; a restart that the PC asks for looks the same.
@LIVE@    reset: ResetCause::PowerOn,
@LIVE@    restarts: true,
@LIVE@};

/// The sensor: @SAMPLES@.
struct Samples(File);

impl Sensor for Samples {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(self.0.read(buffer))
    }
}

#[entry]
fn main() -> ! {
    static mut MEMORY: [u8; MEMORY_BYTES] = [0; MEMORY_BYTES];
    let alarm = @ALARM@;
    let fault = @FAULT@;
    let Some(samples) = File::read_from(b"samples.bin\0") else { exit(false) };
@LIVE@    if Link::is_wanted() {
@LIVE@        let Some(mut link) = Link::new(UART, ABOUT.clock_hz) else { exit(false) };
@LIVE@        exit(live::watch::<Isa>(MEMORY, Samples(samples), ABOUT, |station| link.exchange(station), alarm, fault))
@LIVE@    }
    let Some(line) = File::write_to(b"reports.bin\0") else { exit(false) };
    exit(watch::watch::<Isa, _>(MEMORY, Samples(samples), line, alarm, fault))
}
