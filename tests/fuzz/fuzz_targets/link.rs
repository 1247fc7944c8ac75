//! Any bytes on the live link give messages or errors, to either side; after them the next frame is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neji_link::{
    COMMAND_FRAME_BYTES_MAX, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX, Frame, FrameError, MESSAGE_BYTES_MAX,
    OVERHEAD_BYTES, PROTOCOL_VERSION,
};

/// COBS of fewer than 254 bytes, in its plainest form.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let runs = message.split(|&byte| byte == 0);
    runs.flat_map(|run| std::iter::once(run.len() as u8 + 1).chain(run.iter().copied())).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |register, &byte| {
        (0..8).fold(register ^ u32::from(byte), |register, _| (register >> 1) ^ (0xedb8_8320 * (register & 1)))
    })
}

/// An event is what its frame says, to the bit: floats that are no numbers are unlike themselves.
fn round_trip(event: &Event<'_>) {
    let mut buffer = [0; FRAME_BYTES_MAX];
    let frame = Encoder::new().encode(event, &mut buffer).expect("what was read from a frame fits one");
    let frame = frame.to_vec();
    assert_eq!(frame.iter().position(|&byte| byte == 0), Some(frame.len() - 1), "zeros only at the end");
    let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
    for &byte in &frame {
        let Some(heard) = decoder.push::<Event<'_>>(byte) else { continue };
        let Frame { sequence, message } = heard.expect("a whole frame");
        let mut again = [0; FRAME_BYTES_MAX];
        assert_eq!((sequence, Encoder::new().encode(&message, &mut again)), (0, Ok(&frame[..])));
    }
    assert_eq!((decoder.lost(), decoder.broken()), (0, 0));
}

fuzz_target!(|data: &[u8]| {
    // As the line's bytes, to a PC and to a board, and then a command.
    let mut pc = Decoder::<FRAME_BYTES_MAX>::new();
    for &byte in data {
        if let Some(Ok(frame)) = pc.push::<Event<'_>>(byte) {
            round_trip(&frame.message);
        }
    }
    let mut board = Decoder::<{ COMMAND_FRAME_BYTES_MAX - 1 }>::new();
    for &byte in data {
        let _ = board.push::<Command>(byte);
    }
    board.push::<Command>(0);
    let last = Command::Calibrate { scores: data.len() as u16 };
    let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
    let frame = Encoder::new().encode(&last, &mut buffer).expect("fits");
    let heard: Vec<_> = frame.iter().filter_map(|&byte| board.push::<Command>(byte)).collect();
    assert_eq!(heard, [Ok(Frame { sequence: 0, message: last })]);

    // As a message, whose checksum and stuffing a fuzzer does not guess.
    let body = &data[..data.len().min(MESSAGE_BYTES_MAX - OVERHEAD_BYTES)];
    let mut message = [&[PROTOCOL_VERSION, 7, 0], body].concat();
    message.extend(crc32(&message).to_le_bytes());
    let drawn = postcard::take_from_bytes::<Event<'_>>(body);
    let mut pc = Decoder::<FRAME_BYTES_MAX>::new();
    let mut frame = stuffed(&message);
    frame.push(0);
    for &byte in &frame {
        match (pc.push::<Event<'_>>(byte), &drawn) {
            (None, _) => {}
            (Some(Ok(frame)), Ok((_, []))) => {
                assert_eq!(frame.sequence, 7);
                round_trip(&frame.message);
            }
            (Some(Err(FrameError::Message)), Err(_) | Ok((_, [_, ..]))) => {}
            (Some(got), _) => panic!("a whole frame is {got:?}"),
        }
    }
});
