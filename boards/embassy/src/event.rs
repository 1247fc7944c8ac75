//! What a station says, and to whom.

use core::fmt::Display;

// Named so that it is linked: it is what defmt writes to.
#[cfg(feature = "defmt")]
use defmt_rtt as _;
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

/// Lines of defmt over RTT.
#[cfg(feature = "defmt")]
#[derive(Debug)]
pub struct Rtt;

#[cfg(feature = "defmt")]
impl Tell for Rtt {
    fn tell(&mut self, event: &Event<'_>) {
        use defmt::{Debug2Format, Display2Format, error, info, warn};
        use neji_app::Outcome;
        match event {
            Event::Started(restart) if restart.row == 0 => info!("{}", Display2Format(restart)),
            Event::Started(restart) => warn!("{}", Display2Format(restart)),
            Event::Watching { model_crc32, model_bytes, memory_bytes } => {
                info!("watching with model {=u32:08x}, {} bytes; {} of memory", model_crc32, model_bytes, memory_bytes);
            }
            Event::Refused(reason) => error!("no model runs: {}", Display2Format(reason)),
            Event::Verdict(verdict) => match verdict.outcome {
                Outcome::Scored { score, smoothed, abnormal, .. } => {
                    info!("{}: score {}, smoothed {}, abnormal {}", verdict.sequence, score, smoothed, abnormal);
                }
                outcome => info!("{}: {}", verdict.sequence, Debug2Format(&outcome)),
            },
            Event::Alarm(verdict) if verdict.alarm => warn!("{}: ALARM", verdict.sequence),
            Event::Alarm(verdict) => info!("{}: the alarm is over", verdict.sequence),
            Event::Drift(trend) => info!("scores drift: {}", Debug2Format(trend)),
            Event::Lost(samples) => warn!("{} samples lost", samples),
            Event::Restarting(reason) => error!("restarting: {}", Display2Format(reason)),
        }
    }
}
