//! From any bytes to blobs that get past the header.

use neji_format::header::{CRC_OFFSET, HEADER_BYTES, Header, checksum};
use neji_format::{AlignedBytes, Model, Operator, Plan};

/// Memory for the activations of a blob that was built around a plan.
const ARENA_BYTES: u32 = 1 << 16;

/// Gives `look` every model that `data` can be taken for.
///
/// A fuzzer does not guess checksums, lengths or magic numbers. So the same bytes are tried three times: as they are, with
/// a fitting checksum, and with a whole header built around them, which leads straight to the plan.
pub fn each_model(data: &[u8], mut look: impl FnMut(Model<'_>)) {
    let mut parse = |bytes: &[u8]| {
        let bytes = AlignedBytes::new(bytes);
        if let Ok(model) = Model::parse(bytes.as_slice()) {
            look(model);
        }
    };
    parse(data);
    if let Some(sealed) = sealed(data) {
        parse(&sealed);
    }
    parse(&built(data));
}

/// `data` with a fitting checksum; none where it is too short to have one, or has it already.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let stored = data.get(CRC_OFFSET..HEADER_BYTES)?;
    let crc = checksum(data).to_le_bytes();
    if stored == crc {
        return None;
    }
    let mut sealed = data.to_vec();
    sealed[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc);
    Some(sealed)
}

/// A blob whose plan is as much of `data` as decodes, whatever its length; what is left are the constants.
///
/// A header in front is left away, so that blobs are seeds for this too.
fn built(data: &[u8]) -> Vec<u8> {
    let data = if data.starts_with(b"NEJI") { data.get(HEADER_BYTES..).unwrap_or(&[]) } else { data };
    let (plan, constants) = data.split_at(plan_bytes(data).unwrap_or(data.len()));
    // The zeros between plan and constants of a blob.
    let padding = constants.iter().take(plan.len().wrapping_neg() % 16).take_while(|&&byte| byte == 0).count();
    let constants = &constants[padding..];
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
        arena_bytes: ARENA_BYTES,
        crc32: 0,
    };
    blob[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    header.crc32 = checksum(&blob);
    blob[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    blob
}

/// Length of the plan and its operators at the beginning of `data`.
pub(crate) fn plan_bytes(data: &[u8]) -> Option<usize> {
    let (plan, mut rest) = postcard::take_from_bytes::<Plan<'_>>(data).ok()?;
    for _ in 0..plan.operator_count {
        (_, rest) = postcard::take_from_bytes::<Operator>(rest).ok()?;
    }
    Some(data.len() - rest.len())
}
