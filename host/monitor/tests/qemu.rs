//! A board in QEMU that is watched: what is heard is what the host's monitor says of the same samples, what is recorded gives the
//! same scores again, and a person sees it.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use neji_app::{Monitor, Outcome, Verdict};
use neji_engine::Host;
use neji_format::{
    AlignedBytes, Blob, Classifier, ClassifierScore, Decision, Detector, Element, FrontEnd, Model, Normal, Operator,
    Plan, Provenance, Reshape, Shape, Tensor,
};
use neji_link::{Cause, Command, Event, Levels, Reason};
use neji_machine::{Board, toolchain};
use neji_monitor::{Client, Emulated, Heard, Input, Pace, Recorded, Session, Settings, Stop, draw, svg};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::Value;

/// Hands on two numbers; the score is 256 times the second less the first.
fn echo() -> AlignedBytes {
    let tensor = |offset| Tensor { offset, shape: Shape::new(1, 1, 2), scale: 1.0, zero_point: 0 };
    let plan = Plan {
        provenance: Provenance::of("echo"),
        front_end: FrontEnd::Raw,
        detector: Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin }),
        decision: Decision {
            threshold: 18 * 256,
            release: 14 * 256,
            required: 2,
            window: 3,
            normal: Some(Normal { location: 10 * 256, scale: 2 * 256 }),
            ..Decision::EACH
        },
        element: Element::I8,
        streaming: None,
        input: tensor(0),
        output: tensor(16),
        operator_count: 0,
    };
    let operators = vec![Operator::Reshape(Reshape { input: tensor(0), output: tensor(16) })];
    AlignedBytes::new(&Blob { plan, operators, constants: Vec::new(), arena_bytes: 32 }.encode())
}

/// The golden blob `name`.
fn golden(name: &str) -> AlignedBytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tests/golden").join(name);
    AlignedBytes::new(&std::fs::read(path).unwrap())
}

fn built(name: &str) -> Board {
    let board = Board::find(&toolchain::root().unwrap(), name).unwrap();
    board.build().unwrap();
    board
}

/// A board with DSP instructions, and its firmware.
fn board() -> Board {
    static BUILT: OnceLock<Board> = OnceLock::new();
    BUILT.get_or_init(|| built("qemu-mps2-an386")).clone()
}

/// `samples` again and again, for ever.
fn again(samples: Vec<u8>) -> Input {
    Arc::new(move |give| {
        loop {
            give(&samples)?;
        }
    })
}

fn client_at(pace: Pace, board: Board, blob: &AlignedBytes, samples: &[u8]) -> Client {
    let (elf, model, input) = (board.elf(), blob.as_slice().to_vec(), again(samples.to_vec()));
    Client::new(Box::new(Emulated { board, elf, model, input, pace }))
}

fn client(board: Board, blob: &AlignedBytes, samples: &[u8]) -> Client {
    client_at(Pace::None, board, blob, samples)
}

/// Far more than any of these needs.
fn patient() -> Settings {
    Settings { time_max: Some(Duration::from_secs(240)), ..Settings::default() }
}

/// What the host's monitor says of samples.
fn on_host(blob: &AlignedBytes, mut samples: &[u8]) -> Vec<Verdict> {
    let model = Model::parse(blob.as_slice()).unwrap();
    let mut memory = vec![0; Monitor::<Host>::memory_bytes(&model)];
    let mut monitor = Monitor::<Host>::new(model, &mut memory).unwrap();
    std::iter::from_fn(|| monitor.push(&mut samples)).collect()
}

/// Six thousand frames, two of which in a row are loud, and so an alarm.
fn life() -> Vec<u8> {
    (0..6000).flat_map(|i| [0, if i == 150 || i == 151 { 60 } else { 8 + (i % 5) as u8 }]).collect()
}

/// The samples of a recording's files.
fn recorded_samples(recorded: &Recorded) -> Vec<u8> {
    let mut samples = Vec::new();
    for file in &recorded.files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("wav") => {
                let mut reader = hound::WavReader::open(file).unwrap();
                samples.extend(reader.samples::<i16>().flat_map(|sample| sample.unwrap().to_le_bytes()));
            }
            _ => samples.extend(std::fs::read(file).unwrap()),
        }
    }
    samples
}

/// The board's scores of a recording are those of its files; how many there are.
fn check_replay(blob: &AlignedBytes, recorded: &Recorded) -> usize {
    let verdicts = on_host(blob, &recorded_samples(recorded));
    for score in &recorded.scores {
        match verdicts[score.index as usize].outcome {
            Outcome::Scored { score: again, .. } => assert_eq!(again, score.score, "verdict {}", score.verdict),
            other => panic!("{other:?} in place of {score:?}"),
        }
    }
    recorded.scores.len()
}

