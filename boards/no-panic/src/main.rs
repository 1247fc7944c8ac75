//! Links only where nothing from the model's parser on can panic: the panic handler calls a function that is nowhere.
//! `cargo xtask no-panic` links it for every target; it is never run.
//!
//! [`_start`] hands what it was given to one function a stage. Each takes what the earlier ones made as if it could be
//! anything, so that no stage profits from what the compiler saw of another. Where the linker complains, link with
//! `-Clink-arg=--defsym=neji_panic_is_reachable=0` and look for the panic's callers in a disassembly.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::hint::black_box;
use core::panic::PanicInfo;

use embedded_hal::digital::{ErrorType, OutputPin};
use neji_app::frontend::log_mel::{LogMel, LogMelStream};
use neji_app::link::{About, LinkStation, Memory, Refusal};
use neji_app::{
    AlarmPin, Learner, Monitor, MonitorError, Pace, PacedSensor, Report, ReportWriter, Ring, Sensor, Station,
};
use neji_engine::Engine;
use neji_format::{DecodeError, Model};

/// The kernels that are checked.
#[cfg(not(any(feature = "control", feature = "dsp", feature = "mve", feature = "v7m")))]
type Isa = neji_engine::Portable;

/// The kernels that are checked where the core has DSP instructions.
#[cfg(feature = "dsp")]
type Isa = neji_engine::ArmDsp;

/// The kernels that are checked where the core is of ARMv7-M without them.
#[cfg(feature = "v7m")]
type Isa = neji_engine::ArmV7m;

/// The kernels that are checked where the core has vector instructions.
#[cfg(feature = "mve")]
type Isa = neji_engine::ArmMve;

/// Kernels of which the check must complain.
#[cfg(feature = "control")]
type Isa = Faulty;

/// Reads beyond the input where there are more weights.
#[cfg(feature = "control")]
struct Faulty;

#[cfg(feature = "control")]
impl neji_engine::Isa for Faulty {
    fn dot_s8(acc: i32, input: &[i8], _: i32, weights: &[i8]) -> i32 {
        acc.wrapping_add(input[weights.len()].into())
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn neji_panic_is_reachable() -> !;
    }
    neji_panic_is_reachable()
}

/// A pin, a sensor and a line of which the compiler knows nothing.
struct Unknown;

impl ErrorType for Unknown {
    type Error = Infallible;
}

impl OutputPin for Unknown {
    fn set_low(&mut self) -> Result<(), Infallible> {
        black_box(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        black_box(true);
        Ok(())
    }
}

impl Sensor for Unknown {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(black_box(black_box(buffer).len()))
    }

    fn gap(&mut self) -> Option<u32> {
        black_box(None)
    }
}

impl Pace for Unknown {
    fn arrived(&mut self) -> u64 {
        black_box(0)
    }

    fn wait(&mut self, samples: u64) {
        black_box(samples);
    }
}

impl embedded_io::ErrorType for Unknown {
    type Error = Infallible;
}

impl embedded_io::Write for Unknown {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(black_box(black_box(bytes).len()))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl embedded_io::Read for Unknown {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(black_box(black_box(buffer).len()))
    }
}

impl embedded_io::ReadReady for Unknown {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(black_box(true))
    }
}

/// What a device holds, in any state.
struct Device {
    flash: &'static [u8],
    samples: &'static [u8],
    arena: &'static mut [i8],
    memory: Option<&'static mut [u8]>,
    model: Result<Model<'static>, DecodeError>,
    monitor: Result<Monitor<'static, Isa>, MonitorError>,
    learning: Option<Monitor<'static, Isa, Learner<'static>>>,
    room: Option<&'static mut [u8]>,
    state: &'static mut [u8],
    station: Station<'static, Isa, Unknown, Unknown, Unknown>,
    alarm: AlarmPin<Unknown>,
    reports: ReportWriter<Unknown>,
    log_mel: LogMel<'static>,
    words: Option<&'static mut [u32]>,
    work: &'static mut [u32],
    stream: Option<LogMelStream<'static>>,
    paced: Option<PacedSensor<'static, Unknown, Unknown>>,
    about: About<'static>,
    link_memory: Option<Memory<'static>>,
    linked: Option<&'static mut Monitor<'static, Isa>>,
    link: Option<LinkStation<'static, 'static, Isa>>,
}

/// Where the linker begins: all stages.
#[unsafe(no_mangle)]
fn _start(device: &mut Device) {
    load(device);
    refuse(device);
    set_up(device);
    infer(device);
    learn(device);
    learn_tables(device);
    push(device);
    look_back(device);
    report(device);
    watch(device);
    wait(device);
    prepare_to_listen(device);
    listen(device);
    connect(device);
    talk(device);
}

#[inline(never)]
fn load(device: &mut Device) {
    device.model = Model::parse(device.flash);
}

#[inline(never)]
fn refuse(device: &mut Device) {
    if let Err(error) = device.model {
        let Ok(()) = device.reports.write(&Report::refused(error));
    }
    if let Err(error) = device.monitor {
        let Ok(()) = device.reports.write(&Report::refused(error));
    }
}

