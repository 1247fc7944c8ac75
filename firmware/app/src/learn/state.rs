//! What a learner keeps over a restart, as bytes.
//!
//! | offset | field |
//! |---:|---|
//! | 0 | magic, `NJTB` |
//! | 4 | `version: u16`, 1 |
//! | 6 | `flags: u16`: 1 where tables are being learned, 2 where some were |
//! | 8 | the blob's checksum and length, `u32` each: whose tables these are |
//! | 16 | the checksum of the monitor's state that stands before, `u32` |
//! | 20 | windows to come and taken, `u16` each |
//! | 24 | shifts of the weights, `u8` each |
//! | 26 | 34 zeros |
//! | 60 | CRC-32 of all but these four bytes ([`neji_format::header::checksum`]) |
//! | 64 | the words of the region, little-endian; 0 where they are not in use |

use neji_format::header::{CRC_OFFSET, checksum};
use neji_format::{Distance, Header, Model};

use super::{Learner, WINDOWS_MAX};
use crate::score::distances;
use crate::state::StateError;

/// Length of a state without its words.
pub(crate) const STATE_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"NJTB";
const VERSION: u16 = 1;
const LEARNING: u16 = 1;
const LEARNED: u16 = 2;

impl Learner<'_> {
    /// Bytes of its state.
    pub(crate) fn state_bytes(&self) -> usize {
        STATE_HEADER_BYTES.saturating_add(self.words.len().saturating_mul(4))
    }

    /// Writes its state, that belongs to a monitor's with the checksum `judge`, into as many `bytes` as it has.
    pub(crate) fn export(&self, header: &Header, judge: u32, bytes: &mut [u8]) {
        let mut flags = 0;
        if self.left > 0 {
            flags |= LEARNING;
        }
        if self.learned.is_some() {
            flags |= LEARNED;
        }
        let [first, second] = self.learned.unwrap_or_default();
        let mut head = [0; STATE_HEADER_BYTES];
        let fields: [(usize, &[u8]); 9] = [
            (0, &MAGIC),
            (4, &VERSION.to_le_bytes()),
            (6, &flags.to_le_bytes()),
            (8, &header.crc32.to_le_bytes()),
            (12, &header.total_bytes.to_le_bytes()),
            (16, &judge.to_le_bytes()),
            (20, &self.left.to_le_bytes()),
            (22, &self.taken.to_le_bytes()),
            (24, &[first, second]),
        ];
        for (at, field) in fields {
            head.iter_mut().skip(at).zip(field).for_each(|(to, &from)| *to = from);
        }
        let words = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.iter_mut().zip(head.into_iter().chain(words)).for_each(|(to, from)| *to = from);
        let crc = checksum(bytes).to_le_bytes();
        bytes.iter_mut().skip(CRC_OFFSET).zip(crc).for_each(|(to, from)| *to = from);
    }

    /// Whether `bytes` are a state of a learner of this model that belongs to a monitor's with the checksum `judge`.
    pub(crate) fn check(&self, model: &Model<'_>, judge: u32, bytes: &[u8]) -> Result<(), StateError> {
        let length = StateError::Length { given: bytes.len() };
        let head: &[u8; STATE_HEADER_BYTES] = bytes.first_chunk().ok_or(length)?;
        let [magic @ .., _, _, _, _] = *head.first_chunk::<8>().ok_or(length)?;
        if magic != MAGIC {
            return Err(StateError::Magic);
        }
        let version = half(head, 4);
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        if bytes.len() != self.state_bytes() {
            return Err(length);
        }
        if checksum(bytes) != word(head, CRC_OFFSET) {
            return Err(StateError::Checksum);
        }
        let found = word(head, 8);
        if (found, word(head, 12)) != (model.header().crc32, model.header().total_bytes) {
            return Err(StateError::Model { found });
        }
        let (flags, left, taken) = (half(head, 6), half(head, 20), half(head, 22));
        let learning = left > 0 && u32::from(left) + u32::from(taken) <= WINDOWS_MAX.into();
        let idle = left == 0 && taken == 0;
        let sound = match flags {
            0 | LEARNED => idle,
            1 | 3 => learning,
            _ => false,
        };
        let shifts =
            if flags & LEARNED == 0 { head[24..26] == [0; 2] } else { self.can_have(model, [head[24], head[25]]) };
        let unused = flags == 0 && bytes.iter().skip(STATE_HEADER_BYTES).any(|&byte| byte != 0);
        if word(head, 16) != judge || !sound || !shifts || unused || head[26..CRC_OFFSET].iter().any(|&byte| byte != 0)
        {
            return Err(StateError::Value);
        }
        Ok(())
    }

    /// Whether weights may have these shifts: the blob's, or one less.
    fn can_have(&self, model: &Model<'_>, shifts: [u8; 2]) -> bool {
        let blob = distances(model.plan()).map(|part| match part.map(|part| part.distance) {
            Some(Distance::Mahalanobis(params)) => (params.shift, params.shift.saturating_sub(1)),
            Some(Distance::Mixture(params)) => (params.shift, params.shift),
            None => (0, 0),
        });
        !self.words.is_empty() && blob.iter().zip(shifts).all(|(&(most, least), shift)| (least..=most).contains(&shift))
    }

    /// Goes on from a state that was checked.
    pub(crate) fn import(&mut self, bytes: &[u8]) {
        let Some((head, words)) = bytes.split_first_chunk::<STATE_HEADER_BYTES>() else { return };
        let flags = half(head, 6);
        (self.left, self.taken) = (half(head, 20), half(head, 22));
        self.learned = (flags & LEARNED != 0).then_some([head[24], head[25]]);
        let (words, _) = words.as_chunks::<4>();
        self.words.iter_mut().zip(words).for_each(|(to, &from)| *to = u32::from_le_bytes(from));
    }
}

fn half(head: &[u8; STATE_HEADER_BYTES], at: usize) -> u16 {
    head.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u16::from_le_bytes(bytes))
}

fn word(head: &[u8; STATE_HEADER_BYTES], at: usize) -> u32 {
    head.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}
