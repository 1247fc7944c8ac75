//! Imported models against TensorFlow Lite's reference kernels, where their vectors are: `../shared/conformance/tflite` and
//! `../shared/models` beside the repository, or folders in NEJI_CONFORMANCE, separated by colons.

use std::env;
use std::path::PathBuf;

use neji::conformance::{Case, models};
use neji::quantize::assemble::accepted;
use neji::tensor_file::{read, run};
use neji::tflite::{to_blob, to_streaming_blob};
use neji_format::Element;
use neji_machine::Board;
use neji_tests::root;

/// Of the cases, boards get every so many: the whole comparison is a verb of xtask.
const BOARDS_GET_EVERY: usize = 9;

#[test]
fn imported_models_give_the_bytes_of_tensorflow_lite() {
    let folders = match env::var_os("NEJI_CONFORMANCE") {
        Some(folders) => env::split_paths(&folders).collect(),
        None => ["conformance/tflite", "models", "models/cut"].map(|name| root().join("../shared").join(name)).to_vec(),
    };
    let (there, missing): (Vec<PathBuf>, Vec<PathBuf>) = folders.into_iter().partition(|folder| folder.is_dir());
    for folder in missing {
        println!("skipped: no models at {}", folder.display());
    }
    let paths = there.iter().flat_map(|folder| models(folder).expect("models"));
    let cases: Vec<Case> = paths.filter_map(|path| Case::load(&path).expect("an import")).collect();
    for case in &cases {
        let found = case.on_host().expect("runs");
        assert_eq!(found.differing, 0, "{}: {found:?}", case.path.display());
    }
    if cases.is_empty() {
        return;
    }
    let boards = Board::emulated(&root()).expect("the boards");
    std::thread::scope(|scope| {
        for board in &boards {
            let cases = cases.iter().step_by(BOARDS_GET_EVERY).filter(|case| case.fits(board));
            scope.spawn(move || {
                let elf = board.build().expect("firmware");
                for case in cases {
                    let found = case.on_board(board, &elf).expect("runs");
                    assert_eq!(found.differing, 0, "{} on {}: {found:?}", case.path.display(), board.package);
                }
            });
        }
    });
    println!("{} models, not one byte differs", cases.len());
}

/// A network over time, whose input is 49 rows: as windows that move on by a row, and as rows.
#[test]
fn a_network_over_time_gives_the_same_bytes_row_by_row() {
    let path = root().join("../shared/models/kws_ref_model.tflite");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: no model at {}", path.display());
        return;
    };
    let whole = to_blob(&bytes, "whole").expect("an import");
    let rows = to_streaming_blob(&bytes, "row by row", 1).expect("an import");
    let (whole, rows) = (accepted(&whole).expect("a model"), accepted(&rows).expect("a model"));
    let shape = whole.plan().input.shape;
    let samples = read(&path.with_extension("in.npy"), Element::I8, shape).expect("samples").concat();
    let row = (shape.width * shape.channels) as usize;
    let window = shape.height as usize * row;
    let samples = &samples[..samples.len().min(3 * window)];
    let each: Vec<Vec<i8>> = samples.chunks_exact(row).map(<[i8]>::to_vec).collect();
    let windows: Vec<Vec<i8>> = samples.windows(window).step_by(row).map(<[i8]>::to_vec).collect();
    let found = run(rows, &each);
    assert!(windows.len() > 50, "{} windows", windows.len());
    assert_eq!(found[shape.height as usize - 1..], run(whole, &windows));
}
