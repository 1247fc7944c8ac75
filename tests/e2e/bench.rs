//! Counts of instructions, on every board: exact, the same each time, and the sum of their parts.

use std::fs;
use std::time::Duration;

use neji::tensor_file;
use neji_format::{AlignedBytes, Element, Model};
use neji_machine::Board;
use neji_tests::root;

const TIMEOUT: Duration = Duration::from_secs(300);

/// Counting fails where a loop of three million instructions is not counted as such, or where the operators are not the
/// whole: see `neji_machine::bench`.
#[test]
fn a_loop_of_known_length_is_counted_exactly_and_counts_repeat_to_the_instruction() {
    let blobs = ["v5_operators", "v5_int16"].map(|name| {
        let path = root().join("shared/tests/golden").join(name).with_extension("neji");
        AlignedBytes::new(&fs::read(path).expect("a golden blob"))
    });
    let boards = Board::emulated(&root()).expect("the boards");
    std::thread::scope(|scope| {
        for board in &boards {
            let blobs = &blobs;
            scope.spawn(move || {
                let elf = board.build().expect("firmware");
                for blob in blobs {
                    let model = Model::parse(blob.as_slice()).expect("a model");
                    let plan = model.plan();
                    if plan.element == Element::I16 && !board.settings.int16 {
                        continue;
                    }
                    let input: Vec<u8> =
                        (0..plan.element.bytes_of(&plan.input)).map(|index| (index * 53 % 256) as u8).collect();
                    let count = || board.count(&elf, model.bytes(), &input, TIMEOUT).expect("counted");
                    let counts = count();
                    assert_eq!(counts, count(), "{}: another count of the same", board.package);
                    assert_eq!(counts.operators.len(), model.operators().count());
                    assert_eq!(counts.call + counts.operators.iter().sum::<u64>(), counts.whole, "{}", board.package);
                    assert!(counts.call < 200 && counts.operators.iter().all(|&one| one > 100), "{counts:?}");
                    let expected = tensor_file::run(model, &[input.into_iter().map(u8::cast_signed).collect()]);
                    assert_eq!(counts.output, expected.concat(), "{}: the output", board.package);
                }
            });
        }
    });
}

#[test]
fn a_model_that_does_not_run_is_no_count() {
    let board = Board::find_emulated(&root(), "qemu-microbit").expect("the board");
    let elf = board.build().expect("firmware");
    let int16 = fs::read(root().join("shared/tests/golden/v5_int16.neji")).expect("a golden blob");
    let count =
        |model: &[u8], input: &[u8]| board.count(&elf, model, input, TIMEOUT).expect_err("no count").to_string();
    assert!(count(&int16, &[0; 4096]).contains("does not count: "), "{}", count(&int16, &[0; 4096]));
    assert!(count(b"no model", &[]).contains("does not count: "));
    let good = fs::read(root().join("shared/tests/golden/v5_classifier.neji")).expect("a golden blob");
    assert!(count(&good, &[1]).contains("too few samples"));
}
