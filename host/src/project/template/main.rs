//! @NAME@: watches @WHAT@ with a model of neji, on @BOARD@ in QEMU.
//!
//! The PC's files are sensor and line: samples are read from `samples.bin`, reports go to `reports.bin`. What the monitor does is
//! in `watch.rs`; for another board only this file changes.
#![no_std]
#![no_main]

mod watch;

use core::convert::Infallible;

use cortex_m_rt::entry;
use neji_app::Sensor;
@ENGINE@
use neji_qemu::semihosting::File;
use neji_qemu::{Pin, exit};

/// The kernels of this core.
type Isa = @ISA@;

/// Arena, front end and frame buffer: `neji inspect` says what a model needs.
const MEMORY_BYTES: usize = @MEMORY@;

@REGISTERS@

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
    let files = (File::read_from(b"samples.bin\0"), File::write_to(b"reports.bin\0"));
    let (Some(samples), Some(line)) = files else { exit(false) };
    exit(watch::watch::<Isa, _>(MEMORY, Samples(samples), line, alarm, fault))
}
