//! What a person sees of a board: what was heard, in the form in which it is drawn.

use std::collections::VecDeque;
use std::time::Duration;

use neji_link::{
    Command, Event, Levels, Log, LogLevel, ModelIdentity, Outcome, Recording, ResetCause, Running, Score, State,
};

use crate::client::Heard;

/// Scores that are remembered.
const POINTS: usize = 4096;
/// Lines of the log that are.
const LINES: usize = 200;
/// Columns of the spectrogram that are.
const COLUMNS: usize = 512;

/// Who the board is.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// Its package.
    pub name: String,
    /// Its core.
    pub core: String,
    /// Version of its firmware.
    pub firmware: String,
    /// Its clock in Hz.
    pub clock_hz: u32,
    /// Why it started.
    pub reset: ResetCause,
    /// What it can do.
    pub capabilities: u32,
    /// Its model, or why it has none.
    pub model: Result<Model, String>,
}

/// A model that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// The blob's checksum.
    pub crc32: u32,
    /// The blob's length.
    pub total_bytes: u32,
    /// A score in the unit of evaluation.
    pub score_unit: f64,
}

/// A score in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When it was heard, since the view began.
    pub at: Duration,
    /// What the board said.
    pub score: Score,
}

/// A map of bytes, where 255 is the most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heat {
    /// Cells of a row.
    pub width: usize,
    /// All cells, rows from the top.
    pub cells: Vec<u8>,
    /// What 255 stands for.
    pub full: u32,
}

/// What was heard.
#[derive(Debug, Default)]
pub struct View {
    /// What people call the line.
    pub line: String,
    /// Whether the line is open.
    pub is_open: bool,
    /// Why it is closed, where it was open or was tried.
    pub closed: Option<String>,
    /// When the board ended for good: nothing comes behind it.
    pub ended: Option<Duration>,
    /// Who the board is.
    pub board: Option<Board>,
    /// How it is.
    pub state: Option<State>,
    /// The last scores, the oldest first.
    pub points: VecDeque<Point>,
    /// The last anomaly map.
    pub heat: Heat,
    /// The last features of sound in 1/128 dB, the oldest column first.
    pub spectra: VecDeque<Vec<i16>>,
    /// A column that is not whole yet.
    column: Vec<i16>,
    /// The last lines of the log: when, how bad, what.
    pub log: VecDeque<(Duration, LogLevel, String)>,
    /// Frames that the line has lost, and what came that was none.
    pub lost: (u32, u32),
    /// Scores that a calibration takes.
    pub calibration_scores: u16,
    /// Alarms so far.
    pub alarms: u32,
}

impl View {
    /// Nothing heard yet.
    pub fn new(line: String, calibration_scores: u16) -> Self {
        Self { line, calibration_scores, ..Self::default() }
    }

    /// Takes what is heard at a time since the beginning.
    pub fn hear(&mut self, at: Duration, heard: &Heard<'_>) {
        match heard {
            Heard::Opened => {
                self.is_open = true;
                self.closed = None;
                self.say(at, LogLevel::Info, format!("{} is open", self.line));
            }
            Heard::Closed(why) => {
                self.is_open = false;
                let text = format!("{} is closed: {why}", self.line);
                self.closed = Some(text.clone());
                self.say(at, LogLevel::Warning, text);
            }
            Heard::Restarted => self.say(at, LogLevel::Debug, "the board has started".to_owned()),
            Heard::Event(event) => self.event(at, event),
            // Nobody has asked for these by a key.
            Heard::Answer(Command::Identify | Command::Subscribe { .. } | Command::FetchRecording { .. }, Ok(())) => {}
            Heard::Answer(command, Ok(())) => self.say(at, LogLevel::Debug, format!("done: {}", self.what(*command))),
            Heard::Answer(command, Err(reason)) => {
                self.say(at, LogLevel::Warning, format!("refused to {}: {reason}", self.what(*command)));
            }
            Heard::Silence(command) => {
                self.say(at, LogLevel::Warning, format!("no answer when asked to {}", self.what(*command)));
            }
            Heard::Fetched(recording, bytes) => {
                self.say(at, LogLevel::Info, format!("recording {}: {} bytes fetched", recording.id, bytes.len()));
            }
            Heard::Unfetched(id) => {
                self.say(
                    at,
                    LogLevel::Warning,
                    format!("recording {id} can't be had: it was overwritten, or the line is bad"),
                );
            }
            Heard::Version(found) => {
                let known = neji_link::PROTOCOL_VERSION;
                let text =
                    format!("the board speaks version {found} of the protocol, this neji {known}; update the older");
                self.say(at, LogLevel::Error, text);
            }
        }
    }

    /// Adds a line to the log.
    pub fn say(&mut self, at: Duration, level: LogLevel, text: String) {
        if self.log.len() >= LINES {
            self.log.pop_front();
        }
        self.log.push_back((at, level, text));
    }

    /// A score in the unit of evaluation.
    pub fn score(&self, score: impl Into<f64>) -> f64 {
        let model = self.board.as_ref().and_then(|board| board.model.as_ref().ok());
        score.into() * model.map_or(1.0, |model| model.score_unit)
    }

    /// A score for people, in the unit of evaluation.
    pub fn number(&self, score: impl Into<f64>) -> String {
        digits(self.score(score))
    }

