//! The station of the real boards, in QEMU: the host's verdicts, and what goes wrong ends in a restart that says why. A missing
//! QEMU or compiler fails.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use neji_app::{Monitor, Outcome, Verdict};
use neji_engine::Portable;
use neji_format::{AlignedBytes, Model};
use neji_machine::{Board, Bounds, Emulation, Fault, Options, emulate};

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tests/golden").join(name);
    std::fs::read(path).expect("a golden blob")
}

/// The twins with their firmware.
static TWINS: LazyLock<Vec<(Board, PathBuf)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let twins = Board::twins(&root).expect("the boards").into_iter();
    let twins: Vec<_> = twins.map(|board| board.build().map(|elf| (board, elf)).expect("firmware")).collect();
    assert!(!twins.is_empty());
    twins
});

/// Sound, or what passes for it: loud in its second half.
fn samples() -> Vec<u8> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16
    };
    (0..8192i16).flat_map(|i| (noise() / if i < 4096 { 64 } else { 4 }).to_le_bytes()).collect()
}

fn host(blob: &[u8], mut samples: &[u8]) -> Vec<Verdict> {
    let aligned = AlignedBytes::new(blob);
    let model = Model::parse(aligned.as_slice()).expect("a model");
    let mut memory = vec![0; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::<Portable>::new(model, &mut memory).expect("a monitor");
    std::iter::from_fn(|| monitor.push(&mut samples)).collect()
}

fn run(board: &Board, elf: &Path, blob: &[u8], fault: Option<Fault>) -> Emulation {
    let options = Options { fault, timeout: Duration::from_secs(120), ..Options::default() };
    emulate(board, elf, blob, &samples(), options).expect("runs")
}

/// What the lines that begin with `what` go on with.
fn said<'e>(run: &'e Emulation, what: &str) -> Vec<&'e str> {
    run.stderr.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(": ")).collect()
}

#[test]
fn the_verdicts_are_the_hosts_and_the_lines_are_active_until_the_first_score() {
    for blob in ["v5_listener.neji", "v5_autoencoder.neji", "v5_classifier.neji"].map(golden) {
        let verdicts = host(&blob, &samples());
        assert!(verdicts.iter().any(|verdict| matches!(verdict.outcome, Outcome::Scored { .. })));
        for (board, elf) in TWINS.iter() {
            let run = run(board, elf, &blob, None);
            assert_eq!(run.exit, Some(0), "{}: {}", board.package, run.stderr);
            assert_eq!(said(&run, "start"), ["started, nothing says why"]);
            let expected: Vec<String> = verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
            assert_eq!(said(&run, "verdict"), expected, "{}", board.package);
            // Low is active. It changes with the first score and then with the alarm.
            let first = verdicts.iter().position(|verdict| matches!(verdict.outcome, Outcome::Scored { .. }));
            let mut levels = vec!["low"];
            for verdict in verdicts.iter().skip(first.unwrap_or(0)) {
                let level = if verdict.alarm { "low" } else { "high" };
                if levels.last() != Some(&level) {
                    levels.push(level);
                }
            }
            assert_eq!(said(&run, "alarm"), levels, "{}", board.package);
            assert_eq!(said(&run, "lost"), Vec::<&str>::new());
            // What the image says of the stack is no less than what was used of it.
            let bounds = Bounds::of(&std::fs::read(elf).expect("firmware"), &board.settings.target).expect("bounds");
            let used: u64 = said(&run, "stack")[0].parse().expect("bytes");
            assert!((bounds.push / 8..=bounds.whole).contains(&used), "{}: {used}, {bounds:?}", board.package);
        }
    }
}

#[test]
fn what_goes_wrong_ends_in_a_restart_that_says_why() {
    let blob = golden("v5_listener.neji");
    let verdicts = host(&blob, &samples());
    let cases = [
        (Fault::Silence, "restarted by the firmware: the sensor gave no samples, while waiting for samples"),
        (Fault::Failure, "restarted by the firmware: the sensor does not answer, while waiting for samples"),
        (Fault::HardFault, "restarted by the firmware after a hard fault at 0xf0000000, called from 0x"),
        (Fault::Panic, "restarted by the firmware after a panic in "),
        (Fault::Hang, "restarted by the watchdog, while waiting for samples"),
    ];
    for (board, elf) in TWINS.iter() {
        for (fault, text) in cases {
            let run = run(board, elf, &blob, Some(fault));
            let name = &board.package;
            assert_eq!(run.exit, Some(0), "{name}, {fault:?}: {}", run.stderr);
            let starts = said(&run, "start");
            assert_eq!((starts.len(), starts[0]), (2, "started, nothing says why"), "{name}, {fault:?}");
            assert!(starts[1].starts_with(text), "{name}, {fault:?}: {}", starts[1]);
            assert!(starts[1].ends_with("while waiting for samples"), "{name}, {fault:?}: {}", starts[1]);
            if fault == Fault::Panic {
                assert!(starts[1].contains("twin/src/lib.rs:"), "{}", starts[1]);
            }
            // The second life hears the samples from the beginning on, with both lines active again.
            let (_, second) = run.stderr.rsplit_once("start: ").expect("a second life");
            let told: Vec<&str> = second.lines().filter_map(|line| line.strip_prefix("verdict: ")).collect();
            let expected: Vec<String> = verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
            assert_eq!(told, expected, "{name}, {fault:?}");
            let again = second.lines().find_map(|line| line.strip_prefix("alarm: "));
            assert_eq!(again, verdicts.iter().any(|verdict| !verdict.alarm).then_some("high"), "{name}, {fault:?}");
        }
    }
}

#[test]
fn without_a_model_the_lines_stay_active_and_the_reason_is_told() {
    let mut broken = golden("v5_listener.neji");
    let middle = broken.len() / 2;
    broken[middle] ^= 4;
    for (board, elf) in TWINS.iter() {
        for blob in [&broken[..], &[0xff; 64]] {
            let run = run(board, elf, blob, None);
            let mut region = blob.to_vec();
            region.resize(board.settings.model_bytes as usize, 0);
            let reason = Model::parse(AlignedBytes::new(&region).as_slice()).expect_err("refused").to_string();
            assert_eq!(said(&run, "refused"), [reason], "{}", board.package);
            assert_eq!((said(&run, "alarm"), said(&run, "fault"), run.exit), (vec!["low"], vec!["low"], Some(1)));
        }
    }
}
