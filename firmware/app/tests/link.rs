//! A station between a sensor and a PC, each of which says whatever it likes in any pieces.
//!
//! The model hands on two numbers, and the score is 256 times the second less the first: so a frame says its own score.

mod echo;

use std::cell::RefCell;
use std::collections::VecDeque;

use neji_app::link::{About, Either, LinkStation, Memory, QUEUE_BYTES_MIN, Refusal, Wire};
use neji_app::{Monitor, Outcome};
use neji_engine::Portable;
use neji_format::{
    AlignedBytes, Classifier, ClassifierScore, Decision, Detector, Drift, FrontEnd, ImageFrontEnd, Model, Multiplier,
    Normal, Photometric, PixelFormat, Pooling, Reconstruction, Rect, Shape, Size, Weights,
};
use neji_link::{
    COMMAND_FRAME_BYTES_MAX, Cause, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX, Levels, LogLevel, Reason,
    Recording, ResetCause, Score, Sensor, State, Which, capability,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DECISION: Decision = Decision {
    threshold: 18 * 256,
    release: 14 * 256,
    normal: Some(Normal { location: 10 * 256, scale: 2 * 256 }),
    drift: Some(Drift { slack: 128, clip: 1024, limit: 2560 }),
    ..Decision::EACH
};

const ABOUT: About<'static> = About {
    board: "a board",
    core: "cortex-m4",
    firmware: "0.1.0",
    clock_hz: 64_000_000,
    reset: ResetCause::Pin,
    restarts: true,
};

fn blob(front_end: FrontEnd, detector: Detector, shape: Shape) -> AlignedBytes {
    echo::blob(front_end, detector, DECISION, shape, Vec::new())
}

fn echo() -> AlignedBytes {
    let margin = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    blob(FrontEnd::Raw, margin, Shape::new(1, 1, 2))
}

/// A model of 8 by 6 pixels that gives back what it is given; its zero points see to a map all the same.
fn mirror() -> AlignedBytes {
    let size = Size { width: 8, height: 6 };
    let front_end = FrontEnd::Image(ImageFrontEnd {
        sensor: size,
        pixel_format: PixelFormat::Grey8,
        crop: Rect { x: 0, y: 0, width: 8, height: 6 },
        resize: size,
        range_min: 5,
        saturated_max: 1000,
        photometric: Photometric::None,
        alignment: None,
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    });
    let residual = Reconstruction {
        output_to_residual: Multiplier { multiplier: 1 << 30, shift: 4 },
        weights: Weights::One,
        pooling: Pooling { smooth_radius: 0, top_k: 1 },
    };
    blob(front_end, Detector::Reconstruction(residual), Shape::new(6, 8, 1))
}

/// Frames of these scores, in steps of the output.
fn frames(scores: &[i8]) -> Vec<u8> {
    scores.iter().flat_map(|&score| [0, score.cast_unsigned()]).collect()
}

type Station<'s, 'a> = LinkStation<'s, 'a, Portable>;

/// Lends a station of the model in `blob`, with so much memory to send and for recordings.
fn with<T>(blob: &AlignedBytes, queue: usize, recordings: usize, act: impl FnOnce(&mut Station<'_, '_>) -> T) -> T {
    let model = Model::parse(blob.as_slice()).unwrap();
    let mut memory = vec![0x5a; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::new(model, &mut memory).unwrap();
    let (mut queue, mut recordings) = (vec![0x5a; queue], vec![0x5a; recordings]);
    let memory = Memory { queue: &mut queue, recordings: &mut recordings, slots: 3 };
    act(&mut LinkStation::new(ABOUT, &mut monitor, memory))
}

/// What a PC hears, with everything that it borrows copied.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Identity { capabilities: u32, text: String },
    Score(Score),
    State(State),
    Map { size: (u16, u16), offset: u16, cells: Vec<u8> },
    Log(LogLevel, String),
    Recording(Recording),
    Piece { id: u32, offset: u32, bytes: Vec<u8> },
    Ack(u16),
    Refused(u16, Reason),
}

