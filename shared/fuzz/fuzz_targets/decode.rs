//! Any bytes are refused or are a usable model; never a panic.
//!
//! A fuzzer does not guess checksums, lengths or magic numbers. So the same bytes are tried three times: as they are, with
//! a fitting checksum, and with a whole header built around them, which leads straight to the plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neji_format::header::{CRC_OFFSET, HEADER_BYTES, Header, checksum};
use neji_format::{AlignedBytes, Model};

/// Parses and looks at everything that a device would read.
fn parse(bytes: &[u8]) {
    let bytes = AlignedBytes::new(bytes);
    let Ok(model) = Model::parse(bytes.as_slice()) else { return };
    assert_eq!(model.operators().count(), usize::from(model.plan().operator_count));
    for operator in model.operators() {
        for tensor in operator.inputs().chain([operator.output()]) {
            assert!(tensor.offset as usize + tensor.shape.len() <= model.arena_bytes());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    parse(data);

    let mut fixed = data.to_vec();
    if fixed.len() >= HEADER_BYTES {
        let crc = checksum(&fixed);
        fixed[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        parse(&fixed);
    }

    // The first two bytes say how many of the others are the plan; what is left are constants.
    let Some((len, body)) = data.split_first_chunk::<2>() else { return };
    let (plan, constants) = body.split_at(usize::from(u16::from_le_bytes(*len)).min(body.len()));
    let mut blob = vec![0; HEADER_BYTES];
    blob.extend_from_slice(plan);
    blob.resize(blob.len().next_multiple_of(16), 0);
    let constants_offset = blob.len();
    blob.extend_from_slice(constants);
    blob.resize(blob.len().next_multiple_of(16), 0);
    let mut header = Header {
        total_bytes: blob.len() as u32,
        plan_bytes: plan.len() as u32,
        constants_offset: constants_offset as u32,
        constants_bytes: (blob.len() - constants_offset) as u32,
        arena_bytes: 1 << 16,
        crc32: 0,
    };
    blob[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    header.crc32 = checksum(&blob);
    blob[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    parse(&blob);
});
