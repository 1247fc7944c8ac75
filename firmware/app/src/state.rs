//! What a monitor keeps over a restart, as bytes: calibration, decision, drift.
//!
//! | offset | field |
//! |---:|---|
//! | 0 | magic, `NJST` |
//! | 4 | `version: u16`, 1 |
//! | 6 | `flags: u16`: calibration (0 the blob's, 1 begun, 2 learned), 4 where there is a mean, trend (8 higher, 16 lower) |
//! | 8 | the blob's checksum and length, `u32` each: whose state this is |
//! | 16 | calibration: location, or where sums begin, `i32`; scale `u32`; scores to come and taken, `u16` each; sum `i64`; sum of squares `u64` |
//! | 44 | decision: exponential mean `i64`, in 1/256 steps of the score; the last scores that were abnormal `u32`, a bit each |
//! | 56 | drift: sum above normal `u32` |
//! | 60 | CRC-32 of all but these four bytes, the blob's own ([`neji_format::header::checksum`]) |
//! | 64 | drift: sum below normal `u32` |
//!
//! All little-endian; what a calibration does not have is 0. Not kept are the last scores that an aggregate stands for (up to
//! 16 kB of them) nor a frame or window that was begun: after a restart the alarm stays as it was until there are as many again.

use neji_format::header::{CRC_OFFSET, checksum};
use neji_format::{Header, Normal};

use crate::calibrate::{Calibrator, REACH, SCALE_MAX, SCORES_MAX};
use crate::drift::Trend;
use crate::judge::{Calibration, Judge};

/// Length of a state.
pub const STATE_BYTES: usize = 68;
const MAGIC: [u8; 4] = *b"NJST";
const VERSION: u16 = 1;

const LEARNING: u16 = 1;
const LEARNED: u16 = 2;
const HAS_MEAN: u16 = 4;
const HIGHER: u16 = 8;
const LOWER: u16 = 16;

/// Why bytes are not a state of this monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateError {
    /// Not [`STATE_BYTES`] bytes.
    Length {
        /// How many there are.
        given: usize,
    },
    /// No state at all.
    Magic,
    /// Of another version of the firmware.
    Version {
        /// The state's.
        found: u16,
    },
    /// Damaged.
    Checksum,
    /// Of another model.
    Model {
        /// Checksum of the model that it is of.
        found: u32,
    },
    /// A value that no monitor of this model has.
    Value,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length { given } => write!(f, "state of {given} bytes; a whole one has {STATE_BYTES}"),
            Self::Magic => f.write_str("not a monitor's state"),
            Self::Version { found } => {
                write!(f, "state of version {found}, this firmware knows {VERSION}; calibrate again")
            }
            Self::Checksum => f.write_str("the state is damaged; calibrate again"),
            Self::Model { found } => write!(f, "the state is of the model with checksum {found:08x}; calibrate again"),
            Self::Value => f.write_str("the state has values that its model can't have; calibrate again"),
        }
    }
}

impl core::error::Error for StateError {}

/// The state of `judge`, of the model with `header`.
pub(crate) fn export(judge: &Judge, header: &Header) -> [u8; STATE_BYTES] {
    let mut flags = 0;
    let (mut location, mut scale, mut left, mut taken, mut sum, mut squares) = (0, 0, 0, 0, 0, 0);
    match judge.calibration {
        Calibration::Blob => {}
        Calibration::Learning(calibrator) => {
            flags |= LEARNING;
            Calibrator { origin: location, left, taken, sum, squares } = calibrator;
        }
        Calibration::Learned(normal) => {
            flags |= LEARNED;
            Normal { location, scale } = normal;
        }
    }
    let (mut higher, mut lower) = (0, 0);
    if let Some(drift) = judge.drift {
        (higher, lower) = (drift.higher, drift.lower);
        flags |= match drift.trend() {
            Trend::Steady => 0,
            Trend::Higher => HIGHER,
            Trend::Lower => LOWER,
        };
    }
    let mean = judge.decider.state;
    if mean.is_some() {
        flags |= HAS_MEAN;
    }
    let mut bytes = [0; STATE_BYTES];
    let mut writer = Writer { rest: &mut bytes };
    writer.put(MAGIC);
    writer.put(VERSION.to_le_bytes());
    writer.put(flags.to_le_bytes());
    writer.put(header.crc32.to_le_bytes());
    writer.put(header.total_bytes.to_le_bytes());
    writer.put(location.to_le_bytes());
    writer.put(scale.to_le_bytes());
    writer.put(left.to_le_bytes());
    writer.put(taken.to_le_bytes());
    writer.put(sum.to_le_bytes());
    writer.put(squares.to_le_bytes());
    writer.put(mean.unwrap_or(0).to_le_bytes());
    writer.put(judge.decider.history.to_le_bytes());
    writer.put(higher.to_le_bytes());
    writer.put([0; 4]);
    writer.put(lower.to_le_bytes());
    let crc = checksum(&bytes).to_le_bytes();
    if let Some(place) = bytes.get_mut(CRC_OFFSET..CRC_OFFSET + 4) {
        place.copy_from_slice(&crc);
    }
    bytes
}

