//! What a station says, and to whom.

use core::fmt::Display;

use neji_app::{Restart, Trend, Verdict};

/// One thing that a station says.
#[derive(Clone, Copy)]
pub enum Event<'e> {
    /// The first: why the firmware started.
    Started(&'e Restart),
    /// The model runs.
    Watching {
        /// The blob's checksum.
        model_crc32: u32,
        /// Its length.
        model_bytes: u32,
        /// Memory that the monitor uses.
        memory_bytes: u32,
    },
    /// Nothing is watched: the model is missing, broken, or wants what the board does not have.
    Refused(&'e dyn Display),
    /// A frame's verdict.
    Verdict(&'e Verdict),
    /// The alarm went on or off with this verdict.
    Alarm(&'e Verdict),
    /// Scores have drifted, or no longer.
    Drift(Trend),
    /// Samples were lost before the monitor saw them; 0 where their number is not known.
    Lost(u32),
    /// The firmware is about to restart, for this reason.
    Restarting(&'e dyn Display),
}

/// Who is told.
pub trait Tell {
    /// Takes an event; what cannot be sent is lost, and the station goes on.
    fn tell(&mut self, event: &Event<'_>);
}

impl<A: Tell, B: Tell> Tell for (A, B) {
    fn tell(&mut self, event: &Event<'_>) {
        self.0.tell(event);
        self.1.tell(event);
    }
}
