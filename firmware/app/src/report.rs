//! What a device says over the wire, and how: postcard, CRC-32, COBS, a zero byte.
//!
//! A frame is `COBS(postcard(report) ++ crc32_le) ++ 0`, the CRC-32/ISO-HDLC over the postcard bytes. A zero byte occurs
//! only at the end of a frame, so a reader that comes late or meets junk is in step again after the next one (Cheshire and
//! Baker, Consistent Overhead Byte Stuffing, IEEE/ACM Trans. Networking 7(2), 1999). Variants are only ever appended.

use neji_link::{Text, frame};
use serde::{Deserialize, Serialize};

use crate::drift::Trend;
use crate::monitor::Verdict;

/// Longest message before stuffing, the checksum included.
const MESSAGE_BYTES_MAX: usize = 128;
/// Longest message without its checksum.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 4;
/// Longest frame: one byte of stuffing for messages below 254 bytes, and the zero.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 2;
/// Longest reason of a refusal in bytes.
pub const REASON_BYTES_MAX: usize = 96;

/// One message of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The first message: what runs.
    Hello {
        /// Version of the blob's format that the firmware reads.
        format_version: u16,
        /// The blob's checksum.
        model_crc32: u32,
        /// Length of the blob.
        model_bytes: u32,
        /// Memory that the monitor uses.
        memory_bytes: u32,
    },
    /// A frame's verdict.
    Verdict(Verdict),
    /// The model is refused; nothing will run.
    Refused {
        /// For people; cut to [`REASON_BYTES_MAX`].
        reason: heapless::String<REASON_BYTES_MAX>,
    },
    /// What the last frame took.
    Timing {
        /// Ticks of the device's counter.
        ticks: u32,
        /// What a tick is.
        ticks_per_second: u32,
    },
    /// The alarm went on or off.
    AlarmChanged {
        /// The alarm is on.
        high: bool,
        /// Of the verdict that changed it.
        sequence: u32,
    },
    /// The sensor has no more samples.
    Done {
        /// Verdicts given.
        frames: u32,
    },
    /// Samples were lost before the monitor saw them: it was too slow for them.
    Overrun {
        /// How many samples, of all channels.
        samples: u32,
        /// Bytes of samples that the monitor has taken before them since the start.
        bytes: u64,
    },
    /// Scores have drifted away from normal, or no longer.
    DriftChanged {
        /// Where to.
        drift: Trend,
        /// Of the verdict that says so first.
        sequence: u32,
    },
}

/// Why bytes between two zeros are not a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// More bytes than a frame may have.
    TooLong,
    /// The stuffing is broken.
    Stuffing,
    /// The checksum does not match.
    Checksum,
    /// An unknown or broken report: another version of the firmware.
    Report,
}

impl Report {
    /// A refusal with an error's text as its reason, cut at a character where it is too long.
    pub fn refused(error: impl core::fmt::Display) -> Self {
        let text = Text::<REASON_BYTES_MAX>::of(error);
        // As long as the text at most, so it fits.
        Self::Refused { reason: heapless::String::try_from(text.as_str()).unwrap_or_default() }
    }

