//! Any bytes are refused or are a usable model, which the encoder writes as it was read and a person can look at.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neji::inspect::{inspect, text};
use neji_format::{AlignedBytes, Blob, Model};

/// What the encoder makes of a model.
fn encoded(model: &Model<'_>) -> Vec<u8> {
    let constants = model.constants().to_vec();
    let operators = model.operators().collect();
    Blob { plan: *model.plan(), operators, constants, arena_bytes: model.header().arena_bytes }.encode()
}

fuzz_target!(|data: &[u8]| {
    neji_fuzz::each_model(data, |model| {
        assert_eq!(model.operators().count(), usize::from(model.plan().operator_count));
        for operator in model.operators() {
            for tensor in operator.inputs().chain([operator.output()]) {
                assert!(tensor.offset as usize + tensor.shape.len() <= model.arena_bytes());
            }
        }
        assert!(!text(&inspect(&model)).is_empty());
        // Numbers may be written longer than they need to be, so it is the second time that nothing changes.
        let once = AlignedBytes::new(&encoded(&model));
        let again = Model::parse(once.as_slice()).expect("what was accepted and encoded");
        assert_eq!(encoded(&again), once.as_slice());
    });
});