impl Heard {
    fn of(event: &Event<'_>) -> Self {
        match *event {
            Event::Identity(identity) => {
                Self::Identity { capabilities: identity.capabilities, text: format!("{identity:?}") }
            }
            Event::Score(score) => Self::Score(score),
            Event::State(state) => Self::State(state),
            Event::Map(map) => {
                Self::Map { size: (map.width, map.height), offset: map.offset, cells: map.cells.to_vec() }
            }
            Event::Log(log) => Self::Log(log.level, log.text.to_owned()),
            Event::Recording(recording) => Self::Recording(recording),
            Event::RecordingPiece(piece) => {
                Self::Piece { id: piece.id, offset: piece.offset, bytes: piece.bytes.to_vec() }
            }
            Event::Ack { command } => Self::Ack(command),
            Event::Refused { command, reason } => Self::Refused(command, reason),
            Event::Spectrum(_) => unreachable!("no sound here"),
        }
    }
}

/// The PC's end of the line.
struct Pc {
    encoder: Encoder,
    decoder: Decoder<FRAME_BYTES_MAX>,
}

impl Pc {
    fn new() -> Self {
        Self { encoder: Encoder::new(), decoder: Decoder::new() }
    }

    fn frame(&mut self, command: Command) -> Vec<u8> {
        self.encoder.encode(&command, &mut [0; COMMAND_FRAME_BYTES_MAX]).unwrap().to_vec()
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for &byte in bytes {
            heard.extend(self.decoder.push::<Event>(byte).map(|event| Heard::of(&event.unwrap().message)));
        }
        heard
    }

    /// Hears all that waits.
    fn listen(&mut self, station: &mut Station<'_, '_>) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 7];
            let count = station.transmit(&mut bytes);
            heard.extend(self.hear(&bytes[..count]));
            if count == 0 {
                return heard;
            }
        }
    }

    /// Says a command and hears what comes of it.
    fn ask(&mut self, station: &mut Station<'_, '_>, command: Command) -> Vec<Heard> {
        station.receive(&self.frame(command));
        self.listen(station)
    }
}

fn scores(heard: &[Heard]) -> Vec<Score> {
    heard.iter().filter_map(|heard| if let Heard::Score(score) = heard { Some(*score) } else { None }).collect()
}

fn states(heard: &[Heard]) -> Vec<State> {
    heard.iter().filter_map(|heard| if let Heard::State(state) = heard { Some(*state) } else { None }).collect()
}

fn watch(station: &mut Station<'_, '_>, scores: &[i8]) {
    let frames = frames(scores);
    let mut rest = frames.as_slice();
    while station.push(&mut rest).is_some() {}
}

