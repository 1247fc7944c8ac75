//! What a frame of a run costs on a board: `profile.json`, counted by `neji report --profile BOARD`.
//!
//! The board's firmware is given a sample of the test part in QEMU, and counts its instructions from the samples of a frame or window
//! to its verdict: front end, inference and score. Time is what those would take at one cycle each, which no core does better than
//! and most do worse: memory and pipeline are not in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use neji_app::Outcome;
use neji_format::{AlignedBytes, FrontEnd, Model};
use neji_machine::{Board, Options};
use serde::{Deserialize, Serialize};

use super::run::RunFolder;
use crate::files::write_whole;
use crate::{pack, simulate};

/// The file in the run's folder.
const FILE: &str = "profile.json";
/// Images that are shown to the board.
const IMAGES: usize = 5;

/// What a frame costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The board.
    pub board: String,
    /// What people call it.
    pub name: String,
    /// Of the blob that was counted.
    pub model_crc32: u32,
    /// The clock that times are for.
    pub clock_hz: u64,
    /// Frames with a score that were counted.
    pub frames: usize,
    /// Instructions of the one in the middle when they are sorted.
    pub instructions: u64,
    /// Instructions of the most expensive one.
    pub instructions_max: u64,
}

impl Cost {
    /// Of frames with these instructions; none of no frames.
    fn of(board: &Board, model: &Model<'_>, clock_hz: u64, mut instructions: Vec<u64>) -> Option<Self> {
        instructions.sort_unstable();
        Some(Self {
            board: board.package.clone(),
            name: board.settings.name.clone(),
            model_crc32: model.header().crc32,
            clock_hz,
            frames: instructions.len(),
            instructions: *instructions.get(instructions.len() / 2)?,
            instructions_max: *instructions.last()?,
        })
    }

    /// Milliseconds of `instructions` at a cycle each.
    pub fn ms(&self, instructions: u64) -> f64 {
        1000.0 * instructions as f64 / self.clock_hz.max(1) as f64
    }

    /// What stands in `run`, where it is of the blob there.
    ///
    /// # Errors
    /// The file can't be understood.
    pub fn read(run: &Path, blob: Option<&[u8]>) -> Result<Option<Self>> {
        let path = run.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let cost: Self = serde_json::from_str(&text)
            .with_context(|| format!("{}: not as neji writes it; run `neji report --profile` again", path.display()))?;
        let bytes = blob.map(AlignedBytes::new);
        let model = bytes.as_ref().and_then(|bytes| Model::parse(bytes.as_slice()).ok());
        Ok(model.filter(|model| model.header().crc32 == cost.model_crc32).map(|_| cost))
    }
}

/// Counts on `board`, and writes what was found into the run's folder.
///
/// # Errors
/// A run without a blob or without its data, or a board that fails.
pub fn measure(run: &Path, board: &Board, clock_hz: Option<u64>) -> Result<Cost> {
    let folder = RunFolder::read(run)?;
    let name = &folder.name;
    let bytes = folder.blob.as_ref().with_context(|| format!("{name}: no model.neji; run `neji quantize` first"))?;
    let bytes = AlignedBytes::new(bytes);
    let model = simulate::model(&run.join("model.neji"), &bytes)?;
    pack::check(board, &model).with_context(|| name.clone())?;
    let data = folder.data().with_context(|| {
        format!("{name}: the data that it was evaluated on are gone or have changed; run `neji eval` again")
    })?;
    let count = if matches!(model.plan().front_end, FrontEnd::LogMel(_)) { 1 } else { IMAGES };
    let samples = data.test.iter().take(count);
    let frames = samples.map(|sample| simulate::frame_of(&model, sample)).collect::<Result<Vec<_>>>()?;
    ensure!(!frames.is_empty(), "{name}: the data have no test part, so there is nothing to show to a board");
    let options = Options { count_instructions: true, ..Options::default() };
    let found = simulate::on_board(board, &model, &frames, options)?;
    let scored = |outcome: &Outcome| matches!(outcome, Outcome::Scored { .. });
    let rows = found.verdicts.iter().zip(&found.instructions);
    let mut counts: Vec<u64> = rows.filter(|(verdict, _)| scored(&verdict.outcome)).map(|(_, &count)| count).collect();
    // The first window of a recording has the frames of all of it before it, the others their step.
    if count == 1 && counts.len() > 1 {
        counts.remove(0);
    }
    let clock_hz = clock_hz.unwrap_or(board.emulator()?.systick_hz);
    let cost = Cost::of(board, &model, clock_hz, counts)
        .with_context(|| format!("{name}: {} gave no score to count; give longer samples", board.package))?;
    write_whole(&run.join(FILE), (serde_json::to_string_pretty(&cost)? + "\n").as_bytes())?;
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_of_another_blob_does_not_count() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden/v5_autoencoder.neji");
        let blob = fs::read(golden).expect("a golden blob");
        let bytes = AlignedBytes::new(&blob);
        let model_crc32 = Model::parse(bytes.as_slice()).expect("a model").header().crc32;
        let cost = Cost {
            board: "b".into(),
            name: "B".into(),
            model_crc32,
            clock_hz: 25_000_000,
            frames: 3,
            instructions: 250_000,
            instructions_max: 500_000,
        };
        assert_eq!((cost.ms(cost.instructions), cost.ms(cost.instructions_max)), (10.0, 20.0));
        let folder = tempfile::tempdir().expect("a folder");
        let read = || Cost::read(folder.path(), Some(&blob)).expect("understood");
        assert_eq!(read(), None);
        let put = |cost: &Cost| {
            fs::write(folder.path().join(FILE), serde_json::to_string(cost).expect("JSON")).expect("written");
        };
        put(&cost);
        assert_eq!(read().as_ref(), Some(&cost));
        assert_eq!(Cost::read(folder.path(), None).expect("understood"), None);
        put(&Cost { model_crc32: model_crc32 ^ 1, ..cost });
        assert_eq!(read(), None);
        fs::write(folder.path().join(FILE), "{}").expect("written");
        assert!(Cost::read(folder.path(), Some(&blob)).expect_err("damaged").to_string().contains("--profile"));
    }
}
