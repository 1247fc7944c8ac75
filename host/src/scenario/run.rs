//! A scenario on the host: the device's own monitor, fed in pieces as a driver would feed it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use neji_app::{Monitor, Verdict};
use neji_engine::Host;
use neji_format::{Decision, Element, FrontEnd, Model, Plan, Transform};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::config::Scenario;
use super::mix::{Item, SensorStream};
use super::spectrogram::Spectrogram;
use crate::begin::{self, Begin, LearningMonitor};

/// Bytes of a sample.
pub const SAMPLE_BYTES: usize = 2;
/// Longest piece that the monitor is given, in bytes.
const PIECE_MAX: usize = 4096;

/// How a model listens, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Samples a second, where the model knows.
    pub rate: Option<u32>,
    /// From the beginning to the first verdict.
    pub first: u64,
    /// From a verdict to the next.
    pub step: u64,
    /// From a frame to the next.
    pub hop: u64,
    /// From a score to the last decision that it has a part in.
    pub memory: u64,
}

impl Listening {
    /// Of a model that takes samples of 16 bits.
    ///
    /// # Errors
    /// It takes something else.
    pub fn of(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let (rate, first, step, hop) = match &plan.front_end {
            FrontEnd::LogMel(config) => {
                ensure!(config.axes == 1, "the model's sensor has {} axes, a scenario one", config.axes);
                let decimation = match config.transform {
                    Transform::Envelope { decimation } => u64::from(decimation),
                    Transform::Spectrum | Transform::Waveform => 1,
                };
                let (hop, fft_len) = (u64::from(config.hop) * decimation, u64::from(config.fft_len) * decimation);
                let frame = if config.centered { fft_len / 2 } else { fft_len };
                let first = frame + hop * u64::from(config.context.saturating_sub(1));
                (Some(config.sample_rate), first, hop * u64::from(config.stride), hop)
            }
            FrontEnd::Raw if plan.element == Element::I16 => {
                let length = plan.input.shape.len() as u64;
                (None, length, length, length)
            }
            FrontEnd::Raw => {
                bail!("the model takes raw int8, a scenario gives samples of 16 bits: a sound front end is missing")
            }
            FrontEnd::Image(_) => bail!("the model looks at images, a scenario is for sound; see --source"),
        };
        let scores = u64::from(plan.decision.scores.max(1)) + u64::from(plan.decision.window.max(1)) - 1;
        Ok(Self { rate, first, step, hop, memory: first + step * scores })
    }

    /// Whether a scenario is of the model's rate.
    ///
    /// # Errors
    /// It is not; the message names both.
    pub fn check(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let (given, wanted) = (scenario.rate, self.rate.unwrap_or(scenario.rate));
        ensure!(given == wanted, "rate: the scenario has {given} samples a second, the model takes {wanted}");
        Ok(())
    }
}

/// A verdict and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Samples since the scenario's beginning, lost ones included.
    pub at: u64,
    /// The monitor's word.
    pub verdict: Verdict,
}

/// What the monitor said from one start to the next cut of power.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// When the device was started.
    pub from: u64,
    /// When its power was cut, or the end.
    pub until: u64,
    /// Bytes of samples that the monitor was given.
    pub bytes: u64,
    /// Gaps that it was told of: bytes before each.
    pub gaps: Vec<u64>,
    /// Its verdicts.
    pub records: Vec<Record>,
    /// What it says where the stream ends: a frame that is not complete. No part of the scenario.
    pub tail: Option<Verdict>,
}

/// What a monitor has learned of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// When it knew, in samples; 0 where it knew from the beginning.
    pub at: u64,
    /// Its threshold, in steps of the score.
    pub threshold: i32,
    /// Where its alarm ends.
    pub release: i32,
    /// It measures by tables of its own.
    pub tables: bool,
}

/// What a sensor's monitor said, and what it was given.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// What it has learned, where it has.
    pub learned: Option<Learned>,
    /// What it keeps at the end.
    pub state: Vec<u8>,
    /// From start to cut.
    pub parts: Vec<Part>,
    /// When faults sounded: first sample and the one behind the last.
    pub faults: Vec<(u64, u64)>,
    /// Of all samples that were given, little-endian.
    pub sha256: String,
    /// What it looked like.
    pub spectrogram: Spectrogram,
    /// In the monitor alone.
    pub monitor_time: Duration,
    /// With the making of the samples.
    pub time: Duration,
}

impl Heard {
    /// All verdicts in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.parts.iter().flat_map(|part| &part.records)
    }
}

/// Where samples are kept for a board: a file for each part.
#[derive(Debug)]
pub struct Spool<'f> {
    folder: &'f Path,
    sensor: usize,
    file: Option<BufWriter<File>>,
}

