//! How many instructions an input takes, front end to score, and how often one comes.
//!
//! They are counted where QEMU has the board or its twin: the firmware runs, and every instruction is counted. Elsewhere they
//! are estimated from the plan, which is rough: of a small window the front end alone may take several times as much.

use std::time::Duration;

use anyhow::{Result, ensure};
use neji_format::{FrontEnd, ImageFrontEnd, LogMelFrontEnd, Model, PixelFormat, Transform};
use neji_machine::{Board, Options};

use crate::bench;
use crate::inspect::macs;

/// Instructions of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// From the first of its samples to its verdict.
    pub instructions: u64,
    /// Where that is from, for people.
    pub source: String,
}

/// Seconds from an input to the next, by the front end: `None` where the samples do not say.
pub fn period(model: &Model<'_>) -> Option<f64> {
    match &model.plan().front_end {
        FrontEnd::LogMel(config) => Some(samples_a_stride(config) as f64 / f64::from(config.sample_rate)),
        FrontEnd::Image(_) | FrontEnd::Raw => None,
    }
}

/// Samples of an axis from an input to the next.
fn samples_a_stride(config: &LogMelFrontEnd) -> u64 {
    u64::from(config.hop) * u64::from(config.stride) * decimation(config)
}

fn decimation(config: &LogMelFrontEnd) -> u64 {
    match config.transform {
        Transform::Envelope { decimation } => decimation.into(),
        Transform::Spectrum | Transform::Waveform => 1,
    }
}

/// Samples that give a few inputs, the first of which waits for its context.
fn sound(config: &LogMelFrontEnd) -> Vec<u8> {
    let first = (u64::from(config.fft_len) + u64::from(config.hop) * u64::from(config.context)) * decimation(config);
    let samples = (first + 3 * samples_a_stride(config)) * u64::from(config.axes);
    let mut state = 1u32;
    let noise = (0..samples).flat_map(|_| {
        // Knuth's generator; its upper bits are noise enough.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as i16 / 4).to_le_bytes()
    });
    noise.collect()
}

/// A frame with a part of the size that is looked for, so that it is found, turned and registered: a light bar on a dark
/// ground, thicker to the left.
fn picture(config: &ImageFrontEnd) -> Vec<u8> {
    let ImageFrontEnd { sensor, crop, resize, alignment, .. } = *config;
    let [width, height] = [crop.width, crop.height].map(f64::from);
    let share = alignment.map_or(0.2, |alignment| {
        let pixels = f64::from(resize.width) * f64::from(resize.height);
        (f64::from(alignment.area_min) + f64::from(alignment.area_max.min(pixels as u32))) / 2.0 / pixels
    });
    let (long, aspect) = (0.8, alignment.map_or(0.25, |a| f64::from(a.strip.height) / f64::from(a.strip.width.max(1))));
    let broad = (share * width * height / (long * width)).min(0.8 * height).max(aspect.min(1.0));
    let grey = |x: u16, y: u16| {
        let across = (f64::from(y) - f64::from(crop.y) - height / 2.0).abs();
        let along = (f64::from(x) - f64::from(crop.x) - width / 2.0) / width;
        let half = broad / 2.0 * if along < 0.0 { 1.1 } else { 0.9 };
        // Some grain, since nothing in a picture is flat.
        let grain = (u32::from(x) * 7 + u32::from(y) * 13) as u8 % 16;
        if along.abs() < long / 2.0 && across < half { 180 + grain } else { 40 + grain }
    };
    let bytes = match config.pixel_format {
        PixelFormat::Grey8 => 1,
        PixelFormat::Rgb888 => 3,
    };
    (0..sensor.height)
        .flat_map(|y| (0..sensor.width).flat_map(move |x| std::iter::repeat_n(grey(x, y), bytes)))
        .collect()
}

