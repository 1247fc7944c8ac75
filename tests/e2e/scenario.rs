//! Scenarios of sound: the same verdicts on the host and on boards, samples that a slow board loses, and the command.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use neji::begin::Begin;
use neji::scenario::Scenario;
use neji::scenario::board::Stage;
use neji::scenario::play::{Played, play};
use neji_format::{AlignedBytes, Model};
use neji_machine::Board;
use neji_tests::root;

use crate::story::{does, refuses};

/// The golden model that listens: a verdict every eight samples.
const LISTENER: &str = "shared/tests/golden/v5_listener.neji";

/// Noise, a fault over it, and most of what can happen to a sensor.
const STORY: &str = "rate = 8000\nseed = 3\n[[source]]\nnoise = \"pink\"\nfor = 2\n\
    [[source]]\nnoise = \"white\"\nfrom = 1\nfor = 0.5\nsnr_db = 20\ntruth = \"fault\"\n\
    [[event]]\nfrom = 0.5\ndrop = 77\n[[event]]\nfrom = 0.6\ndrop = 33\ntold = false\n\
    [[event]]\nfrom = 1.2\npower_cut = 0.1\n[[event]]\nfrom = 1.7\nstuck = \"last\"\nfor = 0.1\n\
    [[assert]]\nsensor_fault = { within = 0.02, after = 0.5 }\n[[assert]]\noverruns = 0\n[[assert]]\nclock_share = 0.5\n";

fn played(board: &str, clock_hz: u64, buffer: Option<u32>) -> Played {
    let bytes = fs::read(root().join(LISTENER)).expect("a golden blob");
    let blob = AlignedBytes::new(&bytes);
    let model = Model::parse(blob.as_slice()).expect("a model");
    let board = Board::find_emulated(&root(), board).expect("the board");
    let scenario = Scenario::parse(STORY, Path::new("story.toml")).expect("a scenario");
    let begin = Begin::default();
    let stage = Stage { board: &board, begin: &begin, clock_hz, buffer, timeout: Duration::from_secs(600) };
    play("story.toml", model, scenario, &begin, Some(stage), &AtomicBool::new(false)).expect("plays")
}

#[test]
fn a_scenario_gives_the_same_bits_on_the_host_and_on_boards() {
    for board in ["qemu-mps2-an386", "qemu-microbit"] {
        let played = played(board, 25_000_000, None);
        played.check_agreement().expect("the same verdicts");
        let [sensor] = played.sensors.as_slice() else { panic!("one sensor") };
        assert_eq!(sensor.heard.parts.len(), 2, "the power was cut once");
        assert!(sensor.metrics.verdicts > 1500, "{:?}", sensor.metrics);
        let load = sensor.load.expect("counted");
        assert!((100.0..50_000.0).contains(&load.instructions_per_hop), "{load:?}");
    }
}

#[test]
fn a_board_that_is_too_slow_loses_samples_and_says_which() {
    let fast = played("qemu-mps2-an386", 100_000_000, Some(64));
    fast.check_agreement().expect("the same verdicts");
    assert_eq!((fast.sensors[0].track.overruns, fast.failed()), (Some(0), (0, 3)), "{}", fast.text());

    // It needs more cycles for a sample than pass from one to the next.
    let slow = played("qemu-mps2-an386", 500_000, Some(64));
    let lost = slow.sensors[0].track.overruns.expect("counted");
    assert!(lost > 1000, "{}", slow.text());
    // Losses and clock at least; how late it speaks of the gap depends on how slow it is.
    assert!(matches!(slow.failed(), (2 | 3, 3)), "{}", slow.text());
    // The host's monitor, which is given neither those samples, says the same.
    slow.check_agreement().expect("the same verdicts");
    assert!(slow.sensors[0].metrics.verdicts < fast.sensors[0].metrics.verdicts);
}

#[test]
fn the_command_says_whether_the_claims_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let listener = root().join(LISTENER);
    let (model, scenario, out) = (listener.to_str().expect("UTF-8"), path("a.toml"), path("out"));
    let text = "rate = 8000\n[[source]]\nsilence = true\nfor = 1\n[[assert]]\nsensor_fault = { within = 0.1 }\n";
    fs::write(&scenario, text).expect("written");
    let told = does(&["simulate", model, "--scenario", &scenario, "--out", &out]);
    assert!(told.contains("SHA-256") && told.contains("ok      sensor_fault"), "{told}");
    for file in ["timeline.svg", "events.csv", "scores.csv", "metrics.json"] {
        assert!(fs::metadata(Path::new(&out).join(file)).expect(file).len() > 0);
    }
    fs::write(&scenario, format!("{text}[[assert]]\nsensor_faults = 0\n")).expect("written");
    refuses(&["simulate", model, "--scenario", &scenario, "--out", &out], &["1 of 2 claims", "a.toml"]);
    fs::write(&scenario, text.replace("8000", "16000")).expect("written");
    refuses(&["simulate", model, "--scenario", &scenario], &["a.toml", "16000", "8000"]);
    fs::write(&scenario, text.replace("for = 1", "four = 1")).expect("written");
    refuses(&["simulate", model, "--scenario", &scenario], &["a.toml", "line 4", "four"]);
    // The example is for another model, but it is a scenario.
    let example = root().join("configs/scenarios/machine.toml");
    refuses(&["simulate", model, "--scenario", example.to_str().expect("UTF-8")], &["machine.toml", "rate"]);
}
