//! Sums over vectors, and the tables that they become.

use neji_format::{Distance, Mahalanobis, Mixture, Model, Shape};

use super::region::{Region, Split};
use crate::score::Part;
use crate::score::distance::{Covariance, Statistics, nearest, normalised, square, square_along, work_len};

/// For how many windows the variances of the blob count.
pub const PRIOR: u16 = 64;

/// Vectors that the sums are of where pixels share their statistics and there are more, about: every so many pixels.
const VECTORS_MAX: usize = 1 << 14;
/// A value counts as at most this far from the blob's mean. With it and fewer than 2^15 vectors, sums stay within 31 bits.
const REACH: i64 = 1 << 16;
/// 1, of variances in units of the blob's.
const ONE: u64 = 1 << 16;
/// Least variance: half the blob's deviation.
const VARIANCE_MIN: u64 = ONE / 4;
/// Most.
const VARIANCE_MAX: u64 = 1 << 40;

/// A window among those that are learned from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Windows before it.
    pub(super) taken: u16,
    /// All of them.
    pub(super) windows: u16,
}

/// Which pixels of a window are taken, where they share their statistics.
#[derive(Debug, Clone, Copy)]
struct Pixels {
    /// Every so many.
    step: usize,
    /// How many that is.
    count: usize,
}

impl Pixels {
    fn of(shape: Shape, windows: u16) -> Self {
        let pixels = (shape.height as usize).saturating_mul(shape.width as usize);
        let step = pixels.saturating_mul(windows.into()).div_ceil(VECTORS_MAX).max(1);
        Self { step, count: pixels.div_ceil(step) }
    }
}

impl Region {
    /// Takes the vectors of a window, whose element `i` is `value(i)`. `memory` is what the score was computed in.
    pub(super) fn learn(
        self,
        model: &Model<'_>,
        part: &Part,
        words: &mut [u32],
        window: Window,
        value: impl Fn(usize) -> i32,
        memory: &mut [u32],
    ) {
        if window.taken == 0 {
            let split = self.split(words);
            split.sums.fill(0);
            split.squares.fill([0; 2]);
        }
        match &part.distance {
            Distance::Mahalanobis(params) => {
                let covariance = Covariance::of(model, params);
                let pixels = Pixels::of(part.shape, window.windows);
                let all = Pixels { step: 1, count: pixels.count.saturating_mul(pixels.step) };
                let pixels = if params.shared { pixels } else { all };
                let work = work_len(part.shape, self.shares).min(memory.len());
                let work = memory.get_mut(memory.len() - work..).unwrap_or(&mut []);
                let sums = Sums { params, covariance, channels: part.shape.channels as usize };
                for index in 0..pixels.count {
                    let pixel = index.saturating_mul(pixels.step);
                    let before = match params.shared {
                        true => usize::from(window.taken).saturating_mul(pixels.count).saturating_add(index),
                        false => window.taken.into(),
                    };
                    sums.take(self.split(words), pixel, before as u64, &value, bytemuck::cast_slice_mut(work));
                }
            }
            Distance::Mixture(params) => {
                let pixels = Pixels::of(part.shape, window.windows);
                let statistics = mixture(model, params);
                let biases = model.constant_u32(params.biases);
                for index in 0..pixels.count {
                    let begin = index.saturating_mul(pixels.step).saturating_mul(part.shape.channels as usize);
                    let before = usize::from(window.taken).saturating_mul(pixels.count).saturating_add(index);
                    let value = |channel: usize| value(begin.saturating_add(channel));
                    move_on(self.split(words).sums, &statistics, biases, before as u64, value);
                }
            }
        }
    }

