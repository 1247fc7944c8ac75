//! A scenario on a board: its firmware in QEMU, given the very samples that the host's monitor was given.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use neji_app::{Monitor, Report, Verdict};
use neji_engine::Host;
use neji_format::Model;
use neji_machine::{Board, Options, Overrun, Pace, Run, Stream};
use serde::Serialize;

use super::run::{Heard, Listening, Part, Record, SAMPLE_BYTES, Spool};
use crate::begin::{Begin, LearningMonitor};

/// A sensor's scenario on a board.
#[derive(Debug, Clone, Default)]
pub struct OnBoard {
    /// What it said; times are the host's.
    pub parts: Vec<Part>,
    /// What the host's monitor says of the samples that reached the board's.
    pub expected: Vec<Part>,
    /// Instructions of each verdict that came a step behind another: front end, inference and score.
    pub instructions: Vec<u64>,
    /// Samples that found the buffer full.
    pub overruns: u64,
    /// Most stack that was used, in bytes.
    pub stack_bytes: Option<u64>,
}

/// What a board spends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Instructions from one frame to the next, of the verdict in the middle when they are sorted.
    pub instructions_per_hop: f64,
    /// Instructions of a verdict at most.
    pub instructions_per_verdict_max: u64,
    /// The clock.
    pub clock_hz: u64,
    /// Their share of the cycles from one frame to the next, an instruction taken for a cycle: it is more on a real core.
    pub clock_share: f64,
}

impl Load {
    /// Of the instructions of verdicts that are `listening.step` samples apart; `None` where there are none.
    pub fn of(instructions: &[u64], listening: &Listening, rate: u32, clock_hz: u64) -> Option<Self> {
        let mut sorted = instructions.to_vec();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        let hops = listening.step as f64 / listening.hop as f64;
        let instructions_per_hop = median as f64 / hops;
        let cycles = clock_hz as f64 * listening.hop as f64 / f64::from(rate);
        Some(Self {
            instructions_per_hop,
            instructions_per_verdict_max: sorted.last().copied().unwrap_or(median),
            clock_hz,
            clock_share: instructions_per_hop / cycles,
        })
    }
}

/// A board, and how it is run.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'b> {
    /// The board.
    pub board: &'b Board,
    /// How its monitor begins.
    pub begin: &'b Begin,
    /// The clock that it is taken to have.
    pub clock_hz: u64,
    /// Samples of the buffer between sensor and monitor, where samples do not wait.
    pub buffer: Option<u32>,
    /// The run is ended with an error after this long.
    pub timeout: Duration,
}

impl Stage<'_> {
    /// Plays what the host's monitor has `heard` as sensor number `sensor`, and is kept in `folder`.
    ///
    /// # Errors
    /// The board can't be built or run, refuses the model or ends early, or `stop`.
    pub fn play(
        &self,
        model: &Model<'_>,
        rate: u32,
        heard: &Heard,
        (folder, sensor): (&Path, usize),
        stop: &AtomicBool,
    ) -> anyhow::Result<OnBoard> {
        ensure!(
            self.begin.is_fresh() || heard.parts.len() == 1,
            "a board of QEMU keeps nothing over a cut of power; take the cut out of the scenario, or --calibrate, or --on"
        );
        let elf = self.board.build()?;
        let step = Listening::of(model.plan())?.step;
        let mut played = OnBoard::default();
        for (index, part) in heard.parts.iter().enumerate() {
            let path = Spool::path(folder, sensor, index);
            let sample_bytes = SAMPLE_BYTES as u32;
            let pace = self.buffer.map(|buffer| Pace { rate, sample_bytes, clock_hz: self.clock_hz, buffer });
            let stream = Stream { samples: &path, gaps: &part.gaps, pace, stop };
            let options = Options { count_instructions: true, timeout: self.timeout, ..Options::default() };
            let options = self.begin.options(options);
            let run = self.board.listen(&elf, model.bytes(), &stream, options)?;
            check(self.board, &run)?;
            let overruns: Vec<Overrun> = run.overruns().collect();
            let expected = match overruns.as_slice() {
                [] => part.clone(),
                lost => replay(*model, &path, part, self.begin, lost)?,
            };
            let found = timed(&expected, &run.verdicts);
            let pairs = found.records.windows(2).zip(run.instructions.iter().skip(1));
            let steady = pairs.filter(|(pair, _)| pair[1].at.checked_sub(pair[0].at) == Some(step));
            played.instructions.extend(steady.map(|(_, count)| *count));
            played.overruns += overruns.iter().map(|lost| u64::from(lost.samples)).sum::<u64>();
            played.stack_bytes = played.stack_bytes.max(run.stack_bytes);
            played.parts.push(found);
            played.expected.push(expected);
        }
        Ok(played)
    }
}

