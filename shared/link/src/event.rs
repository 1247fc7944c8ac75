//! What the board says.

use serde::{Deserialize, Serialize};

/// Longest text of a field in bytes, whatever it says; longer ones are cut with [`crate::cut`]. An [`Identity`] with four of them
/// fits a frame.
pub const TEXT_BYTES_MAX: usize = 40;
/// Longest reason of [`ModelIdentity::Refused`] in bytes.
pub const REASON_BYTES_MAX: usize = 96;
/// Most bytes of a piece of a map, a spectrum or a recording, and of a log's text.
pub const PIECE_BYTES_MAX: usize = 208;

/// One message of the board.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// What runs here. The first message after a start, and the answer to [`crate::Command::Identify`].
    #[serde(borrow)]
    Identity(Identity<'a>),
    /// What the monitor says of a frame or window.
    Score(Score),
    /// How the monitor is: after [`Event::Identity`], and whenever levels, alarm or counters of what was lost change.
    State(State),
    /// A piece of the anomaly map of a score, its own behind it.
    #[serde(borrow)]
    Map(Map<'a>),
    /// A piece of the features of sound behind a score.
    #[serde(borrow)]
    Spectrum(Spectrum<'a>),
    /// A line for people.
    #[serde(borrow)]
    Log(Log<'a>),
    /// A recording: it has just been kept, or was asked for.
    Recording(Recording),
    /// Bytes of a recording.
    #[serde(borrow)]
    RecordingPiece(RecordingPiece<'a>),
    /// The command was done, or is under way.
    Ack {
        /// Number of the command's frame.
        command: u16,
    },
    /// The command was not done, and nothing has changed.
    Refused {
        /// Number of the command's frame.
        command: u16,
        /// Why.
        reason: Reason,
    },
}

/// Who the board is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Identity<'a> {
    /// [`crate::PROTOCOL_VERSION`] of the firmware.
    pub protocol: u8,
    /// Name of the board's package, such as `qemu-mps2-an386`.
    pub board: &'a str,
    /// The core, such as `cortex-m4`.
    pub core: &'a str,
    /// Version of the firmware.
    pub firmware: &'a str,
    /// The core's clock in Hz; 0 where it is not known.
    pub clock_hz: u32,
    /// Why the firmware started last.
    pub reset: ResetCause,
    /// What it can do: bits of [`capability`].
    pub capabilities: u32,
    /// What it watches with.
    #[serde(borrow)]
    pub model: ModelIdentity<'a>,
}

/// Bits of [`Identity::capabilities`].
pub mod capability {
    /// Anomaly maps can be subscribed to.
    pub const MAPS: u32 = 1 << 0;
    /// Features of sound can be subscribed to.
    pub const SPECTRA: u32 = 1 << 1;
    /// It keeps recordings.
    pub const RECORDINGS: u32 = 1 << 2;
    /// It can be calibrated.
    pub const CALIBRATE: u32 = 1 << 3;
    /// [`crate::Command::Restart`] is done.
    pub const RESTART: u32 = 1 << 4;
}

/// Why a firmware started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetCause {
    /// The board does not know.
    Unknown,
    /// Power came.
    PowerOn,
    /// The reset pin.
    Pin,
    /// The supply was too low.
    BrownOut,
    /// A watchdog.
    Watchdog,
    /// The firmware itself, as asked for.
    Software,
    /// The core was locked up.
    Lockup,
    /// A debugger.
    Debugger,
}

/// The blob in the board's flash.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ModelIdentity<'a> {
    /// There is none: its region is empty.
    None,
    /// It is refused, and nothing is watched.
    Refused {
        /// The checksum in its header.
        crc32: u32,
        /// The length in its header.
        total_bytes: u32,
        /// For people; at most [`REASON_BYTES_MAX`] bytes.
        reason: &'a str,
    },
    /// It runs.
    #[serde(borrow)]
    Running(Running<'a>),
}

/// A blob that runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Running<'a> {
    /// Version of its format.
    pub format_version: u16,
    /// Checksum over the blob, `crc32` of its header: with `total_bytes` this tells which file runs.
    pub crc32: u32,
    /// Its length.
    pub total_bytes: u32,
    /// Its name, [`TEXT_BYTES_MAX`] bytes of it.
    pub name: &'a str,
    /// What a score is multiplied by to have the unit of evaluation.
    pub score_unit: f32,
    /// What the sensor gives.
    pub sensor: Sensor,
}

/// What the samples are that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sensor {
    /// The model's inputs themselves, int8 or little-endian int16.
    Raw {
        /// Bytes of one.
        bytes: u32,
    },
    /// Images, row by row.
    Image {
        /// Pixels of a row.
        width: u16,
        /// Rows.
        height: u16,
        /// Three bytes a pixel, or one.
        rgb: bool,
    },
    /// Little-endian 16-bit samples, of all axes in turn.
    Sound {
        /// Samples a second and axis.
        rate: u32,
        /// Axes.
        axes: u8,
        /// Samples of an axis from one window's end to the next one's.
        stride: u32,
        /// Samples of an axis in a window.
        window: u32,
        /// Samples of an axis before a window that what is heard in it depends on; before the first window they count as zeros.
        lead: u32,
    },
}