#[test]
fn lines_are_what_the_hosts_monitor_says_and_an_alarm_is_recorded() {
    let (blob, folder) = (echo(), tempfile::tempdir().unwrap());
    let record = Some(folder.path().to_owned());
    let settings = Settings { scores_max: Some(1000), record, ..patient() };
    let session = Session::new(client(board(), &blob, &life()), settings, false).unwrap();
    let mut lines = Vec::new();
    session.write_lines(&mut lines, &Stop::new(false)).unwrap();
    let lines: Vec<Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let identity = lines.iter().find(|line| line["event"] == "identity").expect("an identity");
    assert_eq!((&identity["board"], &identity["core"]), (&"qemu-mps2-an386".into(), &"cortex-m4".into()));
    let header = *Model::parse(blob.as_slice()).unwrap().header();
    assert_eq!(identity["model"]["Running"]["crc32"], header.crc32);

    let expected = on_host(&blob, &life());
    let scores: Vec<&Value> = lines.iter().filter(|line| line["event"] == "score").collect();
    assert!(scores.len() >= 1000);
    for (line, verdict) in scores.iter().zip(&expected) {
        let Outcome::Scored { score, smoothed, .. } = verdict.outcome else { panic!("{verdict:?}") };
        assert_eq!((&line["verdict"], &line["score"]), (&verdict.sequence.into(), &score.into()));
        assert_eq!((&line["smoothed"], &line["alarm"]), (&smoothed.into(), &verdict.alarm.into()));
    }

    let kept = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let beside: Vec<_> = kept.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    assert!(!beside.is_empty());
    for path in beside {
        let recorded = Recorded::read(&path).unwrap();
        assert!(check_replay(&blob, &recorded) >= 100);
        // It ends with what raised the alarm.
        let last = recorded.scores.last().unwrap();
        assert_eq!((last.verdict, last.score, last.alarm), (recorded.recording.verdict, 60 * 256, true));
    }
}

