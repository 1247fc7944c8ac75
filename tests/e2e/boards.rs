//! The same bits on the host and on every board, and boards that say no. A missing QEMU or compiler fails.

use std::fs;
use std::path::Path;

use neji::pack::for_board;
use neji::render::Layout;
use neji::simulate::{Frame, image_files, on_board, on_host, read_frame};
use neji_app::Verdict;
use neji_format::{AlignedBytes, Element, Model, Packing};
use neji_machine::{Board, Options, rises};
use neji_oracle::{Case, kinds};
use neji_tests::{blob, data, models, root};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

pub(crate) fn boards() -> Vec<Board> {
    let boards = Board::emulated(&root()).expect("the boards");
    assert_eq!(boards.len(), 6, "a board was added or lost: name it in the README and here");
    boards
}

fn host(model: Model<'_>, frames: &[Frame]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    on_host(model, frames, false, |_, verdict, _| {
        verdicts.push(verdict);
        Ok(())
    })
    .expect("runs on the host");
    verdicts
}

/// Runs on `boards`, compares with the host bit by bit and the alarm with the pin; returns how many verdicts were alarms.
pub(crate) fn same_everywhere(bytes: &AlignedBytes, frames: &[Frame], boards: &[Board]) -> usize {
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let expected = host(model, frames);
    let alarms: Vec<u32> = expected.iter().map(|verdict| u32::from(verdict.alarm)).collect();
    for board in boards {
        let run = on_board(board, &model, frames, Options::default()).expect("runs on the board");
        let emulator = board.emulator().expect("an emulated board");
        assert_eq!(run.verdicts, expected, "{}", board.package);
        assert_eq!(rises(&run.pin_writes, emulator.alarm_mask), rises(&alarms, 1), "{}: the pin", board.package);
        assert_eq!(rises(&run.pin_writes, emulator.fault_mask), 0, "{}: the fault line", board.package);
    }
    alarms.iter().filter(|&&alarm| alarm == 1).count()
}

fn test_frames(model: &Model<'_>, folder: &Path) -> Vec<Frame> {
    let files = image_files(&[folder.join("test")]).expect("images");
    files.iter().map(|file| read_frame(model.plan(), file).expect("a frame")).collect()
}

#[test]
fn a_small_autoencoder_gives_the_same_bits_on_all_six_boards() {
    let screws = data(Layout::Mvtec);
    let (bytes, _) = blob(models::SMALL, &screws).expect("a blob");
    let mut frames = test_frames(&Model::parse(bytes.as_slice()).expect("a model"), &screws);
    // A dark lens and a frame without a part are part of a sensor's life.
    let first = frames[0].clone();
    frames.push(Frame { samples: vec![0; first.samples.len()], ..first.clone() });
    frames.push(Frame { samples: (0..first.samples.len()).map(|i| (i % 97) as u8 + 90).collect(), ..first });
    let alarms = same_everywhere(&bytes, &frames, &boards());
    assert!(alarms > 0, "no alarm on twelve defects");
}

#[test]
fn int16_activations_give_the_same_bits_on_the_boards_that_have_them() {
    let screws = data(Layout::Mvtec);
    let toml = format!("{}\n[quantize]\nactivations = \"int16\"", models::SMALL);
    let (bytes, summary) = blob(&toml, &screws).expect("a blob");
    let (float, quantized) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
    assert!((float - quantized).abs() < 0.03, "float {float}, quantized {quantized}");
    let frames = test_frames(&Model::parse(bytes.as_slice()).expect("a model"), &screws);
    let (with, without): (Vec<Board>, Vec<Board>) = boards().into_iter().partition(|board| board.settings.int16);
    assert!(same_everywhere(&bytes, &frames, &with) > 0, "no alarm on twelve defects");
    for board in without {
        let elf = board.build().expect("firmware");
        let run = board.run(&elf, bytes.as_slice(), &[], Options::default()).expect("runs");
        assert!(run.refused().is_some_and(|reason| reason.contains("int8 only")), "{:?}", run.reports);
    }
}

#[test]
fn convolutions_give_the_same_bits_on_the_boards_that_hold_them() {
    let larger: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    assert_eq!(larger.len(), 5);
    for (toml, folder) in [(models::CONV, data(Layout::Mvtec)), (models::CNN, data(Layout::Classes))] {
        let (bytes, _) = blob(toml, &folder).expect("a blob");
        let frames = test_frames(&Model::parse(bytes.as_slice()).expect("a model"), &folder);
        same_everywhere(&bytes, &frames, &larger);
    }
}

