//! The live link over the board's UART, for `neji monitor`: where the PC has a file `live`.
//!
//! The sensor is the file `samples.bin` still. The PC makes it a pipe into which it writes as fast as a sensor would: who reads from
//! it waits as for samples, and what the PC says over the UART is heard between two reads.

use cortex_m::Peripherals;
use cortex_m::peripheral::SCB;
use cortex_m::peripheral::syst::SystClkSource;
use embedded_hal::digital::OutputPin;
use embedded_io::ReadReady as _;
use neji_app::link::{About, LinkStation, Memory, Refusal};
use neji_app::{AlarmPin, AlarmPolarity, Monitor};
use neji_engine::Isa;
use neji_format::Model;
use neji_link::{LogLevel, ResetCause};

use crate::run::{Board, Knowledge, PIN, give_up, region};
use crate::semihosting::File;
use crate::uart::Uart;

/// Memory for what waits to be sent. The line takes no time here, so it is for a burst between two reads of the sensor.
const QUEUE_BYTES: usize = 16 * 1024;
/// One is what comes last, the others are the last alarms.
const SLOTS: usize = 4;

/// What a board brings along for its link.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Address of the UART that QEMU calls its first serial port.
    pub uart: usize,
    /// Name of the board's package.
    pub board: &'static str,
    /// Its core.
    pub core: &'static str,
    /// Version of the firmware.
    pub firmware: &'static str,
}

/// [`crate::run`], or where the PC asks for it by the file `live` the same monitor with a live link. Does not return.
pub fn run_live<I: Isa, K: Knowledge, A: OutputPin, F: OutputPin>(board: Board<A, F>, live: Live) -> ! {
    // An image that is built for the size of an inference has no link.
    if !cfg!(feature = "inference") && Link::is_wanted() {
        watch::<I, A, F>(board, live)
    }
    crate::run::<I, K, A, F>(board)
}

/// The monitor with its link.
#[inline(never)]
fn watch<I: Isa, A: OutputPin, F: OutputPin>(board: Board<A, F>, live: Live) -> ! {
    let Board { memory, ticks_per_second, alarm, mut fault } = board;
    let Some(link) = Link::new(live.uart, ticks_per_second) else { give_up(&mut fault, &"the peripherals are taken") };
    let Some(samples) = File::read_from(b"samples.bin\0") else { give_up(&mut fault, &"no file of samples") };
    let Ok(alarm) = AlarmPin::new(alarm, AlarmPolarity::ActiveHigh) else { give_up(&mut fault, &PIN) };
    let about = About {
        board: live.board,
        core: live.core,
        firmware: live.firmware,
        clock_hz: ticks_per_second,
        // QEMU starts its machines from power; a restart that the PC asks for looks the same.
        reset: ResetCause::PowerOn,
        restarts: true,
    };
    let line = Line { samples, link, alarm, fault };
    let (queue, memory) = memory.split_at_mut(memory.len().min(QUEUE_BYTES));
    let made = match Model::parse(region()) {
        Ok(model) => {
            let (memory, rest) = memory.split_at_mut(memory.len().min(Monitor::<I>::memory_bytes(&model)));
            let header = *model.header();
            match Monitor::<I>::new(model, memory) {
                Ok(mut monitor) => {
                    let memory = Memory { queue, recordings: rest, slots: SLOTS };
                    line.serve(LinkStation::new(about, &mut monitor, memory))
                }
                Err(error) => Some(Refusal::new(header.crc32, header.total_bytes, error)),
            }
        }
        Err(error) => Refusal::of(region(), error),
    };
    let memory = Memory { queue, recordings: &mut [], slots: 0 };
    line.serve(LinkStation::<I>::without_model(about, made, memory))
}

/// The way between a station and the PC.
#[derive(Debug)]
pub struct Link {
    uart: Uart,
}

impl Link {
    /// Whether the PC asks for it.
    pub fn is_wanted() -> bool {
        File::read_from(b"live\0").is_some()
    }

    /// Over the UART with registers from address `uart` on, which must be the one that QEMU calls this board's first serial port. Takes
    /// the core's timer, which runs at `ticks_per_second`; nothing where something else has taken the core's peripherals.
    pub fn new(uart: usize, ticks_per_second: u32) -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        // Has the core woken every thousandth of a second.
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload((ticks_per_second / 1000).saturating_sub(1));
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Some(Self { uart: Uart::new(uart) })
    }

    /// Sends what `station` has to say and hands it what the PC says; starts the board anew where the PC has asked for that.
    pub fn exchange<I: Isa>(&mut self, station: &mut LinkStation<'_, '_, I>) {
        let Ok(_) = station.serve(&mut self.uart, usize::MAX);
        // QEMU has time for its serial port where the core rests; reading the sensor it has none. So rest for a thousandth of a
        // second, and again while the PC speaks, whose bytes come one by one.
        cortex_m::asm::wfi();
        while matches!(self.uart.read_ready(), Ok(true)) {
            let Ok(_) = station.serve(&mut self.uart, usize::MAX);
            cortex_m::asm::wfi();
        }
        if station.is_restart_due() {
            SCB::sys_reset();
        }
    }
}

/// What is around the station.
struct Line<A, F> {
    samples: File,
    link: Link,
    alarm: AlarmPin<A>,
    fault: F,
}

impl<A: OutputPin, F: OutputPin> Line<A, F> {
    /// Until the PC has no more samples, which it has only where it ends as well, or asks for a restart.
    fn serve<I: Isa>(mut self, mut station: LinkStation<'_, '_, I>) -> ! {
        if station.monitor().is_none() {
            let _ = self.fault.set_high();
        }
        let mut buffer = [0; 512];
        loop {
            self.link.exchange(&mut station);
            let count = self.samples.read(&mut buffer);
            let mut samples = buffer.get(..count).unwrap_or(&[]);
            while let Some(verdict) = station.push(&mut samples) {
                let Ok(_) = self.alarm.set(verdict.alarm) else { give_up(&mut self.fault, &PIN) };
            }
            if count == 0 {
                station.end_of_frame();
                station.log(LogLevel::Info, "the sensor has no more samples");
                self.link.exchange(&mut station);
                crate::exit(true)
            }
        }
    }
}