/// A verdict of the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Counts verdicts from 0 since the start.
    pub verdict: u32,
    /// Bytes of samples that were taken since the start, up to the end of this frame or window. After a gap, and after what drops
    /// what was begun, the first behind is the next.
    pub samples: u64,
    /// What the frame turned out to be.
    pub outcome: Outcome,
    /// Whether the alarm is on.
    pub alarm: bool,
    /// Where scores have drifted to.
    pub drift: Trend,
    /// The level that a smoothed score is abnormal above; while the alarm is on, the one that it must come down to.
    pub level: i32,
    /// Samples, of all axes, that were lost before the monitor saw them, since the start.
    pub dropped: u32,
}

/// What a frame or window turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The model was run.
    Scored {
        /// This frame's score.
        score: i32,
        /// What is compared with the level.
        smoothed: i32,
        /// The class of a classifier.
        class: Option<u16>,
        /// The smoothed score counts as abnormal.
        abnormal: bool,
    },
    /// The model was run, and its score is learned from.
    Calibrating {
        /// This frame's score.
        score: i32,
        /// Scores to come.
        left: u16,
    },
    /// No part of the expected size.
    PartNotFound,
    /// The part lies partly outside of the picture.
    PartCut,
    /// What was found does not look like the part.
    PartUnlike,
    /// The sensor is at fault.
    SensorFault(SensorFault),
    /// A model that streams has not seen a whole window yet.
    WindowNotFull,
}

/// What is wrong with a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorFault {
    /// It says the same all the time.
    Constant,
    /// Too much lies at the end of its scale.
    Saturated,
    /// Samples are missing.
    Dropped,
}

/// Where scores have drifted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trend {
    /// Nowhere, or nothing watches.
    #[default]
    Steady,
    /// Above normal.
    Higher,
    /// Below normal.
    Lower,
}

/// How the monitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The level that a smoothed score is abnormal above.
    pub threshold: i32,
    /// The level that it must come down to, to end an alarm.
    pub release: i32,
    /// Where they come from.
    pub levels: Levels,
    /// Whether the alarm is on.
    pub alarm: bool,
    /// Where scores have drifted to.
    pub drift: Trend,
    /// Verdicts since the start.
    pub verdicts: u32,
    /// Samples lost before the monitor saw them, since the start.
    pub dropped: u32,
    /// Events that found no room to wait in and were never sent, since the start.
    pub unsent: u32,
    /// What came from the PC and was no command, since the start.
    pub broken: u32,
    /// Maps are subscribed to.
    pub maps: bool,
    /// Features of sound are.
    pub spectra: bool,
    /// Recordings that can be fetched.
    pub recordings: u16,
    /// Most bytes of a recording; 0 where none are kept.
    pub recording_bytes: u32,
}