    /// Encodes a frame with its closing zero.
    pub fn to_frame<'b>(&self, buffer: &'b mut [u8; FRAME_BYTES_MAX]) -> &'b [u8] {
        // Behind the first code; behind it the checksum and the zero.
        let length = match postcard::to_slice(self, &mut buffer[1..=BODY_BYTES_MAX]) {
            // It cannot be longer; said, so that the compiler knows.
            Ok(body) => body.len().min(BODY_BYTES_MAX),
            // No report is longer than its refusal, which fits.
            Err(_) => 0,
        };
        let checksum = frame::checksum(&buffer[1..=length]).to_le_bytes();
        buffer[length + 1..length + 5].copy_from_slice(&checksum);
        let frame = &mut buffer[..length + 6];
        frame::stuff(frame);
        frame
    }

    /// Decodes what lies between two zeros.
    ///
    /// # Errors
    /// [`FrameError`]; any change of a single byte is found.
    pub fn from_frame(frame: &[u8]) -> Result<Self, FrameError> {
        let frame = frame.strip_suffix(&[0]).unwrap_or(frame);
        if frame.contains(&0) {
            return Err(FrameError::Stuffing);
        }
        let mut buffer = [0; FRAME_BYTES_MAX - 1];
        let copy = buffer.get_mut(..frame.len()).ok_or(FrameError::TooLong)?;
        copy.copy_from_slice(frame);
        let message = frame::unstuff(copy).ok_or(FrameError::Stuffing)?;
        let (body, checksum) = message.split_last_chunk::<4>().ok_or(FrameError::Checksum)?;
        if frame::checksum(body) != u32::from_le_bytes(*checksum) {
            return Err(FrameError::Checksum);
        }
        match postcard::take_from_bytes(body) {
            Ok((report, [])) => Ok(report),
            _ => Err(FrameError::Report),
        }
    }
}

/// Collects bytes into frames; in step again after the next zero, whatever came before.
#[derive(Debug, Clone, Default)]
pub struct FrameDecoder {
    frame: heapless::Vec<u8, FRAME_BYTES_MAX>,
    too_long: bool,
}

impl FrameDecoder {
    /// A decoder at the beginning of a frame.
    pub const fn new() -> Self {
        Self { frame: heapless::Vec::new(), too_long: false }
    }

    /// Takes a byte; a report or an error at the end of each frame that is not empty.
    pub fn push(&mut self, byte: u8) -> Option<Result<Report, FrameError>> {
        if byte != 0 {
            self.too_long |= self.frame.push(byte).is_err();
            return None;
        }
        let result = match (self.too_long, self.frame.is_empty()) {
            (true, _) => Some(Err(FrameError::TooLong)),
            (false, true) => None,
            (false, false) => Some(Report::from_frame(&self.frame)),
        };
        self.frame.clear();
        self.too_long = false;
        result
    }
}

/// Sends reports over any embedded-io writer.
#[derive(Debug)]
pub struct ReportWriter<W> {
    writer: W,
}

impl<W: embedded_io::Write> ReportWriter<W> {
    /// Begins with a zero, so that what the line carried before does not spoil the first report.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut writer: W) -> Result<Self, W::Error> {
        send(&mut writer, &[0])?;
        Ok(Self { writer })
    }

    /// Sends a report and flushes.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, report: &Report) -> Result<(), W::Error> {
        let mut buffer = [0; FRAME_BYTES_MAX];
        send(&mut self.writer, report.to_frame(&mut buffer))?;
        self.writer.flush()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

