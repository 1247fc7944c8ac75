//! What an inference costs on the boards: instructions of the whole and of each operator, code, stack.
//!
//! Instructions, not time: an emulator has none, and a core's clock is its maker's business.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use neji_format::{Element, Model};
use neji_machine::{Board, Bounds, Sizes};
use serde::Serialize;

use crate::simulate::Source;
use crate::{inspect, tensor_file};

/// A board with its firmware, ready to count.
#[derive(Debug, Clone)]
pub struct Place {
    board: Board,
    elf: PathBuf,
    empty_bytes: u64,
    inference_bytes: RefCell<BTreeMap<Vec<&'static str>, u64>>,
    firmware: Firmware,
}

/// What a board's firmware takes, whatever the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// The board.
    pub board: String,
    /// What people call it.
    pub name: String,
    /// Flash of its image, the model apart, less that of an image without neji: monitor, reports and all.
    pub firmware_bytes: u64,
    /// Bound of the stack from `Engine::run` on.
    pub stack_bytes: u64,
}

/// An operator on a board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorCount {
    /// Its name.
    pub operator: &'static str,
    /// Its output.
    pub output: String,
    /// Multiplications with accumulation.
    pub macs: u64,
    /// Instructions.
    pub instructions: u64,
    /// Instructions per multiplication; none where it has none.
    pub per_mac: Option<f64>,
}

/// An inference on a board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Count {
    /// The board.
    pub board: String,
    /// Flash of an image that parses this model and infers, with the operators that it has and no others; without the
    /// model, less an image without neji.
    pub inference_bytes: u64,
    /// Instructions from the call of `Engine::run` to its return.
    pub instructions: u64,
    /// Instructions per multiplication; none where the model has none.
    pub per_mac: Option<f64>,
    /// What of the instructions is no operator's.
    pub call: u64,
    /// Operators in order; with `call` they are all the instructions.
    pub operators: Vec<OperatorCount>,
}

/// A model on all boards.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Benched {
    /// Where it was read.
    pub path: PathBuf,
    /// What activations are.
    pub activations: &'static str,
    /// How many operators it has.
    pub operators: usize,
    /// Multiplications with accumulation; padding counts as if it were multiplied.
    pub macs: u64,
    /// Activations.
    pub arena_bytes: usize,
    /// The blob.
    pub model_bytes: usize,
    /// On each board that has room for it.
    pub counts: Vec<Count>,
    /// The boards that have not.
    pub too_small: Vec<String>,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bench {
    /// The boards.
    pub firmware: Vec<Firmware>,
    /// The models.
    pub models: Vec<Benched>,
}

/// The models of paths: files, and what of folders is a blob or an int8 or int16 `.tflite` model. Files of folders that
/// are none are told.
///
/// # Errors
/// A file that can't be read, imported or run, or a folder without models.
pub fn models(paths: &[PathBuf], mut left_out: impl FnMut(&anyhow::Error)) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(read(path)?);
            continue;
        }
        let before = found.len();
        let mut files = Vec::new();
        for entry in path.read_dir().with_context(|| format!("reading {}", path.display()))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "neji" || extension == "tflite") {
                files.push(file);
            }
        }
        files.sort();
        for file in files {
            match read(&file) {
                Ok(source) => found.push(source),
                Err(error) => left_out(&error),
            }
        }
        ensure!(found.len() > before, "{}: no .neji and no int8 .tflite models in it", path.display());
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Source> {
    let source = Source::read(path)?;
    source.model()?;
    Ok(source)
}