/// Where threshold and release level come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Levels {
    /// The blob.
    Blob,
    /// The blob, while this machine's are being learned.
    Learning {
        /// Scores to come.
        left: u16,
    },
    /// They were learned on this machine.
    Learned {
        /// Mean of its normal scores.
        location: i32,
        /// Their deviation.
        scale: u32,
    },
    /// Whoever sent [`crate::Command::SetThreshold`].
    Set,
}

/// A piece of an anomaly map, rows from the top. A board that has no room for all cells sends a smaller map, of which each cell is
/// the largest of those that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map<'a> {
    /// Of which verdict.
    pub verdict: u32,
    /// Cells of a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Cells before this piece.
    pub offset: u16,
    /// What a cell of 255 stands for, the map's largest; the others are in proportion, rounded down.
    pub full: u32,
    /// The cells, at most [`PIECE_BYTES_MAX`].
    pub cells: &'a [u8],
}

/// A piece of the features of the last frame of sound, the lowest band first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spectrum<'a> {
    /// Of which verdict.
    pub verdict: u32,
    /// Features of all pieces.
    pub total: u16,
    /// Features before this piece.
    pub offset: u16,
    /// Little-endian i16, in 1/128 dB, at the end of the scale where they are beyond it; at most [`PIECE_BYTES_MAX`] bytes.
    pub features: &'a [u8],
}

/// A line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log<'a> {
    /// How bad it is.
    pub level: LogLevel,
    /// At most [`PIECE_BYTES_MAX`] bytes.
    pub text: &'a str,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may not.
    Warning,
    /// Something happened.
    Info,
    /// For who looks for a fault.
    Debug,
}

/// Samples that the board keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Its name: counts recordings from 0 since the start.
    pub id: u32,
    /// The last verdict before its end.
    pub verdict: u32,
    /// Why it was kept.
    pub cause: Cause,
    /// Bytes of samples since the start that were before it; it begins where a frame or a step of a window does.
    pub begin: u64,
    /// Its length.
    pub bytes: u32,
}

/// Why a recording was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The alarm went on.
    Alarm,
    /// [`crate::Command::Record`].
    Asked,
}

/// Bytes of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingPiece<'a> {
    /// Its name.
    pub id: u32,
    /// Bytes before these.
    pub offset: u32,
    /// At most [`PIECE_BYTES_MAX`].
    pub bytes: &'a [u8],
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// This firmware does not do it.
    Unsupported,
    /// No model runs.
    NoModel,
    /// The model's threshold comes from no normal scores, so there is nothing to move it by.
    NoNormal,
    /// The alarm is on: this is not a normal machine.
    AlarmOn,
    /// Too few or too many scores.
    Scores {
        /// The fewest.
        least: u16,
        /// The most.
        most: u16,
    },
    /// There is no such recording, or no longer.
    NoRecording,
    /// It is shorter than that.
    Offset {
        /// Its length.
        bytes: u32,
    },
    /// Nothing was heard or seen that could be kept.
    NothingHeard,
    /// A calibration is under way.
    Calibrating,
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unsupported => f.write_str("this firmware does not do that"),
            Self::NoModel => f.write_str("no model runs on the board; flash one"),
            Self::NoNormal => {
                f.write_str("the model's threshold comes from no normal scores, so it can't be calibrated")
            }
            Self::AlarmOn => f.write_str("the alarm is on: calibrate while the machine is normal"),
            Self::Scores { least, most } => write!(f, "a calibration takes {least} to {most} scores"),
            Self::NoRecording => f.write_str("there is no such recording, or no longer"),
            Self::Offset { bytes } => write!(f, "the recording has {bytes} bytes only"),
            Self::NothingHeard => f.write_str("nothing was heard or seen yet that could be kept"),
            Self::Calibrating => f.write_str("a calibration is under way; wait, or end it with uncalibrate"),
        }
    }
}

impl core::error::Error for Reason {}