/// Writes all of `bytes`. Where a writer takes nothing, which its trait forbids, the rest is lost: `write_all` would
/// panic, and the reader finds out that the frame is broken.
fn send<W: embedded_io::Write>(writer: &mut W, mut bytes: &[u8]) -> Result<(), W::Error> {
    while !bytes.is_empty() {
        match writer.write(bytes)? {
            0 => break,
            count => bytes = bytes.get(count..).unwrap_or(&[]),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Outcome;

    fn reports() -> [Report; 9] {
        let outcome = Outcome::Scored { score: -5, smoothed: 1 << 20, class: Some(3), abnormal: true };
        let learning = Outcome::Calibrating { score: i32::MIN, left: 4096 };
        [
            Report::Hello { format_version: 1, model_crc32: u32::MAX, model_bytes: 0, memory_bytes: 7 },
            Report::Verdict(Verdict { sequence: 0, outcome, alarm: false, drift: Trend::Steady }),
            Report::Verdict(Verdict { sequence: 1, outcome: learning, alarm: true, drift: Trend::Lower }),
            Report::refused("x".repeat_into()),
            Report::Timing { ticks: 0, ticks_per_second: 25_000_000 },
            Report::AlarmChanged { high: true, sequence: 9 },
            Report::Done { frames: 0 },
            Report::Overrun { samples: 300, bytes: u64::MAX },
            Report::DriftChanged { drift: Trend::Higher, sequence: 1 << 20 },
        ]
    }

    trait RepeatInto {
        fn repeat_into(&self) -> heapless::String<200>;
    }
    impl RepeatInto for str {
        fn repeat_into(&self) -> heapless::String<200> {
            (0..200).flat_map(|_| self.chars()).collect()
        }
    }

    #[test]
    fn known_bytes() {
        // Of the sixth variant, 0x300 in two bytes; zlib's CRC-32 of 05 80 06 is 0x2b6a_2687.
        let mut buffer = [0; FRAME_BYTES_MAX];
        let frame = Report::Done { frames: 0x300 }.to_frame(&mut buffer);
        assert_eq!(frame, [8, 5, 0x80, 6, 0x87, 0x26, 0x6a, 0x2b, 0]);
        assert_eq!(Report::from_frame(&[8, 5, 0, 6, 0x87, 0x26, 0x6a, 0x2b]), Err(FrameError::Stuffing));
        assert_eq!(Report::from_frame(&[1; FRAME_BYTES_MAX]), Err(FrameError::TooLong));
    }

    #[test]
    fn every_report_comes_back() {
        for report in reports() {
            let mut buffer = [0; FRAME_BYTES_MAX];
            let frame = report.to_frame(&mut buffer);
            assert_eq!(frame.iter().filter(|&&byte| byte == 0).count(), 1);
            assert_eq!(Report::from_frame(frame), Ok(report));
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        for report in reports() {
            let mut buffer = [0; FRAME_BYTES_MAX];
            let length = report.to_frame(&mut buffer).len();
            for (index, change) in (0..length - 1).flat_map(|index| (1..=255).map(move |change| (index, change))) {
                let mut frame = buffer;
                frame[index] ^= change;
                let mut decoder = FrameDecoder::new();
                for result in frame[..length].iter().filter_map(|&byte| decoder.push(byte)) {
                    assert!(result.is_err(), "byte {index} changed by {change}: {result:?}");
                }
            }
        }
    }

    /// Takes one byte at a time, and none after `room`.
    struct Slow {
        taken: heapless::Vec<u8, FRAME_BYTES_MAX>,
        room: usize,
    }
    impl embedded_io::ErrorType for Slow {
        type Error = core::convert::Infallible;
    }
    impl embedded_io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            let count = bytes.len().min(1).min(self.room - self.taken.len());
            self.taken.extend_from_slice(&bytes[..count]).unwrap();
            Ok(count)
        }
        fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_may_take_little_and_one_that_takes_nothing_ends_the_frame() {
        for room in [FRAME_BYTES_MAX, 3] {
            let Ok(mut writer) = ReportWriter::new(Slow { taken: heapless::Vec::new(), room });
            let Ok(()) = writer.write(&Report::Done { frames: 3 });
            let mut buffer = [0; FRAME_BYTES_MAX];
            let frame = Report::Done { frames: 3 }.to_frame(&mut buffer);
            let taken = writer.into_inner().taken;
            assert_eq!((taken[0], &taken[1..]), (0, &frame[..frame.len().min(room - 1)]));
        }
    }

    #[test]
    fn decoder_is_in_step_after_junk() {
        let mut decoder = FrameDecoder::new();
        assert!((0..1000).all(|_| decoder.push(0x55).is_none()));
        assert_eq!(decoder.push(0), Some(Err(FrameError::TooLong)));
        let mut buffer = [0; FRAME_BYTES_MAX];
        let report = Report::Done { frames: 3 };
        let last = report.to_frame(&mut buffer).iter().filter_map(|&byte| decoder.push(byte)).last();
        assert_eq!(last, Some(Ok(report)));
    }
}
