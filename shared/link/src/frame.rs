//! Stuffing and checksum of a frame, both in place; for other frames than the link's as well.
//!
//! S. Cheshire and M. Baker, Consistent Overhead Byte Stuffing, IEEE/ACM Trans. Networking 7(2), 1999. No message is longer than 253
//! bytes, so there is exactly one byte of overhead, at the front, and each code ends in a zero but the last.

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::FRAME_BYTES_MAX;

/// Bit by bit: a table is 1 KiB of flash, and a frame is short.
const CRC: Crc<u32, crc::NoTable> = Crc::<u32, crc::NoTable>::new(&CRC_32_ISO_HDLC);

/// The checksum of a message, CRC-32/ISO-HDLC.
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Turns `[room for a code, message …, room for a zero]` into a frame. At most [`FRAME_BYTES_MAX`] bytes.
pub fn stuff(frame: &mut [u8]) {
    debug_assert!(frame.len() <= FRAME_BYTES_MAX);
    if let Some(end) = frame.last_mut() {
        *end = 0;
    }
    let Some((_, before)) = frame.split_last_mut() else { return };
    let Some((code, message)) = before.split_first_mut() else { return };
    let mut distance = 1;
    for byte in message.iter_mut().rev() {
        if *byte == 0 {
            *byte = distance;
            distance = 0;
        }
        distance = distance.wrapping_add(1);
    }
    *code = distance;
}

/// Undoes [`stuff`] on a frame without its zero; the message, or `None` where the codes do not end with the frame. A frame has no
/// other zero: one that has is taken as it is.
pub fn unstuff(frame: &mut [u8]) -> Option<&[u8]> {
    let (code, message) = frame.split_first_mut()?;
    // Bytes before the next place of a code.
    let mut left = code.checked_sub(1)?;
    for byte in message.iter_mut() {
        match left.checked_sub(1) {
            Some(less) => left = less,
            None => left = core::mem::take(byte).checked_sub(1)?,
        }
    }
    (left == 0).then_some(message)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![9];
        frame.extend_from_slice(message);
        frame.push(9);
        stuff(&mut frame);
        frame
    }

    #[test]
    fn known_bytes() {
        // Wikipedia's examples and the shortest.
        assert_eq!(stuffed(&[]), [1, 0]);
        assert_eq!(stuffed(&[0]), [1, 1, 0]);
        assert_eq!(stuffed(&[0x11, 0, 0, 0x22]), [2, 0x11, 1, 2, 0x22, 0]);
        assert_eq!(stuffed(&[0x11, 0x22, 0, 0x33]), [3, 0x11, 0x22, 2, 0x33, 0]);
        assert_eq!(stuffed(&[7; 253])[..2], [254, 7]);
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn broken_stuffing_is_found() {
        for broken in [&[][..], &[0], &[3, 1], &[1, 3, 5], &[2], &[2, 0x11, 0]] {
            assert_eq!(unstuff(&mut broken.to_vec()), None, "{broken:?}");
        }
    }

    #[test]
    fn every_length_and_place_of_a_zero_comes_back() {
        for length in 0..=crate::MESSAGE_BYTES_MAX {
            for zero in (0..length).step_by(7) {
                let mut message = vec![0xff; length];
                message[zero] = 0;
                let mut frame = stuffed(&message);
                assert_eq!(frame.iter().position(|&byte| byte == 0), Some(length + 1));
                assert_eq!(unstuff(&mut frame[..length + 1]), Some(&message[..]));
            }
        }
    }
}
