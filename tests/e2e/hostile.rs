//! Broken blobs: every truncation and every change of one byte of the golden blobs, with the checksum made right again,
//! is refused or is a model that runs. A panic anywhere fails the test.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use neji_engine::{Engine, Portable};
use neji_format::header::{CRC_OFFSET, checksum};
use neji_format::{AlignedBytes, Model};

/// A model may ask for more memory than a test wants to touch; the engine refuses nothing else.
const ARENA_BYTES_MAX: usize = 1 << 20;
const WORKERS: usize = 2;

/// What became of the blobs of one worker.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    refused: usize,
    run: usize,
    large: usize,
}

impl Count {
    fn add(self, other: Self) -> Self {
        Self { refused: self.refused + other.refused, run: self.run + other.run, large: self.large + other.large }
    }

    fn try_blob(&mut self, bytes: &[u8]) {
        let aligned = AlignedBytes::new(bytes);
        let Ok(model) = Model::parse(aligned.as_slice()) else {
            self.refused += 1;
            return;
        };
        if model.arena_bytes() > ARENA_BYTES_MAX {
            self.large += 1;
            return;
        }
        let engine = Engine::<Portable>::new(model);
        let mut arena = vec![0_i8; model.arena_bytes()];
        for (index, value) in engine.input_mut(&mut arena).iter_mut().enumerate() {
            *value = (index * 37) as i8;
        }
        engine.run(&mut arena).expect("the arena is as large as the model asks");
        self.run += 1;
    }
}

fn golden() -> Vec<(String, Vec<u8>)> {
    let folder = neji_tests::root().join("shared/tests/golden");
    let entries = fs::read_dir(&folder).expect("the golden blobs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut blobs: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "neji"))
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a golden blob")))
        .collect();
    blobs.sort();
    assert!(!blobs.is_empty(), "no golden blobs in {}", folder.display());
    blobs
}

/// Runs `trial` on every position, shared out among threads; a panic names blob and position.
fn at_each_position(name: &str, len: usize, trial: impl Fn(usize, &mut Count) + Sync) -> Count {
    let worker = |first: usize| {
        let mut count = Count::default();
        for position in (first..len).step_by(WORKERS) {
            let calm = catch_unwind(AssertUnwindSafe(|| trial(position, &mut count)));
            assert!(calm.is_ok(), "{name}: a change at byte {position} panics");
        }
        count
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|first| scope.spawn(move || worker(first))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).fold(Count::default(), Count::add)
    })
}

#[test]
fn every_truncation_is_refused() {
    for (name, bytes) in golden() {
        let count = at_each_position(&name, bytes.len(), |len, count| count.try_blob(&bytes[..len]));
        println!("{name}: {} truncations, {count:?}", bytes.len());
        assert_eq!(count.refused, bytes.len(), "{name}: a truncated blob was accepted");
    }
}

#[test]
fn every_change_of_a_byte_is_refused_or_runs() {
    for (name, bytes) in golden() {
        let count = at_each_position(&name, bytes.len(), |position, count| {
            let mut changed = bytes.clone();
            for step in 1..=u8::MAX {
                changed[position] = bytes[position].wrapping_add(step);
                // The checksum covers the header with its own field as zero, as the encoder computes it.
                if !(CRC_OFFSET..CRC_OFFSET + 4).contains(&position) {
                    let crc32 = checksum(&changed);
                    changed[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc32.to_le_bytes());
                }
                count.try_blob(&changed);
            }
        });
        println!("{name}: {} bytes, {} changes, {count:?}", bytes.len(), bytes.len() * 255);
        assert_eq!(count.refused + count.run + count.large, bytes.len() * 255);
        assert!(count.run > 0 && count.refused > 0, "{name}: {count:?} is no test");
    }
}
