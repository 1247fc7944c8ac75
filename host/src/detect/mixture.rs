//! Places where normal outputs are: means of clusters, or the components of a mixture of Gaussians.

use anyhow::{Result, ensure};
use neji_format::{Mixture, Pooling};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::mahalanobis::weights;
use super::{Outputs, push};
use crate::experiment::DetectorSettings;

/// Most vectors that components are chosen from.
const VECTORS_MAX: usize = 1 << 14;
/// Most steps of either method.
const STEPS: usize = 25;
/// Share of all vectors' variance that each component's has at least: a component of a few like vectors would else take no others.
const VARIANCE_MIN: f64 = 0.05;
/// Deviations that the weights' 16 stands for.
const PARTS: f64 = 16.0;

/// Tables of [`Mixture`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    means: Vec<i16>,
    weights: Vec<u16>,
    shift: u8,
    biases: Vec<u32>,
}

/// A component in units of each channel's deviation.
#[derive(Debug, Clone)]
struct Component {
    mean: Vec<f64>,
    variance: Vec<f64>,
    weight: f64,
}

impl Component {
    /// Twice the negative logarithm of its density, without what all have in common.
    fn cost(&self, vector: &[f64]) -> f64 {
        let squares = vector.iter().zip(&self.mean).zip(&self.variance).map(|((x, mean), v)| (x - mean).powi(2) / v);
        squares.sum::<f64>() + self.bias()
    }

    fn bias(&self) -> f64 {
        self.variance.iter().map(|v| v.ln()).sum::<f64>() - 2.0 * self.weight.max(1e-12).ln()
    }
}

impl Tables {
    /// Of what normal inputs gave: with `density` a mixture of Gaussians, otherwise the means of clusters.
    ///
    /// # Errors
    /// More tables than a blob should have.
    pub(super) fn fit(settings: &DetectorSettings, density: bool, seed: u64, outputs: &Outputs) -> Result<Self> {
        let channels = outputs.shape.channels as usize;
        let count = usize::from(settings.components);
        ensure!(
            count * channels <= 1 << 20,
            "detector.components = {count} of {channels} values fill {} bytes; lower it",
            2 * count * channels
        );
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut rows: Vec<&[i32]> = outputs.values.iter().flat_map(|row| row.chunks_exact(channels)).collect();
        rows.shuffle(&mut random);
        rows.truncate(VECTORS_MAX);
        let scale = deviations(&rows, outputs.parts.into());
        let vectors: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| row.iter().zip(&scale).map(|(&value, deviation)| f64::from(value) / deviation).collect())
            .collect();
        let components = if density {
            mixture(&vectors, count, &mut random)
        } else {
            let one = |mean: &Vec<f64>| Component { mean: mean.clone(), variance: vec![1.0; channels], weight: 1.0 };
            clusters(&vectors, count, &mut random).iter().map(one).collect()
        };
        let means = components
            .iter()
            .flat_map(|component| component.mean.iter().zip(&scale))
            .map(|(mean, deviation)| (mean * deviation).round().clamp(-32768.0, 32767.0) as i16)
            .collect();
        let weight = |(variance, deviation): (&f64, &f64)| PARTS / (deviation * variance.sqrt());
        let rows = if density { components.len() } else { 1 };
        let real: Vec<f64> =
            components[..rows].iter().flat_map(|component| component.variance.iter().zip(&scale)).map(weight).collect();
        let (shift, weights) = weights(&real);
        let least = components.iter().map(Component::bias).fold(f64::INFINITY, f64::min);
        let bias =
            |component: &Component| ((component.bias() - least) * PARTS * PARTS / channels as f64).round() as u32;
        let biases = components.iter().map(|component| if density { bias(component) } else { 0 }).collect();
        Ok(Self { means, weights, shift, biases })
    }

    /// The blob's detector.
    pub(super) fn to_format(&self, pooling: Pooling, constants: &mut Vec<u8>) -> Mixture {
        Mixture {
            means: push(constants, &self.means),
            weights: push(constants, &self.weights),
            shift: self.shift,
            biases: push(constants, &self.biases),
            pooling,
        }
    }
}

