//! An ArduCAM as the source of a station's samples.

use embassy_time::{Duration, Instant, Timer};
use embedded_hal::spi::SpiDevice;
use neji_app::driver::arducam::{ArduCam, CameraError};

use crate::samples::{Read, Source};

/// A picture, or a step of the start, takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One picture after the other.
pub struct Camera<S> {
    part: ArduCam<S>,
    is_started: bool,
    is_reading: bool,
}

impl<S: SpiDevice> Camera<S> {
    /// Starts it with the first read.
    pub const fn new(part: ArduCam<S>) -> Self {
        Self { part, is_started: false, is_reading: false }
    }

    async fn idle(&mut self) -> Result<bool, CameraError<S::Error>> {
        let begin = Instant::now();
        while !self.part.is_idle()? {
            if begin.elapsed() > PATIENCE {
                return Ok(false);
            }
            Timer::after_millis(2).await;
        }
        Ok(true)
    }

    async fn start(&mut self) -> Result<bool, CameraError<S::Error>> {
        let steps = [ArduCam::reset, ArduCam::identify, ArduCam::set_format, ArduCam::set_size];
        for step in steps {
            step(&mut self.part)?;
            if !self.idle().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn try_read(&mut self, buffer: &mut [u8]) -> Result<Read, CameraError<S::Error>> {
        if !self.is_started {
            if !self.start().await? {
                return Ok(Read::Silence);
            }
            self.is_started = true;
        }
        loop {
            if self.is_reading {
                match self.part.read(buffer)? {
                    0 => self.is_reading = false,
                    count => return Ok(Read::Bytes(count)),
                }
            }
            self.part.take()?;
            let begin = Instant::now();
            while !self.part.is_taken()? {
                if begin.elapsed() > PATIENCE {
                    return Ok(Read::Silence);
                }
                Timer::after_millis(2).await;
            }
            self.is_reading = true;
        }
    }
}

impl<S: SpiDevice> Source for Camera<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Read {
        self.try_read(buffer).await.unwrap_or(Read::Failed)
    }
}
