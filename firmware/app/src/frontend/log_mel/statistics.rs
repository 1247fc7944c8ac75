//! Mean and deviation of each feature over the last frames.
//!
//! With `n` frames of a feature `d` and the sums `s` of `d` and `q` of `d^2`, the mean is `s / n` and the deviation
//! `sqrt(n q - s^2) / n`. Features are rounded to 1/4096 of their unit first; from there on all is exact but for the last
//! division and the root. So a mean is off by less than 1/8192 + 1/131072, and so is a deviation, since that of a sum is at
//! most the sum of deviations.
//!
//! No frame is kept: windows are made of blocks of `stride` frames, and a block is its sums. An input is due with the end of
//! a block, then the oldest block's place becomes the next one's.

use neji_format::front_end::STATISTICS_FRAMES_MAX;

use super::inputs::Window;
use super::steps::Steps;

/// Fraction bits that are dropped of a feature's 16.
const DROPPED_BITS: u32 = 4;
/// What features are limited to, 8192 units, so that no sum overflows; no decibels are farther from 0.
const FEATURE_MAX: i32 = 1 << 29;
/// Words of a feature's sums in a block.
const SUM_WORDS: usize = 4;

/// Sum and sum of squares of at most [`STATISTICS_FRAMES_MAX`] features of at most 2^25: below 2^38 and up to 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    sum: i64,
    squares: u64,
}

impl Sums {
    const NONE: Self = Self { sum: 0, squares: 0 };

    fn of(feature: i32) -> Self {
        let half = 1 << (DROPPED_BITS - 1);
        let value = (feature.clamp(-FEATURE_MAX, FEATURE_MAX) + half) >> DROPPED_BITS;
        let magnitude = u64::from(value.unsigned_abs());
        Self { sum: value.into(), squares: magnitude * magnitude }
    }

    fn plus(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), squares: self.squares.wrapping_add(other.squares) }
    }

    fn from_words(words: [u32; SUM_WORDS]) -> Self {
        let [a, b, c, d] = words.map(u64::from);
        Self { sum: (a | b << 32).cast_signed(), squares: c | d << 32 }
    }

    fn to_words(self) -> [u32; SUM_WORDS] {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let ([a, b], [c, d]) = (halves(self.sum.cast_unsigned()), halves(self.squares));
        [a, b, c, d]
    }

    /// Mean of `count` features in 1/65536, rounded to nearest.
    fn mean(self, count: u16) -> i32 {
        divide((self.sum << DROPPED_BITS).into(), count)
    }

    /// Deviation of `count` features in 1/65536.
    fn deviation(self, count: u16) -> i32 {
        let sum = u128::from(self.sum.unsigned_abs());
        let variance = (u128::from(self.squares) * u128::from(count)).saturating_sub(sum * sum);
        divide(i128::from(root(variance)) << DROPPED_BITS, count)
    }
}

/// Quotient, rounded to nearest and halves up; what i32 has no room for is at its end. 0 where `count` is.
fn divide(value: i128, count: u16) -> i32 {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    let count = i64::from(count);
    let quotient = value.saturating_mul(2).saturating_add(count).checked_div_euclid(2 * count).unwrap_or(0);
    quotient.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// The square root, rounded down; of what is above 2^64 its upper 32 bits or more.
fn root(value: u128) -> u64 {
    let above = (128 - value.leading_zeros()).saturating_sub(64).div_ceil(2);
    (value.wrapping_shr(2 * above) as u64).isqrt().wrapping_shl(above)
}

/// Sums over the last `context` frames, block by block.
#[derive(Debug)]
pub struct Statistics<'a> {
    steps: Steps<'a>,
    window: Window,
    features: usize,
    /// Sums of each feature in each of the `context / stride` blocks, a ring of blocks.
    ring: &'a mut [[u32; SUM_WORDS]],
    /// Where the block that grows begins in the ring.
    block: usize,
    /// Frames that it lacks.
    missing: u16,
}

impl<'a> Statistics<'a> {
    /// Words of memory for windows of frames of so many features.
    pub const fn memory_words(features: usize, window: Window) -> usize {
        features.saturating_mul(window.blocks()).saturating_mul(SUM_WORDS)
    }

    /// Without any frame; `None` where `memory` is shorter than [`Statistics::memory_words`].
    pub fn new(features: usize, window: Window, steps: Steps<'a>, memory: &'a mut [u32]) -> Option<Self> {
        let ring = memory.as_chunks_mut().0.get_mut(..features.saturating_mul(window.blocks()))?;
        let window = Window { context: window.context.min(STATISTICS_FRAMES_MAX), ..window };
        Some(Self { steps, window, features, ring, block: 0, missing: 0 })
    }

    /// Forgets all frames.
    pub fn restart(&mut self) {
        self.ring.fill(Sums::NONE.to_words());
        (self.block, self.missing) = (0, self.window.stride);
    }

    /// Takes the next frame.
    pub fn push(&mut self, features: &[i32]) {
        if self.missing == 0 {
            self.block = self.block.saturating_add(self.features);
            if self.block >= self.ring.len() {
                self.block = 0;
            }
            self.missing = self.window.stride;
            self.growing().fill(Sums::NONE.to_words());
        }
        for (words, &feature) in self.growing().iter_mut().zip(features) {
            *words = Sums::from_words(*words).plus(Sums::of(feature)).to_words();
        }
        self.missing = self.missing.saturating_sub(1);
    }

    fn growing(&mut self) -> &mut [[u32; SUM_WORDS]] {
        let rest = self.ring.get_mut(self.block..).unwrap_or_default();
        let count = self.features.min(rest.len());
        rest.get_mut(..count).unwrap_or_default()
    }

    /// Sums of each feature over the window.
    fn sums(&self) -> impl Iterator<Item = Sums> {
        (0..self.features).map(|feature| {
            let blocks = self.ring.iter().skip(feature).step_by(self.features.max(1));
            blocks.fold(Sums::NONE, |sums, &words| sums.plus(Sums::from_words(words)))
        })
    }

    /// The mean of each feature over the last `context` frames, then the deviation of each, in 1/65536 of its unit.
    pub fn values(&self) -> impl Iterator<Item = i32> {
        let count = self.window.context;
        let means = self.sums().map(move |sums| sums.mean(count));
        means.chain(self.sums().map(move |sums| sums.deviation(count)))
    }

    /// Puts the bytes of [`Statistics::values`]' elements in `out`.
    pub fn copy_to(&self, out: &mut [i8]) {
        self.steps.write(self.values(), out);
    }
}
