//! What both sides rely on: what was sent is what is heard, whatever happens to the line meanwhile.

mod samples;

use neji_link::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Frames of all messages, one after the other.
fn sent() -> (Vec<Event<'static>>, Vec<Vec<u8>>) {
    let mut encoder = Encoder::new();
    let events: Vec<_> = samples::events().into_iter().map(|(_, event)| event).collect();
    let frame = |event| {
        let mut buffer = [0; FRAME_BYTES_MAX];
        encoder.encode(event, &mut buffer).unwrap().to_vec()
    };
    let frames = events.iter().map(frame).collect();
    (events, frames)
}

/// What a decoder makes of bytes: how many events, the last one, errors, lost and broken frames.
fn heard(bytes: &[u8]) -> (Vec<String>, u32, u32) {
    let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
    let mut events = Vec::new();
    for &byte in bytes {
        if let Some(Ok(frame)) = decoder.push::<Event>(byte) {
            events.push(format!("{:?}", frame.message));
        }
    }
    (events, decoder.lost(), decoder.broken())
}

#[test]
fn every_message_comes_back_and_has_one_zero() {
    let (events, frames) = sent();
    for frame in &frames {
        assert_eq!(frame.iter().position(|&byte| byte == 0), Some(frame.len() - 1));
    }
    let (found, lost, broken) = heard(&frames.concat());
    assert_eq!(found, events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>());
    assert_eq!((lost, broken), (0, 0));
}

#[test]
fn every_changed_byte_is_found() {
    let (_, frames) = sent();
    for frame in frames {
        for (index, change) in (0..frame.len() - 1).flat_map(|index| (1..=255).map(move |change| (index, change))) {
            let mut frame = frame.clone();
            frame[index] ^= change;
            let (found, _, broken) = heard(&frame);
            assert!(found.is_empty() && broken > 0, "byte {index} changed by {change}: {found:?}");
        }
    }
}

#[test]
fn lost_frames_are_counted() {
    let (events, frames) = sent();
    for first in 1..frames.len() - 3 {
        for count in 1..3 {
            let kept = [&frames[..first], &frames[first + count..]].concat();
            let (found, lost, broken) = heard(&kept.concat());
            assert_eq!((found.len(), lost, broken), (events.len() - count, count as u32, 0));
        }
        // One whose zero is lost takes the next with it.
        let mut bytes = frames.clone();
        bytes[first].pop();
        let (found, lost, broken) = heard(&bytes.concat());
        assert_eq!((found.len(), lost, broken), (events.len() - 2, 2, 1));
    }
}

#[test]
fn a_board_that_starts_anew_has_lost_nothing() {
    let (events, frames) = sent();
    let (found, lost, _) = heard(&[frames.concat(), frames.concat()].concat());
    assert_eq!((found.len(), lost), (2 * events.len(), 0));
}

/// Numbers go over their end without a frame seeming lost, and 0 does not come again.
#[test]
fn numbers_wrap() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::<COMMAND_FRAME_BYTES_MAX>::new());
    let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
    for round in 0..70_000_u32 {
        let frame = encoder.encode(&Command::Identify, &mut buffer).unwrap();
        let sequence = frame.iter().find_map(|&byte| decoder.push::<Command>(byte)).unwrap().unwrap().sequence;
        let expected = if round < 65_536 { round } else { round - 65_535 };
        assert_eq!(u32::from(sequence), expected);
    }
    assert_eq!(decoder.lost(), 0);
}

#[test]
fn another_version_is_said_to_be_one() {
    let mut buffer = [0; FRAME_BYTES_MAX];
    let frame = Encoder::new().encode(&Command::Identify, &mut buffer).unwrap();
    // Stuffing of this frame: version at 1, checksum of the message below.
    let mut message = vec![2_u8, 0, 0, 0];
    let crc = crc32(&message);
    message.extend(crc.to_le_bytes());
    let stuffed: Vec<u8> = message
        .split(|&byte| byte == 0)
        .flat_map(|run| std::iter::once(run.len() as u8 + 1).chain(run.iter().copied()))
        .chain([0])
        .collect();
    assert_eq!(stuffed.len(), frame.len());
    let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
    let found = stuffed.iter().find_map(|&byte| decoder.push::<Command>(byte));
    assert_eq!(found, Some(Err(FrameError::Version { found: 2 })));
}

/// CRC-32/ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |register, &byte| {
        (0..8).fold(register ^ u32::from(byte), |register, _| (register >> 1) ^ (0xedb8_8320 * (register & 1)))
    })
}