#[test]
fn a_board_says_who_it_is_and_whenever_it_is_asked() {
    with(&echo(), 1024, 64, |station| {
        let mut pc = Pc::new();
        let heard = pc.listen(station);
        let [Heard::Identity { capabilities, text }, Heard::State(state)] = heard.as_slice() else {
            panic!("{heard:?}")
        };
        assert_eq!(*capabilities, capability::RECORDINGS | capability::CALIBRATE | capability::RESTART);
        for part in ["a board", "cortex-m4", "64000000", "Pin", "echo", "Raw { bytes: 2 }"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((state.threshold, state.release, state.levels), (18 * 256, 14 * 256, Levels::Blob));
        assert_eq!((state.recording_bytes, state.recordings, state.verdicts), (20, 0, 0));
        let again = pc.ask(station, Command::Identify);
        assert_eq!(again, [vec![Heard::Ack(0)], heard].concat());
        assert_eq!(pc.decoder.lost(), 0);
    });
}

#[test]
fn scores_are_the_monitors() {
    with(&echo(), 1024, 0, |station| {
        let mut pc = Pc::new();
        pc.listen(station);
        watch(station, &[10, 11, 30, 15, 13]);
        let heard = pc.listen(station);
        let found: Vec<_> = scores(&heard).iter().map(|s| (s.verdict, s.samples, s.alarm, s.level)).collect();
        let (high, low) = (18 * 256, 14 * 256);
        let wanted =
            [(0, 2, false, high), (1, 4, false, high), (2, 6, true, low), (3, 8, true, low), (4, 10, false, high)];
        assert_eq!(found, wanted);
        // The alarm's changes are states as well.
        assert_eq!(
            states(&heard).iter().map(|state| (state.verdicts, state.alarm)).collect::<Vec<_>>(),
            [(3, true), (5, false)]
        );
        station.gap(7);
        let heard = pc.listen(station);
        let fault = neji_link::Outcome::SensorFault(neji_link::SensorFault::Dropped);
        assert!(scores(&heard).iter().all(|score| (score.outcome, score.dropped) == (fault, 7)));
        assert_eq!(states(&heard)[0].dropped, 7);
        assert!(!station.alarm());
    });
}

#[test]
fn commands_do_what_the_monitor_does() {
    with(&echo(), 4096, 0, |station| {
        let mut pc = Pc::new();
        pc.listen(station);
        let refused = |heard: Vec<Heard>| {
            let [Heard::Refused(_, reason)] = heard.as_slice() else { panic!("{heard:?}") };
            *reason
        };
        assert_eq!(
            refused(pc.ask(station, Command::Calibrate { scores: 3 })),
            Reason::Scores { least: 16, most: 4096 }
        );
        watch(station, &[50]);
        pc.listen(station);
        assert_eq!(refused(pc.ask(station, Command::Calibrate { scores: 16 })), Reason::AlarmOn);
        let heard = pc.ask(station, Command::Reset);
        assert!(matches!(heard[..], [Heard::Ack(2), Heard::State(State { alarm: false, .. })]), "{heard:?}");
        assert!(!station.alarm());

        pc.ask(station, Command::Calibrate { scores: 16 });
        assert_eq!(refused(pc.ask(station, Command::SetThreshold { threshold: Some(1) })), Reason::Calibrating);
        watch(station, &[36, 44].repeat(8));
        let heard = pc.listen(station);
        assert!(scores(&heard).iter().all(|score| matches!(score.outcome, neji_link::Outcome::Calibrating { .. })));
        // 40 give or take 4, four deviations above.
        let learned = Levels::Learned { location: 40 * 256, scale: 4 * 256 };
        assert_eq!(
            states(&heard).iter().map(|state| (state.levels, state.threshold)).collect::<Vec<_>>(),
            [(learned, 56 * 256)]
        );

        // The release level stays as far below, and a reset changes neither.
        pc.ask(station, Command::SetThreshold { threshold: Some(70 * 256) });
        let state = states(&pc.ask(station, Command::Reset))[0];
        assert_eq!((state.threshold, state.release, state.levels), (70 * 256, 62 * 256, Levels::Set));
        watch(station, &[69]);
        assert!(!station.alarm());
        let state = states(&pc.ask(station, Command::SetThreshold { threshold: None }))[0];
        assert_eq!((state.threshold, state.levels), (56 * 256, learned));
        let state = states(&pc.ask(station, Command::Uncalibrate))[0];
        assert_eq!((state.threshold, state.levels), (18 * 256, Levels::Blob));
        assert_eq!(refused(pc.ask(station, Command::Record)), Reason::NothingHeard);
        assert_eq!(pc.decoder.lost(), 0);
    });
}

/// Fetches as a PC does; `None` where it is refused.
fn fetch(pc: &mut Pc, station: &mut Station<'_, '_>, which: Which, offset: u32) -> Option<(Recording, Vec<u8>)> {
    let heard = pc.ask(station, Command::FetchRecording { which, offset });
    let [Heard::Ack(_), Heard::Recording(recording), pieces @ ..] = heard.as_slice() else { return None };
    let mut bytes = Vec::new();
    for piece in pieces {
        let Heard::Piece { id, offset: at, bytes: piece } = piece else { panic!("{piece:?}") };
        assert_eq!((*id, *at as usize), (recording.id, offset as usize + bytes.len()));
        bytes.extend_from_slice(piece);
    }
    assert_eq!(offset as usize + bytes.len(), recording.bytes as usize);
    Some((*recording, bytes))
}

#[test]
fn what_raised_an_alarm_can_be_fetched_and_gives_its_scores_again() {
    let blob = echo();
    let recordings = with(&blob, 4096, 3 * 600, |station| {
        let mut pc = Pc::new();
        pc.listen(station);
        assert_eq!(fetch(&mut pc, station, Which::Newest, 0), None);
        let (mut found, mut all) = (Vec::new(), Vec::new());
        for round in 0..4_i8 {
            let quiet: Vec<i8> = (0..200_u8).map(|i| 8 + (i % 5).cast_signed() + round).collect();
            let story = [&quiet[..], &[40 + round, 5]].concat();
            for chunk in story.chunks(7) {
                watch(station, chunk);
                let heard = pc.listen(station);
                all.extend(scores(&heard));
                for heard in heard {
                    let Heard::Recording(recording) = heard else { continue };
                    assert_eq!(recording.cause, Cause::Alarm);
                    let (same, bytes) = fetch(&mut pc, station, Which::Newest, 0).unwrap();
                    assert_eq!(same, recording);
                    // The same from the middle, by name.
                    let rest = fetch(&mut pc, station, Which::Id(recording.id), 333).unwrap().1;
                    assert_eq!(rest, bytes[333..]);
                    found.push((recording, bytes));
                }
            }
        }
        // Two of three slots are kept.
        let listed = pc.ask(station, Command::ListRecordings);
        let ids: Vec<u32> =
            listed.iter().filter_map(|heard| if let Heard::Recording(r) = heard { Some(r.id) } else { None }).collect();
        assert_eq!(ids, [2, 3]);
        assert_eq!(fetch(&mut pc, station, Which::Id(1), 0), None);
        let asked = pc.ask(station, Command::FetchRecording { which: Which::Newest, offset: 601 });
        assert!(matches!(asked[..], [Heard::Refused(_, Reason::Offset { .. })]), "{asked:?}");
        let asked = pc.ask(station, Command::Record);
        assert!(matches!(asked[..], [Heard::Ack(_), Heard::Recording(Recording { cause: Cause::Asked, id: 4, .. })]));
        (found, all)
    });
    let (found, all) = recordings;
    assert_eq!(found.len(), 4);
    for (recording, bytes) in found {
        let model = Model::parse(blob.as_slice()).unwrap();
        let mut memory = vec![0; Monitor::<Portable>::memory_bytes(&model)];
        let mut monitor = Monitor::<Portable>::new(model, &mut memory).unwrap();
        let (mut rest, mut count) = (bytes.as_slice(), 0);
        while let Some(verdict) = monitor.push(&mut rest) {
            count += 1;
            let end = recording.begin + bytes.len() as u64 - rest.len() as u64;
            let told = all.iter().find(|score| score.samples == end).expect("a score of this frame");
            let (Outcome::Scored { score, .. }, neji_link::Outcome::Scored { score: wanted, .. }) =
                (verdict.outcome, told.outcome)
            else {
                panic!("{verdict:?} {told:?}")
            };
            assert_eq!((score, verdict.alarm), (wanted, told.alarm));
        }
        assert!(count > 100 && monitor.alarm());
        assert_eq!(all.iter().find(|score| score.verdict == recording.verdict).map(|score| score.alarm), Some(true));
    }
}

#[test]
fn a_slow_line_loses_events_and_says_how_many() {
    with(&echo(), QUEUE_BYTES_MIN, 0, |station| {
        let mut pc = Pc::new();
        pc.listen(station);
        watch(station, &[9; 100]);
        let heard = scores(&pc.listen(station)).len();
        assert!((5..50).contains(&heard), "{heard}");
        watch(station, &[9]);
        let heard_then = pc.listen(station);
        assert_eq!((scores(&heard_then).len(), states(&heard_then)[0].unsent as usize), (1, 100 - heard));
        // What was never sent leaves no gap in the numbers.
        assert_eq!((pc.decoder.lost(), pc.decoder.broken()), (0, 0));
    });
    // Without any memory for it nothing is sent, and the monitor watches all the same.
    with(&echo(), 0, 0, |station| {
        watch(station, &[9, 9, 50]);
        assert!(station.alarm() && station.transmit(&mut [0; 100]) == 0);
    });
}

#[test]
fn maps_come_where_they_are_asked_for() {
    let size = (8, 6);
    for queue in [4096, QUEUE_BYTES_MIN, 60] {
        with(&mirror(), queue, 0, |station| {
            let mut pc = Pc::new();
            pc.listen(station);
            let picture: Vec<u8> = (0..48).collect();
            station.push(&mut picture.as_slice()).expect("a verdict");
            let maps = |heard: Vec<Heard>| {
                heard.into_iter().filter(|heard| matches!(heard, Heard::Map { .. })).collect::<Vec<_>>()
            };
            assert!(maps(pc.listen(station)).is_empty());
            pc.ask(station, Command::Subscribe { maps: true, spectra: true });
            station.push(&mut picture.as_slice()).expect("a verdict");
            let (map, _) = station.monitor().unwrap().map().unwrap();
            let most = u64::from(*map.iter().max().unwrap());
            let cells: Vec<u8> = map.iter().map(|&cell| (u64::from(cell) * 255 / most) as u8).collect();
            let found = maps(pc.listen(station));
            // The smallest queue has no room for a map beside the score.
            let wanted = if queue == 60 { vec![] } else { vec![Heard::Map { size, offset: 0, cells }] };
            assert_eq!(found, wanted, "{queue}");
        });
    }
    let model = mirror();
    with(&model, 1024, 0, |station| {
        let heard = Pc::new().listen(station);
        assert!(matches!(heard[0], Heard::Identity { capabilities, .. } if capabilities & capability::MAPS > 0));
        let Heard::Identity { text, .. } = &heard[0] else { panic!() };
        assert!(text.contains(&format!("{:?}", Sensor::Image { width: 8, height: 6, rgb: false })));
    });
}

#[test]
fn a_restart_waits_until_it_is_acknowledged() {
    with(&echo(), 1024, 0, |station| {
        let mut pc = Pc::new();
        pc.listen(station);
        station.receive(&pc.frame(Command::Restart));
        assert!(!station.is_restart_due());
        let heard = pc.listen(station);
        assert!(matches!(heard[0], Heard::Ack(0)) && station.is_restart_due());
    });
}

#[test]
fn without_a_model_it_says_why() {
    let region = [0x12; 64];
    for (refusal, text) in [
        (Refusal::of(&region, "no good"), "Refused { crc32: 303174162, total_bytes: 303174162, reason: \"no good\" }"),
        (Refusal::of(&[0xff; 64], "no good"), "model: None"),
    ] {
        let (mut queue, mut recordings) = (vec![0; 1024], vec![0; 64]);
        let memory = Memory { queue: &mut queue, recordings: &mut recordings, slots: 3 };
        let mut station = LinkStation::<Portable>::without_model(About { restarts: false, ..ABOUT }, refusal, memory);
        let mut pc = Pc::new();
        let heard = pc.listen(&mut station);
        let Heard::Identity { capabilities: 0, text: found } = &heard[0] else { panic!("{heard:?}") };
        assert!(found.contains(text), "{found}");
        let mut samples = &[1, 2, 3][..];
        assert_eq!((station.push(&mut samples), station.gap(3), station.end_of_frame()), (None, None, None));
        assert!(samples.is_empty());
        for command in [Command::Calibrate { scores: 16 }, Command::Reset, Command::Record, Command::Uncalibrate] {
            let heard = pc.ask(&mut station, command);
            assert!(matches!(heard[..], [Heard::Refused(_, Reason::NoModel)]), "{heard:?}");
        }
        let heard = pc.ask(&mut station, Command::Restart);
        assert!(matches!(heard[..], [Heard::Refused(_, Reason::Unsupported)]), "{heard:?}");
        station.log(LogLevel::Warning, format_args!("{} volts", 3));
        assert_eq!(pc.listen(&mut station), [Heard::Log(LogLevel::Warning, "3 volts".to_owned())]);
    }
}

/// A port whose line is slow: it takes a few bytes at a time, and breaks where it is told to.
#[derive(Default)]
struct Port {
    from_pc: VecDeque<u8>,
    to_pc: Vec<u8>,
    breaks_after: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

impl embedded_io::Error for Broken {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::BrokenPipe
    }
}

impl embedded_io::ErrorType for Port {
    type Error = Broken;
}

impl embedded_io::ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Broken> {
        Ok(!self.from_pc.is_empty())
    }
}

