//! Any bytes on the line give reports or errors, and after them the next report is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neji_app::report::{FRAME_BYTES_MAX, FrameError};
use neji_app::{FrameDecoder, Report};

/// Longest message that a frame carries, without its checksum.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 2 - 4;

/// A report is what its frame says.
fn round_trip(report: &Report) {
    let mut buffer = [0; FRAME_BYTES_MAX];
    let frame = report.to_frame(&mut buffer);
    assert_eq!(frame.iter().position(|&byte| byte == 0), Some(frame.len() - 1), "zeros only at the end");
    assert_eq!(Report::from_frame(frame).as_ref(), Ok(report));
}

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

fuzz_target!(|data: &[u8]| {
    // As a line's bytes, whatever they are; then a report.
    let mut decoder = FrameDecoder::new();
    data.iter().filter_map(|&byte| decoder.push(byte)).flatten().for_each(|report| round_trip(&report));
    let last = Report::Done { frames: data.len() as u32 };
    let mut buffer = [0; FRAME_BYTES_MAX];
    let frame = last.to_frame(&mut buffer);
    let mut heard = std::iter::once(&0).chain(frame).filter_map(|&byte| decoder.push(byte));
    assert_eq!(heard.by_ref().last(), Some(Ok(last)));

    // As one frame, with a zero in the middle or not.
    if let Ok(report) = Report::from_frame(data) {
        round_trip(&report);
    }

    // As a message, whose checksum and stuffing a fuzzer does not guess.
    let body = &data[..data.len().min(BODY_BYTES_MAX)];
    let message = [body, &crc32(body).to_le_bytes()].concat();
    match (Report::from_frame(&stuffed(&message)), postcard::take_from_bytes::<Report>(body)) {
        (Ok(report), Ok((drawn, []))) => {
            assert_eq!(report, drawn);
            round_trip(&report);
        }
        (Err(FrameError::Report), Err(_) | Ok((_, [_, ..]))) => {}
        (got, _) => panic!("a whole frame is {got:?}"),
    }
    // As a report with something behind it.
    if let Ok((report, _)) = postcard::take_from_bytes::<Report>(data) {
        round_trip(&report);
    }
});
