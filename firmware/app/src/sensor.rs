//! The blocking loop: a sensor's samples through the monitor to reports and the alarm pin.

use embedded_hal::digital::OutputPin;
use neji_engine::Isa;

use crate::alarm::AlarmPin;
use crate::drift::Trend;
use crate::error::Error;
use crate::learn::{Fixed, Tables};
use crate::monitor::{Monitor, Verdict};
use crate::report::{Report, ReportWriter};

/// Where samples come from.
pub trait Sensor {
    /// What can go wrong with it.
    type Error;

    /// Waits for samples and copies as many as there are, at most `buffer.len()`; 0 where there will be no more.
    ///
    /// # Errors
    /// The sensor's own.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Whether samples are missing between what was read last and what will be read next: how many, 0 where that is not
    /// known. [`Sensor::read`] gives nothing from behind a gap together with what was before it; who does not ask reads
    /// on. A sensor that loses nothing need not say so.
    fn gap(&mut self) -> Option<u32> {
        None
    }
}

/// A monitor with its surroundings.
pub struct Station<'a, I: Isa, S, W, P, T: Tables = Fixed> {
    /// The pipeline.
    pub monitor: Monitor<'a, I, T>,
    /// Samples in.
    pub sensor: S,
    /// Reports out.
    pub reports: ReportWriter<W>,
    /// The alarm.
    pub alarm: AlarmPin<P>,
}

/// What stops a station of sensor, writer and pin.
type StationError<S, W, P> =
    Error<<S as Sensor>::Error, <W as embedded_io::ErrorType>::Error, <P as embedded_hal::digital::ErrorType>::Error>;

impl<I: Isa, S: Sensor, W: embedded_io::Write, P: OutputPin, T: Tables> Station<'_, I, S, W, P, T> {
    /// Runs until the sensor has no more samples; a frame that was begun is then a dropped one, as it is where samples are
    /// missing. Returns the number of
    /// verdicts, which is also the last report.
    ///
    /// # Errors
    /// The first of the sensor, the writer or the pin.
    pub fn run(&mut self) -> Result<u32, StationError<S, W, P>> {
        let mut buffer = [0; 256];
        let (mut frames, mut bytes, mut drift) = (0, 0u64, self.monitor.drift());
        loop {
            while let Some(samples) = self.sensor.gap() {
                let verdict = self.monitor.gap();
                frames += 1;
                self.tell(verdict, &mut drift)?;
                if samples > 0 {
                    self.reports.write(&Report::Overrun { samples, bytes }).map_err(Error::Report)?;
                }
            }
            let count = self.sensor.read(&mut buffer).map_err(Error::Sensor)?;
            let mut samples = buffer.get(..count).unwrap_or(&buffer);
            if count == 0 {
                break;
            }
            bytes = bytes.saturating_add(count as u64);
            while let Some(verdict) = self.monitor.push(&mut samples) {
                frames += 1;
                self.tell(verdict, &mut drift)?;
            }
        }
        if let Some(verdict) = self.monitor.end_of_frame() {
            frames += 1;
            self.tell(verdict, &mut drift)?;
        }
        self.reports.write(&Report::Done { frames }).map_err(Error::Report)?;
        Ok(frames)
    }

    /// Sets the alarm first: a line that blocks must not delay it.
    fn tell(&mut self, verdict: Verdict, drift: &mut Trend) -> Result<(), StationError<S, W, P>> {
        let changed = self.alarm.set(verdict.alarm).map_err(Error::Alarm)?;
        self.reports.write(&Report::Verdict(verdict)).map_err(Error::Report)?;
        if changed {
            let report = Report::AlarmChanged { high: verdict.alarm, sequence: verdict.sequence };
            self.reports.write(&report).map_err(Error::Report)?;
        }
        if core::mem::replace(drift, verdict.drift) != verdict.drift {
            let report = Report::DriftChanged { drift: verdict.drift, sequence: verdict.sequence };
            self.reports.write(&report).map_err(Error::Report)?;
        }
        Ok(())
    }
}
