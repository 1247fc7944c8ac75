//! One message of every kind, with every kind of field at an end of its range.

// Each test binary has its own copy and uses part of it.
#![allow(dead_code)]

use neji_link::*;

/// The longest identity that there may be.
pub(crate) fn longest_identity(text: &str) -> Identity<'_> {
    Identity {
        protocol: PROTOCOL_VERSION,
        board: text,
        core: text,
        firmware: text,
        clock_hz: u32::MAX,
        reset: ResetCause::Debugger,
        capabilities: u32::MAX,
        model: ModelIdentity::Running(Running {
            format_version: u16::MAX,
            crc32: u32::MAX,
            total_bytes: u32::MAX,
            name: text,
            score_unit: 0.5,
            sensor: Sensor::Sound { rate: u32::MAX, axes: 255, stride: u32::MAX, window: u32::MAX, lead: u32::MAX },
        }),
    }
}

/// Events by name.
pub(crate) fn events() -> Vec<(&'static str, Event<'static>)> {
    let identity = |model| {
        Event::Identity(Identity {
            protocol: 1,
            board: "qemu-mps2-an386",
            core: "cortex-m4",
            firmware: "0.1.0",
            clock_hz: 25_000_000,
            reset: ResetCause::PowerOn,
            capabilities: capability::MAPS | capability::RECORDINGS,
            model,
        })
    };
    let running = |sensor| {
        let crc32 = 0x1234_5678;
        let running =
            Running { format_version: 5, crc32, total_bytes: 70_000, name: "screws", score_unit: 0.015_625, sensor };
        ModelIdentity::Running(running)
    };
    let score = |outcome| {
        Event::Score(Score {
            verdict: 300,
            samples: 1 << 33,
            outcome,
            alarm: true,
            drift: Trend::Higher,
            level: 1000,
            dropped: 0,
        })
    };
    let state = |levels| {
        Event::State(State {
            threshold: 1200,
            release: 1000,
            levels,
            alarm: false,
            drift: Trend::Lower,
            verdicts: 7,
            dropped: 128,
            unsent: 1,
            broken: u32::MAX,
            maps: true,
            spectra: false,
            recordings: 2,
            recording_bytes: 65_536,
        })
    };
    vec![
        ("identity-without-model", identity(ModelIdentity::None)),
        ("identity-refused", identity(ModelIdentity::Refused { crc32: u32::MAX, total_bytes: 64, reason: "checksum" })),
        ("identity-raw", identity(running(Sensor::Raw { bytes: 784 }))),
        ("identity-image", identity(running(Sensor::Image { width: 320, height: 240, rgb: false }))),
        (
            "identity-sound",
            identity(running(Sensor::Sound { rate: 16_000, axes: 1, stride: 8192, window: 33_280, lead: 512 })),
        ),
        ("score", score(Outcome::Scored { score: 1234, smoothed: -1, class: Some(3), abnormal: true })),
        ("score-calibrating", score(Outcome::Calibrating { score: i32::MIN, left: 63 })),
        ("score-not-found", score(Outcome::PartNotFound)),
        ("score-cut", score(Outcome::PartCut)),
        ("score-unlike", score(Outcome::PartUnlike)),
        ("score-constant", score(Outcome::SensorFault(SensorFault::Constant))),
        ("score-saturated", score(Outcome::SensorFault(SensorFault::Saturated))),
        ("score-dropped", score(Outcome::SensorFault(SensorFault::Dropped))),
        ("score-not-full", score(Outcome::WindowNotFull)),
        ("state-blob", state(Levels::Blob)),
        ("state-learning", state(Levels::Learning { left: 64 })),
        ("state-learned", state(Levels::Learned { location: -5, scale: 1 << 30 })),
        ("state-set", state(Levels::Set)),
        (
            "map",
            Event::Map(Map {
                verdict: 300,
                width: 3,
                height: 2,
                offset: 0,
                full: 1 << 20,
                cells: &[0, 1, 2, 3, 254, 255],
            }),
        ),
        ("spectrum", Event::Spectrum(Spectrum { verdict: 9, total: 64, offset: 62, features: &[0, 0x80, 0xff, 0x7f] })),
        ("log", Event::Log(Log { level: LogLevel::Warning, text: "the queue was full: 3 events" })),
        (
            "recording",
            Event::Recording(Recording { id: 3, verdict: 300, cause: Cause::Alarm, begin: 1 << 33, bytes: 65_536 }),
        ),
        ("recording-asked", Event::Recording(Recording { id: 0, verdict: 0, cause: Cause::Asked, begin: 0, bytes: 1 })),
        ("recording-piece", Event::RecordingPiece(RecordingPiece { id: 300, offset: 208, bytes: &[0, 255, 0, 1] })),
        ("ack", Event::Ack { command: 65_535 }),
        ("refused-unsupported", Event::Refused { command: 0, reason: Reason::Unsupported }),
        ("refused-no-model", Event::Refused { command: 0, reason: Reason::NoModel }),
        ("refused-no-normal", Event::Refused { command: 0, reason: Reason::NoNormal }),
        ("refused-alarm-on", Event::Refused { command: 1, reason: Reason::AlarmOn }),
        ("refused-scores", Event::Refused { command: 1, reason: Reason::Scores { least: 16, most: 4096 } }),
        ("refused-no-recording", Event::Refused { command: 1, reason: Reason::NoRecording }),
        ("refused-offset", Event::Refused { command: 1, reason: Reason::Offset { bytes: 65_536 } }),
        ("refused-nothing-heard", Event::Refused { command: 1, reason: Reason::NothingHeard }),
        ("refused-calibrating", Event::Refused { command: 1, reason: Reason::Calibrating }),
    ]
}

/// Commands by name.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    vec![
        ("identify", Command::Identify),
        ("calibrate", Command::Calibrate { scores: 4096 }),
        ("uncalibrate", Command::Uncalibrate),
        ("set-threshold", Command::SetThreshold { threshold: Some(i32::MIN) }),
        ("unset-threshold", Command::SetThreshold { threshold: None }),
        ("fetch-newest", Command::FetchRecording { which: Which::Newest, offset: 0 }),
        ("fetch", Command::FetchRecording { which: Which::Id(u32::MAX), offset: u32::MAX }),
        ("reset", Command::Reset),
        ("subscribe", Command::Subscribe { maps: true, spectra: false }),
        ("record", Command::Record),
        ("list-recordings", Command::ListRecordings),
        ("restart", Command::Restart),
    ]
}