fn check(board: &Board, run: &Run) -> anyhow::Result<()> {
    if let Some(reason) = run.refused() {
        bail!("{} refuses the model: {reason}", board.package);
    }
    let done = matches!(run.reports.last(), Some(Report::Done { .. }));
    ensure!(done && run.exit == Some(0), "{} ended early (status {:?})\n{}", board.package, run.exit, run.stderr);
    Ok(())
}

/// The board's verdicts with the times of `expected`'s; where the board has more, the last ones come at the end.
fn timed(expected: &Part, verdicts: &[Verdict]) -> Part {
    let (verdicts, tail) = match (expected.tail, verdicts.split_last()) {
        (Some(_), Some((last, rest))) => (rest, Some(*last)),
        _ => (verdicts, None),
    };
    let times = expected.records.iter().map(|record| record.at).chain(std::iter::repeat(expected.until));
    let records = times.zip(verdicts).map(|(at, verdict)| Record { at, verdict: *verdict }).collect();
    Part { records, tail, ..expected.clone() }
}

/// What the host's monitor says of a part of which the board has lost samples.
///
/// # Errors
/// The file can't be read, or a monitor can't be set up.
pub fn replay(model: Model<'_>, path: &Path, part: &Part, begin: &Begin, overruns: &[Overrun]) -> anyhow::Result<Part> {
    let what = || format!("reading {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(what)?);
    let (mut memory, mut room) = (vec![0; Monitor::<Host>::memory_bytes(&model)], begin.room(&model)?);
    let mut monitor =
        LearningMonitor::with_learner(model, &mut memory, &mut room).map_err(|error| anyhow::anyhow!("{error}"))?;
    begin.tell(&mut monitor)?;
    let mut told = Part { from: part.from, until: part.until, ..Part::default() };
    let (mut gaps, mut overruns) = (part.gaps.iter().peekable(), overruns.iter().peekable());
    // Bytes of the file, and of those that the monitor has taken.
    let (mut at, mut taken) = (0_u64, 0_u64);
    let mut block = [0; 4096];
    loop {
        let lost = overruns.next_if(|lost| lost.bytes <= taken);
        at += lost.map_or(0, |lost| u64::from(lost.samples) * SAMPLE_BYTES as u64);
        if let Some(lost) = lost {
            let skip = i64::from(lost.samples) * SAMPLE_BYTES as i64;
            file.seek_relative(skip).with_context(what)?;
        }
        // Gaps among what was lost are one with it.
        let mut gap = lost.is_some();
        while gaps.next_if(|gap| **gap <= at).is_some() {
            gap = true;
        }
        let time = part.from + at / SAMPLE_BYTES as u64;
        if gap {
            told.gaps.push(taken);
            told.records.push(Record { at: time, verdict: monitor.gap() });
        }
        let until_gap = gaps.peek().map_or(u64::MAX, |gap| **gap - at);
        let until_lost = overruns.peek().map_or(u64::MAX, |lost| lost.bytes - taken);
        let room = until_gap.min(until_lost).min(block.len() as u64) as usize;
        let count = file.read(&mut block[..room]).with_context(what)?;
        if count == 0 {
            break;
        }
        let mut rest = &block[..count];
        while let Some(verdict) = monitor.push(&mut rest) {
            let samples = (count - rest.len()) / SAMPLE_BYTES;
            told.records.push(Record { at: time + samples as u64, verdict });
        }
        at += count as u64;
        taken += count as u64;
    }
    told.bytes = taken;
    told.tail = monitor.end_of_frame();
    Ok(told)
}

/// How two monitors agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Verdicts that are the same bit by bit.
    pub identical: usize,
    /// Verdicts in all.
    pub verdicts: usize,
    /// When the first that is not came, in samples.
    pub first_difference: Option<u64>,
}