/// The judge that `fresh`, which has seen nothing, becomes with a state that [`export`] wrote for the model with `header`.
pub(crate) fn import(fresh: Judge, header: &Header, bytes: &[u8]) -> Result<Judge, StateError> {
    let bytes: &[u8; STATE_BYTES] = bytes.try_into().map_err(|_| StateError::Length { given: bytes.len() })?;
    let mut reader = Reader { rest: bytes };
    if reader.take() != MAGIC {
        return Err(StateError::Magic);
    }
    let version = u16::from_le_bytes(reader.take());
    if version != VERSION {
        return Err(StateError::Version { found: version });
    }
    let flags = u16::from_le_bytes(reader.take());
    let (model, model_bytes) = (u32::from_le_bytes(reader.take()), u32::from_le_bytes(reader.take()));
    let location = i32::from_le_bytes(reader.take());
    let scale = u32::from_le_bytes(reader.take());
    let (left, taken) = (u16::from_le_bytes(reader.take()), u16::from_le_bytes(reader.take()));
    let (sum, squares) = (i64::from_le_bytes(reader.take()), u64::from_le_bytes(reader.take()));
    let mean = i64::from_le_bytes(reader.take());
    let history = u32::from_le_bytes(reader.take());
    let higher = u32::from_le_bytes(reader.take());
    let crc = u32::from_le_bytes(reader.take());
    let lower = u32::from_le_bytes(reader.take());
    if checksum(bytes) != crc {
        return Err(StateError::Checksum);
    }
    if (model, model_bytes) != (header.crc32, header.total_bytes) {
        return Err(StateError::Model { found: model });
    }
    let calibrator = Calibrator { origin: location, left, taken, sum, squares };
    let calibration = match flags & (LEARNING | LEARNED) {
        0 => Calibration::Blob,
        LEARNING if scale == 0 && is_sound(&calibrator) => Calibration::Learning(calibrator),
        LEARNED if calibrator == (Calibrator { origin: location, left: 0, taken: 0, sum: 0, squares: 0 }) => {
            Calibration::Learned(Normal { location, scale })
        }
        _ => return Err(StateError::Value),
    };
    let trend = match flags & (HIGHER | LOWER) {
        0 => Trend::Steady,
        HIGHER if higher > 0 => Trend::Higher,
        LOWER if lower > 0 => Trend::Lower,
        _ => return Err(StateError::Value),
    };
    let learned =
        matches!(calibration, Calibration::Learned(normal) if !(1..=SCALE_MAX as u32).contains(&normal.scale));
    let most = fresh.drift.map_or(0, |drift| drift.sum_max());
    let known = LEARNING | LEARNED | HAS_MEAN | HIGHER | LOWER;
    let calibrates = fresh.can_calibrate() || calibration == Calibration::Blob;
    if learned || !calibrates || higher.max(lower) > most || flags & !known != 0 {
        return Err(StateError::Value);
    }
    let mut judge = fresh;
    judge.set(calibration);
    let mean = (flags & HAS_MEAN != 0).then_some(mean);
    if !judge.decider.restore(mean, history) {
        return Err(StateError::Value);
    }
    if let Some(drift) = &mut judge.drift {
        (drift.higher, drift.lower, drift.trend) = (higher, lower, trend);
    }
    Ok(judge)
}

/// The checksum that stands in a state.
pub(crate) fn crc(state: &[u8; STATE_BYTES]) -> u32 {
    state.get(CRC_OFFSET..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// Whether a calibration that was begun can go on without its sums growing out of their types.
fn is_sound(calibrator: &Calibrator) -> bool {
    let Calibrator { left, taken, sum, squares, .. } = *calibrator;
    let reach = REACH.unsigned_abs();
    let count = u64::from(taken);
    left > 0
        && u32::from(left) + u32::from(taken) <= SCORES_MAX.into()
        && sum.unsigned_abs() <= count * reach
        && squares <= count * reach.pow(2)
}

/// Fills a state from the front.
struct Writer<'b> {
    rest: &'b mut [u8],
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some((place, rest)) = core::mem::take(&mut self.rest).split_first_chunk_mut() {
            *place = field;
            self.rest = rest;
        }
    }
}

