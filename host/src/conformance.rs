//! Imported models against the answers of TensorFlow Lite's reference kernels, byte by byte.
//!
//! A case is `X.tflite` with `X.in.npy` and `X.out.npy`: int8 or int16, the first axis counts samples.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use neji_app::Monitor;
use neji_engine::Host;
use neji_format::{AlignedBytes, Element};
use neji_machine::{Board, Options};

use crate::quantize::assemble::accepted;
use crate::{element, pack, tensor_file, tflite};

/// A model with inputs and the outputs that it must give.
#[derive(Debug, Clone)]
pub struct Case {
    /// Path of the model, without `.tflite`.
    pub path: PathBuf,
    /// The imported model.
    pub blob: AlignedBytes,
    element: Element,
    /// How long the import took, in microseconds.
    pub import_us: u128,
    inputs: Vec<Vec<i8>>,
    expected: Vec<Vec<i8>>,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Bytes compared.
    pub bytes: usize,
    /// Bytes that differ.
    pub differing: usize,
    /// The largest difference of two values.
    pub largest: u32,
}

/// The models of a folder, by name.
///
/// # Errors
/// The folder can't be read or holds no model.
pub fn models(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut models = Vec::new();
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("reading {}: give a folder of .tflite models", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tflite") {
            models.push(path);
        }
    }
    models.sort();
    ensure!(!models.is_empty(), "{}: no .tflite models in it", folder.display());
    Ok(models)
}

impl Case {
    /// Reads a model and its vectors; `None` where it has none.
    ///
    /// # Errors
    /// The model can't be imported, or the vectors are not of its shape.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let vectors = |what: &str| path.with_extension(format!("{what}.npy"));
        if !vectors("in").is_file() || !vectors("out").is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let stem = path.with_extension("");
        let name = stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let begin = std::time::Instant::now();
        let blob = tflite::to_blob(&bytes, &name).with_context(|| path.display().to_string())?;
        let import_us = begin.elapsed().as_micros();
        let model = accepted(&blob)?;
        let plan = *model.plan();
        let inputs = tensor_file::read(&vectors("in"), plan.element, plan.input.shape)?;
        let expected = tensor_file::read(&vectors("out"), plan.element, plan.output.shape)?;
        let (given, wanted) = (inputs.len(), expected.len());
        ensure!(given == wanted, "{}: {given} inputs, {wanted} outputs", stem.display());
        let element = plan.element;
        Ok(Some(Self { path: stem, blob, element, import_us, inputs, expected }))
    }

    /// Runs on the host.
    ///
    /// # Errors
    /// The blob is refused, which would be a bug of the import.
    pub fn on_host(&self) -> Result<Difference> {
        let outputs = tensor_file::run(accepted(&self.blob)?, &self.inputs);
        Ok(self.compare(&outputs.concat()))
    }

    /// Whether the board has room for it.
    pub fn fits(&self, board: &Board) -> bool {
        let Ok(blob) = self.packed(board) else { return false };
        // Beside the monitor's memory there is the stack.
        let memory = accepted(&blob).map_or(usize::MAX, |model| Monitor::<Host>::memory_bytes(&model));
        (self.element == Element::I8 || board.settings.int16)
            && memory as u64 <= board.settings.memory_bytes
            && blob.as_slice().len() as u64 <= board.settings.model_bytes
    }

    /// The model as it is packed for a board.
    fn packed(&self, board: &Board) -> Result<AlignedBytes> {
        pack::for_board(board, &accepted(&self.blob)?)
    }

    /// Runs on an emulated board, whose firmware is `elf`, packed for it; the host runs the very blob as well.
    ///
    /// # Errors
    /// QEMU fails, the board refuses the blob, or the host gives other bytes.
    pub fn on_board(&self, board: &Board, elf: &Path) -> Result<Difference> {
        let samples: Vec<u8> = self.inputs.iter().flatten().map(|&q| q.cast_unsigned()).collect();
        let blob = self.packed(board)?;
        let run = board.run(elf, blob.as_slice(), &samples, Options::default())?;
        if let Some(reason) = run.refused() {
            anyhow::bail!("{} refuses {}: {reason}", board.package, self.path.display());
        }
        ensure!(run.exit == Some(0), "{}: {} ended early\n{}", self.path.display(), board.package, run.stderr);
        let wanted = self.expected.concat().len();
        ensure!(run.outputs.len() == wanted, "{}: {} bytes of {wanted}", self.path.display(), run.outputs.len());
        let host = tensor_file::run(accepted(&blob)?, &self.inputs).concat();
        ensure!(host == run.outputs, "{}: host and {} differ", self.path.display(), board.package);
        Ok(self.compare(&run.outputs))
    }

    fn compare(&self, outputs: &[i8]) -> Difference {
        let expected = self.expected.concat();
        let values = |bytes| element::values(self.element, bytes);
        let pairs = || values(outputs).into_iter().zip(values(&expected));
        Difference {
            bytes: expected.len(),
            differing: outputs.iter().zip(&expected).filter(|(a, b)| a != b).count(),
            largest: pairs().map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0),
        }
    }
}