/// Compares two monitors verdict by verdict.
pub fn compare(a: &[Part], b: &[Part]) -> Agreement {
    let mut found = Agreement { identical: 0, verdicts: 0, first_difference: None };
    let none = Part::default();
    for index in 0..a.len().max(b.len()) {
        let all = |part: &Part| -> Vec<Record> {
            let at = part.until;
            part.records.iter().copied().chain(part.tail.map(|verdict| Record { at, verdict })).collect()
        };
        let (a, b) = (all(a.get(index).unwrap_or(&none)), all(b.get(index).unwrap_or(&none)));
        for place in 0..a.len().max(b.len()) {
            let (x, y) = (a.get(place), b.get(place));
            found.verdicts += 1;
            if x.map(|record| record.verdict) == y.map(|record| record.verdict) {
                found.identical += 1;
            } else if found.first_difference.is_none() {
                found.first_difference = x.or(y).map(|record| record.at);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use neji_app::Outcome;

    use super::super::config::Scenario;
    use super::super::double;
    use super::super::run::on_host;
    use super::*;

    const STORY: &str = "rate = 8000\n[[source]]\nnoise = \"white\"\nfor = 2\n[[event]]\nfrom = 1\ndrop = 50\n";

    #[test]
    fn a_replay_is_what_the_host_heard_without_what_was_lost() {
        let scenario = Scenario::parse(STORY, Path::new("a.toml")).expect("a scenario");
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Some(Spool::new(folder.path(), 0));
        let heard = on_host(model, &scenario, 0, 1, &Begin::default(), spool, &AtomicBool::new(false)).expect("plays");
        let path = Spool::path(folder.path(), 0, 0);
        let part = &heard.parts[0];
        let kept = std::fs::metadata(&path).expect("a file").len();
        assert_eq!((heard.parts.len(), kept, part.bytes), (1, 2 * (16_000 - 50), 2 * (16_000 - 50)));
        let same = replay(model, &path, part, &Begin::default(), &[]).expect("replayed");
        assert_eq!(same.records.len(), part.records.len());
        assert_eq!(compare(&[same], &heard.parts).first_difference, None);

        // 500 samples are lost at 2000, and with the next 60 the gap that was there already.
        let lost = [Overrun { samples: 500, bytes: 4000 }, Overrun { samples: 60, bytes: 2 * (8000 - 500 - 20) }];
        let fewer = replay(model, &path, part, &Begin::default(), &lost).expect("replayed");
        assert_eq!((fewer.bytes, fewer.gaps.as_slice()), (part.bytes - 2 * 560, &[4000, 14_960][..]));
        let gaps = fewer.records.iter().filter(|r| matches!(r.verdict.outcome, Outcome::SensorFault(_)));
        assert_eq!(gaps.map(|record| record.at).collect::<Vec<_>>(), [2500, 8040]);
        let agreement = compare(&[fewer], &heard.parts);
        assert!(agreement.identical < agreement.verdicts && agreement.first_difference == Some(2500), "{agreement:?}");
    }

    #[test]
    fn the_share_of_the_clock_is_that_of_a_hop() {
        // Two frames a verdict, 32 samples each at 8000 a second: 4 ms, at 1 MHz 4000 cycles.
        let load = Load::of(&[500, 1000, 4000], &double::LISTENING, 8000, 1_000_000).expect("a load");
        let expected = Load {
            instructions_per_hop: 500.0,
            instructions_per_verdict_max: 4000,
            clock_hz: 1_000_000,
            clock_share: 0.125,
        };
        assert_eq!((load, Load::of(&[], &double::LISTENING, 8000, 1)), (expected, None));
    }
}