/// Each channel's deviation, at least half of a step of `parts`.
fn deviations(rows: &[&[i32]], parts: f64) -> Vec<f64> {
    let channels = rows.first().map_or(0, |row| row.len());
    let n = rows.len() as f64;
    (0..channels)
        .map(|channel| {
            let values = || rows.iter().map(|row| f64::from(row[channel]));
            let mean = values().sum::<f64>() / n;
            (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt().max(0.5 * parts)
        })
        .collect()
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Vectors far apart: each is drawn with the square of its distance from those before it (k-means++, Arthur and Vassilvitskii 2007).
/// Fewer than `count` where there are no more different ones.
fn spread(vectors: &[Vec<f64>], count: usize, random: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut chosen: Vec<Vec<f64>> = vec![vectors[0].clone()];
    let mut nearest = vec![f64::INFINITY; vectors.len()];
    while chosen.len() < count {
        let last = &chosen[chosen.len() - 1];
        let update = |(least, vector): (&mut f64, &Vec<f64>)| *least = least.min(squared_distance(vector, last));
        nearest.par_iter_mut().zip(vectors).for_each(update);
        let mut left = random.random::<f64>() * nearest.iter().sum::<f64>();
        let drawn = nearest.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let Some(drawn) = drawn else { break };
        chosen.push(vectors[drawn].clone());
    }
    chosen
}

/// The index of the nearest centre and how far it is.
fn nearest(centres: &[Vec<f64>], vector: &[f64]) -> (usize, f64) {
    let distances = centres.iter().map(|centre| squared_distance(centre, vector)).enumerate();
    distances.fold((0, f64::INFINITY), |best, now| if now.1 < best.1 { now } else { best })
}

/// Means of clusters (Lloyd, Least squares quantization in PCM, 1982).
fn clusters(vectors: &[Vec<f64>], count: usize, random: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut centres = spread(vectors, count, random);
    for _ in 0..STEPS {
        let owners: Vec<usize> = vectors.par_iter().map(|vector| nearest(&centres, vector).0).collect();
        let mean = |index: usize| {
            let own: Vec<Vec<f64>> =
                vectors.iter().zip(&owners).filter(|&(_, &o)| o == index).map(|(v, _)| v.clone()).collect();
            crate::linear::mean(&own).unwrap_or_else(|_| centres[index].clone())
        };
        let moved: Vec<Vec<f64>> = (0..centres.len()).map(mean).collect();
        if moved == centres {
            break;
        }
        centres = moved;
    }
    centres
}

/// A mixture of `count` Gaussians with diagonal covariances, by expectation and maximization (Dempster, Laird and Rubin 1977).
fn mixture(vectors: &[Vec<f64>], count: usize, random: &mut ChaCha8Rng) -> Vec<Component> {
    let centres = spread(vectors, count, random);
    let weight = 1.0 / centres.len() as f64;
    let first = |mean: Vec<f64>| Component { variance: vec![1.0; mean.len()], mean, weight };
    let mut components: Vec<Component> = centres.into_iter().map(first).collect();
    for _ in 0..STEPS {
        let shares: Vec<Vec<f64>> = vectors.par_iter().map(|vector| responsibilities(&components, vector)).collect();
        components = (0..components.len())
            .into_par_iter()
            .map(|k| maximized(&components[k], vectors, shares.iter().map(|row| row[k])))
            .collect();
    }
    components
}

/// How likely each component is to have given a vector.
fn responsibilities(components: &[Component], vector: &[f64]) -> Vec<f64> {
    let costs: Vec<f64> = components.iter().map(|component| component.cost(vector)).collect();
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let shares: Vec<f64> = costs.iter().map(|cost| (-0.5 * (cost - least)).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

fn maximized(before: &Component, vectors: &[Vec<f64>], shares: impl Iterator<Item = f64> + Clone) -> Component {
    let sum: f64 = shares.clone().sum();
    let weight = sum / vectors.len() as f64;
    if sum < 1e-9 {
        return Component { weight, ..before.clone() };
    }
    let channels = before.mean.len();
    let mut mean = vec![0.0; channels];
    for (vector, share) in vectors.iter().zip(shares.clone()) {
        mean.iter_mut().zip(vector).for_each(|(mean, x)| *mean += share * x / sum);
    }
    let mut variance = vec![VARIANCE_MIN; channels];
    for (vector, share) in vectors.iter().zip(shares) {
        let squares = vector.iter().zip(&mean).map(|(x, mean)| (x - mean).powi(2));
        variance.iter_mut().zip(squares).for_each(|(variance, square)| *variance += share * square / sum);
    }
    Component { mean, variance, weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors around (0, 0) and (10, 0), the second group twice as wide.
    fn two_groups() -> Vec<Vec<f64>> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut around = |x: f64, width: f64| {
            (0..400)
                .map(|_| vec![x + width * (random.random::<f64>() - 0.5), width * (random.random::<f64>() - 0.5)])
                .collect()
        };
        let (near, far): (Vec<_>, Vec<_>) = (around(0.0, 1.0), around(10.0, 2.0));
        [near, far].concat()
    }

    #[test]
    fn expectation_and_maximization_find_the_groups() {
        let mut found = mixture(&two_groups(), 2, &mut ChaCha8Rng::seed_from_u64(2));
        found.sort_by(|a, b| a.mean[0].total_cmp(&b.mean[0]));
        assert!(found[0].mean[0].abs() < 0.1 && (found[1].mean[0] - 10.0).abs() < 0.1, "{found:?}");
        // A uniform width has a variance of its square over 12.
        assert!((found[0].variance[1] - VARIANCE_MIN - 1.0 / 12.0).abs() < 0.02, "{found:?}");
        assert!((found[1].variance[1] - VARIANCE_MIN - 4.0 / 12.0).abs() < 0.05, "{found:?}");
        assert!((found[0].weight - 0.5).abs() < 0.01);
    }

    #[test]
    fn clusters_have_their_means_and_no_more_of_them_than_vectors() {
        let mut found = clusters(&two_groups(), 2, &mut ChaCha8Rng::seed_from_u64(3));
        found.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert!(found[0][0].abs() < 0.1 && (found[1][0] - 10.0).abs() < 0.1, "{found:?}");
        assert_eq!(clusters(&[vec![1.0], vec![1.0], vec![2.0]], 5, &mut ChaCha8Rng::seed_from_u64(3)).len(), 2);
    }
}
