//! A run in the words of the application: reports instead of bytes.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use neji_app::{FrameDecoder, Report, Verdict};

use crate::board::Board;
use crate::qemu::{CALIBRATE, Content, Count, Emulation, GAPS, Options, PACE, SAMPLES, emulate, start};

/// What a board said.
#[derive(Debug, Clone)]
pub struct Run {
    /// All reports in order.
    pub reports: Vec<Report>,
    /// The verdicts among them.
    pub verdicts: Vec<Verdict>,
    /// The int8 outputs of a model without a detector, frame after frame.
    pub outputs: Vec<i8>,
    /// Instructions of each frame's front end, inference and score; empty unless they were counted.
    pub instructions: Vec<u64>,
    /// Most stack that was used, in bytes, where the run ended well.
    pub stack_bytes: Option<u64>,
    /// QEMU's exit status.
    pub exit: Option<i32>,
    /// What QEMU and the firmware wrote to stderr.
    pub stderr: String,
    /// Every value written to the pins' register, as QEMU's device saw it.
    pub pin_writes: Vec<u32>,
}

/// How often the pin `mask` went from low to high in `writes`; it begins low.
pub fn rises(writes: &[u32], mask: u32) -> usize {
    let high = |value: &u32| value & mask != 0;
    let before = std::iter::once(false).chain(writes.iter().map(high));
    before.zip(writes).filter(|(was, now)| !was && high(now)).count()
}

