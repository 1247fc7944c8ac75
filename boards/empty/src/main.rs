//! A firmware that does nothing for a model: startup, clock, files of the PC, the panic's message. `neji bench` takes its
//! size off a board's image, so that what is left is neji. Built for every target, never run.
#![no_std]
#![no_main]

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use embedded_io::Write as _;
use neji_qemu::measure::{Clock, stack_bytes};
use neji_qemu::semihosting::File;

#[entry]
fn main() -> ! {
    let peripherals = Peripherals::take().expect("taken once");
    let clock = Clock::start(peripherals.SYST);
    let mut input = File::read_from(b"samples.bin\0").expect("a file of samples");
    let mut output = File::write_to(b"reports.bin\0").expect("a file for the reports");
    let mut buffer = [0; 256];
    let count = input.read(&mut buffer);
    let Ok(()) = output.write_all(buffer.get(..count).unwrap_or(&[]));
    let Ok(()) = output.write_all(&clock.ticks().to_le_bytes());
    neji_qemu::exit(stack_bytes() > 0)
}
