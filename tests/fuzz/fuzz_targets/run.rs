//! Any bytes that are accepted as a model run: on the arena alone, the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| neji_fuzz::each_model(data, |model| neji_fuzz::exercise(model, data)));