#[test]
fn what_is_learned_without_labels_gives_the_same_bits_on_the_boards_that_hold_it() {
    let screws = data(Layout::Mvtec);
    for toml in [models::STUDENT, models::DISTILLED, models::ONE_CLASS, models::PATCHES] {
        let (bytes, summary) = blob(toml, &screws).expect("a blob");
        let (float, int8) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
        assert!((float - int8).abs() < 0.1, "{toml}: float {float}, int8 {int8}");
        let model = Model::parse(bytes.as_slice()).expect("a model");
        let map = neji_app::score::map_shape(model.plan()).expect("a map");
        let places = if toml == models::STUDENT { 12 * 4 } else { 1 };
        assert_eq!(map.height * map.width, places, "{toml}");
        let needed = neji_app::Monitor::<neji_engine::Portable>::memory_bytes(&model) as u64;
        let larger: Vec<Board> =
            boards().into_iter().filter(|board| needed < board.settings.ram_bytes * 3 / 4).collect();
        assert!(larger.len() >= 5, "{toml}: {} boards", larger.len());
        same_everywhere(&bytes, &test_frames(&model, &screws), &larger);
    }
}

#[test]
fn every_operator_gives_the_same_bits_on_all_boards() {
    let bytes = fs::read(root().join("shared/tests/golden/v5_operators.neji")).expect("a golden blob");
    let aligned = AlignedBytes::new(&bytes);
    let model = Model::parse(aligned.as_slice()).expect("a model");
    let length = model.plan().input.shape.len();
    let frame = |seed: usize| Frame {
        path: "generated".into(),
        samples: (0..length).map(|i| ((i + seed) * (seed * 2 + 37) % 256) as u8).collect(),
    };
    let frames: Vec<Frame> = (0..16).map(frame).collect();
    // The golden blob has no detector, so its output is compared below the verdicts: by one that has.
    let boards = boards();
    same_everywhere(&aligned, &frames, &boards);
    let judged = AlignedBytes::new(&with_a_classifier(&model));
    same_everywhere(&judged, &frames, &boards);
}

#[test]
fn a_window_that_streams_gives_the_same_bits_on_all_boards() {
    let bytes = fs::read(root().join("shared/tests/golden/v5_streaming.neji")).expect("a golden blob");
    let aligned = AlignedBytes::new(&bytes);
    let row =
        |seed: u8| Frame { path: "generated".into(), samples: vec![seed.wrapping_mul(93), seed.wrapping_mul(41)] };
    let rows: Vec<Frame> = (0..40).map(row).collect();
    same_everywhere(&aligned, &rows, &boards());
}

#[test]
fn distances_from_normal_give_the_same_bits_on_all_boards() {
    let frame = |seed: usize| Frame {
        path: "generated".into(),
        samples: (0..12).map(|index| (index * seed * 37 % 251) as u8).collect(),
    };
    let frames: Vec<Frame> = (1..40).map(frame).collect();
    for name in ["v5_covariance", "v5_mixture", "v5_fusion"] {
        let path = root().join("shared/tests/golden").join(name).with_extension("neji");
        same_everywhere(&AlignedBytes::new(&fs::read(path).expect("a golden blob")), &frames, &boards());
    }
}

#[test]
fn packed_weights_give_the_same_bits_on_the_boards_that_read_them() {
    let bytes = fs::read(root().join("shared/tests/golden/v5_packed.neji")).expect("a golden blob");
    let bytes = AlignedBytes::new(&bytes);
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let frame = |seed: usize| Frame {
        path: "generated".into(),
        samples: (0..64).map(|index| (index * seed * 37 % 251) as u8).collect(),
    };
    let frames: Vec<Frame> = (1..20).map(frame).collect();
    let (with, without): (Vec<Board>, Vec<Board>) = boards().into_iter().partition(|board| board.settings.pairs);
    assert_eq!(with.len(), 3, "a board lost its kernels");
    same_everywhere(&bytes, &frames, &with);
    for board in &without {
        let elf = board.build().expect("firmware");
        let run = board.run(&elf, bytes.as_slice(), &[], Options::default()).expect("runs");
        assert!(run.refused().is_some_and(|reason| reason.contains("neji pack")), "{:?}", run.reports);
        // In rows they run everywhere.
        let rows = for_board(board, &model).expect("packed");
        let rows = Model::parse(rows.as_slice()).expect("a model");
        assert_eq!(host(rows, &frames), host(model, &frames));
        assert_eq!(on_board(board, &rows, &frames, Options::default()).expect("runs").verdicts, host(model, &frames));
    }
}