/// The limits that are promised: texts and pieces of the longest kind fit, commands fit their smaller frames.
#[test]
fn the_longest_messages_fit() {
    let text = "x".repeat(TEXT_BYTES_MAX);
    let reason = "z".repeat(REASON_BYTES_MAX);
    let refused = ModelIdentity::Refused { crc32: u32::MAX, total_bytes: u32::MAX, reason: &reason };
    let piece = [0; PIECE_BYTES_MAX];
    let log = "y".repeat(PIECE_BYTES_MAX);
    let events = [
        Event::Identity(samples::longest_identity(&text)),
        Event::Identity(Identity { model: refused, ..samples::longest_identity(&text) }),
        Event::Map(Map {
            verdict: u32::MAX,
            width: u16::MAX,
            height: u16::MAX,
            offset: u16::MAX,
            full: u32::MAX,
            cells: &piece,
        }),
        Event::Spectrum(Spectrum { verdict: u32::MAX, total: u16::MAX, offset: u16::MAX, features: &piece }),
        Event::Log(Log { level: LogLevel::Debug, text: &log }),
        Event::RecordingPiece(RecordingPiece { id: u32::MAX, offset: u32::MAX, bytes: &piece }),
    ];
    let mut buffer = [0; FRAME_BYTES_MAX];
    for event in events {
        Encoder::new().encode(&event, &mut buffer).expect("fits");
    }
    for (name, command) in samples::commands() {
        let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
        Encoder::new().encode(&command, &mut buffer).expect(name);
    }
    let log = "y".repeat(FRAME_BYTES_MAX);
    let mut buffer = [0; 1000];
    let error = Encoder::new().encode(&Event::Log(Log { level: LogLevel::Debug, text: &log }), &mut buffer);
    assert_eq!(error, Err(EncodeError::TooLong { room: FRAME_BYTES_MAX }));
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Identify),
        any::<u16>().prop_map(|scores| Command::Calibrate { scores }),
        Just(Command::Uncalibrate),
        any::<Option<i32>>().prop_map(|threshold| Command::SetThreshold { threshold }),
        (any::<Option<u32>>(), any::<u32>()).prop_map(|(id, offset)| {
            Command::FetchRecording { which: id.map_or(Which::Newest, Which::Id), offset }
        }),
        Just(Command::Reset),
        any::<[bool; 2]>().prop_map(|[maps, spectra]| Command::Subscribe { maps, spectra }),
        Just(Command::Record),
        Just(Command::ListRecordings),
        Just(Command::Restart),
    ]
}

proptest! {
    #[test]
    fn pieces_of_any_bytes_come_back(id: u32, offset: u32, bytes in vec(any::<u8>(), 0..=PIECE_BYTES_MAX), start: u16) {
        let mut encoder = Encoder::new();
        let mut buffer = [0; FRAME_BYTES_MAX];
        for _ in 0..start % 300 {
            encoder.encode(&Command::Identify, &mut buffer).unwrap();
        }
        let sequence = encoder.next_sequence();
        let event = Event::RecordingPiece(RecordingPiece { id, offset, bytes: &bytes });
        let frame = encoder.encode(&event, &mut buffer).unwrap().to_vec();
        prop_assert_eq!(frame.iter().position(|&byte| byte == 0), Some(frame.len() - 1));
        let mut decoder = Decoder::<{ FRAME_BYTES_MAX - 1 }>::new();
        let (last, before) = frame.split_last().unwrap();
        prop_assert!(before.iter().all(|&byte| decoder.push::<Event>(byte).is_none()));
        prop_assert_eq!(decoder.push::<Event>(*last), Some(Ok(Frame { sequence, message: event })));
    }

    /// A PC that is understood behind any noise, by the small decoder of a board.
    #[test]
    fn commands_are_understood_behind_any_noise(noise in vec(any::<u8>(), 0..600), command in commands()) {
        let mut decoder = Decoder::<{ COMMAND_FRAME_BYTES_MAX - 1 }>::new();
        for &byte in &noise {
            let _ = decoder.push::<Command>(byte);
        }
        decoder.push::<Command>(0);
        let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
        let frame = Encoder::new().encode(&command, &mut buffer).unwrap();
        let heard: Vec<_> = frame.iter().filter_map(|&byte| decoder.push::<Command>(byte)).collect();
        prop_assert_eq!(heard, [Ok(Frame { sequence: 0, message: command })]);
    }
}
