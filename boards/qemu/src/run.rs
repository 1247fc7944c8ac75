//! What all boards do: take the blob, feed the monitor, report, end.

use core::convert::Infallible;
use core::fmt::{Display, Write as _};

use cortex_m::Peripherals;
use cortex_m_semihosting::hio;
use embedded_hal::digital::OutputPin;
use embedded_io::Write as _;
use neji_app::{
    AlarmPin, AlarmPolarity, Fixed, Learner, Monitor, MonitorError, Pace, PacedSensor, Report, ReportWriter, Ring,
    Sensor, Tables, Trend, Verdict,
};
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

/// Samples from a file of the PC. Where the PC has a file `gaps.bin`, its little-endian words of 64 bits say behind how many
/// bytes samples are missing.
struct FileSensor {
    samples: File,
    gaps: Option<File>,
    read: u64,
    /// Where the next gap is.
    gap: u64,
}

impl FileSensor {
    fn new(samples: File) -> Self {
        let mut sensor = Self { samples, gaps: File::read_from(b"gaps.bin\0"), read: 0, gap: 0 };
        sensor.look_ahead();
        sensor
    }

    fn look_ahead(&mut self) {
        let mut word = [0; 8];
        let read = self.gaps.as_mut().map_or(0, |gaps| gaps.read(&mut word));
        self.gap = if read == word.len() { u64::from_le_bytes(word) } else { u64::MAX };
    }
}

impl Sensor for FileSensor {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while self.gap <= self.read {
            self.look_ahead();
        }
        let room = usize::try_from(self.gap - self.read).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.samples.read(buffer.get_mut(..room).unwrap_or(&mut []));
        self.read += count as u64;
        Ok(count)
    }

    fn gap(&mut self) -> Option<u32> {
        let here = self.gap <= self.read;
        if here {
            self.look_ahead();
        }
        here.then_some(0)
    }
}

/// What the file `pace.bin` says, little-endian words: how fast samples come, and how many of them wait at most.
struct Settings {
    /// Samples that arrive in `ticks` ticks of the clock.
    samples: u32,
    ticks: u32,
    /// Samples that the buffer holds.
    buffer: u32,
    sample_bytes: u32,
}

impl Settings {
    fn read() -> Option<Self> {
        let mut file = File::read_from(b"pace.bin\0")?;
        let mut word = || {
            let mut bytes = [0; 4];
            (file.read(&mut bytes) == bytes.len()).then_some(u32::from_le_bytes(bytes))
        };
        Some(Self { samples: word()?, ticks: word()?, buffer: word()?, sample_bytes: word()? })
    }
}

/// What the file `calibrate.bin` says, where there is one: how many scores the monitor learns from, a little-endian word of 16
/// bits, and in a byte whether it learns tables by half of them.
fn calibration() -> Option<(u16, bool)> {
    let mut bytes = [0; 3];
    File::read_from(b"calibrate.bin\0")?.read(&mut bytes);
    let [low, high, tables] = bytes;
    Some((u16::from_le_bytes([low, high]), tables != 0))
}

/// Whether a board's monitor can learn tables. Where it can't, nothing of that is linked.
pub trait Knowledge {
    /// It can.
    const LEARNS: bool;
    /// Its monitor's third parameter.
    type Tables: Tables;

    /// Bytes that learning the model's tables takes.
    fn room_bytes(model: &Model<'static>) -> usize;

    /// Makes the monitor.
    ///
    /// # Errors
    /// The monitor's own.
    fn monitor<I: Isa>(
        model: Model<'static>,
        memory: &'static mut [u8],
        room: &'static mut [u8],
    ) -> Result<Monitor<'static, I, Self::Tables>, MonitorError>;
}

impl Knowledge for Fixed {
    const LEARNS: bool = false;
    type Tables = Self;

    fn room_bytes(_: &Model<'static>) -> usize {
        0
    }

    fn monitor<I: Isa>(
        model: Model<'static>,
        memory: &'static mut [u8],
        _: &'static mut [u8],
    ) -> Result<Monitor<'static, I>, MonitorError> {
        Monitor::new(model, memory)
    }
}

impl Knowledge for Learner<'static> {
    const LEARNS: bool = true;
    type Tables = Self;

    fn room_bytes(model: &Model<'static>) -> usize {
        Self::memory_bytes(model)
    }

    fn monitor<I: Isa>(
        model: Model<'static>,
        memory: &'static mut [u8],
        room: &'static mut [u8],
    ) -> Result<Monitor<'static, I, Self>, MonitorError> {
        Monitor::with_learner(model, memory, room)
    }
}