/// Reads a state from the front.
struct Reader<'b> {
    rest: &'b [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.rest.split_first_chunk() else { return [0; N] };
        self.rest = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use neji_format::{Decision, Drift};

    use super::*;

    const HEADER: Header = Header {
        total_bytes: 4096,
        plan_bytes: 0,
        constants_offset: 0,
        constants_bytes: 0,
        arena_bytes: 0,
        crc32: 0x1234_5678,
    };
    const DECISION: Decision = Decision {
        threshold: 130,
        release: 120,
        smoothing: 1 << 14,
        required: 2,
        window: 3,
        normal: Some(Normal { location: 100, scale: 10 }),
        drift: Some(Drift { slack: 128, clip: 2048, limit: 1024 }),
        ..Decision::EACH
    };

    /// Judges at every point of a story: fresh, begun to learn, learned, alarmed and drifted.
    fn story() -> Vec<Judge> {
        let mut judge = Judge::new(DECISION);
        let mut judges = vec![judge];
        judge.push(-200, None, &mut []);
        judge.calibrate(20).unwrap();
        let learned = (0..20).map(|i| 980 + 40 * (i % 2));
        for score in learned.chain([1000, 1200, 1200, 1200, 1200, 1000, 900, 700, 700, 700, 700]) {
            judge.push(score, None, &mut []);
            judges.push(judge);
        }
        assert!(judges.iter().any(Judge::alarm) && judges.iter().any(|judge| judge.trend() == Trend::Lower));
        judges
    }

    fn restored(bytes: &[u8]) -> Result<Judge, StateError> {
        import(Judge::new(DECISION), &HEADER, bytes)
    }

    /// A state whose bytes were changed and whose checksum was made to fit.
    fn forged(judge: &Judge, change: impl FnOnce(&mut [u8; STATE_BYTES])) -> Result<Judge, StateError> {
        let mut bytes = export(judge, &HEADER);
        change(&mut bytes);
        let crc = checksum(&bytes).to_le_bytes();
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc);
        restored(&bytes)
    }

    #[test]
    fn a_restored_judge_goes_on_as_if_nothing_had_happened() {
        for (index, mut judge) in story().into_iter().enumerate() {
            let bytes = export(&judge, &HEADER);
            let mut other = restored(&bytes).unwrap();
            assert_eq!(export(&other, &HEADER), bytes, "{index}");
            assert_eq!((other.alarm(), other.trend()), (judge.alarm(), judge.trend()));
            for score in [1010, 990, 1300, 1300, 1010, 400, 1000, 1000].repeat(4) {
                assert_eq!(other.push(score, None, &mut []), judge.push(score, None, &mut []), "{index}");
                assert_eq!((other.alarm(), other.trend()), (judge.alarm(), judge.trend()), "{index}");
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        for judge in story() {
            let bytes = export(&judge, &HEADER);
            for length in 0..STATE_BYTES {
                assert_eq!(restored(&bytes[..length]).err(), Some(StateError::Length { given: length }));
            }
            assert!(restored(&[&bytes[..], &[0]].concat()).is_err());
            for bit in 0..8 * STATE_BYTES {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(restored(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_models_state_is_refused() {
        let bytes = export(&story()[30], &HEADER);
        let found = HEADER.crc32;
        for header in [Header { crc32: 1, ..HEADER }, Header { total_bytes: 4112, ..HEADER }] {
            let refused = import(Judge::new(DECISION), &header, &bytes).err();
            assert_eq!(refused, Some(StateError::Model { found }));
        }
        // The same header with another decision can only be forged.
        let bare = Judge::new(Decision { normal: None, drift: None, ..DECISION });
        assert_eq!(import(bare, &HEADER, &bytes).err(), Some(StateError::Value));
    }

    #[test]
    fn values_that_no_monitor_has_are_refused() {
        let (learning, learned) = (story()[9], story()[25]);
        assert!(matches!(learning.calibration(), Calibration::Learning(_)));
        assert!(matches!(learned.calibration(), Calibration::Learned(_)));
        let refused = |judge: &Judge, at: usize, word: &[u8]| {
            forged(judge, |bytes| bytes[at..at + word.len()].copy_from_slice(word)).err() == Some(StateError::Value)
        };
        // No scores to come, too many, a sum or squares beyond what they can be.
        assert!(refused(&learning, 24, &[0, 0]) && refused(&learning, 24, &[0, 16]));
        assert!(refused(&learning, 28, &i64::MIN.to_le_bytes()) && refused(&learning, 36, &u64::MAX.to_le_bytes()));
        assert!(refused(&learned, 20, &[0; 4]) && refused(&learned, 20, &[0xff; 4]) && refused(&learned, 28, &[1]));
        // A mean beyond 32 bits, a history longer than the window, sums beyond their limit, unknown flags, two trends.
        assert!(refused(&learned, 44, &i64::MAX.to_le_bytes()) && refused(&learned, 52, &[8]));
        assert!(refused(&learned, 56, &[0, 0, 1]) && refused(&learned, 64, &[0, 0, 1]));
        assert!(refused(&learned, 7, &[1]) && refused(&learned, 6, &[LEARNED as u8 | 24]));
        assert!(refused(&learned, 6, &[3]));
    }

    /// Any state whose checksum fits is refused, or a judge whose arithmetic holds.
    #[test]
    fn forged_states_do_no_harm() {
        let mut state = 9u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let (judges, mut accepted) = (story(), 0);
        for _ in 0..200_000 {
            let judge = &judges[random() % judges.len()];
            let changes = [(); 3].map(|()| (16 + random() % (STATE_BYTES - 16), random() as u8));
            let Ok(mut judge) = forged(judge, |bytes| changes.iter().for_each(|&(at, value)| bytes[at] = value)) else {
                continue;
            };
            accepted += 1;
            for score in [i32::MIN, i32::MAX, 0] {
                judge.push(score, None, &mut []);
            }
        }
        assert!(accepted > 1000, "{accepted}");
    }
}