/// Counts the instructions of an input on an emulated `board`, whose firmware is built for it; `name` says what it stands for.
///
/// The dearest input counts that follows the first. Where a front end may give up before the model runs, as of a frame without
/// a part, the model is counted by itself and added.
///
/// # Errors
/// QEMU is missing or fails, or the model does not fit there.
pub fn counted(board: &Board, model: &Model<'_>, timeout: Duration) -> Result<Load> {
    ensure!(bench::fits(board, model), "{} has no room for it", board.package);
    let elf = board.build()?;
    let samples = match &model.plan().front_end {
        FrontEnd::Raw => bench::input(model).repeat(2),
        FrontEnd::Image(config) => picture(config).repeat(2),
        FrontEnd::LogMel(config) => sound(config),
    };
    let options = Options { timeout, count_instructions: true, ..Options::default() };
    let run = board.run(&elf, model.bytes(), &samples, options)?;
    if let Some(reason) = run.refused() {
        anyhow::bail!("{} refuses it: {reason}", board.package);
    }
    let later = run.instructions.get(1..).filter(|later| !later.is_empty()).unwrap_or(&run.instructions);
    let mut instructions = later.iter().copied().max().unwrap_or(0);
    ensure!(instructions > 0, "{} gave no verdict: {}", board.package, run.stderr.trim());
    if matches!(model.plan().front_end, FrontEnd::Image(_)) {
        instructions += board.count(&elf, model.bytes(), &bench::input(model), timeout)?.whole;
    }
    Ok(Load { instructions, source: format!("counted on {}", board.package) })
}

/// What kernels and front end of a core take, in instructions.
struct Costs {
    /// A multiplication with its accumulation.
    mac: f64,
    /// Whatever else the front end does, as compared with a Cortex-M4.
    other: f64,
}

/// Measured: the models of MLPerf Tiny take 1.0 to 1.5 instructions a multiplication on Cortex-M4, M7 and M33, 2.0 to 2.6 on the
/// Cortex-M3; the Cortex-M0 multiplies one by one and reloads.
fn costs(target: &str) -> Costs {
    match target {
        target if target.starts_with("thumbv6m") => Costs { mac: 9.0, other: 3.0 },
        target if target.starts_with("thumbv7m") => Costs { mac: 2.5, other: 1.2 },
        _ => Costs { mac: 1.5, other: 1.0 },
    }
}

/// Estimates the instructions of an input from the plan.
pub fn estimated(board: &Board, model: &Model<'_>) -> Load {
    let Costs { mac, other } = costs(&board.settings.target);
    let inference: u64 = model.phase(0).operators().map(|operator| macs(&operator)).sum();
    let front = match &model.plan().front_end {
        FrontEnd::Raw => 0.0,
        FrontEnd::LogMel(config) => {
            let length = f64::from(config.fft_len);
            f64::from(config.stride) * f64::from(config.axes) * 40.0 * length * length.log2()
        }
        FrontEnd::Image(config) => {
            let pixels = |width: u16, height: u16| f64::from(width) * f64::from(height);
            let looked = 20.0 * pixels(config.sensor.width, config.sensor.height);
            let aligned = config.alignment.map_or(0.0, |alignment| {
                let strip = pixels(alignment.strip.width, alignment.strip.height);
                let strips =
                    alignment.registration.map_or(1.0, |registration| 6.0 * f64::from(registration.rounds) + 1.0);
                120.0 * pixels(config.resize.width, config.resize.height) + 80.0 * strip * strips
            });
            looked + aligned
        }
    };
    let instructions = (inference as f64 * mac + front * other) as u64;
    Load { instructions, source: "estimated roughly,".into() }
}

#[cfg(test)]
mod tests {
    use neji_format::AlignedBytes;

    use super::*;

    fn blob(name: &str) -> AlignedBytes {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden").join(name);
        AlignedBytes::new(&std::fs::read(path).unwrap())
    }

    #[test]
    fn sound_says_how_often_an_input_comes() {
        let bytes = blob("v5_listener.neji");
        let model = Model::parse(bytes.as_slice()).unwrap();
        let FrontEnd::LogMel(config) = model.plan().front_end else { panic!("it listens") };
        let seconds = f64::from(config.hop) * f64::from(config.stride) / f64::from(config.sample_rate);
        assert_eq!(period(&model), Some(seconds));
        let raw = blob("v5_operators.neji");
        assert_eq!(period(&Model::parse(raw.as_slice()).unwrap()), None);
    }

    #[test]
    fn a_smaller_core_is_estimated_to_take_more() {
        let bytes = blob("v5_operators.neji");
        let model = Model::parse(bytes.as_slice()).unwrap();
        let of = |name: &str| {
            let board = Board::known().into_iter().find(|board| board.package == name).unwrap();
            estimated(&board, &model).instructions
        };
        let [m0, m3, m4] = ["qemu-microbit", "qemu-mps2-an385", "qemu-mps2-an386"].map(of);
        assert!(m0 > m3 && m3 > m4 && m4 > 0, "{m0} {m3} {m4}");
    }
}
