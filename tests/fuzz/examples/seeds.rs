//! Writes seeds to the committed corpus: golden blobs, blobs that the oracle draws, tiny `.tflite` files, frames of reports and
//! of the live link, lives.
//!
//! `cargo run --example seeds` in this folder; then `cargo fuzz cmin TARGET` keeps those that reach something of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use neji_app::report::FRAME_BYTES_MAX;
use neji_app::{Outcome, Report, SensorFault, Trend, Verdict};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

#[path = "../../../host/src/tflite/samples.rs"]
mod samples;

/// Draws of each kind of operator, of which the shortest blob is kept.
const DRAWS: usize = 32;

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn blobs() -> io::Result<Vec<(String, Vec<u8>)>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tests/golden");
    let paths = fs::read_dir(golden)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let mut blobs = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        blobs.push((name, fs::read(&path)?));
    }
    let mut runner = TestRunner::deterministic();
    for (name, strategy) in neji_oracle::kinds() {
        let draws = (0..DRAWS).filter_map(|_| strategy.new_tree(&mut runner).ok()).map(|tree| tree.current().blob);
        blobs.extend(draws.min_by_key(Vec::len).map(|blob| (name.replace(' ', "_"), blob)));
    }
    Ok(blobs)
}

fn reports() -> Vec<Report> {
    let outcomes = [
        Outcome::Scored { score: -5, smoothed: 1 << 20, class: Some(3), abnormal: true },
        Outcome::Scored { score: 0, smoothed: i32::MIN, class: None, abnormal: false },
        Outcome::PartNotFound,
        Outcome::PartCut,
        Outcome::PartUnlike,
        Outcome::WindowNotFull,
        Outcome::SensorFault(SensorFault::Constant),
        Outcome::SensorFault(SensorFault::Dropped),
    ];
    let verdicts = (0..).zip(outcomes).map(|(sequence, outcome)| Verdict {
        sequence,
        outcome,
        alarm: sequence > 1,
        drift: Trend::Steady,
    });
    let mut reports: Vec<Report> = verdicts.map(Report::Verdict).collect();
    reports.extend([
        Report::Hello { format_version: 2, model_crc32: u32::MAX, model_bytes: 0, memory_bytes: 300 },
        Report::refused("a model of another version"),
        Report::refused("ä".repeat(60)),
        Report::Timing { ticks: 1 << 30, ticks_per_second: 25_000_000 },
        Report::AlarmChanged { high: true, sequence: 9 },
        Report::Done { frames: 0 },
    ]);
    reports
}

fn main() -> io::Result<()> {
    for (name, blob) in blobs()? {
        write("decode", &name, &blob)?;
        write("run", &name, &blob)?;
    }
    for (name, file) in samples::all() {
        write("tflite", name, &file)?;
    }
    for (index, echo) in neji_fuzz::echoes().iter().enumerate() {
        write("learn", &format!("echo_{index}"), echo.as_slice())?;
        // Learns by 40 scores, survives, is given forged states, learns scores alone, forgets.
        let life = [5, 71, 9, 8, 250, 13, 60, 40, 3, 15, 17, 90, 1, 2, 4, 12, 11, 10, 2, 80, 13, 14];
        let life: Vec<u8> = std::iter::once(index as u8).chain(life).collect();
        write("state", &format!("life_{index}"), &life)?;
    }
    let mut line = Vec::new();
    for (index, report) in reports().iter().enumerate() {
        let mut buffer = [0; FRAME_BYTES_MAX];
        let frame = report.to_frame(&mut buffer);
        line.extend_from_slice(frame);
        write("frames", &format!("frame_{index}"), frame)?;
        write("frames", &format!("body_{index}"), &postcard::to_allocvec(report).map_err(io::Error::other)?)?;
    }
    write("frames", "line", &line)?;
    link()
}

/// The live link's golden frames, by themselves and as one line.
fn link() -> io::Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/link/tests/golden/v1.txt");
    let mut line = Vec::new();
    for (index, text) in fs::read_to_string(golden)?.lines().enumerate() {
        let (_, hex) = text.split_once(": ").unwrap_or_default();
        let frame = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>();
        let frame = frame.map_err(io::Error::other)?;
        line.extend_from_slice(&frame);
        write("link", &format!("frame_{index}"), &frame)?;
        // Behind stuffing, version and number; without checksum and zero.
        let message = cobs(&frame);
        write("link", &format!("body_{index}"), message.get(3..message.len().saturating_sub(4)).unwrap_or(&[]))?;
    }
    write("link", "line", &line)
}

/// What a frame is made of.
fn cobs(frame: &[u8]) -> Vec<u8> {
    let (mut rest, mut message) = (frame, Vec::new());
    while let Some((&code, after)) = rest.split_first().filter(|(code, _)| **code > 0) {
        let (run, next) = after.split_at(after.len().min(usize::from(code) - 1));
        message.extend_from_slice(run);
        message.push(0);
        rest = next;
    }
    message.pop();
    message
}
