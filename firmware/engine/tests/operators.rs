//! Every operator on random shapes against the naive oracle, through a whole blob: encoded, parsed, run.

use neji_engine::{Engine, Host, Int8Only, Isa, Portable, RunError};
use neji_format::{AlignedBytes, Model};
use neji_oracle::{Case, kinds};
use proptest::prop_assert_eq;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

/// The kernels for inputs of int32.
struct Words;

impl Isa for Words {
    const WORDS: bool = true;
}

/// Runs a case on an arena of exactly the bytes it says, as badly aligned as its elements allow, which holds other values
/// before.
fn run<I: Isa>(case: &Case) -> Vec<u8> {
    let bytes = AlignedBytes::new(&case.blob);
    let model = Model::parse(bytes.as_slice()).unwrap_or_else(|error| panic!("{error}: {:?}", case.operators));
    let arena_bytes = model.arena_bytes();
    let first = model.plan().element.bytes();
    let engine = Engine::<I>::new(model);
    let mut words = vec![0x4d4d_4d4d_u32; arena_bytes.div_ceil(4) + 2];
    let memory: &mut [i8] = bytemuck::cast_slice_mut(&mut words);
    let arena = &mut memory[first..first + arena_bytes];
    let input: &[i8] = bytemuck::cast_slice(&case.input);
    engine.input_mut(arena).copy_from_slice(input);
    assert_eq!(engine.input(arena), input);
    engine.run(arena).unwrap();
    let result = bytemuck::cast_slice(engine.output(arena)).to_vec();
    assert_eq!([memory[first - 1], memory[first + arena_bytes]], [0x4d, 0x4d]);
    result
}

#[test]
fn every_operator_gives_what_its_oracle_gives() {
    for (name, strategy) in kinds() {
        let cases = if name.starts_with("deep") { 48 } else { 512 };
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let compare = |case: Case| {
            prop_assert_eq!(run::<Portable>(&case), &case.expected[..], "{:?}", case.operators);
            prop_assert_eq!(run::<Host>(&case), &case.expected[..], "host: {:?}", case.operators);
            prop_assert_eq!(run::<Words>(&case), &case.expected[..], "words: {:?}", case.operators);
            Ok(())
        };
        TestRunner::new(config).run(&strategy, compare).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_short_arena_is_an_error_with_numbers() {
    let golden = include_bytes!("../../../shared/tests/golden/v5_classifier.neji");
    let bytes = AlignedBytes::new(golden);
    let engine = Engine::<Portable>::new(Model::parse(bytes.as_slice()).expect("a model"));
    let error = engine.run(&mut [0; 95]).unwrap_err();
    assert_eq!(error, RunError::ArenaTooSmall { needed: 96, given: 95 });
    assert_eq!(error.to_string(), "arena of 95 bytes, the model needs 96");
    assert_eq!(engine.run(&mut [0; 96]), Ok(()));
}

/// An odd address, or kernels without int16.
#[test]
fn int16_is_refused_where_it_cannot_run() {
    let (_, strategy) = kinds().into_iter().find(|(name, _)| *name == "mean of int16").expect("a kind");
    let case = strategy.new_tree(&mut TestRunner::deterministic()).expect("a case").current();
    let bytes = AlignedBytes::new(&case.blob);
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let mut words = vec![0_u32; model.arena_bytes().div_ceil(4) + 1];
    let memory: &mut [i8] = bytemuck::cast_slice_mut(&mut words);
    assert_eq!(Engine::<Portable>::new(model).run(&mut memory[1..]), Err(RunError::ArenaMisaligned));
    assert_eq!(Engine::<Int8Only<Portable>>::new(model).run(memory), Err(RunError::Int8Only));
}

/// Kernels that do not read weights in pairs of rows say so; the others give the same with them, as the oracle's cases show.
#[test]
fn packed_weights_are_refused_where_they_are_not_read() {
    let bytes = AlignedBytes::new(include_bytes!("../../../shared/tests/golden/v5_packed.neji"));
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let mut arena = vec![77; model.arena_bytes()];
    let refused = Engine::<Int8Only<Portable>>::new(model).run(&mut arena).unwrap_err();
    assert_eq!(refused, RunError::Packed { operator: 0 });
    assert!(refused.to_string().contains("operator 0") && refused.to_string().contains("neji pack"), "{refused}");
    assert!(arena.iter().all(|&byte| byte == 77));
    assert_eq!(Engine::<Portable>::new(model).run(&mut arena), Ok(()));
}

/// With every feature nothing is refused; `cargo test -p neji-engine --no-default-features --test operators` sees the rest.
#[test]
fn what_is_not_linked_is_refused_before_it_runs() {
    let blob = include_bytes!("../../../shared/tests/golden/v5_operators.neji");
    let bytes = neji_format::AlignedBytes::new(blob);
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let missing = (0..).zip(model.operators()).find(|(_, operator)| !neji_engine::features::has(operator));
    let expected = missing.map_or(Ok(()), |(index, operator)| {
        Err(RunError::NotLinked { operator: index, feature: neji_engine::features::of(&operator) })
    });
    let engine = Engine::<Portable>::new(model);
    assert_eq!(engine.check(), expected);
    let mut arena = vec![77; model.arena_bytes()];
    assert_eq!(engine.run(&mut arena), expected);
    assert_eq!(arena.iter().all(|&byte| byte == 77), expected.is_err());
}