    /// Makes the tables of what `windows` windows summed up to; the shift of the weights.
    pub(super) fn conclude(self, model: &Model<'_>, part: &Part, words: &mut [u32], windows: u16) -> u8 {
        let pixels = Pixels::of(part.shape, windows);
        let shared = u64::from(windows).saturating_mul(pixels.count as u64);
        let split = self.split(&mut *words);
        let shift = match &part.distance {
            Distance::Mahalanobis(params) => {
                let covariance = Covariance::of(model, params);
                let channels = part.shape.channels as usize;
                let kinds = (self.means / channels.max(1)) as u64;
                let vectors = if params.shared { shared } else { windows.into() };
                for ((mean, &sum), &blob) in split.means.iter_mut().zip(&*split.sums).zip(covariance.statistics.means) {
                    *mean = moved(blob, sum, vectors);
                }
                // Along a vector of the basis the vectors of all pixels count, of an element its own.
                let kinds = if params.shared || self.shares == 0 { 1 } else { kinds };
                let freedom = vectors.saturating_sub(1).saturating_mul(kinds);
                variances(split, &covariance, channels, freedom, windows)
            }
            Distance::Mixture(params) => {
                for (by, &sum) in split.means.iter_mut().zip(&*split.sums) {
                    *by = moved(0, sum, shared);
                }
                params.shift
            }
        };
        let split = self.split(words);
        split.sums.fill(0);
        split.squares.fill([0; 2]);
        shift
    }
}

/// The blob's components.
fn mixture<'t>(model: &Model<'t>, params: &Mixture) -> Statistics<'t> {
    Statistics {
        means: model.constant_i16(params.means),
        weights: model.constant_u16(params.weights),
        shift: params.shift,
    }
}

/// `sum / count`, rounded to the nearest and half up; 0 of none.
fn mean(sum: i32, count: u64) -> i64 {
    let count = count.cast_signed();
    (i64::from(sum) + (count >> 1)).checked_div_euclid(count).unwrap_or(0)
}

