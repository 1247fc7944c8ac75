//! The same monitor with a live link, where `neji monitor` asks for it: scores, maps and recordings go to the PC, commands come back.

use embedded_hal::digital::OutputPin;
use neji_app::link::{About, LinkStation, Memory, Refusal};
use neji_app::{AlarmPin, AlarmPolarity, Monitor, Sensor};
use neji_engine::Isa;
use neji_format::Model;
use neji_link::LogLevel;

use crate::watch::model_region;

/// Memory for what waits to be sent.
const QUEUE_BYTES: usize = 16 * 1024;
/// Recordings are kept in what the monitor leaves: one is what comes last, the others are the last alarms.
const SLOTS: usize = 4;

/// Watches until the sensor has no more samples. `exchange` sends what a station has to say, and hands it what the PC says. False
/// where something fails; where the model is refused the station says why, and `fault` is high.
pub fn watch<I: Isa>(
    memory: &'static mut [u8],
    sensor: impl Sensor,
    about: About<'_>,
    exchange: impl FnMut(&mut LinkStation<'_, '_, I>),
    alarm: impl OutputPin,
    mut fault: impl OutputPin,
) -> bool {
    let (queue, memory) = memory.split_at_mut(memory.len().min(QUEUE_BYTES));
    let refusal = match Model::parse(model_region()) {
        Ok(model) => {
            let header = *model.header();
            let (memory, rest) = memory.split_at_mut(memory.len().min(Monitor::<I>::memory_bytes(&model)));
            match Monitor::<I>::new(model, memory) {
                Ok(mut monitor) => {
                    let memory = Memory { queue, recordings: rest, slots: SLOTS };
                    return run(LinkStation::new(about, &mut monitor, memory), sensor, exchange, alarm).is_some();
                }
                Err(error) => Some(Refusal::new(header.crc32, header.total_bytes, error)),
            }
        }
        Err(error) => Refusal::of(model_region(), error),
    };
    let _ = fault.set_high();
    let memory = Memory { queue, recordings: &mut [], slots: 0 };
    run(LinkStation::<I>::without_model(about, refusal, memory), sensor, exchange, alarm).is_some()
}

fn run<'s, 'a, I: Isa>(
    mut station: LinkStation<'s, 'a, I>,
    mut sensor: impl Sensor,
    mut exchange: impl FnMut(&mut LinkStation<'_, '_, I>),
    alarm: impl OutputPin,
) -> Option<()> {
    let mut alarm = AlarmPin::new(alarm, AlarmPolarity::ActiveHigh).ok()?;
    let mut buffer = [0; 512];
    loop {
        exchange(&mut station);
        let count = sensor.read(&mut buffer).ok()?;
        let mut samples = buffer.get(..count)?;
        while let Some(verdict) = station.push(&mut samples) {
            alarm.set(verdict.alarm).ok()?;
        }
        if count == 0 {
            station.end_of_frame();
            station.log(LogLevel::Info, "the sensor has no more samples");
            exchange(&mut station);
            return Some(());
        }
    }
}
