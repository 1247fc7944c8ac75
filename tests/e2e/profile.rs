//! Profiles: what the plugin counts in QEMU is what the board counts of itself.

use std::fs;
use std::time::Duration;

use neji_format::{AlignedBytes, Model};
use neji_machine::{Board, Kind, Tally};
use neji_tests::root;

const TIMEOUT: Duration = Duration::from_secs(300);

#[test]
fn two_ways_of_counting_agree_to_the_instruction() {
    let bytes = fs::read(root().join("shared/tests/golden/v5_operators.neji")).expect("a golden blob");
    let blob = AlignedBytes::new(&bytes);
    let model = Model::parse(blob.as_slice()).expect("a model");
    let plan = model.plan();
    let input = vec![7; plan.element.bytes_of(&plan.input)];
    let board = Board::find_emulated(&root(), "qemu-mps2-an386").expect("the board");
    let elf = board.build().expect("firmware");
    let counts = board.count(&elf, model.bytes(), &input, TIMEOUT).expect("counted");
    let profile = board.profile(&elf, model.bytes(), &input, TIMEOUT).expect("profiled");

    assert_eq!(profile.whole.instructions(), counts.whole);
    assert_eq!(profile.call.instructions(), counts.call);
    assert_eq!(profile.operators.iter().map(Tally::instructions).collect::<Vec<_>>(), counts.operators);
    assert_eq!(profile.counts, counts);
    let functions: u64 = profile.functions.iter().map(|(_, tally)| tally.instructions()).sum();
    assert_eq!(functions, counts.whole, "functions are the whole");
    assert!(profile.functions.iter().all(|(name, _)| name != "?"), "{:?}", profile.functions);
    assert!(profile.functions.iter().any(|(name, _)| name.contains("neji_engine::kernels")));

    let branches = profile.whole.kinds[Kind::Branch as usize];
    assert!((1..=branches).contains(&profile.whole.taken), "{:?}", profile.whole);
    let cycles = profile.whole.cycles;
    assert!(counts.whole < cycles.low && cycles.low < cycles.likely && cycles.likely < cycles.high, "{cycles:?}");
}