impl embedded_io::Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let count = buffer.len().min(self.from_pc.len()).min(3);
        buffer[..count].iter_mut().zip(self.from_pc.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        if self.to_pc.len() >= self.breaks_after {
            return Err(Broken);
        }
        let count = bytes.len().min(5);
        self.to_pc.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

#[test]
fn a_queue_full_of_scores_has_room_for_an_answer() {
    // However much is left behind the last score that fits.
    for queue in QUEUE_BYTES_MIN..QUEUE_BYTES_MIN + 40 {
        with(&echo(), queue, 0, |station| {
            watch(station, &[9; 100]);
            let mut pc = Pc::new();
            let heard = pc.ask(station, Command::SetThreshold { threshold: Some(7) });
            assert!(scores(&heard).len() > 3);
            assert_eq!(heard.iter().filter(|heard| **heard == Heard::Ack(0)).count(), 1, "{heard:?}");
        });
    }
}

/// A line with room for a few bytes at a time.
#[derive(Default)]
struct Desk {
    says: VecDeque<u8>,
    heard: Vec<u8>,
    room: usize,
}

/// Its board's end.
struct End<'d>(&'d RefCell<Desk>);

impl Wire for End<'_> {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        let says = &mut self.0.borrow_mut().says;
        let count = says.len().min(buffer.len());
        buffer.iter_mut().zip(says.drain(..count)).for_each(|(to, from)| *to = from);
        count
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        let mut desk = self.0.borrow_mut();
        let count = bytes.len().min(desk.room);
        desk.room -= count;
        desk.heard.extend_from_slice(&bytes[..count]);
        count
    }
}

