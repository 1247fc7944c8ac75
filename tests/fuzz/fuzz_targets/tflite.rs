//! Any bytes are an error or a model that a device accepts and runs, by itself and as a monitor of either task.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use neji::experiment::Experiment;
use neji::tflite::{FrontEndKind, Request, to_blob, to_monitor};
use neji_format::Model;

static TASKS: LazyLock<[Experiment; 2]> = LazyLock::new(|| {
    ["autoencoder", "cnn"].map(|task| {
        let text = format!("name = \"fuzz\"\ntask = \"{task}\"\n[detector]\nnormalise = false");
        Experiment::from_toml(&text, &[]).expect("an experiment")
    })
});

fuzz_target!(|data: &[u8]| {
    let Ok(blob) = to_blob(data, "fuzz") else { return };
    neji_fuzz::exercise(Model::parse(blob.as_slice()).expect("an imported blob"), data);
    for experiment in TASKS.iter() {
        let front_end = FrontEndKind::Raw;
        let request = Request { experiment, front_end, normal: None, threshold: Some(1.0), classes: &[], hop: None };
        if let Ok(blob) = to_monitor(data, &request) {
            neji_fuzz::exercise(Model::parse(blob.as_slice()).expect("an imported monitor"), data);
        }
    }
});
