//! A debug probe's line: logs of defmt on channel 0, the live link on channel 1.

use defmt::{Debug2Format, Display2Format, error, info, warn};
use neji_app::Outcome;
use neji_app::link::Wire;
use rtt_target::ChannelMode::{NoBlockSkip, NoBlockTrim};
use rtt_target::{DownChannel, UpChannel, rtt_init, set_defmt_channel};

use crate::event::{Event, Tell};

/// Starts it, where [`Log`] and defmt write to from now on; the live link's channel. To be called once.
pub fn start() -> Rtt {
    let channels = rtt_init! {
        up: {
            0: { size: 1024, mode: NoBlockSkip, name: "defmt" }
            1: { size: 2048, mode: NoBlockTrim, name: "neji" }
        }
        down: {
            0: { size: 16, name: "none" }
            1: { size: 64, name: "neji" }
        }
    };
    set_defmt_channel(channels.up.0);
    Rtt { up: channels.up.1, down: channels.down.1 }
}

/// The live link's channel.
pub struct Rtt {
    up: UpChannel,
    down: DownChannel,
}

impl Wire for Rtt {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        self.down.read(buffer)
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        self.up.write(bytes)
    }
}

/// Events as lines of defmt.
#[derive(Debug)]
pub struct Log;

impl Tell for Log {
    fn tell(&mut self, event: &Event<'_>) {
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
