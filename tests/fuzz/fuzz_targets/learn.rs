//! Any bytes that are accepted as a model can be calibrated, tables and all, and kept over a restart.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// Calibrates by 40 scores, and lives on.
const LIFE: [u8; 12] = [5, 51, 0, 17, 200, 90, 3, 13, 60, 255, 128, 40];

fuzz_target!(|data: &[u8]| neji_fuzz::each_model(data, |model| neji_fuzz::learn(model, &LIFE)));

// Half of the changes are libFuzzer's own, of bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed.is_multiple_of(2) { neji_fuzz::mutate(&data[..size], seed / 2) } else { None };
    match changed {
        Some(blob) if blob.len() <= max_size => {
            data[..blob.len()].copy_from_slice(&blob);
            blob.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
