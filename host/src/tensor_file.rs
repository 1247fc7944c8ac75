//! Tensors in NumPy's `.npy` files, first axis samples.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use neji_engine::{Engine, Host};
use neji_format::{Element, Model, Shape};
use rayon::prelude::*;

use crate::element::{self, ArenaBuffer};
use crate::files::write_whole;
use crate::inspect::show;

/// Reads samples of `shape` as the bytes of `element`s: an int8 or int16 array `[samples, ...]` whose other axes have as many
/// elements together.
///
/// # Errors
/// The file can't be read, is no `.npy` of these elements, or has samples of another length; the message names both.
pub fn read(path: &Path, element: Element, shape: Shape) -> Result<Vec<Vec<i8>>> {
    let kind = match element {
        Element::I8 => "int8",
        Element::I16 => "int16",
    };
    let what = || format!("reading {}: give an .npy file of {kind}", path.display());
    let file = BufReader::new(File::open(path).with_context(what)?);
    let (dims, values): (Vec<usize>, Vec<i32>) = match element {
        Element::I8 => {
            let array = ArrayD::<i8>::read_npy(file).with_context(what)?;
            (array.shape().to_vec(), array.iter().map(|&value| value.into()).collect())
        }
        Element::I16 => {
            let array = ArrayD::<i16>::read_npy(file).with_context(what)?;
            (array.shape().to_vec(), array.iter().map(|&value| value.into()).collect())
        }
    };
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
    Ok(values.chunks_exact(given).map(|sample| element::bytes(element, sample.iter().copied())).collect())
}

/// Writes samples, bytes of `element`s of `shape`, as `[samples, height, width, channels]`, or `[samples, channels]` for
/// vectors.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, element: Element, shape: Shape, samples: &[Vec<i8>]) -> Result<()> {
    let (height, width, channels) = (shape.height as usize, shape.width as usize, shape.channels as usize);
    let dims = IxDyn(&match (height, width) {
        (1, 1) => vec![samples.len(), channels],
        _ => vec![samples.len(), height, width, channels],
    });
    let mut bytes = Cursor::new(Vec::new());
    match element {
        Element::I8 => ArrayD::from_shape_vec(dims, samples.concat())?.write_npy(&mut bytes),
        Element::I16 => {
            let values = element::values(element, &samples.concat()).into_iter().map(|value| value as i16);
            ArrayD::from_shape_vec(dims, values.collect::<Vec<_>>())?.write_npy(&mut bytes)
        }
    }
    .context("encoding .npy")?;
    write_whole(path, bytes.get_ref())
}

/// Runs the engine on each sample, bytes in and out; a streaming model on one after the other.
///
/// # Panics
/// Where a sample has another length than the model's input.
pub fn run(model: Model<'_>, inputs: &[Vec<i8>]) -> Vec<Vec<i8>> {
    if model.plan().streaming.is_some() {
        return run_in_turn(model, inputs);
    }
    let engine = Engine::<Host>::new(model);
    let one = |arena: &mut ArenaBuffer, input: &Vec<i8>| {
        let arena = arena.bytes();
        engine.input_mut(arena).copy_from_slice(input);
        engine.run(arena).expect("the arena is as long as the model asks");
        engine.output(arena).to_vec()
    };
    inputs.par_iter().map_init(|| ArenaBuffer::new(&model), one).collect()
}

/// Runs a streaming model hop by hop.
fn run_in_turn(model: Model<'_>, inputs: &[Vec<i8>]) -> Vec<Vec<i8>> {
    let mut buffer = ArenaBuffer::new(&model);
    let arena = buffer.bytes();
    let engine = Engine::<Host>::new(model);
    let hop = |(run, input): (u32, &Vec<i8>)| {
        engine.input_mut(arena).copy_from_slice(input);
        engine.run_phase(run, arena).expect("the arena is as long as the model asks");
        engine.output(arena).to_vec()
    };
    (0_u32..).zip(inputs).map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_wrong_shape_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npy");
        let samples = vec![vec![1, -2, 3, -4, 5, -128], vec![0, 0, 7, 8, 9, 127]];
        write(&path, Element::I8, Shape::new(1, 2, 3), &samples).expect("written");
        assert_eq!(read(&path, Element::I8, Shape::new(3, 2, 1)).expect("read"), samples);
        let error = read(&path, Element::I8, Shape::new(1, 1, 5)).expect_err("another length").to_string();
        assert!(error.contains("[2, 1, 2, 3]") && error.contains("takes 5 (1x1x5)"), "{error}");
        assert!(format!("{:#}", read(&path, Element::I16, Shape::new(1, 1, 6)).expect_err("int8")).contains("int16"));
        std::fs::write(&path, b"\x93NUMPY").expect("written");
        assert!(format!("{:#}", read(&path, Element::I8, Shape::new(1, 1, 5)).expect_err("cut")).contains("x.npy"));
        let wide = vec![element::bytes(Element::I16, [1, -300, 32767])];
        write(&path, Element::I16, Shape::new(1, 1, 3), &wide).expect("written");
        assert_eq!(read(&path, Element::I16, Shape::new(1, 1, 3)).expect("read"), wide);
    }
}