/// The mean of values whose distances from `from` sum up to `sum`.
fn moved(from: i16, sum: i32, count: u64) -> i16 {
    (i64::from(from) + mean(sum, count)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// `square * before / (before + 1)`, by which a sum of squares about the mean grows.
fn grow(square: u64, before: u64) -> u64 {
    // Squares are at most 2^46 and vectors fewer than 2^15.
    square.saturating_mul(before) / before.saturating_add(1)
}

/// Adds to a number of two words.
fn add(to: &mut [u32; 2], what: u64) {
    let sum = number(*to).saturating_add(what);
    *to = [sum as u32, (sum >> 32) as u32];
}

fn number([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn add_bounded(sum: &mut i32, difference: i64) {
    *sum = sum.saturating_add(difference.clamp(-REACH, REACH) as i32);
}

/// Where the vectors of Mahalanobis' distance go.
struct Sums<'t, 'p> {
    params: &'p Mahalanobis,
    covariance: Covariance<'t>,
    channels: usize,
}

impl Sums<'_, '_> {
    /// Takes the vector of `pixel`, of whose statistics `before` were taken before.
    fn take(&self, split: Split<'_>, pixel: usize, before: u64, value: impl Fn(usize) -> i32, work: &mut [i16]) {
        let Covariance { statistics, basis, shares } = self.covariance;
        let begin = pixel.saturating_mul(self.channels);
        let own = if self.params.shared { 0 } else { begin };
        let tables = statistics.means.iter().zip(statistics.weights).skip(own).take(self.channels);
        let sums = split.sums.iter_mut().skip(own);
        let mut all = 0u64;
        for (channel, ((&blob, &weight), sum)) in tables.zip(sums).enumerate() {
            let difference = i64::from(value(begin.saturating_add(channel))) - i64::from(blob);
            let z = normalised(difference - mean(*sum, before), weight, statistics.shift);
            add_bounded(sum, difference);
            match work.get_mut(channel) {
                Some(kept) if !shares.is_empty() => {
                    *kept = z;
                    all = all.saturating_add(square(z));
                }
                _ => {
                    if let Some(squares) = split.squares.get_mut(own.saturating_add(channel)) {
                        add(squares, grow(square(z), before));
                    }
                }
            }
        }
        let Some((whole, along)) = split.squares.split_first_mut().filter(|_| !shares.is_empty()) else { return };
        add(whole, grow(all, before));
        let (basis, z) = (basis.get(own..).unwrap_or(&[]), work.get(..self.channels).unwrap_or(&[]));
        for (rank, squares) in along.iter_mut().enumerate() {
            add(squares, grow(square_along(basis, statistics.means.len(), rank, z), before));
        }
    }
}

/// Takes a vector of a mixture.
fn move_on(sums: &mut [i32], statistics: &Statistics<'_>, biases: &[u32], before: u64, value: impl Fn(usize) -> i32) {
    let channels = sums.len();
    let so_far = |channel: usize| sums.get(channel).map_or(0, |&sum| mean(sum, before) as i32);
    let (component, _) =
        nearest(statistics, biases, channels, |channel| value(channel).saturating_sub(so_far(channel)));
    let means = statistics.means.get(component.saturating_mul(channels)..).unwrap_or(&[]);
    for (channel, (sum, &mean)) in sums.iter_mut().zip(means).enumerate() {
        add_bounded(sum, i64::from(value(channel)) - i64::from(mean));
    }
}

/// A sum of squares over `count`, from 1/256 to 1/65536.
fn variance(squares: u64, count: u64) -> u64 {
    let count = count.max(1);
    let (whole, rest) = (squares / count, squares % count);
    whole.saturating_mul(256).saturating_add(rest.saturating_mul(256) / count).min(VARIANCE_MAX)
}

/// The mean of what the blob says, which counts for [`PRIOR`] windows, and of what `windows` windows say.
fn shrunk(blob: u64, own: u64, windows: u16) -> u64 {
    let (prior, own_windows) = (u64::from(PRIOR), u64::from(windows.saturating_sub(1)));
    // Below 2^53.
    (blob.min(VARIANCE_MAX) * prior + own * own_windows) / (prior + own_windows)
}

/// Weights and shares; the shift of the weights.
fn variances(split: Split<'_>, covariance: &Covariance<'_>, channels: usize, freedom: u64, windows: u16) -> u8 {
    let Split { weights, shares, squares, .. } = split;
    let blob = covariance.statistics;
    if covariance.shares.is_empty() {
        let of = |squares: [u32; 2]| shrunk(ONE, variance(number(squares), freedom), windows).max(VARIANCE_MIN);
        return weigh(weights, &blob, || squares.iter().map(|&squares| of(squares)));
    }
    let Some((&whole, along)) = squares.split_first() else { return blob.shift };
    let inside = along.iter().fold(0u64, |sum, &squares| sum.saturating_add(number(squares)));
    // What lies off the basis; where that is all there is, it stays as it is.
    let outside = channels.saturating_sub(along.len()) as u64;
    let rest = match outside {
        0 => ONE,
        outside => {
            let own = variance(number(whole).saturating_sub(inside), freedom.saturating_mul(outside));
            shrunk(ONE, own, windows).max(VARIANCE_MIN)
        }
    };
    for ((share, &squares), &own) in shares.iter_mut().zip(along).zip(covariance.shares) {
        let before = (ONE << 16) / (ONE - u64::from(own));
        let now = shrunk(before, variance(number(squares), freedom), windows);
        let kept = (rest << 16).checked_div(now).unwrap_or(ONE).min(ONE);
        *share = (ONE - kept).min(u16::MAX.into()) as u16;
    }
    weigh(weights, &blob, || core::iter::repeat(rest))
}

/// Divides the blob's weights by the deviations that belong to `variances`; their shift.
fn weigh<V: Iterator<Item = u64>>(weights: &mut [u16], blob: &Statistics<'_>, variances: impl Fn() -> V) -> u8 {
    // A variance is at least a quarter, so a weight at most doubles and one place less is room enough.
    let wide = |(&weight, variance): (&u16, u64)| {
        // 2^16 deviations; variances are below 2^41.
        let deviation = (variance << 16).isqrt().max(1);
        ((u64::from(weight) << 16) + deviation / 2) / deviation
    };
    let largest = blob.weights.iter().zip(variances()).map(wide).max().unwrap_or(0);
    let less = u8::from(largest > u16::MAX.into() && blob.shift > 0);
    for (to, wide) in weights.iter_mut().zip(blob.weights.iter().zip(variances()).map(wide)) {
        *to = (wide >> less).clamp(1, u16::MAX.into()) as u16;
    }
    blob.shift - less
}