#[inline(never)]
fn set_up(device: &mut Device) {
    if let (Ok(model), Some(memory)) = (device.model, device.memory.take()) {
        black_box(Monitor::<Isa>::memory_bytes(&model));
        device.monitor = Monitor::new(model, memory);
    }
}

#[inline(never)]
fn infer(device: &mut Device) {
    if let Ok(model) = device.model {
        let engine = Engine::<Isa>::new(model);
        black_box(engine.input_mut(device.arena));
        black_box(engine.run(device.arena).is_ok());
        black_box((engine.input(device.arena), engine.output(device.arena)));
        black_box(model.only(black_box(0)).operators().count());
        black_box(model.phase(black_box(0)).operators().count());
    }
}

#[inline(never)]
fn learn(device: &mut Device) {
    let Ok(monitor) = &mut device.monitor else { return };
    if let Err(error) = monitor.calibrate(black_box(64)) {
        let Ok(()) = device.reports.write(&Report::refused(error));
    }
    if let Err(error) = monitor.import(device.samples) {
        let Ok(()) = device.reports.write(&Report::refused(error));
    }
    black_box((monitor.export(), monitor.calibration(), monitor.drift()));
    if black_box(false) {
        monitor.uncalibrate();
    }
}

#[inline(never)]
fn learn_tables(device: &mut Device) {
    if let (Ok(model), Some(memory), Some(room)) = (device.model, device.memory.take(), device.room.take()) {
        black_box(Learner::memory_bytes(&model));
        device.learning = Monitor::with_learner(model, memory, room).ok();
    }
    let Some(monitor) = &mut device.learning else { return };
    black_box((monitor.calibrate(black_box(64)).is_ok(), monitor.push(&mut device.samples)));
    black_box((monitor.state_bytes(), monitor.export_to(device.state).is_ok()));
    black_box((monitor.import_from(device.samples).is_ok(), monitor.learner().has_learned()));
    if black_box(false) {
        monitor.uncalibrate();
    }
}

#[inline(never)]
fn push(device: &mut Device) {
    if let Ok(monitor) = &mut device.monitor {
        black_box(monitor.push(&mut device.samples));
        black_box((monitor.end_of_frame(), monitor.gap()));
        monitor.reset();
    }
}

#[inline(never)]
fn look_back(device: &mut Device) {
    if let Ok(monitor) = &device.monitor {
        black_box((monitor.decibels(), monitor.map(), monitor.input(), monitor.output(), monitor.alarm()));
    }
}

#[inline(never)]
fn report(device: &mut Device) {
    let Ok(high) = device.alarm.set(black_box(true));
    let report = Report::AlarmChanged { high, sequence: black_box(0) };
    let Ok(()) = device.reports.write(black_box(&report));
}

#[inline(never)]
fn watch(device: &mut Device) {
    black_box(device.station.run().is_ok());
}

#[inline(never)]
fn wait(device: &mut Device) {
    if let Some(memory) = device.memory.take() {
        let mut ring = Ring::new(memory, black_box(2));
        black_box((ring.capacity(), ring.push(device.samples)));
        ring.lose(black_box(1));
        device.paced = Some(PacedSensor::new(Unknown, Unknown, ring));
    }
    if let Some(paced) = &mut device.paced {
        black_box((paced.gap(), paced.read(&mut [0; 8]).is_ok()));
    }
}

#[inline(never)]
fn prepare_to_listen(device: &mut Device) {
    black_box((device.log_mel.work_words(), device.log_mel.memory_words()));
    if let Some(words) = device.words.take() {
        device.stream = LogMelStream::new(device.log_mel, words);
    }
}

#[inline(never)]
fn listen(device: &mut Device) {
    if let Some(stream) = &mut device.stream {
        black_box(stream.push(&mut device.samples, device.work));
        black_box(stream.check_sensor().is_ok());
        black_box(stream.decibels());
        stream.input(device.arena);
        stream.restart();
    }
}

#[inline(never)]
fn connect(device: &mut Device) {
    let Some(memory) = device.link_memory.take() else { return };
    device.link = Some(match device.linked.take() {
        Some(monitor) => LinkStation::new(device.about, monitor, memory),
        None => {
            let refusal = device.model.err().and_then(|error| Refusal::of(device.flash, error));
            LinkStation::without_model(device.about, refusal, memory)
        }
    });
}

#[inline(never)]
fn talk(device: &mut Device) {
    let Some(link) = &mut device.link else { return };
    black_box(link.push(&mut device.samples));
    black_box((link.gap(black_box(1)), link.end_of_frame(), link.alarm(), link.is_restart_due()));
    link.receive(device.samples);
    link.log(neji_link::LogLevel::Info, black_box(3));
    black_box(link.transmit(black_box(&mut [0; 8])));
    black_box(link.serve(&mut Unknown, black_box(100)).is_ok());
}