impl Place {
    /// Builds a board's firmware and looks at it.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(board: Board) -> Result<Self> {
        let elf = board.build()?;
        let empty = Sizes::of_image(&board.build_empty()?)?.flash();
        let bytes = std::fs::read(&elf).with_context(|| format!("reading {}", elf.display()))?;
        let stack_bytes = Bounds::of(&bytes, &board.settings.target).with_context(|| elf.display().to_string())?.run;
        let firmware = Firmware {
            board: board.package.clone(),
            name: board.settings.name.clone(),
            firmware_bytes: Sizes::of_image(&elf)?.flash().saturating_sub(empty),
            stack_bytes,
        };
        Ok(Self { board, elf, empty_bytes: empty, inference_bytes: RefCell::default(), firmware })
    }

    /// Flash of an image that infers with some of neji-engine's features, less that of an image without neji.
    fn inference_bytes(&self, features: Vec<&'static str>) -> Result<u64> {
        if let Some(&bytes) = self.inference_bytes.borrow().get(&features) {
            return Ok(bytes);
        }
        let bytes = Sizes::of_image(&self.board.build_inference(&features)?)?.flash().saturating_sub(self.empty_bytes);
        self.inference_bytes.borrow_mut().insert(features, bytes);
        Ok(bytes)
    }

    /// What it is.
    pub fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// Whether the board has room for a model, and kernels.
    pub fn fits(&self, model: &Model<'_>) -> bool {
        fits(&self.board, model)
    }

    /// Counts an inference on an input that is always the same; of a streaming model a run of the first phase.
    ///
    /// # Errors
    /// The board fails, gives another output than the host, or a count is not certain.
    pub fn count(&self, model: &Model<'_>, timeout: Duration) -> Result<Count> {
        let input = input(model);
        let counts = self.board.count(&self.elf, model.bytes(), &input, timeout)?;
        check_output(&self.board, model, input, &counts.output)?;
        let operators: Vec<OperatorCount> = model
            .phase(0)
            .operators()
            .zip(&counts.operators)
            .map(|(operator, &instructions)| {
                let macs = inspect::macs(&operator);
                OperatorCount {
                    operator: operator.name(),
                    output: inspect::show(operator.output().shape),
                    macs,
                    instructions,
                    per_mac: per_mac(instructions, macs),
                }
            })
            .collect();
        let macs = operators.iter().map(|row| row.macs).sum();
        Ok(Count {
            board: self.board.package.clone(),
            inference_bytes: self.inference_bytes(inspect::features(model))?,
            instructions: counts.whole,
            per_mac: per_mac(counts.whole, macs),
            call: counts.call,
            operators,
        })
    }
}

/// Whether a board has room for a model, and kernels.
pub(crate) fn fits(board: &Board, model: &Model<'_>) -> bool {
    let settings = &board.settings;
    // The arena is aligned in the monitor's memory.
    (model.plan().element == Element::I8 || settings.int16)
        && model.arena_bytes() as u64 + 3 <= settings.memory_bytes
        && model.bytes().len() as u64 <= settings.model_bytes
}

/// The input that is counted with: always the same.
pub(crate) fn input(model: &Model<'_>) -> Vec<u8> {
    let plan = model.plan();
    (0..plan.element.bytes_of(&plan.input)).map(|index| (index * 37 % 251) as u8).collect()
}

/// Insists that a board's `output` is the host's.
pub(crate) fn check_output(board: &Board, model: &Model<'_>, input: Vec<u8>, output: &[i8]) -> Result<()> {
    let input = input.into_iter().map(u8::cast_signed).collect();
    let expected = tensor_file::run(*model, &[input]).concat();
    ensure!(output == expected, "host and {} differ: rebuild both from one source", board.package);
    Ok(())
}

/// To a thousandth, which is more than anybody reads.
fn per_mac(instructions: u64, macs: u64) -> Option<f64> {
    (macs > 0).then(|| (instructions as f64 / macs as f64 * 1000.0).round() / 1000.0)
}

/// Counts a model on all boards that have room for it.
///
/// # Errors
/// As [`Place::count`].
pub fn bench(source: &Source, places: &[Place], timeout: Duration) -> Result<Benched> {
    let inspection = inspect::inspect(&source.model()?);
    let (mut counts, mut small) = (Vec::new(), Vec::new());
    for place in places {
        let packed = source.on(&place.board)?;
        let model = packed.model()?;
        if place.fits(&model) {
            counts.push(place.count(&model, timeout).with_context(|| source.path.display().to_string())?);
        } else {
            small.push(place);
        }
    }
    Ok(Benched {
        path: source.path.clone(),
        activations: inspection.activations,
        operators: inspection.operators.len(),
        macs: inspection.macs,
        arena_bytes: inspection.arena_bytes,
        model_bytes: inspection.flash_bytes,
        counts,
        too_small: small.into_iter().map(|place| place.board.package.clone()).collect(),
    })
}

/// A number with its digits in threes.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn ratio(per_mac: Option<f64>) -> String {
    per_mac.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// What boards take, for a terminal.
