//! Writes seeds to the committed corpus: golden blobs, blobs that the oracle draws, tiny `.tflite` files, frames.
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
    let mut line = Vec::new();
    for (index, report) in reports().iter().enumerate() {
        let mut buffer = [0; FRAME_BYTES_MAX];
        let frame = report.to_frame(&mut buffer);
        line.extend_from_slice(frame);
        write("frames", &format!("frame_{index}"), frame)?;
        write("frames", &format!("body_{index}"), &postcard::to_allocvec(report).map_err(io::Error::other)?)?;
    }
    write("frames", "line", &line)
}
