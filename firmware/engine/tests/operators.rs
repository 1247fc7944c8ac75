//! Every operator on random shapes against the naive oracle, through a whole blob: encoded, parsed, run.

use neji_engine::{Engine, Portable};
use neji_format::{AlignedBytes, Model};
use neji_oracle::{Case, kinds};
use proptest::prop_assert_eq;
use proptest::test_runner::{Config, TestRunner};

/// Runs a case on an arena of exactly the bytes it says, which are not aligned and hold other values before.
fn run(case: &Case) -> Vec<i8> {
    let bytes = AlignedBytes::new(&case.blob);
    let model = Model::parse(bytes.as_slice()).unwrap_or_else(|error| panic!("{error}: {:?}", case.operators));
    let arena_bytes = model.arena_bytes();
    let engine = Engine::<Portable>::new(model);
    let mut memory = vec![77_i8; arena_bytes + 2];
    let arena = &mut memory[1..=arena_bytes];
    engine.input_mut(arena).copy_from_slice(&case.input);
    assert_eq!(engine.input(arena), case.input);
    engine.run(arena).unwrap();
    let result = engine.output(arena).to_vec();
    assert_eq!([memory[0], memory[arena_bytes + 1]], [77, 77]);
    result
}

#[test]
fn every_operator_gives_what_its_oracle_gives() {
    for (name, strategy) in kinds() {
        let cases = if name.starts_with("deep") { 48 } else { 512 };
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let compare = |case: Case| {
            prop_assert_eq!(run(&case), case.expected, "{:?}", case.operators);
            Ok(())
        };
        TestRunner::new(config).run(&strategy, compare).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_short_arena_is_an_error_with_numbers() {
    let golden = include_bytes!("../../../shared/tests/golden/v2_classifier.neji");
    let bytes = AlignedBytes::new(golden);
    let engine = Engine::<Portable>::new(Model::parse(bytes.as_slice()).expect("a model"));
    let error = engine.run(&mut [0; 95]).unwrap_err();
    assert_eq!((error.needed, error.given), (96, 95));
    assert_eq!(error.to_string(), "arena of 95 bytes, the model needs 96");
    assert_eq!(engine.run(&mut [0; 96]), Ok(()));
}