impl<'f> Spool<'f> {
    /// Files in `folder`.
    pub fn new(folder: &'f Path, sensor: usize) -> Self {
        Self { folder, sensor, file: None }
    }

    /// The file of a part.
    pub fn path(folder: &Path, sensor: usize, part: usize) -> PathBuf {
        folder.join(format!("{sensor}-{part}.bin"))
    }

    fn begin(&mut self, part: usize) -> anyhow::Result<()> {
        self.end()?;
        let path = Self::path(self.folder, self.sensor, part);
        self.file = Some(BufWriter::new(File::create(&path).with_context(|| format!("writing {}", path.display()))?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).context("keeping samples for the board"),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> anyhow::Result<()> {
        match self.file.take() {
            Some(mut file) => file.flush().context("keeping samples for the board"),
            None => Ok(()),
        }
    }
}

/// Says that someone has asked for the end.
///
/// # Errors
/// Where they have.
pub fn go_on(stop: &AtomicBool) -> anyhow::Result<()> {
    ensure!(!stop.load(Ordering::Relaxed), "interrupted; nothing was written");
    Ok(())
}

/// Plays sensor number `sensor` to monitors of `model`, in pieces whose lengths `pieces` decides: 0 gives whole blocks. The first
/// one begins as `begin` says; unless that is as a fresh one, those after a cut of power go on with what it has learned.
///
/// # Errors
/// A source that can't be played, a monitor that can't be set up, or `stop`.
pub fn on_host(
    model: Model<'_>,
    scenario: &Scenario,
    sensor: usize,
    pieces: u64,
    begin: &Begin,
    mut spool: Option<Spool<'_>>,
    stop: &AtomicBool,
) -> anyhow::Result<Heard> {
    let started = Instant::now();
    let mut stream = SensorStream::new(scenario, sensor)?;
    let mut heard = Heard { spectrogram: Spectrogram::new(scenario.sensors[sensor].length), ..Heard::default() };
    let (mut block, mut bytes, mut hash) = (Vec::new(), Vec::new(), Sha256::new());
    let mut lengths = ChaCha8Rng::seed_from_u64(pieces);
    let mut ended = false;
    while !ended {
        let (mut memory, mut room) = (vec![0; Monitor::<Host>::memory_bytes(&model)], begin.room(&model)?);
        let mut monitor =
            LearningMonitor::with_learner(model, &mut memory, &mut room).map_err(|error| anyhow::anyhow!("{error}"))?;
        match heard.parts.is_empty() {
            true => begin.tell(&mut monitor)?,
            false if begin.is_fresh() => {}
            false => monitor.import_from(&heard.state).map_err(|error| anyhow::anyhow!("after a cut: {error}"))?,
        }
        let mut known = monitor.calibration();
        heard.learned = heard.learned.or_else(|| learned(&monitor, 0));
        let mut part = Part { from: stream.at(), ..Part::default() };
        if let Some(spool) = &mut spool {
            spool.begin(heard.parts.len())?;
        }
        loop {
            go_on(stop)?;
            let Some(item) = stream.next(&mut block)? else {
                ended = true;
                break;
            };
            match item {
                Item::Samples => {
                    let first = stream.at() - block.len() as u64;
                    heard.spectrogram.push(first, &block);
                    bytes.clear();
                    bytes.extend(block.iter().flat_map(|sample| sample.to_le_bytes()));
                    hash.update(&bytes);
                    if let Some(spool) = &mut spool {
                        spool.write(&bytes)?;
                    }
                    let now = Instant::now();
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let length = if pieces == 0 { rest.len() } else { lengths.random_range(1..=PIECE_MAX) };
                        let (mut piece, later) = rest.split_at(length.min(rest.len()));
                        rest = later;
                        while let Some(verdict) = monitor.push(&mut piece) {
                            // A sample that is not complete does not count yet.
                            let taken = bytes.len() - rest.len() - piece.len();
                            let at = first + (taken / SAMPLE_BYTES) as u64;
                            part.records.push(Record { at, verdict });
                            if known != monitor.calibration() {
                                known = monitor.calibration();
                                heard.learned = learned(&monitor, at);
                            }
                        }
                    }
                    heard.monitor_time += now.elapsed();
                    part.bytes += bytes.len() as u64;
                }
                Item::Lost { told: false, .. } => {}
                Item::Lost { told: true, .. } => {
                    // Gaps with nothing between them are one.
                    if part.gaps.last() != Some(&part.bytes) {
                        part.gaps.push(part.bytes);
                        part.records.push(Record { at: stream.at(), verdict: monitor.gap() });
                    }
                }
                Item::PowerCut { samples } => {
                    part.until = stream.at() - samples;
                    break;
                }
            }
        }
        if ended {
            part.until = stream.at();
        }
        heard.state = begin::state(&monitor);
        part.tail = monitor.end_of_frame();
        heard.parts.push(part);
    }
    if let Some(spool) = &mut spool {
        spool.end()?;
    }
    heard.faults = stream.faults().to_vec();
    heard.sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    heard.time = started.elapsed();
    Ok(heard)
}

/// What `monitor` knows at `at`.
fn learned(monitor: &LearningMonitor<'_>, at: u64) -> Option<Learned> {
    let Decision { threshold, release, .. } = begin::learned(monitor)?;
    Some(Learned { at, threshold, release, tables: monitor.learner().has_learned() })
}

#[cfg(test)]
mod tests {
    use neji_app::{Outcome, SensorFault};

