//! What this monitor does, whatever the board: the model in flash, a sensor's samples through it, reports and two lines out.

use embedded_hal::digital::OutputPin;
use embedded_io::Write;
use neji_app::{AlarmPin, AlarmPolarity, Monitor, Report, ReportWriter, Sensor, Station};
use neji_engine::Isa;
use neji_format::Model;
use neji_format::header::FORMAT_VERSION;

/// Where memory.x puts the model; `neji flash` writes it there without the firmware.
pub fn model_region() -> &'static [u8] {
    unsafe extern "C" {
        static _model_start: u8;
        static _model_end: u8;
    }
    let (start, end) = (&raw const _model_start, &raw const _model_end);
    // SAFETY: memory.x lays the region out in flash that nobody writes while this runs; both symbols are its ends, and all
    // bytes of it are readable.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Watches until the sensor has no more samples. False where the model is refused or something fails: `fault` is high then.
pub fn watch<I: Isa, W: Write>(
    memory: &'static mut [u8],
    sensor: impl Sensor,
    line: W,
    alarm: impl OutputPin,
    mut fault: impl OutputPin,
) -> bool {
    let done = run::<I, W>(memory, sensor, line, alarm);
    if done.is_none() {
        let _ = fault.set_high();
    }
    done.is_some()
}

fn run<I: Isa, W: Write>(
    memory: &'static mut [u8],
    sensor: impl Sensor,
    line: W,
    alarm: impl OutputPin,
) -> Option<u32> {
    let mut reports = ReportWriter::new(line).ok()?;
    let model = match Model::parse(model_region()) {
        Ok(model) => model,
        Err(error) => {
            reports.write(&Report::refused(error)).ok()?;
            return None;
        }
    };
    let header = *model.header();
    let hello = Report::Hello {
        format_version: FORMAT_VERSION,
        model_crc32: header.crc32,
        model_bytes: header.total_bytes,
        memory_bytes: Monitor::<I>::memory_bytes(&model) as u32,
    };
    let monitor = match Monitor::<I>::new(model, memory) {
        Ok(monitor) => monitor,
        Err(error) => {
            reports.write(&Report::refused(error)).ok()?;
            return None;
        }
    };
    // `neji flash` waits for this: it says which model runs.
    reports.write(&hello).ok()?;
    let alarm = AlarmPin::new(alarm, AlarmPolarity::ActiveHigh).ok()?;
    Station { monitor, sensor, reports, alarm }.run().ok()
}
