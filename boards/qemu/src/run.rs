//! What all boards do: take the blob, feed the monitor, report, end.

use core::fmt::{Display, Write as _};

use cortex_m::Peripherals;
use cortex_m_semihosting::hio;
use embedded_hal::digital::OutputPin;
use embedded_io::Write as _;
use neji_app::{AlarmPin, AlarmPolarity, Monitor, Report, ReportWriter, Sensor};
use neji_engine::Isa;
use neji_format::header::FORMAT_VERSION;
use neji_format::{Detector, Model};

use crate::bench;
use crate::exit;
use crate::measure::{self, Clock};
use crate::semihosting::File;

/// What a board brings along.
#[derive(Debug)]
pub struct Board<A, F> {
    /// Arena, front end and frame of the monitor.
    pub memory: &'static mut [u8],
    /// Clock of SysTick.
    pub ticks_per_second: u32,
    /// Goes high with the alarm.
    pub alarm: A,
    /// Goes high where the model is refused or the firmware cannot go on.
    pub fault: F,
}

/// Samples from a file of the PC.
struct FileSensor(File);

impl Sensor for FileSensor {
    type Error = core::convert::Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(self.0.read(buffer))
    }
}

/// The MODEL region of memory.x.
fn region() -> &'static [u8] {
    unsafe extern "C" {
        static _model_start: u8;
        static _model_end: u8;
    }
    let (start, end) = (&raw const _model_start, &raw const _model_end);
    // SAFETY: memory.x lays the region out in memory that nobody writes while the firmware runs; both symbols are its
    // ends, and all bytes of it are readable.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Runs until the PC's file of samples ends, then ends QEMU: status 0, or 1 where the model was refused or a file is
/// missing. Does not return. Where the PC asks for it by a file, counts an inference instead: see [`bench`].
pub fn run<I: Isa, A: OutputPin, F: OutputPin>(board: Board<A, F>) -> ! {
    if cfg!(feature = "inference") {
        exit(bench::infer::<I>(region(), board.memory).is_some())
    }
    let Board { memory, ticks_per_second, alarm, mut fault } = board;
    let mut give_up = |reason: &dyn Display| -> ! {
        let _ = fault.set_high();
        if let Ok(mut stderr) = hio::hstderr() {
            let _ = writeln!(stderr, "{reason}");
        }
        exit(false)
    };
    let Some(peripherals) = Peripherals::take() else { give_up(&"the peripherals are taken") };
    let Some(line) = File::write_to(b"reports.bin\0") else { give_up(&"no file for the reports") };
    let Some(samples) = File::read_from(b"samples.bin\0") else { give_up(&"no file of samples") };
    let mut sensor = FileSensor(samples);
    let Ok(mut reports) = ReportWriter::new(line);
    let Ok(mut alarm) = AlarmPin::new(alarm, AlarmPolarity::ActiveHigh) else { give_up(&"the alarm pin fails") };

    let model = match Model::parse(region()) {
        Ok(model) => model,
        Err(error) => {
            let Ok(()) = reports.write(&Report::refused(error));
            give_up(&error)
        }
    };
    if bench::is_wanted() {
        match bench::run::<I>(model, memory, peripherals.SYST) {
            Ok(()) => exit(true),
            Err(error) => give_up(&error),
        }
    }
    let clock = Clock::start(peripherals.SYST);
    let hello = Report::Hello {
        format_version: FORMAT_VERSION,
        model_crc32: model.header().crc32,
        model_bytes: model.header().total_bytes,
        memory_bytes: Monitor::<I>::memory_bytes(&model) as u32,
    };
    let mut monitor = match Monitor::<I>::new(model, memory) {
        Ok(monitor) => monitor,
        Err(error) => {
            let Ok(()) = reports.write(&Report::refused(error));
            give_up(&error)
        }
    };
    let Ok(()) = reports.write(&hello);
    // A model without a detector says nothing but its output.
    let mut outputs = match model.plan().detector {
        Detector::None => File::write_to(b"outputs.bin\0"),
        Detector::Reconstruction(_) | Detector::Classifier(_) => None,
    };

    let mut buffer = [0; 256];
    let (mut frames, mut spent) = (0, 0);
    loop {
        let Ok(count) = sensor.read(&mut buffer);
        let mut rest = buffer.get(..count).unwrap_or(&[]);
        loop {
            let begin = clock.ticks();
            let verdict = if count == 0 { monitor.end_of_frame() } else { monitor.push(&mut rest) };
            spent += clock.ticks() - begin;
            let Some(verdict) = verdict else { break };
            frames += 1;
            // The pin first: a line that blocks must not delay the alarm.
            let Ok(changed) = alarm.set(verdict.alarm) else { give_up(&"the alarm pin fails") };
            let Ok(()) = reports.write(&Report::Verdict(verdict));
            if let Some(outputs) = &mut outputs {
                let Ok(()) = outputs.write_all(bytemuck::cast_slice(monitor.output()));
            }
            let Ok(()) = reports.write(&Report::Timing { ticks: spent as u32, ticks_per_second });
            if changed {
                let report = Report::AlarmChanged { high: verdict.alarm, sequence: verdict.sequence };
                let Ok(()) = reports.write(&report);
            }
            spent = 0;
        }
        if count == 0 {
            break;
        }
    }
    let Ok(()) = reports.write(&Report::Done { frames });
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "stack: {} bytes", measure::stack_bytes());
    }
    exit(true)
}
