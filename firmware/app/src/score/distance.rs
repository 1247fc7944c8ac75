//! Scores of how far an output lies from normal ones.

use neji_format::{Distance, Mahalanobis, Mixture, Model, Shape};

use super::{Z_MAX, map};

/// What a vector is measured against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statistics<'a> {
    /// Means.
    pub(crate) means: &'a [i16],
    /// Reciprocals of deviations, Q`shift`.
    pub(crate) weights: &'a [u16],
    /// 0 to 30.
    pub(crate) shift: u8,
}

impl<'a> Statistics<'a> {
    /// The statistics from element `begin` on; none beyond the end.
    fn from(self, begin: usize) -> Self {
        Self {
            means: self.means.get(begin..).unwrap_or(&[]),
            weights: self.weights.get(begin..).unwrap_or(&[]),
            ..self
        }
    }

    /// Differences in 1/16 of a deviation, of as many elements as there are both.
    fn normalised(self, values: impl Iterator<Item = i32> + 'a) -> impl Iterator<Item = i16> + 'a {
        values
            .zip(self.means)
            .zip(self.weights)
            .map(move |((value, &mean), &weight)| normalised(i64::from(value) - i64::from(mean), weight, self.shift))
    }
}

/// A difference in 1/16 of a deviation.
pub(crate) fn normalised(difference: i64, weight: u16, shift: u8) -> i16 {
    let shift = u32::from(shift.min(30));
    let half = (1i64 << shift) >> 1;
    ((difference * i64::from(weight) + half) >> shift).clamp(-Z_MAX, Z_MAX) as i16
}

pub(crate) fn square(z: i16) -> u64 {
    u64::from(z.unsigned_abs()).pow(2)
}

/// The square of `z` along vector `rank` of a basis, in units of [`square`]; at most 2^46.
pub(crate) fn square_along(basis: &[i16], stride: usize, rank: usize, z: &[i16]) -> u64 {
    // As long as a projection on a unit vector of the longest vector that there may be; longer ones are of no unit vectors.
    const PROJECTION_MAX: i64 = 1 << 27;
    let vector = basis.get(rank.saturating_mul(stride)..).unwrap_or(&[]);
    let product: i64 = vector.iter().zip(z).map(|(&v, &z)| i64::from(i32::from(v) * i32::from(z))).sum();
    // 1/256 of a deviation: a difference of squares needs more places than what it is taken from.
    let projection = ((product + (1 << 10)) >> 11).clamp(-PROJECTION_MAX, PROJECTION_MAX);
    projection.unsigned_abs().pow(2) >> 8
}

/// What is taken off the squared length of `z`: its share along the basis.
fn along(basis: &[i16], stride: usize, shares: &[u16], z: &[i16]) -> u64 {
    let mut sum = 0u64;
    for (rank, &share) in shares.iter().enumerate() {
        sum = sum.saturating_add((square_along(basis, stride, rank, z) * u64::from(share)) >> 16);
    }
    sum
}

/// The tables of [`Mahalanobis`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covariance<'a> {
    pub(crate) statistics: Statistics<'a>,
    pub(crate) basis: &'a [i16],
    pub(crate) shares: &'a [u16],
}

impl<'a> Covariance<'a> {
    /// The blob's.
    pub(crate) fn of(model: &Model<'a>, params: &Mahalanobis) -> Self {
        Self {
            statistics: Statistics {
                means: model.constant_i16(params.means),
                weights: model.constant_u16(params.weights),
                shift: params.shift,
            },
            basis: model.constant_i16(params.basis),
            shares: model.constant_u16(params.shares),
        }
    }
}

/// Words of memory that [`score`] needs for `shape`.
pub(super) fn words(distance: &Distance, shape: Shape) -> usize {
    let map = map::len(distance.pooling(), shape);
    match distance {
        Distance::Mahalanobis(params) => map.saturating_add(work_len(shape, params.shares.bytes as usize / 2)),
        Distance::Mixture(_) => map,
    }
}

/// The distance of `shape`'s pixels, whose element `i` is `value(i)`; afterwards `memory` begins with their map.
pub(super) fn score(
    model: &Model<'_>,
    distance: &Distance,
    shape: Shape,
    value: impl Fn(usize) -> i32,
    memory: &mut [u32],
) -> i32 {
    match distance {
        Distance::Mahalanobis(params) => mahalanobis(params, shape, &Covariance::of(model, params), value, memory),
        Distance::Mixture(params) => mixture_of(model, params, shape, value, memory),
    }
}