pub fn firmware_text(places: &[Firmware]) -> String {
    let mut out = format!("{:<26} {:<18} {:>9} {:>7}\n", "bytes", "board", "firmware", "stack");
    for Firmware { board, name, firmware_bytes, stack_bytes } in places {
        let [whole, stack] = [firmware_bytes, stack_bytes].map(|&bytes| grouped(bytes));
        let _ = writeln!(out, "{name:<26} {board:<18} {whole:>9} {stack:>7}");
    }
    out.push_str("firmware: flash of the image without the model, less that of an image without neji.\n");
    out.push_str(
        "inference: the same of an image with one model's operators and no monitor. stack: the bound of Engine::run.\n",
    );
    out
}

/// A model's counts for a terminal, with a row an operator where they are asked for.
pub fn model_text(model: &Benched, with_operators: bool) -> String {
    let name = model.path.file_stem().unwrap_or_default().to_string_lossy();
    let number = |number: usize| grouped(number as u64);
    let mut out = format!(
        "\n{name}: {}, {} operators, {} MACs; arena {} bytes, model {} bytes\n",
        model.activations,
        model.operators,
        grouped(model.macs),
        number(model.arena_bytes),
        number(model.model_bytes)
    );
    let _ = writeln!(out, "  {:<47} {:>10} {:>14} {:>9}", "board", "inference", "instructions", "per MAC");
    for count in &model.counts {
        let _ = writeln!(
            out,
            "  {:<47} {:>10} {:>14} {:>9}",
            count.board,
            grouped(count.inference_bytes),
            grouped(count.instructions),
            ratio(count.per_mac)
        );
        if !with_operators {
            continue;
        }
        for (index, row) in count.operators.iter().enumerate() {
            let _ = writeln!(
                out,
                "    {index:>3}  {:<20} {:>14} {:>13}  {:>14} {:>9}",
                row.operator,
                row.output,
                grouped(row.macs),
                grouped(row.instructions),
                ratio(row.per_mac)
            );
        }
        let _ = writeln!(out, "    {:>3}  {:<50} {:>14}", "", "call and return", grouped(count.call));
    }
    for board in &model.too_small {
        let _ = writeln!(out, "  {board:<58} {:>14}", "no room");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn benched() -> Benched {
        let operator = |instructions, macs| OperatorCount {
            operator: "FullyConnected",
            output: "1x1x128".into(),
            macs,
            instructions,
            per_mac: per_mac(instructions, macs),
        };
        let operators = vec![operator(2_000_000, 1_000_000), operator(7, 0)];
        let count = Count {
            board: "b".into(),
            inference_bytes: 19_999,
            instructions: 2_000_059,
            per_mac: Some(2.0),
            call: 52,
            operators,
        };
        Benched {
            path: "x/model.tflite".into(),
            activations: "int8",
            operators: 2,
            macs: 1_000_000,
            arena_bytes: 768,
            model_bytes: 276_992,
            counts: vec![count],
            too_small: vec!["tiny".into()],
        }
    }

    #[test]
    fn digits_are_in_threes() {
        let shown = [0, 999, 1000, 12_345, 123_456, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    }

    #[test]
    fn the_table_has_a_row_a_board_and_one_an_operator() {
        let short = model_text(&benched(), false);
        assert!(short.contains("model: int8, 2 operators, 1,000,000 MACs; arena 768 bytes, model 276,992 bytes"));
        assert!(short.contains("2,000,059      2.00") && short.ends_with("no room\n"), "{short}");
        assert_eq!((short.lines().count(), model_text(&benched(), true).lines().count()), (5, 8));
        assert!(model_text(&benched(), true).contains("              7         -\n"));
        let width = |text: &str| text.lines().map(str::len).max();
        assert!(width(&model_text(&benched(), true)) < Some(100));
    }

    #[test]
    fn folders_give_their_models_and_files_must_be_some() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden");
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::copy(golden.join("v5_classifier.neji"), file("b.neji")).expect("copied");
        std::fs::write(file("a.tflite"), b"no model").expect("written");
        std::fs::write(file("c.npy"), b"no model").expect("written");
        let mut left = Vec::new();
        let paths = [folder.path().to_owned(), file("b.neji")];
        let found = models(&paths, |error| left.push(format!("{error:#}"))).expect("models");
        assert_eq!(
            found.iter().map(|source| source.path.clone()).collect::<Vec<_>>(),
            [file("b.neji"), file("b.neji")]
        );
        assert!(left.len() == 1 && left[0].contains("a.tflite"), "{left:?}");
        assert!(models(&[file("a.tflite")], |_| {}).is_err());
    }
}
