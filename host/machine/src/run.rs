//! A run in the words of the application: reports instead of bytes.

use std::path::Path;

use anyhow::{Result, bail};
use neji_app::{FrameDecoder, Report, Verdict};

use crate::board::Board;
use crate::qemu::{Emulation, Options, emulate};

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

impl Board {
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