    /// What a command asks a board to do.
    fn what(&self, command: Command) -> String {
        match command {
            Command::Identify => "say who it is".to_owned(),
            Command::Calibrate { scores } => format!("calibrate by {scores} scores"),
            Command::Uncalibrate => "go back to the model's threshold".to_owned(),
            Command::SetThreshold { threshold: Some(threshold) } => {
                format!("put the threshold at {}", self.number(threshold))
            }
            Command::SetThreshold { threshold: None } => {
                "put the threshold where model and calibration have it".to_owned()
            }
            Command::FetchRecording { .. } => "send a recording".to_owned(),
            Command::Reset => "forget scores, alarm and drift".to_owned(),
            Command::Subscribe { .. } => "send maps and features".to_owned(),
            Command::Record => "keep what it has heard last".to_owned(),
            Command::ListRecordings => "list its recordings".to_owned(),
            Command::Restart => "start anew".to_owned(),
        }
    }

    fn event(&mut self, at: Duration, event: &Event<'_>) {
        match *event {
            Event::Identity(identity) => {
                let model = match identity.model {
                    ModelIdentity::None => Err("no model in its flash".to_owned()),
                    ModelIdentity::Refused { reason, .. } => Err(format!("its model is refused: {reason}")),
                    ModelIdentity::Running(Running { name, crc32, total_bytes, score_unit, .. }) => {
                        Ok(Model { name: name.to_owned(), crc32, total_bytes, score_unit: score_unit.into() })
                    }
                };
                let board = Board {
                    name: identity.board.to_owned(),
                    core: identity.core.to_owned(),
                    firmware: identity.firmware.to_owned(),
                    clock_hz: identity.clock_hz,
                    reset: identity.reset,
                    capabilities: identity.capabilities,
                    model,
                };
                if let Err(reason) = &board.model {
                    self.say(at, LogLevel::Error, format!("{} watches nothing: {reason}", board.name));
                }
                self.board = Some(board);
            }
            Event::State(state) => {
                if let (Some(State { levels: Levels::Learning { .. }, .. }), Levels::Learned { location, scale }) =
                    (self.state, state.levels)
                {
                    let (location, scale) = (self.number(location), self.number(scale));
                    let text = format!("calibrated: normal scores are {location}, give or take {scale}");
                    self.say(at, LogLevel::Info, text);
                }
                self.state = Some(state);
            }
            Event::Score(score) => {
                let before = self.points.back().is_some_and(|point| point.score.alarm);
                if score.alarm != before {
                    self.alarms += u32::from(score.alarm);
                    let (level, text) = match score.alarm {
                        true => (LogLevel::Warning, format!("ALARM at verdict {}", score.verdict)),
                        false => (LogLevel::Info, format!("the alarm is over at verdict {}", score.verdict)),
                    };
                    self.say(at, level, text);
                }
                if self.points.len() >= POINTS {
                    self.points.pop_front();
                }
                self.points.push_back(Point { at, score });
                if let Some(state) = &mut self.state {
                    (state.alarm, state.drift, state.dropped) = (score.alarm, score.drift, score.dropped);
                    state.verdicts = score.verdict.wrapping_add(1);
                    if let (Levels::Learning { left }, Outcome::Calibrating { left: now, .. }) =
                        (&mut state.levels, score.outcome)
                    {
                        *left = now;
                    }
                }
            }
            Event::Map(map) => {
                let (width, offset) = (usize::from(map.width), usize::from(map.offset));
                let cells = width * usize::from(map.height);
                if offset == 0 {
                    self.heat = Heat { width, cells: vec![0; cells], full: map.full };
                }
                if let Some(place) = self.heat.cells.get_mut(offset..offset + map.cells.len()) {
                    place.copy_from_slice(map.cells);
                }
            }
            Event::Spectrum(piece) => {
                if piece.offset == 0 {
                    self.column.clear();
                }
                if self.column.len() == usize::from(piece.offset) {
                    self.column.extend(piece.features.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes)));
                }
                if self.column.len() == usize::from(piece.total) {
                    if self.spectra.len() >= COLUMNS {
                        self.spectra.pop_front();
                    }
                    self.spectra.push_back(std::mem::take(&mut self.column));
                }
            }
            Event::Log(Log { level, text }) => self.say(at, level, text.to_owned()),
            Event::Recording(Recording { id, bytes, verdict, .. }) => {
                self.say(
                    at,
                    LogLevel::Debug,
                    format!("the board keeps recording {id}: {bytes} bytes up to verdict {verdict}"),
                );
            }
            Event::RecordingPiece(_) | Event::Ack { .. } | Event::Refused { .. } => {}
        }
    }
}

/// A frame's score and what is compared with the level, where there are.
pub fn values(outcome: Outcome) -> Option<(i32, i32)> {
    match outcome {
        Outcome::Scored { score, smoothed, .. } => Some((score, smoothed)),
        Outcome::Calibrating { score, .. } => Some((score, score)),
        _ => None,
    }
}

/// A number with as many digits as tell it from its neighbours on a screen.
pub fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        0.0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// A word for an outcome.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Scored { abnormal: true, .. } => "abnormal",
        Outcome::Scored { .. } => "normal",
        Outcome::Calibrating { .. } => "calibrating",
        Outcome::PartNotFound => "part not found",
        Outcome::PartCut => "part cut off",
        Outcome::PartUnlike => "part unlike the template",
        Outcome::SensorFault(neji_link::SensorFault::Constant) => "sensor: constant",
        Outcome::SensorFault(neji_link::SensorFault::Saturated) => "sensor: saturated",
        Outcome::SensorFault(neji_link::SensorFault::Dropped) => "sensor: samples lost",
        Outcome::WindowNotFull => "window not full",
    }
}
