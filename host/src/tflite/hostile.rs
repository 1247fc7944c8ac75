//! Damaged files are refused or imported, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use neji_format::{Element, Shape};
use rayon::prelude::*;

use super::{FrontEndKind, Request, samples, to_blob, to_monitor};
use crate::experiment::Experiment;
use crate::tensor_file;

/// Imports or refuses; a panic names the file and the damage.
fn calm(name: &str, damage: &str, bytes: &[u8]) -> bool {
    let result = catch_unwind(AssertUnwindSafe(|| to_blob(bytes, name).is_ok()));
    result.unwrap_or_else(|_| panic!("{name}, {damage}: panics"))
}

#[test]
fn every_sample_is_imported() {
    for (name, bytes) in samples::all() {
        to_blob(&bytes, name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

#[test]
fn every_truncation_is_refused() {
    for (name, bytes) in samples::all() {
        for len in 0..bytes.len() {
            let damage = format!("cut to {len} bytes");
            let imported = calm(name, &damage, &bytes[..len]);
            // The last bytes are a name's end, which nothing depends on.
            assert!(!imported || bytes.len() - len < 4, "{name}, {damage}: imported");
        }
    }
}

#[test]
fn every_changed_byte_is_refused_or_imported() {
    let trials = |(name, bytes): (&str, Vec<u8>)| {
        let (mut refused, mut imported) = (0, 0);
        let mut damaged = bytes.clone();
        for index in 0..bytes.len() {
            for value in 0..=u8::MAX {
                damaged[index] = value;
                let done = calm(name, &format!("byte {index} is {value}"), &damaged);
                *if done { &mut imported } else { &mut refused } += 1;
            }
            damaged[index] = bytes[index];
        }
        assert!(refused > 0 && imported > 0, "{name}: {refused} refused, {imported} imported");
    };
    samples::all().into_par_iter().for_each(trials);
}

/// Files of a few bytes that promise gigabytes, or sizes whose products overflow, are refused before memory is taken.
#[test]
fn sizes_beyond_any_device_are_refused() {
    for (name, bytes, expected) in samples::oversized() {
        let error = to_blob(&bytes, name).map(|_| ()).expect_err(name);
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// A reconstruction whose scale has nothing to do with its input's is refused, or has weights that say so.
#[test]
fn scales_far_apart_do_not_overflow() {
    let folder = tempfile::tempdir().expect("a folder");
    let normal = folder.path().join("normal.npy");
    let inputs: Vec<Vec<i8>> = vec![vec![-128, 127, 0, 3]; 200];
    tensor_file::write(&normal, Element::I8, Shape::new(1, 1, 4), &inputs).expect("a file");
    let experiment = Experiment::from_toml("name = \"far\"\ntask = \"autoencoder\"", &[]).expect("an experiment");
    let request = Request {
        experiment: &experiment,
        front_end: FrontEndKind::Raw,
        normal: Some(&normal),
        threshold: Some(1.0),
        classes: &[],
        hop: None,
    };
    for exponent in -140..=127 {
        let bytes = samples::rescaled(2_f32.powi(exponent));
        let blob = to_monitor(&bytes, &request).map(drop);
        assert!(blob.is_ok() || !(-29..=10).contains(&exponent), "2^{exponent}: {blob:?}");
    }
}
