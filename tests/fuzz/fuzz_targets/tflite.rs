//! Any bytes are an error or a model that a device accepts and runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neji_format::Model;

fuzz_target!(|data: &[u8]| {
    if let Ok(blob) = neji::tflite::to_blob(data, "fuzz") {
        let model = Model::parse(blob.as_slice()).expect("an imported blob");
        neji_fuzz::exercise(model, data);
    }
});