/// Cases of each kind of operator that every board is given.
const CASES: usize = 2;

/// Random operators against the naive oracle, on the cores themselves: every byte of the output.
#[test]
fn every_operator_gives_what_its_oracle_gives_on_all_boards() {
    let mut draw = TestRunner::deterministic();
    let cases: Vec<(&str, Case)> = kinds()
        .iter()
        .flat_map(|(name, strategy)| {
            (0..CASES).map(|_| (*name, strategy.new_tree(&mut draw).expect("a case").current())).collect::<Vec<_>>()
        })
        .collect();
    let boards = boards();
    std::thread::scope(|scope| {
        for board in &boards {
            let cases = &cases;
            scope.spawn(move || {
                let elf = board.build().expect("firmware");
                let (mut eligible, mut compared) = (0, 0);
                for (name, case) in cases {
                    let bytes = AlignedBytes::new(&case.blob);
                    let model = Model::parse(bytes.as_slice()).expect("a model");
                    let packed = model.operators().any(|operator| operator.packing() == Packing::Pairs);
                    if model.plan().element == Element::I16 && !board.settings.int16 || packed && !board.settings.pairs
                    {
                        continue;
                    }
                    eligible += 1;
                    let needed = neji_app::Monitor::<neji_engine::Portable>::memory_bytes(&model) as u64;
                    // The M0 has room for the small ones.
                    if needed > board.settings.ram_bytes / 2 || case.blob.len() as u64 > board.settings.model_bytes {
                        continue;
                    }
                    let run = board.run(&elf, &case.blob, &case.input, Options::default()).expect("runs");
                    let outputs: Vec<u8> = run.outputs.iter().map(|&q| q.cast_unsigned()).collect();
                    assert_eq!(outputs, case.expected, "{}: {name}: {:?}", board.package, case.operators);
                    compared += 1;
                }
                assert!(compared * 10 >= eligible * 9, "{}: only {compared} cases fit", board.package);
            });
        }
    });
}

/// The same blob, its output judged as classes where it is a vector: the score then shows two of its values.
fn with_a_classifier(model: &Model<'_>) -> Vec<u8> {
    use neji_format::{Blob, Classifier, ClassifierScore, Detector};
    let mut plan = *model.plan();
    let shape = plan.output.shape;
    if shape.height == 1 && shape.width == 1 && shape.channels >= 2 {
        plan.detector = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    }
    plan.provenance.classes = "";
    let (constants, arena_bytes) = (model.constants().to_vec(), model.header().arena_bytes);
    Blob { plan, operators: model.operators().collect(), constants, arena_bytes }.encode()
}

#[test]
fn a_broken_blob_is_refused_with_its_reason_and_the_fault_line() {
    let good = fs::read(root().join("shared/tests/golden/v5_classifier.neji")).expect("a golden blob");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    let cases: [&[u8]; 3] = [&flipped, &good[..40], b"NOT A MODEL AT ALL, BUT LONG ENOUGH TO BE READ"];
    for board in boards().iter().filter(|board| board.package.contains("an386") || board.package.contains("microbit")) {
        let elf = board.build().expect("firmware");
        let fault = board.emulator().expect("an emulated board").fault_mask;
        for bytes in cases {
            let run = board.run(&elf, bytes, &[], Options::default()).expect("runs");
            let reason = run.refused().expect("a reason").to_owned();
            // The reason is the host's, cut to what fits a report.
            let mut region = bytes.to_vec();
            region.resize(board.settings.model_bytes as usize, 0);
            let expected = Model::parse(AlignedBytes::new(&region).as_slice()).expect_err("refused").to_string();
            assert!(expected.starts_with(&reason), "{}: {reason} against {expected}", board.package);
            assert_eq!(run.exit, Some(1));
            assert_eq!(rises(&run.pin_writes, fault), 1, "{}: the fault line", board.package);
            assert!(run.verdicts.is_empty());
        }
    }
}
