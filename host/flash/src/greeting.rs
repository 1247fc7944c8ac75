//! The device's own word for the model that it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use neji_app::{FrameDecoder, Report};
use neji_link::{Decoder, Event, FRAME_BYTES_MAX, ModelIdentity};

use crate::error::{Error, Result};
use crate::image::Digest;
use crate::target::Target;

/// Finds it among what a firmware reports: its identity on the live link, or the first line of plain reports.
#[derive(Debug)]
pub struct Listener {
    link: Decoder<FRAME_BYTES_MAX>,
    reports: FrameDecoder,
}

impl Default for Listener {
    fn default() -> Self {
        Self { link: Decoder::new(), reports: FrameDecoder::new() }
    }
}

impl Listener {
    /// Takes a byte of the line; what the device says of its model, where this byte ends it. Anything else is passed over:
    /// what came before the line was listened to may be cut.
    ///
    /// # Errors
    /// The device refuses its model.
    pub fn push(&mut self, byte: u8) -> Option<Result<Digest>> {
        let refused = |reason: &str| Some(Err(Error::Refused { reason: reason.to_owned() }));
        if let Some(Ok(frame)) = self.link.push::<Event<'_>>(byte)
            && let Event::Identity(identity) = frame.message
        {
            return match identity.model {
                ModelIdentity::Running(model) => Some(Ok(Digest { crc32: model.crc32, bytes: model.total_bytes })),
                ModelIdentity::Refused { reason, .. } => refused(reason),
                ModelIdentity::None => refused("it finds none where it looks for it"),
            };
        }
        match self.reports.push(byte) {
            Some(Ok(Report::Hello { model_crc32, model_bytes, .. })) => {
                Some(Ok(Digest { crc32: model_crc32, bytes: model_bytes }))
            }
            Some(Ok(Report::Refused { reason })) => refused(&reason),
            _ => None,
        }
    }
}

/// Waits for the device's own word for its model.
///
/// # Errors
/// It says nothing for `timeout`, refuses the model, or the line is cut.
pub fn greeting(target: &mut dyn Target, timeout: Duration) -> Result<Digest> {
    let begin = Instant::now();
    // Reports may share the probe's lines with logs for people.
    let mut listeners: BTreeMap<usize, Listener> = BTreeMap::new();
    loop {
        let heard = target.hear()?;
        for (channel, bytes) in &heard {
            let listener = listeners.entry(*channel).or_default();
            if let Some(word) = bytes.iter().find_map(|&byte| listener.push(byte)) {
                return word;
            }
        }
        if begin.elapsed() > timeout {
            return Err(Error::Silent { way: target.line(), after: timeout });
        }
        if heard.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use neji_app::report;
    use neji_link::{Encoder, Identity, PROTOCOL_VERSION, ResetCause};

    use super::*;

    fn heard(bytes: &[u8]) -> Option<Result<Digest>> {
        let mut listener = Listener::default();
        bytes.iter().find_map(|&byte| listener.push(byte))
    }

    fn identity(model: ModelIdentity<'_>) -> Vec<u8> {
        let identity = Identity {
            protocol: PROTOCOL_VERSION,
            board: "b",
            core: "c",
            firmware: "1",
            clock_hz: 0,
            reset: ResetCause::Unknown,
            capabilities: 0,
            model,
        };
        Encoder::new().encode(&Event::Identity(identity), &mut [0; FRAME_BYTES_MAX]).unwrap().to_vec()
    }

    #[test]
    fn both_kinds_of_firmware_are_understood_after_noise() {
        let refused = ModelIdentity::Refused { crc32: 1, total_bytes: 2, reason: "it is cut off" };
        let frame = [b"\x07\x03noise\0".to_vec(), identity(refused)].concat();
        assert!(matches!(heard(&frame), Some(Err(Error::Refused { reason })) if reason == "it is cut off"));
        assert!(matches!(heard(&identity(ModelIdentity::None)), Some(Err(Error::Refused { .. }))));

        let hello = Report::Hello { format_version: 5, model_crc32: 0xabc, model_bytes: 99, memory_bytes: 1 };
        let frames = [b"\x01".as_slice(), &[0], hello.to_frame(&mut [0; report::FRAME_BYTES_MAX])].concat();
        assert_eq!(heard(&frames).unwrap().unwrap(), Digest { crc32: 0xabc, bytes: 99 });
        assert!(heard(&frames[..frames.len() - 1]).is_none());
    }
}
