//! int8 tensors in NumPy's `.npy` files, first axis samples.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use neji_engine::{Engine, Portable};
use neji_format::{Model, Shape};
use rayon::prelude::*;

use crate::files::write_whole;
use crate::inspect::show;

/// Reads samples of `shape`: an int8 array `[samples, ...]` whose other axes have as many elements together.
///
/// # Errors
/// The file can't be read, is no `.npy` of int8, or has samples of another length; the message names both.
pub fn read(path: &Path, shape: Shape) -> Result<Vec<Vec<i8>>> {
    let what = || format!("reading {}: give an .npy file of int8", path.display());
    let array = ArrayD::<i8>::read_npy(BufReader::new(File::open(path).with_context(what)?)).with_context(what)?;
    let dims = array.shape().to_vec();
    let samples = dims.first().copied().unwrap_or(0);
    ensure!(samples > 0, "{}: shape {dims:?} holds no samples; the first axis counts them", path.display());
    let given: usize = dims[1..].iter().product();
    ensure!(
        given == shape.len(),
        "{}: shape {dims:?} has {given} elements a sample, the model takes {} ({})",
        path.display(),
        shape.len(),
        show(shape)
    );
    let values: Vec<i8> = array.iter().copied().collect();
    Ok(values.chunks_exact(given).map(<[i8]>::to_vec).collect())
}

/// Writes samples of `shape` as `[samples, height, width, channels]`, or `[samples, channels]` for vectors.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, shape: Shape, samples: &[Vec<i8>]) -> Result<()> {
    let (height, width, channels) = (shape.height as usize, shape.width as usize, shape.channels as usize);
    let dims = match (height, width) {
        (1, 1) => vec![samples.len(), channels],
        _ => vec![samples.len(), height, width, channels],
    };
    let array = ArrayD::from_shape_vec(IxDyn(&dims), samples.concat()).context("samples of one length")?;
    let mut bytes = Cursor::new(Vec::new());
    array.write_npy(&mut bytes).context("encoding .npy")?;
    write_whole(path, bytes.get_ref())
}

/// Runs the engine on each sample.
///
/// # Panics
/// Where a sample has another length than the model's input.
pub fn run(model: Model<'_>, inputs: &[Vec<i8>]) -> Vec<Vec<i8>> {
    let engine = Engine::<Portable>::new(model);
    let one = |arena: &mut Vec<i8>, input: &Vec<i8>| {
        engine.input_mut(arena).copy_from_slice(input);
        engine.run(arena).expect("the arena is as long as the model asks");
        engine.output(arena).to_vec()
    };
    inputs.par_iter().map_init(|| vec![0_i8; model.arena_bytes()], one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_wrong_shape_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npy");
        let samples = vec![vec![1, -2, 3, -4, 5, -128], vec![0, 0, 7, 8, 9, 127]];
        write(&path, Shape::new(1, 2, 3), &samples).expect("written");
        assert_eq!(read(&path, Shape::new(3, 2, 1)).expect("read"), samples);
        let error = read(&path, Shape::new(1, 1, 5)).expect_err("another length").to_string();
        assert!(error.contains("[2, 1, 2, 3]") && error.contains("takes 5 (1x1x5)"), "{error}");
        std::fs::write(&path, b"\x93NUMPY").expect("written");
        assert!(format!("{:#}", read(&path, Shape::new(1, 1, 5)).expect_err("cut")).contains("x.npy"));
    }
}
