//! Mean and covariance of normal outputs: a diagonal, and a few directions in which they vary more.

use anyhow::{Result, ensure};
use neji_format::{Mahalanobis, Pooling};

use super::{Outputs, push};
use crate::experiment::DetectorSettings;
use crate::linear::{Eigen, Moments};

/// Most vectors that statistics are taken of.
const VECTORS_MAX: usize = 1 << 16;
/// Least deviation of an element in steps of the output: what rounding does.
const DEVIATION_MIN: f64 = 0.5;
/// Deviations that the weights' 16 stands for.
const PARTS: f64 = 16.0;

/// Tables of [`Mahalanobis`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    shared: bool,
    means: Vec<i16>,
    weights: Vec<u16>,
    shift: u8,
    basis: Vec<i16>,
    shares: Vec<u16>,
}

/// The statistics of vectors of one kind, in units of the output's parts.
struct Statistics {
    means: Vec<f64>,
    /// Square roots of the diagonal times the floor's variance.
    deviations: Vec<f64>,
    /// Unit vectors and shares, the largest variance first.
    directions: Vec<(Vec<f64>, f64)>,
}

impl Tables {
    /// Of what normal inputs gave.
    ///
    /// # Errors
    /// More tables than a blob should have.
    pub(super) fn fit(settings: &DetectorSettings, outputs: &Outputs) -> Result<Self> {
        let Outputs { shape, parts, values } = outputs;
        let channels = shape.channels as usize;
        let pixels = shape.len() / channels;
        let shared = pixels > 1 && settings.shared;
        let rank = usize::from(settings.rank).min(channels);
        let kinds = if shared { 1 } else { pixels };
        ensure!(
            kinds * rank * channels <= 1 << 20,
            "detector.rank = {rank} for each of {kinds} pixels of {channels} values fills {} bytes; lower it, or say \
             detector.shared or detector.pooled",
            2 * kinds * rank * channels
        );
        let found: Vec<Statistics> = (0..kinds)
            .map(|kind| {
                let vectors: Vec<&[i32]> = if shared {
                    values.iter().flat_map(|row| row.chunks_exact(channels)).collect()
                } else {
                    values.iter().map(|row| &row[kind * channels..][..channels]).collect()
                };
                let step = vectors.len().div_ceil(VECTORS_MAX);
                let vectors: Vec<&[i32]> = vectors.into_iter().step_by(step).collect();
                Statistics::of(&vectors, rank, DEVIATION_MIN * f64::from(*parts))
            })
            .collect::<Result<_>>()?;
        Ok(Self::quantized(shared, rank, &found))
    }

    /// The distance from 0, where outputs are differences from a centre: one weight for all elements, one over the root of their mean
    /// square. That no element counts for more than another is what the training that drew them together had.
    pub(super) fn centre(outputs: &Outputs) -> Self {
        let Outputs { shape, parts, values } = outputs;
        let count = values.len() * shape.len();
        let squares: f64 = values.iter().flatten().map(|&value| f64::from(value).powi(2)).sum();
        let deviation = (squares / count as f64).sqrt().max(DEVIATION_MIN * f64::from(*parts));
        let (shift, weights) = weights(&vec![PARTS / deviation; shape.len()]);
        Self { shared: false, means: vec![0; shape.len()], weights, shift, basis: Vec::new(), shares: Vec::new() }
    }

    fn quantized(shared: bool, rank: usize, found: &[Statistics]) -> Self {
        let means = found.iter().flat_map(|one| &one.means).map(|mean| mean.round() as i16).collect();
        let real: Vec<f64> = found.iter().flat_map(|one| &one.deviations).map(|deviation| PARTS / deviation).collect();
        let (shift, weights) = weights(&real);
        let mut basis = Vec::new();
        for k in 0..rank {
            let unit = |v: &f64| (v * 32768.0).round().clamp(-32768.0, 32767.0) as i16;
            basis.extend(found.iter().flat_map(|one| &one.directions[k].0).map(unit));
        }
        // A share is that of all pixels: the mean of theirs.
        let share = |k: usize| {
            let mean = found.iter().map(|one| one.directions[k].1).sum::<f64>() / found.len() as f64;
            (mean * 65536.0).round().min(65535.0) as u16
        };
        Self { shared, means, weights, shift, basis, shares: (0..rank).map(share).collect() }
    }