impl Run {
    /// Why the board refused its model, if it did.
    pub fn refused(&self) -> Option<&str> {
        self.reports.iter().find_map(|report| match report {
            Report::Refused { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    fn of(emulation: Emulation, counted: bool) -> Result<Self> {
        let mut decoder = FrameDecoder::new();
        let mut reports = Vec::new();
        for &byte in &emulation.stream {
            match decoder.push(byte) {
                Some(Ok(report)) => reports.push(report),
                Some(Err(error)) => bail!("report {} is broken: {error:?}\n{}", reports.len(), emulation.stderr),
                None => {}
            }
        }
        let verdicts =
            reports.iter().filter_map(|r| if let Report::Verdict(v) = r { Some(*v) } else { None }).collect();
        // An instruction is one nanosecond of virtual time.
        let instructions = reports.iter().filter_map(|report| match report {
            Report::Timing { ticks, ticks_per_second } if counted => {
                Some(u64::from(*ticks) * 1_000_000_000 / u64::from(*ticks_per_second).max(1))
            }
            _ => None,
        });
        let instructions = instructions.collect();
        let stack = emulation.stderr.lines().find_map(|line| line.strip_prefix("stack: ")?.strip_suffix(" bytes"));
        let stack_bytes = stack.and_then(|number| number.parse().ok());
        let Emulation { outputs, exit, stderr, pin_writes, .. } = emulation;
        Ok(Self { reports, verdicts, outputs, instructions, stack_bytes, exit, stderr, pin_writes })
    }
}

/// A stream that is too long for memory, or whose samples do not wait.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// The file of its samples.
    pub samples: &'a Path,
    /// Bytes behind which samples are missing, the monitor being told of it; each more than the one before.
    pub gaps: &'a [u64],
    /// How fast samples come; as fast as they are read where it is `None`.
    pub pace: Option<Pace>,
    /// Ends the run with an error once it is set.
    pub stop: &'a AtomicBool,
}

/// Samples that arrive by the board's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Samples a second.
    pub rate: u32,
    /// Bytes of a sample.
    pub sample_bytes: u32,
    /// The clock that the board is taken to have: an instruction a cycle.
    pub clock_hz: u64,
    /// Samples that wait at most.
    pub buffer: u32,
}

impl Pace {
    /// The file that the firmware reads. With `-icount shift=0` an instruction is a nanosecond of its clock of `systick_hz`,
    /// and a cycle of `clock_hz`.
    fn words(self, systick_hz: u64) -> Result<[u32; 4]> {
        // In a tick 1e9 / systick_hz instructions are run, and in one of those rate / clock_hz samples arrive.
        let (samples, ticks) =
            (u128::from(self.rate) * 1_000_000_000, u128::from(systick_hz) * u128::from(self.clock_hz));
        let common = gcd(samples, ticks);
        let word = |number: u128| u32::try_from(number / common.max(1)).ok().filter(|number| *number > 0);
        match (word(samples), word(ticks)) {
            (Some(samples), Some(ticks)) => Ok([samples, ticks, self.buffer, self.sample_bytes]),
            _ => bail!("{} Hz of clock and {} samples a second: give a rounder clock", self.clock_hz, self.rate),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Samples that found the board's buffer full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// How many.
    pub samples: u32,
    /// Bytes of samples that the monitor had taken before them.
    pub bytes: u64,
}

impl Run {
    /// The samples that the board was too slow for.
    pub fn overruns(&self) -> impl Iterator<Item = Overrun> {
        self.reports.iter().filter_map(|report| match report {
            Report::Overrun { samples, bytes } => Some(Overrun { samples: *samples, bytes: *bytes }),
            _ => None,
        })
    }
}

impl Board {
    /// Runs the firmware `elf` (of [`Board::build`]) with the blob `model` on a stream. Where it has a pace, instructions are
    /// counted in any case.
    ///
    /// # Errors
    /// As [`Board::run`]; or the stream's `stop` was set.
    pub fn listen(&self, elf: &Path, model: &[u8], stream: &Stream<'_>, options: Options) -> Result<Run> {
        let gaps: Vec<u8> = stream.gaps.iter().flat_map(|gap| gap.to_le_bytes()).collect();
        let mut files = vec![(SAMPLES, Content::File(stream.samples)), (GAPS, Content::Bytes(&gaps))];
        let words = stream.pace.map(|pace| pace.words(self.emulator()?.systick_hz)).transpose()?;
        let pace: Vec<u8> = words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        if !pace.is_empty() {
            files.push((PACE, Content::Bytes(&pace)));
        }
        let calibrate = options.calibration();
        files.extend(calibrate.as_ref().map(|scores| (CALIBRATE, Content::Bytes(scores))));
        let counted = options.count_instructions || words.is_some();
        let count = if counted { Count::Time(0) } else { Count::Nothing };
        let ended = start(self, elf, model, &files, count, options.timeout, Some(stream.stop))?;
        Run::of(Emulation::of(ended), counted)
    }

    /// Runs the firmware `elf` (of [`Board::build`]) with the blob `model` and `samples`, frames one after another.
    ///
    /// # Errors
    /// As [`emulate`]; or a report is broken. A refused model is not an error: see [`Run::refused`].
    pub fn run(&self, elf: &Path, model: &[u8], samples: &[u8], options: Options) -> Result<Run> {
        Run::of(emulate(self, elf, model, samples, options)?, options.count_instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_rises_when_it_was_low() {
        assert_eq!(rises(&[0, 1, 3, 2, 1, 1], 1), 2);
        assert_eq!((rises(&[2], 2), rises(&[], 1)), (1, 0));
    }

    #[test]
    fn a_pace_is_a_fraction_of_samples_and_ticks() {
        let pace = Pace { rate: 16_000, sample_bytes: 2, clock_hz: 25_000_000, buffer: 7 };
        // A tick is 40 instructions, a sample comes every 1562.5.
        assert_eq!(pace.words(25_000_000).unwrap(), [16, 625, 7, 2]);
        assert!(Pace { clock_hz: 99_999_989, ..pace }.words(24_999_983).is_err());
        assert!(Pace { clock_hz: 0, ..pace }.words(25_000_000).is_err());
    }

    #[test]
    fn the_stream_becomes_reports_and_ticks_become_instructions() {
        let mut stream = vec![0];
        for report in [Report::Timing { ticks: 3, ticks_per_second: 25_000_000 }, Report::refused("no")] {
            stream.extend_from_slice(report.to_frame(&mut [0; neji_app::report::FRAME_BYTES_MAX]));
        }
        let stderr = "stack: 99 bytes\n".to_owned();
        let emulation = Emulation { stream, outputs: vec![], exit: Some(0), stderr, pin_writes: vec![] };
        let run = Run::of(emulation.clone(), true).unwrap();
        assert_eq!((run.instructions.as_slice(), run.stack_bytes, run.refused()), (&[120][..], Some(99), Some("no")));
        let mut broken = emulation;
        broken.stream[1] ^= 1;
        assert!(Run::of(broken, false).is_err());
    }
}
