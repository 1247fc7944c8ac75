//! Any bytes are refused or are a usable model; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    neji_fuzz::each_model(data, |model| {
        assert_eq!(model.operators().count(), usize::from(model.plan().operator_count));
        for operator in model.operators() {
            for tensor in operator.inputs().chain([operator.output()]) {
                assert!(tensor.offset as usize + tensor.shape.len() <= model.arena_bytes());
            }
        }
    });
});
