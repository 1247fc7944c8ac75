//! What a device learns of the outputs that are normal on its own machine: their mean and their covariance, for detectors of
//! distances.
//!
//! The blob's tables say where normal outputs lay on the machines that it was trained with. Another machine of the kind, or the
//! same one behind another microphone, has them elsewhere: bands of its spectrum are louder or quieter by constants, so that each
//! output is as far away as that, whatever the machine does. A monitor with a [`Learner`] learns its own tables from the first
//! half of a calibration's windows ([`crate::Monitor::calibrate`]) and how scores under them lie from the other half, which the
//! tables have not seen. Of Mahalanobis' distance it learns
//!
//! - the mean of each element, as it is;
//! - the variance along each vector of the blob's basis, and of what is left, or where there is no basis of each element. These are
//!   the mean of the blob's, which counts for [`PRIOR`] windows, and of what was seen.
//!
//! Of a mixture, or of neighbours, it learns by how much all components have moved together: the mean distance of vectors from
//! the component that is nearest once it has moved as far as is known so far.
//!
//! The directions stay the blob's. Windows of half a minute of one machine, which overlap, span few directions, and noise would
//! fill the others; what the blob has seen over hundreds of recordings are the ways in which such machines vary. To learn
//! directions would also take a row of memory for each.
//!
//! Sums are exact or of the form that loses nothing by subtraction: the mean `m(t)` of the first `t` vectors is a sum of integers
//! divided once, and squares grow by `t / (t + 1)` times the square of what a vector is away from `m(t)`, along a direction or as a
//! whole (Welford, Note on a method for calculating corrected sums of squares and products, Technometrics 4, 1962; a projection
//! is linear, so the same holds along a direction). Memory is bounded, 8 bytes an element where there is a basis, and the
//! caller's; nothing rounds otherwise on a PC.

mod distance;
mod region;
mod state;

use neji_format::{Distance, Model, Plan, Shape};

use crate::calibrate::{CalibrationError, SCORES_MAX, SCORES_MIN};
use crate::error::{MonitorError, SetupError};
use crate::score::distance::{mahalanobis, mixture_of};
use crate::score::{self, Elements, Known, Part, distances};
use region::Region;

pub use distance::PRIOR;

/// Who says what normal outputs are: the blob alone, which costs nothing, or what was learned as well.
pub trait Tables: sealed::Tables {}

impl Tables for Fixed {}
impl Tables for Learner<'_> {}

/// The blob's tables, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fixed;

/// Learns tables in memory that the caller owns, and measures by them.
#[derive(Debug)]
pub struct Learner<'a> {
    /// For each distance its tables, then its sums; 0 where they are not in use. Empty where only scores are learned from.
    words: &'a mut [u32],
    /// Windows to come and taken of those that tables are learned from.
    left: u16,
    taken: u16,
    /// Of the tables, where any were learned.
    learned: Option<[u8; 2]>,
}

/// Most windows that tables are learned from.
const WINDOWS_MAX: u16 = SCORES_MAX / 2;

pub(crate) mod sealed {
    use super::{CalibrationError, Elements, Model};

    /// What the monitor asks of its tables.
    pub trait Tables {
        /// Score and class of a run.
        fn score(&self, model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> (i32, Option<u16>);
        /// Learns from a run after it was scored, where that was asked for: how many more will be.
        fn learn(&mut self, model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> Option<u16>;
        /// How many of a calibration's windows the tables are learned from.
        ///
        /// # Errors
        /// Not enough windows, or too many.
        fn share(&self, windows: u16) -> Result<u16, CalibrationError>;
        /// Begins to learn from the next `windows`; what was learned before counts until there are as many.
        fn begin(&mut self, windows: u16);
        /// Goes back to the blob's tables.
        fn forget(&mut self);
    }
}

impl sealed::Tables for Fixed {
    fn score(&self, model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> (i32, Option<u16>) {
        score::score(model, elements, memory)
    }

    fn learn(&mut self, _: &Model<'_>, _: &impl Elements, _: &mut [u32]) -> Option<u16> {
        None
    }

    fn share(&self, _: u16) -> Result<u16, CalibrationError> {
        Ok(0)
    }

    fn begin(&mut self, _: u16) {}

    fn forget(&mut self) {}
}

impl<'a> Learner<'a> {
    /// Memory that learning a model's tables takes in bytes, with 3 to spare so that it may begin anywhere; 0 where the detector
    /// measures no distance, and scores alone are learned from.
    pub fn memory_bytes(model: &Model<'_>) -> usize {
        match Self::words_of(model.plan()) {
            0 => 0,
            words => words.saturating_mul(4).saturating_add(3),
        }
    }

