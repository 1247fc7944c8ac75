//! The format does not change unnoticed: what today's encoder writes equals files of version 5, byte for byte.
//!
//! `NEJI_BLESS=1 cargo test -p neji-format --test golden` writes them anew; review the difference, and raise the format
//! version where old devices would read the new bytes wrongly.

mod samples;

use std::fs;
use std::path::Path;
use std::thread;

use neji_format::{AlignedBytes, DecodeError, Model};

fn golden() -> [(&'static str, Vec<u8>); 12] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    samples::all().map(|(name, blob)| {
        let path = folder.join(format!("{name}.neji"));
        if std::env::var_os("NEJI_BLESS").is_some_and(|bless| bless == "1") {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, blob.encode()).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, bytes)
    })
}

#[test]
fn encoder_writes_the_golden_bytes() {
    for ((name, bytes), (_, blob)) in golden().iter().zip(samples::all()) {
        assert!(*bytes == blob.encode(), "{name}.neji differs from what the encoder writes; see NEJI_BLESS");
    }
}

#[test]
fn header_lies_where_the_document_says() {
    for (name, bytes) in golden() {
        assert_eq!(bytes[..8], *b"NEJI\x05\x00\x40\x00", "{name}");
        assert_eq!(bytes[8..24], *b"neji.int8.v1\0\0\0\0", "{name}");
        assert_eq!(bytes[24..28], (bytes.len() as u32).to_le_bytes(), "{name}");
        assert_eq!(bytes[44..60], [0; 16], "{name}");
        assert_eq!(bytes[60..64], crc32_bitwise(&[&bytes[..60], &bytes[64..]].concat()).to_le_bytes(), "{name}");
    }
}

/// CRC-32/ISO-HDLC bit by bit, as its definition says: an oracle for the crate's table.
fn crc32_bitwise(bytes: &[u8]) -> u32 {
    let mut register = !0_u32;
    for &byte in bytes {
        register ^= u32::from(byte);
        for _ in 0..8 {
            register = (register >> 1) ^ if register & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !register
}

#[test]
fn every_truncation_is_refused() {
    let mut truncations = 0;
    for (name, bytes) in golden() {
        let aligned = AlignedBytes::new(&bytes);
        for len in 0..bytes.len() {
            let error = Model::parse(&aligned.as_slice()[..len]).expect_err(name);
            assert!(
                matches!(error, DecodeError::Truncated { given, .. } if given == len as u32),
                "{name} {len}: {error}"
            );
            truncations += 1;
        }
    }
    println!("{truncations} truncations refused");
}

/// All 255 other values of each byte, as they are and with a checksum that fits.
#[test]
fn every_single_byte_change_is_refused_or_a_model() {
    let (mut bytes_total, mut mutants, mut accepted) = (0, 0, 0);
    for (name, bytes) in golden() {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let counts: Vec<[u64; 2]> = thread::scope(|scope| {
            let bytes = &bytes;
            let handles: Vec<_> = (0..workers)
                .map(|worker| {
                    scope.spawn(move || {
                        let changed = (worker..bytes.len()).step_by(workers).map(|index| change(name, bytes, index));
                        changed.fold([0; 2], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]])
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        bytes_total += bytes.len();
        mutants += counts.iter().map(|count| count[0]).sum::<u64>();
        accepted += counts.iter().map(|count| count[1]).sum::<u64>();
    }
    assert_eq!(mutants, bytes_total as u64 * 255 * 2);
    println!("{bytes_total} bytes, {mutants} mutants, {accepted} of them models");
}

/// Tries all changes of byte `index`; returns how many there were and how many are models.
fn change(name: &str, bytes: &[u8], index: usize) -> [u64; 2] {
    let mut bytes = bytes.to_vec();
    let mut accepted = 0;
    let original = bytes[index];
    for difference in 1..=255 {
        bytes[index] = original ^ difference;
        let plain = AlignedBytes::new(&bytes);
        assert!(Model::parse(plain.as_slice()).is_err(), "{name}: byte {index} ^ {difference:#x} passed the checksum");
        let fixed = samples::with_checksum(&bytes);
        if let Ok(model) = Model::parse(fixed.as_slice()) {
            accepted += 1;
            assert_eq!(model.operators().count(), usize::from(model.plan().operator_count), "{name}: byte {index}");
        }
    }
    [255 * 2, accepted]
}