#[test]
fn of_two_lines_the_last_command_chooses_and_noise_does_not() {
    with(&echo(), 2048, 0, |station| {
        let (probe, serial) = (RefCell::new(Desk::default()), RefCell::new(Desk::default()));
        let mut wire = Either::new(End(&probe), End(&serial));
        // What it says by itself goes over the first, as far as there is room.
        probe.borrow_mut().room = 7;
        assert_eq!(station.exchange(&mut wire, 100), 7);
        (probe.borrow_mut().room, serial.borrow_mut().room) = (4096, 4096);
        serial.borrow_mut().says.extend([0x55, 0, 0xff, 0, 3, 1]);
        while station.exchange(&mut wire, 9) > 0 {}
        let mut pc = Pc::new();
        assert!(matches!(pc.hear(&probe.take().heard)[..], [Heard::Identity { .. }, Heard::State(_)]));
        serial.borrow_mut().says.extend([vec![0], pc.frame(Command::Identify)].concat());
        while station.exchange(&mut wire, 9) > 0 {}
        let heard = pc.hear(&serial.borrow().heard);
        assert!(matches!(heard[..], [Heard::Ack(0), Heard::Identity { .. }, Heard::State(_)]), "{heard:?}");
        assert_eq!(probe.borrow().heard, []);
        // And back.
        (probe.borrow_mut().room, serial.borrow_mut().heard) = (4096, Vec::new());
        probe.borrow_mut().says.extend(pc.frame(Command::Identify));
        while station.exchange(&mut wire, 9) > 0 {}
        assert!(serial.borrow().heard.is_empty() && !probe.borrow().heard.is_empty());
    });
}

