//! What the PC asks of the board.

use serde::{Deserialize, Serialize};

/// Longest frame of a command with its zero: a board's [`crate::Decoder`] needs one byte less.
pub const COMMAND_FRAME_BYTES_MAX: usize = 32;

/// One message of the PC. The board answers each with [`crate::Event::Ack`] or [`crate::Event::Refused`], which name the command's
/// frame; what was asked for comes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Say who you are ([`crate::Event::Identity`]) and how you are ([`crate::Event::State`]).
    Identify,
    /// Learn from the next scores how this machine's normal ones lie, and move the threshold by it.
    Calibrate {
        /// How many scores.
        scores: u16,
    },
    /// Go back to the blob's threshold, whatever was learned or set, and forget all scores.
    Uncalibrate,
    /// Put the threshold here, in the units of [`crate::Score`], and the release level as far below it as it was; or with `None` both
    /// back to what blob and calibration say. Smoothing, history and alarm go on. It holds until the next calibration.
    SetThreshold {
        /// The level above which a smoothed score is abnormal.
        threshold: Option<i32>,
    },
    /// Send a recording: [`crate::Event::Recording`] first, then its bytes from `offset` on in [`crate::Event::RecordingPiece`]s. A
    /// later fetch ends one that is under way.
    FetchRecording {
        /// Which one.
        which: Which,
        /// Where to begin, in bytes.
        offset: u32,
    },
    /// Forget scores, alarm and drift, but not what was learned or set. A frame or window that was begun is dropped.
    Reset,
    /// What to send with each score. Neither is sent unless it is asked for.
    Subscribe {
        /// Anomaly maps, [`crate::Event::Map`].
        maps: bool,
        /// Features of sound, [`crate::Event::Spectrum`].
        spectra: bool,
    },
    /// Keep what was heard or seen last as a recording, as an alarm would; [`crate::Event::Recording`] says what it is called.
    Record,
    /// List the recordings that there are, oldest first: an [`crate::Event::Recording`] each.
    ListRecordings,
    /// Start the whole firmware anew.
    Restart,
}

/// Which recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The newest.
    Newest,
    /// The one of this name.
    Id(u32),
}
