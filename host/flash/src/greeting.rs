//! The device's own word for the model that it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use neji_app::{FrameDecoder, Report};
use neji_link::{COMMAND_FRAME_BYTES_MAX, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX, ModelIdentity};

use crate::error::{Error, Result};
use crate::image::Digest;
use crate::target::Target;

/// Without its word for so long the device is asked for it, again and again: what it says when it starts may be lost.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Waits for the device's own word for its model, and asks for it where it does not come by itself.
///
/// # Errors
/// It says nothing for `timeout`, refuses the model, or the line is cut.
pub fn greeting(target: &mut dyn Target, timeout: Duration) -> Result<Digest> {
    let begin = Instant::now();
    let mut due = PATIENCE;
    let mut encoder = Encoder::new();
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
        if begin.elapsed() > due {
            due += PATIENCE;
            let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
            if let Ok(frame) = encoder.encode(&Command::Identify, &mut buffer) {
                // A zero ends what may be left of an earlier frame.
                target.say(&[&[0], frame].concat())?;
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
    use std::ops::Range;

    use neji_app::report;
    use neji_link::{Identity, PROTOCOL_VERSION, ResetCause, Running, Sensor};

    use super::*;
    use crate::target::Sector;

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

    /// A firmware whose first words were lost: it logs on one channel, and says who it is on the other when it is asked.
    #[derive(Default)]
    struct Shy {
        ears: Decoder<COMMAND_FRAME_BYTES_MAX>,
        asked: u32,
        /// It answers when it is asked so often.
        answers: u32,
    }

    impl Target for Shy {
        fn chip(&self) -> String {
            "mock".to_owned()
        }

        fn sectors(&self, _: Range<u64>) -> Vec<Sector> {
            vec![]
        }

        fn page_bytes(&self, sector: Sector) -> u64 {
            sector.bytes
        }

        fn halt(&mut self) -> Result<()> {
            Ok(())
        }

        fn read(&mut self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn erase(&mut self, _: &[Sector]) -> Result<()> {
            Ok(())
        }

        fn program(&mut self, _: &[(u64, &[u8])]) -> Result<()> {
            Ok(())
        }

        fn start(&mut self) -> Result<()> {
            Ok(())
        }

        fn hear(&mut self) -> Result<Vec<(usize, Vec<u8>)>> {
            std::thread::sleep(Duration::from_millis(5));
            let log = (0, b"a log".to_vec());
            if self.asked < self.answers {
                return Ok(vec![log]);
            }
            let model = Running {
                crc32: 0xabc,
                total_bytes: 99,
                format_version: 5,
                name: "m",
                score_unit: 1.0,
                sensor: Sensor::Raw { bytes: 1 },
            };
            Ok(vec![log, (1, identity(ModelIdentity::Running(model)))])
        }

        fn say(&mut self, bytes: &[u8]) -> Result<()> {
            for &byte in bytes {
                if let Some(Ok(frame)) = self.ears.push::<Command>(byte) {
                    assert_eq!(frame.message, Command::Identify);
                    self.asked += 1;
                }
            }
            Ok(())
        }

        fn line(&self) -> &'static str {
            "a mock"
        }
    }

    #[test]
    fn a_device_that_says_nothing_is_asked_again_and_again() {
        let wait = Duration::from_secs(20);
        let digest = Digest { crc32: 0xabc, bytes: 99 };
        // Who speaks by itself is not asked.
        let mut ready = Shy::default();
        assert_eq!((greeting(&mut ready, wait).unwrap(), ready.asked), (digest, 0));

        let mut shy = Shy { answers: 2, ..Shy::default() };
        assert_eq!((greeting(&mut shy, wait).unwrap(), shy.asked), (digest, 2));

        let mut mute = Shy { answers: 9, ..Shy::default() };
        assert!(matches!(greeting(&mut mute, PATIENCE / 10), Err(Error::Silent { .. })));
    }
}