    /// One that has learned nothing. With no `memory` at all it learns none but scores.
    ///
    /// # Errors
    /// Memory smaller than [`Learner::memory_bytes`], but for none.
    pub(crate) fn new(model: &Model<'_>, memory: &'a mut [u8]) -> Result<Self, MonitorError> {
        let given = memory.len();
        let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
        let count = if given == 0 { 0 } else { Self::words_of(model.plan()) };
        let small = SetupError::MemoryTooSmall { needed: Self::memory_bytes(model), given };
        let words = words.get_mut(..count).ok_or(MonitorError::Setup(small))?;
        words.fill(0);
        Ok(Self { words, left: 0, taken: 0, learned: None })
    }

    fn words_of(plan: &Plan<'_>) -> usize {
        distances(plan).iter().flatten().fold(0, |sum, part| sum.saturating_add(Region::of(part).words()))
    }

    /// Whether tables of its own are measured by.
    pub fn has_learned(&self) -> bool {
        self.learned.is_some()
    }

    /// The words of distance `index` of the two.
    fn words(&self, plan: &Plan<'_>, index: usize) -> &[u32] {
        let (begin, region) = place(plan, index);
        let words = self.words.get(begin..).unwrap_or(&[]);
        words.get(..region.words()).unwrap_or(&[])
    }
}

/// Where the words of distance `index` begin, and what is there.
fn place(plan: &Plan<'_>, index: usize) -> (usize, Region) {
    let [first, second] = distances(plan).map(|part| part.map_or(Region::NONE, |part| Region::of(&part)));
    if index == 0 { (0, first) } else { (first.words(), second) }
}

impl Known for Learner<'_> {
    fn distance(
        &self,
        model: &Model<'_>,
        index: usize,
        distance: &Distance,
        shape: Shape,
        value: impl Fn(usize) -> i32,
        memory: &mut [u32],
    ) -> i32 {
        let Some(shifts) = self.learned else {
            return score::Blob.distance(model, index, distance, shape, value, memory);
        };
        let words = self.words(model.plan(), index);
        let region = Region::of(&Part { distance: *distance, shape, begin: 0 });
        match distance {
            Distance::Mahalanobis(params) => {
                let [first, second] = shifts;
                let shift = if index == 0 { first } else { second };
                let covariance = region.covariance(model, params, words, shift);
                mahalanobis(params, shape, &covariance, value, memory)
            }
            Distance::Mixture(params) => {
                let moved = region.moved(words);
                let channels = shape.channels.max(1) as usize;
                let back = |index: usize| {
                    value(index).saturating_sub(moved.get(index % channels).map_or(0, |&moved| moved.into()))
                };
                mixture_of(model, params, shape, back, memory)
            }
        }
    }
}

impl sealed::Tables for Learner<'_> {
    fn score(&self, model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> (i32, Option<u16>) {
        score::score_by(self, model, elements, memory)
    }

    fn learn(&mut self, model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> Option<u16> {
        let left = self.left.checked_sub(1)?;
        let plan = model.plan();
        let windows = self.left.saturating_add(self.taken);
        let (mut shifts, mut rest) = ([0; 2], &mut *self.words);
        for (part, shift) in distances(plan).iter().flatten().zip(&mut shifts) {
            let region = Region::of(part);
            let (words, behind) = core::mem::take(&mut rest).split_at_mut_checked(region.words())?;
            rest = behind;
            let value =
                |index: usize| elements.output(index.saturating_add(part.begin), score::output_parts(plan.element));
            region.learn(model, part, words, distance::Window { taken: self.taken, windows }, value, memory);
            if left == 0 {
                *shift = region.conclude(model, part, words, windows);
            }
        }
        self.left = left;
        self.taken = self.taken.saturating_add(1);
        if left == 0 {
            self.learned = Some(shifts);
            self.taken = 0;
        }
        Some(left)
    }

    fn share(&self, windows: u16) -> Result<u16, CalibrationError> {
        let least = SCORES_MIN * 2;
        match windows {
            _ if self.words.is_empty() => Ok(0),
            windows if (least..=SCORES_MAX).contains(&windows) => Ok(windows / 2),
            given => Err(CalibrationError::Scores { given, least }),
        }
    }

    fn begin(&mut self, windows: u16) {
        // Of no distance there is nothing to learn.
        self.left = if self.words.is_empty() { 0 } else { windows.min(WINDOWS_MAX) };
        self.taken = 0;
    }

    fn forget(&mut self) {
        (self.left, self.taken, self.learned) = (0, 0, None);
        self.words.fill(0);
    }
}