/// The distance from the blob's mixture.
pub(crate) fn mixture_of(
    model: &Model<'_>,
    params: &Mixture,
    shape: Shape,
    value: impl Fn(usize) -> i32,
    memory: &mut [u32],
) -> i32 {
    let statistics = Statistics {
        means: model.constant_i16(params.means),
        weights: model.constant_u16(params.weights),
        shift: params.shift,
    };
    mixture(params, shape, &statistics, model.constant_u32(params.biases), value, memory)
}

/// Words of memory behind the map that [`mahalanobis`] needs.
pub(crate) fn work_len(shape: Shape, rank: usize) -> usize {
    if rank == 0 { 0 } else { (shape.channels as usize).div_ceil(2) }
}

/// The score; afterwards `memory` begins with the map of `shape`'s pixels. `memory` has [`work_len`] words beyond the map's.
pub(crate) fn mahalanobis(
    params: &Mahalanobis,
    shape: Shape,
    covariance: &Covariance<'_>,
    value: impl Fn(usize) -> i32,
    memory: &mut [u32],
) -> i32 {
    let channels = shape.channels as usize;
    let work = work_len(shape, covariance.shares.len()).min(memory.len());
    let (memory, work) = memory.split_at_mut(memory.len() - work);
    let work: &mut [i16] = bytemuck::cast_slice_mut(work);
    let stride = covariance.statistics.means.len();
    let pixel = |pixel: usize| {
        let begin = pixel.saturating_mul(channels);
        let own = if params.shared { 0 } else { begin };
        let z = covariance.statistics.from(own).normalised((begin..begin + channels).map(&value));
        let square = if covariance.shares.is_empty() {
            z.map(square).sum()
        } else {
            let mut all = 0u64;
            let kept = work.get_mut(..channels).unwrap_or(&mut []);
            for (kept, z) in kept.iter_mut().zip(z) {
                *kept = z;
                all += square(z);
            }
            let basis = covariance.basis.get(own..).unwrap_or(&[]);
            all.saturating_sub(along(basis, stride, covariance.shares, kept))
        };
        (square / channels.max(1) as u64) as u32
    };
    map::pool(params.pooling, shape, pixel, memory)
}

/// The score; afterwards `memory` begins with the map of `shape`'s pixels. One row of weights serves all components.
fn mixture(
    params: &Mixture,
    shape: Shape,
    statistics: &Statistics<'_>,
    biases: &[u32],
    value: impl Fn(usize) -> i32,
    memory: &mut [u32],
) -> i32 {
    let channels = shape.channels as usize;
    let pixel = |pixel: usize| {
        let begin = pixel.saturating_mul(channels);
        let (_, distance) = nearest(statistics, biases, channels, |channel| value(begin.saturating_add(channel)));
        // A map's value stays below what a mean of squares can be.
        distance.min(Z_MAX.unsigned_abs().pow(2)) as u32
    };
    map::pool(params.pooling, shape, pixel, memory)
}

