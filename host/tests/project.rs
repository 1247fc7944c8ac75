//! What `neji new` writes builds as it is, and what it builds gives the host's verdicts in QEMU, over its live link as well. A
//! missing QEMU or compiler fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use neji::project::{self, Crates, Task};
use neji::simulate::{Frame, on_firmware, on_host};
use neji_app::{Outcome, Verdict};
use neji_format::{AlignedBytes, FrontEnd, Model};
use neji_link::Event;
use neji_machine::{Board, Options, toolchain};
use neji_monitor::{Client, Emulated, Heard, Pace, Session, Settings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Writes a project for `board` and builds it as its README says, without a network; its image.
fn built(folder: &Path, board: &Board, task: Task) -> PathBuf {
    let files = project::files("mine", board, None, task, &Crates::Repository(root())).expect("a project");
    project::write(folder, &files).expect("written");
    let target = &board.settings.target;
    let mut cargo = toolchain::firmware_cargo(target).expect("a compiler");
    // What does not change is compiled once for all runs of this test.
    let outputs = root().join("boards/target/projects");
    cargo.current_dir(folder).args(["build", "--release", "--offline", "--quiet", "--target-dir"]).arg(&outputs);
    assert!(cargo.status().expect("cargo").success(), "the project for {} does not build", board.package);
    outputs.join(target).join("release/mine")
}

fn verdicts_on_host(model: Model<'_>, frames: &[Frame]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    on_host(model, frames, false, |_, verdict, _| {
        verdicts.push(verdict);
        Ok(())
    })
    .expect("runs on the host");
    verdicts
}

#[test]
fn a_new_project_builds_and_watches_in_qemu_as_the_host_does() {
    for (name, task, blob) in
        [("qemu-mps2-an386", Task::Sound, "v5_listener.neji"), ("qemu-microbit", Task::Image, "v5_classifier.neji")]
    {
        let board = Board::find(&root(), name).expect("a board");
        let folder = tempfile::tempdir().expect("a folder");
        let elf = built(folder.path(), &board, task);
        let bytes = fs::read(root().join("shared/tests/golden").join(blob)).expect("a golden blob");
        let bytes = AlignedBytes::new(&bytes);
        let model = Model::parse(bytes.as_slice()).expect("a model");
        // A stream of sound is cut anywhere, pictures are as the sensor gives them.
        let length = match &model.plan().front_end {
            FrontEnd::Image(config) => usize::from(config.sensor.width) * usize::from(config.sensor.height),
            FrontEnd::LogMel(_) => 2048,
            FrontEnd::Raw => model.plan().input.shape.len(),
        };
        let frame = |seed: usize| Frame {
            path: "generated".into(),
            samples: (0..length).map(|i| (i * (seed * 2 + 37) % 251) as u8).collect(),
        };
        let frames: Vec<Frame> = (0..8).map(frame).collect();
        let expected = verdicts_on_host(model, &frames);
        assert!(expected.len() > 3, "{blob} says too little");
        let run = on_firmware(&board, &elf, &model, &frames, Options::default()).expect("runs");
        assert_eq!(run.verdicts, expected, "{name}");
        if board.settings.live {
            assert_eq!(scores_over_link(board, elf, model.bytes(), frames), scores(&expected), "{name}");
        }
    }
}

fn scores(verdicts: &[Verdict]) -> Vec<(u32, i32)> {
    let score = |verdict: &Verdict| match verdict.outcome {
        Outcome::Scored { score, .. } => Some((verdict.sequence, score)),
        _ => None,
    };
    verdicts.iter().filter_map(score).collect()
}

/// What `neji monitor` hears of an image to the end of its samples.
fn scores_over_link(board: Board, elf: PathBuf, model: &[u8], frames: Vec<Frame>) -> Vec<(u32, i32)> {
    let input: neji_monitor::Input = Arc::new(move |give| frames.iter().try_for_each(|frame| give(&frame.samples)));
    let line = Emulated { board, elf, model: model.to_vec(), input, pace: Pace::None };
    let settings = Settings { time_max: Some(Duration::from_secs(120)), ..Settings::default() };
    let mut session = Session::new(Client::new(Box::new(line)), settings, true).expect("a session");
    let mut scores = Vec::new();
    while !session.is_over() {
        let mut hear = |heard: &Heard<'_>| {
            match heard {
                Heard::Event(Event::Identity(identity)) => assert_eq!(identity.firmware, "mine 0.1.0"),
                Heard::Event(Event::Score(score)) => {
                    if let neji_link::Outcome::Scored { score: value, .. } = score.outcome {
                        scores.push((score.verdict, value));
                    }
                }
                _ => {}
            }
            Ok(())
        };
        session.step(&mut hear).expect("a line");
    }
    scores
}