/// Samples arrive as the board's clock says. Where it would wait for some it does not: the clock is put forward.
struct ClockPace<'c> {
    clock: &'c Clock,
    samples: u64,
    ticks: u64,
    put_forward: u64,
}

impl ClockPace<'_> {
    fn now(&self) -> u64 {
        self.clock.ticks().wrapping_add(self.put_forward)
    }
}

impl Pace for ClockPace<'_> {
    fn arrived(&mut self) -> u64 {
        self.now().saturating_mul(self.samples).checked_div(self.ticks).unwrap_or(u64::MAX)
    }

    fn wait(&mut self, samples: u64) {
        let due = samples.saturating_mul(self.ticks).checked_div(self.samples).unwrap_or(0).saturating_add(1);
        self.put_forward = self.put_forward.saturating_add(due.saturating_sub(self.now()));
    }
}

/// Samples that wait until they are read, or that do not.
enum Source<'m> {
    Patient(FileSensor),
    Paced(PacedSensor<'m, FileSensor, ClockPace<'m>>),
}

impl Sensor for Source<'_> {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        match self {
            Self::Patient(sensor) => sensor.read(buffer),
            Self::Paced(sensor) => sensor.read(buffer),
        }
    }

    fn gap(&mut self) -> Option<u32> {
        match self {
            Self::Patient(sensor) => sensor.gap(),
            Self::Paced(sensor) => sensor.gap(),
        }
    }
}

/// Why the firmware gives up where the alarm can't be set.
pub(crate) const PIN: &str = "the alarm pin fails";

/// Where verdicts go.
struct Line<A> {
    alarm: AlarmPin<A>,
    reports: ReportWriter<File>,
    /// For the output of a model without a detector, which says nothing else.
    outputs: Option<File>,
    ticks_per_second: u32,
    frames: u32,
    drift: Trend,
}

impl<A: OutputPin> Line<A> {
    /// The pin first: a line that blocks must not delay the alarm.
    fn tell(&mut self, verdict: Verdict, output: &[i8], ticks: u64) -> Result<(), A::Error> {
        self.frames += 1;
        let changed = self.alarm.set(verdict.alarm)?;
        let Ok(()) = self.reports.write(&Report::Verdict(verdict));
        if let Some(outputs) = &mut self.outputs {
            let Ok(()) = outputs.write_all(bytemuck::cast_slice(output));
        }
        let (ticks, ticks_per_second) = (ticks as u32, self.ticks_per_second);
        let Ok(()) = self.reports.write(&Report::Timing { ticks, ticks_per_second });
        if changed {
            let report = Report::AlarmChanged { high: verdict.alarm, sequence: verdict.sequence };
            let Ok(()) = self.reports.write(&report);
        }
        if core::mem::replace(&mut self.drift, verdict.drift) != verdict.drift {
            let report = Report::DriftChanged { drift: verdict.drift, sequence: verdict.sequence };
            let Ok(()) = self.reports.write(&report);
        }
        Ok(())
    }
}

/// The MODEL region of memory.x.
pub(crate) fn region() -> &'static [u8] {
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
/// missing. Does not return. Where the PC asks for it by a file, counts an inference instead: see [`bench`]. By the file
/// `pace.bin` it asks for samples that do not wait: what finds the buffer full is lost, and reported. `K` is [`Fixed`], or
/// [`Learner`] where the board has the flash and the memory to learn tables.
pub fn run<I: Isa, K: Knowledge, A: OutputPin, F: OutputPin>(board: Board<A, F>) -> ! {
    if cfg!(feature = "inference") {
        exit(bench::infer::<I>(region(), board.memory).is_some())
    }
    let Board { memory, ticks_per_second, alarm, mut fault } = board;
    let Some(peripherals) = Peripherals::take() else { give_up(&mut fault, &"the peripherals are taken") };
    let Some(line) = File::write_to(b"reports.bin\0") else { give_up(&mut fault, &"no file for the reports") };
    let Some(samples) = File::read_from(b"samples.bin\0") else { give_up(&mut fault, &"no file of samples") };
    let sensor = FileSensor::new(samples);
    let Ok(mut reports) = ReportWriter::new(line);
    let Ok(alarm) = AlarmPin::new(alarm, AlarmPolarity::ActiveHigh) else { give_up(&mut fault, &PIN) };

    // Looked at where they are made, as the monitor below: moving them out would take their room on the stack twice.
    let parsed = Model::parse(region());
    let model = match &parsed {
        Ok(model) => model,
        Err(error) => {
            let Ok(()) = reports.write(&Report::refused(*error));
            give_up(&mut fault, error)
        }
    };
    if bench::is_wanted() {
        match bench::run::<I>(*model, memory, peripherals.SYST) {
            Ok(()) => exit(true),
            Err(error) => give_up(&mut fault, &error),
        }
    }
    let clock = Clock::start(peripherals.SYST);
    let line = Line { alarm, reports, outputs: None, ticks_per_second, frames: 0, drift: Trend::Steady };
    watch::<I, K, A, F>(model, memory, sensor, &clock, line, fault)
}