    use super::super::double;
    use super::*;

    fn heard(text: &str, pieces: u64) -> Heard {
        let scenario = Scenario::parse(text, Path::new("a.toml")).expect("a scenario");
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        Listening::of(model.plan()).expect("it listens").check(&scenario).expect("the rate");
        on_host(model, &scenario, 0, pieces, &Begin::default(), None, &AtomicBool::new(false)).expect("plays")
    }

    const STORY: &str = "rate = 8000\n[[source]]\nnoise = \"pink\"\nfor = 4\ngain_db = -20\n\
        [[source]]\nnoise = \"white\"\nfrom = 1\nfor = 1\nfade_in = 0.5\ngain_db = 10\ntruth = \"fault\"\n\
        [[event]]\nfrom = 2.5\ndrop = 77\n[[event]]\nfrom = 3\npower_cut = 0.25\n\
        [[event]]\nfrom = 3.5\ndrop = 33\ntold = false\n";

    #[test]
    fn verdicts_do_not_depend_on_how_the_stream_is_cut() {
        let whole = heard(STORY, 0);
        assert_eq!((whole.parts.len(), whole.faults.as_slice()), (2, &[(8000, 16_000)][..]));
        assert!(whole.records().any(|record| record.verdict.alarm), "no alarm");
        for pieces in 1..20 {
            let cut = heard(STORY, pieces);
            assert_eq!((&cut.parts, &cut.sha256), (&whole.parts, &whole.sha256), "{pieces}");
        }
    }

    #[test]
    fn verdicts_come_when_their_samples_are_there() {
        let whole = heard(STORY, 3);
        let listening = double::LISTENING;
        let [first, second] = whole.parts.as_slice() else { panic!("{} parts", whole.parts.len()) };
        let times: Vec<u64> = first.records.iter().map(|record| record.at).take(3).collect();
        assert_eq!(times, [0, 1, 2].map(|n| listening.first + n * listening.step));
        let gap = first.records.iter().find(|r| r.verdict.outcome == Outcome::SensorFault(SensorFault::Dropped));
        assert_eq!((gap.map(|record| record.at), first.gaps.as_slice()), (Some(20_077), &[40_000][..]));
        // The window begins anew behind the gap, and the device behind the cut.
        assert!(first.records.iter().any(|record| record.at == 20_077 + listening.first));
        assert_eq!((first.until, second.from, second.until), (24_000, 26_000, 32_000));
        assert_eq!(second.records[0].at, 26_000 + listening.first);
        assert_eq!(second.records[0].verdict.sequence, 0);
    }

    #[test]
    fn silence_and_squares_and_a_stop() {
        for source in ["silence = true", "square = 50\ngain_db = 60", "sine = 100"] {
            let heard = heard(
                &format!(
                    "rate = 8000\n[[source]]\n{source}\nfor = 1\n[[event]]\nfrom = 0.5\nfor = 0.5\noffset = 40000\n"
                ),
                1,
            );
            assert!(heard.records().count() > 50, "{source}");
        }
        let scenario = Scenario::parse(STORY, Path::new("a.toml")).expect("a scenario");
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        let stop = AtomicBool::new(true);
        let error = on_host(model, &scenario, 0, 1, &Begin::default(), None, &stop).expect_err("stopped").to_string();
        assert!(error.contains("interrupted"), "{error}");
    }

    #[test]
    fn another_rate_and_another_front_end_are_refused() {
        let scenario = Scenario::parse(&STORY.replace("8000", "16000"), Path::new("a.toml")).expect("a scenario");
        let error = double::LISTENING.check(&scenario).expect_err("another rate").to_string();
        assert!(error.contains("16000") && error.contains("8000"), "{error}");
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        assert_eq!(Listening::of(model.plan()).expect("it listens"), double::LISTENING);
        let raw = Plan { front_end: FrontEnd::Raw, ..*model.plan() };
        assert!(Listening::of(&raw).is_err());
        let wide = Listening::of(&Plan { element: Element::I16, ..raw }).expect("it takes 16 bits");
        assert_eq!((wide.rate, wide.first, wide.step), (None, 64, 64));
    }
}
