//! A LIS3DH, or a part with its registers (LIS2DH12, the accelerometer of an LSM303AGR), as the sensor.
//!
//! Its FIFO of 32 samples is emptied every few milliseconds, so that neither the bus nor the executor has to keep time. Samples
//! are left-justified 16 bits of the range of ±2 g, as the part gives them.

use embassy_time::{Duration, Ticker};
use lis3dh_async::{Configuration, DataRate, Error, FifoMode, Lis3dh, Lis3dhCore, Mode, Register};

use crate::samples::Samples;

/// Bytes of a sample of so many axes.
pub const fn sample_bytes(axes: u8) -> usize {
    2 * axes as usize
}

/// Rates that the part has in its mode of twelve bits, with the bits of CTRL_REG1 (LIS3DH datasheet, table 31).
const RATES: [(u32, u8); 6] = [(1344, 9), (400, 7), (200, 6), (100, 5), (50, 4), (25, 3)];
/// Errors of the bus in a row after which the part is given up.
const ERRORS_MAX: u32 = 10;

/// Whether the part can be run so.
pub fn can(rate: u32, axes: u8) -> bool {
    (1..=3).contains(&axes) && RATES.iter().any(|&(hz, _)| hz == rate)
}

/// Fills `samples` for ever, or until the part answers no more. `axes` of x, y, z are taken, the last ones: of one it is z.
pub async fn run<C: Lis3dhCore>(mut part: Lis3dh<C>, rate: u32, axes: u8, samples: &Samples) {
    // The part may still be busy with its own start.
    let mut errors = 0;
    while start(&mut part, rate).await.is_err() {
        errors += 1;
        if errors > ERRORS_MAX {
            return samples.fail();
        }
        embassy_time::Timer::after_millis(10).await;
    }
    errors = 0;
    let mut ticker = Ticker::every(Duration::from_micros(8_000_000 / u64::from(rate.max(1))));
    loop {
        ticker.next().await;
        match empty(&mut part, axes, samples).await {
            Ok(()) => errors = 0,
            Err(_) if errors < ERRORS_MAX => errors += 1,
            Err(_) => return samples.fail(),
        }
    }
}

async fn start<C: Lis3dhCore>(part: &mut Lis3dh<C>, rate: u32) -> Result<(), Error<C::BusError>> {
    let configuration = Configuration { mode: Mode::HighResolution, ..Configuration::default() };
    part.configure(configuration).await?;
    part.set_datarate(DataRate::PowerDown).await?;
    part.enable_fifo(FifoMode::ByPass, 0).await?;
    part.enable_fifo(FifoMode::Stream, 0).await?;
    let bits = RATES.iter().find(|(hz, _)| *hz == rate).map_or(0, |&(_, bits)| bits);
    part.register_set_bits(Register::CTRL1, bits << 4).await
}

async fn empty<C: Lis3dhCore>(part: &mut Lis3dh<C>, axes: u8, samples: &Samples) -> Result<(), Error<C::BusError>> {
    let status = part.get_fifo_status().await?;
    if status.overrun {
        samples.lose(0);
    }
    for _ in 0..status.stack_size {
        let [x, y, z] = {
            let sample = part.accel_raw().await?;
            [sample.x, sample.y, sample.z].map(i16::to_le_bytes)
        };
        match axes {
            1 => samples.push([z].into_iter()),
            2 => samples.push([[y[0], y[1], z[0], z[1]]].into_iter()),
            _ => samples.push([[x[0], x[1], y[0], y[1], z[0], z[1]]].into_iter()),
        }
    }
    Ok(())
}