/// Says why on the pin and to the PC, and ends QEMU.
pub(crate) fn give_up(fault: &mut impl OutputPin, reason: &dyn Display) -> ! {
    let _ = fault.set_high();
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "{reason}");
    }
    exit(false)
}

/// The monitor over the PC's samples.
// A function of its own, so that what the monitor takes of the stack is not below a bench.
#[inline(never)]
fn watch<I: Isa, K: Knowledge, A: OutputPin, F: OutputPin>(
    model: &Model<'static>,
    memory: &'static mut [u8],
    sensor: FileSensor,
    clock: &Clock,
    mut line: Line<A>,
    mut fault: F,
) -> ! {
    let mut give_up = |reason: &dyn Display| -> ! { give_up(&mut fault, reason) };
    let hello = Report::Hello {
        format_version: FORMAT_VERSION,
        model_crc32: model.header().crc32,
        model_bytes: model.header().total_bytes,
        memory_bytes: Monitor::<I>::memory_bytes(model) as u32,
    };
    let (memory, rest) = memory.split_at_mut(memory.len().min(Monitor::<I>::memory_bytes(model)));
    let calibration = calibration();
    let tables = calibration.is_some_and(|(_, tables)| tables);
    if tables && !K::LEARNS {
        give_up(&"this firmware learns no tables")
    }
    let (room, rest) = rest.split_at_mut(if tables { rest.len().min(K::room_bytes(model)) } else { 0 });
    let mut sensor = match Settings::read() {
        None => Source::Patient(sensor),
        Some(Settings { samples, ticks, buffer, sample_bytes }) => {
            let bytes = (buffer as usize).saturating_mul(sample_bytes as usize);
            let Some(waiting) = rest.get_mut(..bytes) else { give_up(&"no room for the buffer of samples") };
            let pace = ClockPace { clock, samples: samples.into(), ticks: ticks.into(), put_forward: 0 };
            Source::Paced(PacedSensor::new(sensor, pace, Ring::new(waiting, sample_bytes as usize)))
        }
    };
    let mut made = K::monitor::<I>(*model, memory, room);
    let monitor = match &mut made {
        Ok(monitor) => monitor,
        Err(error) => {
            let Ok(()) = line.reports.write(&Report::refused(*error));
            give_up(error)
        }
    };
    if let Some(Err(error)) = calibration.map(|(scores, _)| monitor.calibrate(scores)) {
        let Ok(()) = line.reports.write(&Report::refused(error));
        give_up(&error)
    }
    let Ok(()) = line.reports.write(&hello);
    if model.plan().detector == Detector::None {
        line.outputs = File::write_to(b"outputs.bin\0");
    }
    let mut buffer = [0; 256];
    let (mut spent, mut bytes) = (0, 0u64);
    loop {
        while let Some(samples) = sensor.gap() {
            let verdict = monitor.gap();
            let Ok(()) = line.tell(verdict, monitor.output(), core::mem::take(&mut spent)) else { give_up(&PIN) };
            if samples > 0 {
                let Ok(()) = line.reports.write(&Report::Overrun { samples, bytes });
            }
        }
        let Ok(count) = sensor.read(&mut buffer);
        bytes = bytes.wrapping_add(count as u64);
        let mut rest = buffer.get(..count).unwrap_or(&[]);
        loop {
            let begin = clock.ticks();
            let verdict = if count == 0 { monitor.end_of_frame() } else { monitor.push(&mut rest) };
            spent += clock.ticks() - begin;
            let Some(verdict) = verdict else { break };
            let Ok(()) = line.tell(verdict, monitor.output(), core::mem::take(&mut spent)) else { give_up(&PIN) };
        }
        if count == 0 {
            break;
        }
    }
    let Ok(()) = line.reports.write(&Report::Done { frames: line.frames });
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "stack: {} bytes", measure::stack_bytes());
    }
    exit(true)
}