#[test]
fn a_port_is_served_in_pieces_and_may_break() {
    with(&echo(), 1024, 0, |station| {
        let mut pc = Pc::new();
        let mut port = Port { breaks_after: usize::MAX, ..Port::default() };
        while station.serve(&mut port, 12).unwrap() > 0 {}
        port.from_pc.extend(pc.frame(Command::Identify));
        assert_eq!(station.serve(&mut port, 12), Ok(12));
        port.breaks_after = port.to_pc.len() + 20;
        let mut sent = 0;
        let error = loop {
            match station.serve(&mut port, 9) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert!(error == Broken && sent >= 18);
        // Plugged in again, not a byte is missing.
        port.breaks_after = usize::MAX;
        while station.serve(&mut port, 12).unwrap() > 0 {}
        let events = port.to_pc.iter().filter_map(|&byte| pc.decoder.push::<Event>(byte).map(|event| event.is_ok()));
        assert_eq!(events.collect::<Vec<_>>(), [true; 5]);
    });
}

proptest! {
    /// Whatever comes over the line, and whatever the sensor says: no panic, and the next command is understood.
    #[test]
    fn any_line_and_any_sensor(
        steps in vec((0..5_u8, vec(any::<u8>(), 0..60), any::<u16>()), 0..60),
        queue in 0..900_usize,
        recordings in 0..300_usize,
    ) {
        with(&echo(), queue, recordings, |station| {
            let mut pc = Pc::new();
            for (kind, bytes, number) in &steps {
                match kind {
                    0 => _ = station.receive(bytes),
                    1 => {
                        let mut rest = bytes.as_slice();
                        while station.push(&mut rest).is_some() {}
                    }
                    2 => drop((station.gap((*number).into()), station.end_of_frame())),
                    3 => drop(station.transmit(&mut vec![0; bytes.len()])),
                    _ => {
                        let threshold = Some(i32::from(*number) << 16);
                        let command = match number % 9 {
                            0 => Command::Calibrate { scores: number % 64 },
                            1 => Command::Uncalibrate,
                            2 => Command::SetThreshold { threshold },
                            3 => Command::FetchRecording { which: Which::Newest, offset: (number % 80).into() },
                            4 => Command::FetchRecording { which: Which::Id((number % 8).into()), offset: 0 },
                            5 => Command::Reset,
                            6 => Command::Record,
                            7 => Command::ListRecordings,
                            _ => Command::Subscribe { maps: true, spectra: true },
                        };
                        station.receive(&pc.frame(command));
                    }
                }
            }
            while station.transmit(&mut [0; 64]) > 0 {}
            station.receive(&[0]);
            station.receive(&pc.frame(Command::SetThreshold { threshold: Some(77) }));
            let answered = pc.listen(station);
            if queue >= QUEUE_BYTES_MIN {
                prop_assert!(matches!(answered[0], Heard::Ack(_) | Heard::Refused(_, Reason::Calibrating)), "{answered:?}");
            }
            Ok(())
        })?;
    }

    /// How commands and samples are cut makes no difference.
    #[test]
    fn pieces_make_no_difference(cuts in vec(1..9_usize, 1..40)) {
        let blob = echo();
        let story = frames(&[[9; 20], [50; 20], [10; 20]].concat());
        let heard = |cuts: &[usize]| with(&blob, 8192, 300, |station| {
            let mut pc = Pc::new();
            let mut heard = pc.listen(station);
            let command = pc.frame(Command::SetThreshold { threshold: Some(5000) });
            let mut cuts = cuts.iter().cycle();
            let mut rest = command.as_slice();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                station.receive(piece);
                rest = later;
            }
            let mut rest = story.as_slice();
            while !rest.is_empty() {
                let (mut piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                while station.push(&mut piece).is_some() {}
                rest = later;
            }
            heard.extend(pc.listen(station));
            heard
        });
        prop_assert_eq!(heard(&cuts), heard(&[1000]));
    }
}