/// Drives a session until each of `steps` was heard, one after the other: what comes at once may take several.
fn drive_through(session: &mut Session, steps: &[&dyn Fn(&Heard<'_>) -> bool]) {
    let mut done = 0;
    while done < steps.len() {
        assert!(!session.is_over(), "step {done}: {:?}", session.view.log);
        session
            .step(&mut |heard| {
                if steps.get(done).is_some_and(|step| step(heard)) {
                    done += 1;
                }
                Ok(())
            })
            .unwrap();
    }
}

/// Drives a session until `until` is heard.
fn drive(session: &mut Session, until: impl Fn(&Heard<'_>) -> bool) {
    drive_through(session, &[&until]);
}

fn is_restarting(heard: &Heard<'_>) -> bool {
    matches!(heard, Heard::Answer(Command::Restart, Ok(())))
}

fn is_score(heard: &Heard<'_>) -> bool {
    matches!(heard, Heard::Event(Event::Score(_)))
}

#[test]
fn commands_are_done_or_refused_with_a_reason() {
    let mut session = Session::new(client(board(), &echo(), &life()), patient(), false).unwrap();
    drive(&mut session, is_score);
    session.ask(Command::Calibrate { scores: 2 });
    let refused = Err(Reason::Scores { least: 16, most: 4096 });
    drive(
        &mut session,
        |heard| matches!(heard, Heard::Answer(Command::Calibrate { scores: 2 }, answer) if *answer == refused),
    );
    session.ask(Command::SetThreshold { threshold: Some(77 * 256) });
    drive(
        &mut session,
        |heard| matches!(heard, Heard::Event(Event::State(state)) if (state.threshold, state.levels) == (77 * 256, Levels::Set)),
    );
    session.ask(Command::Reset);
    session.ask(Command::Calibrate { scores: 200 });
    drive(
        &mut session,
        |heard| matches!(heard, Heard::Event(Event::State(state)) if matches!(state.levels, Levels::Learned { .. })),
    );
    // A restart is a new beginning, on which nothing is counted lost.
    session.ask(Command::Restart);
    drive_through(
        &mut session,
        &[
            &is_restarting,
            &|heard| matches!(heard, Heard::Event(Event::Identity(_))),
            &|heard| matches!(heard, Heard::Event(Event::Score(score)) if score.verdict < 6000),
        ],
    );
    assert_eq!(session.view.lost.0, 0);
}

/// The screen as text.
fn screen(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

#[test]
fn a_person_sees_scores_features_and_state_and_keeps_a_recording_of_sound() {
    let (blob, folder) = (golden("v5_listener.neji"), tempfile::tempdir().unwrap());
    // Noise that never repeats as windows go.
    let mut state = 7_u32;
    let sound: Vec<u8> = (0..100_003)
        .flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as u16).to_le_bytes()
        })
        .collect();
    let settings = Settings { saves: folder.path().to_owned(), ..patient() };
    let mut session = Session::new(client(board(), &blob, &sound), settings, true).unwrap();
    drive(&mut session, |heard| matches!(heard, Heard::Event(Event::Spectrum(_))));
    for _ in 0..40 {
        drive(&mut session, is_score);
    }
    session.save();
    drive(&mut session, |heard| matches!(heard, Heard::Fetched(recording, _) if recording.cause == Cause::Asked));

    let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
    let now = session.now();
    terminal.draw(|frame| draw::draw(frame, &session.view, now)).unwrap();
    let shown = screen(&terminal);
    for text in ["qemu-mps2-an386 cortex-m4", "level", "features,", "threshold", "the model's", "verdicts", "q quit"] {
        assert!(shown.contains(text), "{text}:\n{shown}");
    }
    let picture = svg::svg(terminal.backend().buffer());
    assert!(picture.contains("qemu-mps2-an386") && picture.ends_with("</svg>\n"));

    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let beside = files.find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap();
    let recorded = Recorded::read(&beside).unwrap();
    assert!(check_replay(&blob, &recorded) > 0, "{recorded:?}");
}

/// The loop of the real boards, in the twins of some.
#[test]
fn the_station_of_the_real_boards_is_watched_and_asked() {
    let root = toolchain::root().unwrap();
    let twins = Board::twins(&root).unwrap();
    assert!(!twins.is_empty());
    for name in twins.into_iter().filter(|twin| twin.settings.live).map(|twin| twin.package) {
        // Slow enough that an answer comes soon behind what waits before it.
        let pace = Pace::BytesPerSecond(1000.0);
        let expected = on_host(&echo(), &life());
        let mut session = Session::new(client_at(pace, built(&name), &echo(), &life()), patient(), false).unwrap();
        let is_known = |heard: &Heard<'_>| match heard {
            Heard::Event(Event::Identity(identity)) => identity.board == name,
            _ => false,
        };
        let says = |heard: &Heard<'_>, text: &str| match heard {
            Heard::Event(Event::Log(log)) => log.text == text,
            _ => false,
        };
        let is_kept = |heard: &Heard<'_>| match heard {
            Heard::Event(Event::Score(score)) => {
                let Outcome::Scored { score: expected, .. } = expected[score.verdict as usize].outcome else {
                    panic!()
                };
                assert!(
                    matches!(score.outcome, neji_link::Outcome::Scored { score, .. } if score == expected),
                    "{name}"
                );
                false
            }
            // The alarm of the loud frames was kept, in what the monitor leaves of the memory.
            Heard::Event(Event::State(state)) => state.recordings > 0,
            _ => false,
        };
        let is_first = |heard: &Heard<'_>| says(heard, "started, nothing says why");
        drive_through(&mut session, &[&is_known, &is_first, &is_kept]);
        session.ask(Command::SetThreshold { threshold: Some(77 * 256) });
        drive(
            &mut session,
            |heard| matches!(heard, Heard::Event(Event::State(state)) if (state.threshold, state.levels) == (77 * 256, Levels::Set)),
        );
        session.ask(Command::Restart);
        let is_second = |heard: &Heard<'_>| says(heard, "restarted by the firmware, as asked");
        drive_through(&mut session, &[&is_restarting, &is_second, &is_score]);
    }
}

#[test]
fn a_station_without_a_model_says_so_and_refuses_what_takes_one() {
    let root = toolchain::root().unwrap();
    let mut broken = echo().as_slice().to_vec();
    let middle = broken.len() / 2;
    broken[middle] ^= 4;
    let broken = AlignedBytes::new(&broken);
    for name in Board::twins(&root).unwrap().into_iter().filter(|twin| twin.settings.live).map(|twin| twin.package) {
        let mut session = Session::new(client(built(&name), &broken, &life()), patient(), false).unwrap();
        drive(&mut session, |heard| match heard {
            Heard::Event(Event::Identity(identity)) => {
                assert!(matches!(identity.model, neji_link::ModelIdentity::Refused { .. }), "{identity:?}");
                true
            }
            _ => false,
        });
        session.ask(Command::Record);
        drive(&mut session, |heard| matches!(heard, Heard::Answer(Command::Record, Err(Reason::NoModel))));
    }
}