/// The first of the components that are nearest to a vector of `channels`, and how far that is.
pub(crate) fn nearest(
    statistics: &Statistics<'_>,
    biases: &[u32],
    channels: usize,
    value: impl Fn(usize) -> i32,
) -> (usize, u64) {
    let one_row = statistics.weights.len() == channels;
    let mut nearest = (0, u64::MAX);
    for (component, &bias) in biases.iter().enumerate() {
        let row = component.saturating_mul(channels);
        let weights = if one_row { statistics.weights } else { statistics.from(row).weights };
        let own = Statistics { weights, ..statistics.from(row) };
        let z = own.normalised((0..channels).map(&value));
        let distance = z.map(square).sum::<u64>() / channels.max(1) as u64 + u64::from(bias);
        if distance < nearest.1 {
            nearest = (component, distance);
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use neji_format::{Constant, Pooling};

    use super::*;

    const NOWHERE: Constant = Constant { offset: 0, bytes: 0 };

    fn params(shared: bool) -> Mahalanobis {
        Mahalanobis {
            shared,
            means: NOWHERE,
            weights: NOWHERE,
            shift: 14,
            basis: NOWHERE,
            shares: NOWHERE,
            pooling: Pooling::MEAN,
        }
    }

    /// The squared distance under a covariance that is inverted outright, in f64.
    #[test]
    fn low_rank_equals_the_inverse_of_the_covariance() {
        // S = D^1/2 (v I + (l - v) b b') D^1/2 with deviations 40 and 80, v = 1/4, l = 4, b along (3, 4) / 5.
        let (deviation, v, l, b) = ([40.0, 80.0], 0.25, 4.0, [0.6, 0.8]);
        let mut covariance = [[0.0; 2]; 2];
        for i in 0..2 {
            for j in 0..2 {
                let identity = f64::from(u8::from(i == j));
                covariance[i][j] = deviation[i] * deviation[j] * (v * identity + (l - v) * b[i] * b[j]);
            }
        }
        let determinant = covariance[0][0] * covariance[1][1] - covariance[0][1] * covariance[1][0];
        let inverse = [
            [covariance[1][1] / determinant, -covariance[0][1] / determinant],
            [-covariance[1][0] / determinant, covariance[0][0] / determinant],
        ];
        let means = [100, -50];
        // 16 / (v D)^(1/2), Q14.
        let weights = deviation.map(|deviation| (16.0 / (deviation * 0.5) * 16384.0) as u16);
        let basis = b.map(|b| (b * 32768.0) as i16);
        let shares = [((1.0 - v / l) * 65536.0) as u16];
        let statistics = Statistics { means: &means, weights: &weights, shift: 14 };
        let covariance = Covariance { statistics, basis: &basis, shares: &shares };
        for y in [[100, -50], [160, 30], [40, 30], [100, -300], [-700, 700]] {
            let difference = [f64::from(y[0] - 100), f64::from(y[1] + 50)];
            let expected: f64 =
                (0..4).map(|k| difference[k / 2] * inverse[k / 2][k % 2] * difference[k % 2]).sum::<f64>() / 2.0;
            let score = mahalanobis(&params(true), Shape::new(1, 1, 2), &covariance, |i| y[i], &mut [0; 2]);
            let error = (f64::from(score) / 256.0 - expected).abs();
            assert!(error < 0.03 + 0.02 * expected, "{y:?}: {score} / 256 is not {expected}");
        }
    }

    #[test]
    fn pixels_have_their_own_statistics_or_share_them() {
        let (means, weights) = ([0, 10, 20, 30], [1 << 14; 4]);
        let statistics = Statistics { means: &means, weights: &weights, shift: 14 };
        let own = Covariance { statistics, basis: &[], shares: &[] };
        let mut map = [0; 2];
        mahalanobis(&params(false), Shape::new(1, 2, 2), &own, |i| [2, 12, 20, 36][i], &mut map);
        assert_eq!(map, [(4 + 4) / 2, 36 / 2]);
        let statistics = Statistics { means: &means[..2], weights: &weights[..2], shift: 14 };
        let shared = Covariance { statistics, basis: &[], shares: &[] };
        mahalanobis(&params(true), Shape::new(1, 2, 2), &shared, |i| [2, 12, 0, 10][i], &mut map);
        assert_eq!(map, [4, 0]);
    }

    #[test]
    fn no_basis_makes_a_distance_negative() {
        // No unit vectors: what they take off is more than there is.
        let statistics = Statistics { means: &[0; 2], weights: &[1 << 14; 2], shift: 14 };
        let covariance = Covariance { statistics, basis: &[i16::MAX; 4], shares: &[u16::MAX; 2] };
        assert_eq!(mahalanobis(&params(true), Shape::new(1, 1, 2), &covariance, |_| 3000, &mut [0; 2]), 0);
    }

    #[test]
    fn the_nearest_component_counts_and_its_bias() {
        let params = Mixture { means: NOWHERE, weights: NOWHERE, shift: 14, biases: NOWHERE, pooling: Pooling::MEAN };
        let means = [0, 0, 100, 100];
        let shape = Shape::new(1, 2, 2);
        let value = |i: usize| [10, 10, 90, 104][i];
        let mut map = [0; 2];
        let one = Statistics { means: &means, weights: &[1 << 14; 2], shift: 14 };
        let score = mixture(&params, shape, &one, &[0, 7], value, &mut map);
        assert_eq!((map, score), ([100, (100 + 16) / 2 + 7], (100 + 65) / 2));
        let each = Statistics { weights: &[1 << 14, 1 << 14, 1 << 13, 0], ..one };
        mixture(&params, shape, &each, &[0, 0], value, &mut map);
        assert_eq!(map, [100, 25 / 2]);
    }
}
