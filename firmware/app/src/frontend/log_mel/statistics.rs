//! What is typical of each feature over the last frames: [`WindowStatistics`] has the formulas.
//!
//! No frame is kept but the last: windows are made of blocks of `stride` frames, and a block is its sums. An
//! input is due with the end of a block, then the oldest block's place becomes the next one's.
//!
//! A logarithm `10 log10(x + 0.05)` of an `x` that is off by `e` is off by less than `4.35 e / (x + 0.05) + 5e-5`: at most 0.012
//! of a deviation, 0.022 of a difference.

use neji_format::WindowStatistics;
use neji_format::front_end::STATISTICS_FRAMES_MAX;

use super::decibel::{DECIBEL_BITS, Power};
use super::inputs::Window;
use super::steps::Steps;
use super::sums::{Sums, level, rounded};

/// What is added to deviations and differences before their logarithm: 0.05 units in 1/65536.
const FLOOR: u32 = 3277;

/// `10 log10(value + 0.05)` in 1/65536, where `value` is, and not negative.
fn logarithm(value: i32) -> i32 {
    Power::new(u128::from(value.unsigned_abs()) + u128::from(FLOOR), -DECIBEL_BITS.cast_signed()).decibels()
}

/// What a row of an input stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// Those of a block, counted from the oldest.
    Block(usize),
    /// Those of the window.
    Window,
}

/// Sums over the last `context` frames, block by block.
#[derive(Debug)]
pub struct Statistics<'a> {
    steps: Steps<'a>,
    window: Window,
    kind: WindowStatistics,
    features: usize,
    /// Sums of each feature in each of the `context / stride` blocks, a ring of blocks.
    ring: &'a mut [u32],
    /// The last frame's features, [`rounded`], where there are differences.
    last: &'a mut [i32],
    /// The block that grows.
    block: usize,
    /// Frames that it lacks.
    missing: u16,
}

impl<'a> Statistics<'a> {
    /// Words of memory for windows of frames of so many features.
    pub const fn memory_words(features: usize, window: Window, kind: WindowStatistics) -> usize {
        let sums = window.blocks().saturating_mul(Sums::words(kind.differences));
        features.saturating_mul(sums.saturating_add(if kind.differences { 1 } else { 0 }))
    }

    /// Without any frame; `None` where `memory` is shorter than [`Statistics::memory_words`].
    pub fn new(
        features: usize,
        window: Window,
        kind: WindowStatistics,
        steps: Steps<'a>,
        memory: &'a mut [u32],
    ) -> Option<Self> {
        let (last, rest) = memory.split_at_mut_checked(if kind.differences { features } else { 0 })?;
        let words = features.saturating_mul(window.blocks()).saturating_mul(Sums::words(kind.differences));
        let ring = rest.get_mut(..words)?;
        let window = Window { context: window.context.min(STATISTICS_FRAMES_MAX), ..window };
        Some(Self { steps, window, kind, features, ring, last: bytemuck::cast_slice_mut(last), block: 0, missing: 0 })
    }

    /// Forgets all frames.
    pub fn restart(&mut self) {
        self.ring.fill(0);
        self.last.fill(0);
        (self.block, self.missing) = (0, self.window.stride);
    }

    /// Takes the next frame.
    pub fn push(&mut self, features: &[i32]) {
        if self.missing == 0 {
            self.block = if self.block + 1 < self.window.blocks() { self.block + 1 } else { 0 };
            self.missing = self.window.stride;
        }
        let begins = self.missing == self.window.stride;
        self.missing = self.missing.saturating_sub(1);
        let words = Sums::words(self.kind.differences);
        let block = self.block.saturating_mul(self.features).saturating_mul(words);
        let block = self.ring.get_mut(block..).unwrap_or_default();
        let mut last = self.last.iter_mut();
        for (words, &feature) in block.chunks_exact_mut(words).zip(features).take(self.features) {
            let value = rounded(feature);
            let before = last.next().map_or(value, |last| core::mem::replace(last, value));
            // The first of a block has nothing before it.
            let sums = match begins {
                true => Sums::of(value, 0),
                false => Sums::from_words(words).plus(Sums::of(value, value.abs_diff(before))),
            };
            sums.to_words(words);
        }
    }

    /// A feature's sums in the block that is so many places behind the oldest.
    fn in_block(&self, feature: usize, place: usize) -> Sums {
        // The oldest is behind the one that grows.
        let (block, blocks) = (self.block.saturating_add(1).saturating_add(place), self.window.blocks());
        let block = block.checked_rem(blocks).unwrap_or(0);
        let words = Sums::words(self.kind.differences);
        let begin = block.saturating_mul(self.features).saturating_add(feature).saturating_mul(words);
        let own = self.ring.get(begin..).and_then(|rest| rest.get(..words));
        own.map_or(Sums::NONE, Sums::from_words)
    }

    /// Each feature's sums.
    fn sums(&self, frames: Frames) -> impl Iterator<Item = Sums> {
        let places = match frames {
            Frames::Block(place) => place..place.saturating_add(1),
            Frames::Window => 0..self.window.blocks(),
        };
        (0..self.features)
            .map(move |feature| places.clone().fold(Sums::NONE, |sums, place| sums.plus(self.in_block(feature, place))))
    }

    /// The elements of a row in 1/65536 of their units: means, deviations, differences.
    fn row(&self, frames: Frames) -> impl Iterator<Item = i32> {
        let WindowStatistics { level_free, logarithms, differences, .. } = self.kind;
        let (count, blocks) = match frames {
            Frames::Block(_) => (self.window.stride, 1),
            Frames::Window => (self.window.context, self.window.blocks() as u16),
        };
        let level = if level_free { level(self.sums(frames), count) } else { 0 };
        let scale = move |value| if logarithms { logarithm(value) } else { value };
        let means = self.sums(frames).map(move |sums| sums.mean(count).saturating_sub(level));
        let deviations = self.sums(frames).map(move |sums| scale(sums.deviation(count)));
        // There is one less in each block than frames.
        let pairs = count.saturating_sub(blocks);
        let moves = self.sums(frames).take(if differences { self.features } else { 0 });
        means.chain(deviations).chain(moves.map(move |sums| scale(sums.difference(pairs))))
    }

    /// What the rows stand for, in order.
    fn rows(&self) -> impl Iterator<Item = Frames> {
        let blocks = if self.kind.blocks { self.window.blocks() } else { 0 };
        (0..blocks).map(Frames::Block).chain([Frames::Window])
    }

    /// The elements of all rows in 1/65536 of their units.
    pub fn values(&self) -> impl Iterator<Item = i32> {
        self.rows().flat_map(|frames| self.row(frames))
    }

    /// Puts the bytes of [`Statistics::values`]' elements in `out`.
    pub fn copy_to(&self, out: &mut [i8]) {
        let row_len = self.features.saturating_mul(self.kind.groups() as usize);
        let all = self.steps.quantizers;
        // Behind those of a block's row are those of the window's, where they differ.
        let of_window = all.get(row_len..).filter(|rest| !rest.is_empty()).unwrap_or(all);
        let bytes = row_len.saturating_mul(self.steps.element.bytes());
        for (frames, out) in self.rows().zip(out.chunks_mut(bytes.max(1))) {
            let quantizers = if frames == Frames::Window { of_window } else { all };
            Steps { quantizers, ..self.steps }.write(self.row(frames), out);
        }
    }
}