    /// The blob's detector.
    pub(super) fn to_format(&self, pooling: Pooling, constants: &mut Vec<u8>) -> Mahalanobis {
        Mahalanobis {
            shared: self.shared,
            means: push(constants, &self.means),
            weights: push(constants, &self.weights),
            shift: self.shift,
            basis: push(constants, &self.basis),
            shares: push(constants, &self.shares),
            pooling,
        }
    }
}

/// Weights in the finest quantization that holds the largest.
pub(super) fn weights(real: &[f64]) -> (u8, Vec<u16>) {
    let largest = real.iter().copied().fold(0.0, f64::max);
    let fits = |&shift: &u8| largest * f64::from(1u32 << shift) <= f64::from(u16::MAX);
    let shift = (0..=30u8).rev().find(fits).unwrap_or(0);
    let scale = f64::from(1u32 << shift);
    (shift, real.iter().map(|weight| (weight * scale).round().clamp(1.0, f64::from(u16::MAX)) as u16).collect())
}

impl Statistics {
    /// Mean, diagonal and the `rank` directions of the largest variance of the correlations.
    ///
    /// The correlations are shrunk towards independence by as much as the number of vectors suggests (Ledoit and Wolf, A
    /// well-conditioned estimator for large-dimensional covariance matrices, 2004), and the floor is the mean of the variances that are
    /// left (Tipping and Bishop 1999, eq. 8).
    fn of(vectors: &[&[i32]], rank: usize, deviation_min: f64) -> Result<Self> {
        let count = vectors.first().map_or(0, |vector| vector.len());
        let n = vectors.len() as f64;
        let mut means = vec![0.0; count];
        for vector in vectors {
            means.iter_mut().zip(*vector).for_each(|(mean, &value)| *mean += f64::from(value) / n);
        }
        let mut squares = vec![0.0; count];
        for vector in vectors {
            for ((square, &value), mean) in squares.iter_mut().zip(*vector).zip(&means) {
                *square += (f64::from(value) - mean).powi(2) / n;
            }
        }
        let diagonal: Vec<f64> = squares.iter().map(|square| square.sqrt().max(deviation_min)).collect();
        if rank == 0 {
            return Ok(Self { means, deviations: diagonal, directions: Vec::new() });
        }
        let rows: Vec<Vec<f64>> = vectors
            .iter()
            .map(|vector| {
                let values = vector.iter().zip(&means).zip(&diagonal);
                values.map(|((&value, mean), deviation)| (f64::from(value) - mean) / deviation).collect()
            })
            .collect();
        let moments = Moments::of(&rows)?;
        let found = Eigen::of(moments.shrunk(moments.shrinkage()));
        let left = &found.values[rank..];
        let floor = if left.is_empty() { found.values[rank - 1] } else { left.iter().sum::<f64>() / left.len() as f64 };
        let floor = floor.max(1e-4);
        let directions = (0..rank).map(|k| {
            let vector = found.vectors.column(k).iter().copied().collect();
            (vector, (1.0 - floor / found.values[k]).max(0.0))
        });
        let deviations = diagonal.iter().map(|deviation| deviation * floor.sqrt()).collect();
        Ok(Self { means, deviations, directions: directions.collect() })
    }
}

#[cfg(test)]
mod tests {
    use neji_format::Shape;

    use super::*;

    #[test]
    fn a_centre_is_nowhere_else_and_weighs_all_alike() {
        // A mean square of (9 + 1 + 1 + 25) / 4 in steps of 16 parts.
        let values = vec![vec![48, -16], vec![16, 80]];
        let tables = Tables::centre(&Outputs { shape: Shape::new(1, 1, 2), parts: 16, values });
        assert_eq!((&tables.means[..], tables.weights[0]), (&[0, 0][..], tables.weights[1]));
        let weight = f64::from(tables.weights[0]) / f64::from(1u32 << tables.shift);
        assert!((weight - 16.0 / (3.0 * 16.0)).abs() < 1e-4, "{weight}");
        assert!(tables.basis.is_empty() && tables.shares.is_empty());
    }
}
