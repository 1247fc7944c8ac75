//! Ranges of activations, from what normal images make of them.
//!
//! Three ways to choose: the smallest and largest value seen; the range without the outermost 0.01 % on each side; the
//! range with the smallest expected squared error of rounding and clipping, searched among shrunken ranges (Sung, Shin and
//! Hwang, "Resiliency of deep neural networks under quantization", 2015, section 3).

use rayon::prelude::*;

use crate::experiment::CalibrationName;
use crate::graph::Graph;

/// Bins of the histogram between the smallest and the largest value of a node.
const BINS: usize = 2048;
/// Share of values that a percentile range leaves out on each side.
const OUTSIDE: f64 = 1e-4;
/// Steps of an int8 range.
const STEPS: f64 = 255.0;

/// The values from `low` to `high`; `low <= 0 <= high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub low: f32,
    /// Largest value.
    pub high: f32,
}

impl Range {
    const EMPTY: Self = Self { low: 0.0, high: 0.0 };

    /// As many times as wide, from 0.
    pub fn widened(self, factor: f32) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }

    fn with(self, value: f32) -> Self {
        Self { low: self.low.min(value), high: self.high.max(value) }
    }

    fn and(self, other: Self) -> Self {
        self.with(other.low).with(other.high)
    }
}

/// The range of each node of `graph` over `inputs`, by `method`.
///
/// # Panics
/// Where an input has another length than the graph's.
pub fn calibrate(graph: &Graph, inputs: &[Vec<f32>], method: CalibrationName) -> Vec<Range> {
    let empty = || vec![Range::EMPTY; graph.nodes.len()];
    // Minima and maxima do not depend on the order in which threads bring them.
    let extremes = (inputs.par_iter())
        .map(|input| {
            let values = graph.run_all(input);
            values.iter().map(|node| node.iter().fold(Range::EMPTY, |range, &value| range.with(value))).collect()
        })
        .reduce(empty, |a: Vec<Range>, b| a.iter().zip(b).map(|(a, b)| a.and(b)).collect());
    if method == CalibrationName::Minmax {
        return extremes;
    }
    let counts = (inputs.par_iter()).map(|input| histograms(&graph.run_all(input), &extremes)).reduce(
        || vec![vec![0; BINS]; graph.nodes.len()],
        |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
            a
        },
    );
    let choose = if method == CalibrationName::Mse { least_squares } else { percentiles };
    extremes.iter().zip(&counts).map(|(&range, counts)| choose(range, counts)).collect()
}

/// Inputs whose values are held at a time.
const AT_ONCE: usize = 32;

/// Each node's mean output over `inputs`.
///
/// # Panics
/// Where an input has another length than the graph's.
pub fn means(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = graph.nodes.iter().map(|node| vec![0.0; node.shape.len()]).collect();
    for some in inputs.chunks(AT_ONCE) {
        let all: Vec<Vec<Vec<f32>>> = some.par_iter().map(|input| graph.run_all(input)).collect();
        // Added in the order of the inputs, so that threads change no bit.
        for values in &all {
            for (sum, value) in sums.iter_mut().flatten().zip(values.iter().flatten()) {
                *sum += f64::from(*value);
            }
        }
    }
    sums.iter_mut().flatten().for_each(|sum| *sum /= inputs.len() as f64);
    sums
}

fn bin_width(range: Range) -> f64 {
    (f64::from(range.high) - f64::from(range.low)) / BINS as f64
}

fn histograms(values: &[Vec<f32>], ranges: &[Range]) -> Vec<Vec<u64>> {
    let histogram = |(values, &range): (&Vec<f32>, &Range)| {
        let width = bin_width(range);
        let mut counts = vec![0; BINS];
        for &value in values {
            let bin = (f64::from(value) - f64::from(range.low)) / width;
            counts[(bin as usize).min(BINS - 1)] += 1;
        }
        counts
    };
    values.iter().zip(ranges).map(histogram).collect()
}

fn percentiles(range: Range, counts: &[u64]) -> Range {
    let outside = (counts.iter().sum::<u64>() as f64 * OUTSIDE) as u64;
    let width = bin_width(range);
    let beyond = |counts: &mut dyn Iterator<Item = &u64>| {
        let mut seen = 0;
        counts.take_while(|&&count| (seen += count, seen <= outside).1).count() as f64
    };
    let low = f64::from(range.low) + width * beyond(&mut counts.iter());
    let high = f64::from(range.high) - width * beyond(&mut counts.iter().rev());
    // Zero stays inside: it is what padding is.
    Range { low: (low as f32).min(0.0), high: (high as f32).max(0.0) }
}

fn least_squares(range: Range, counts: &[u64]) -> Range {
    let width = bin_width(range);
    let error = |candidate: Range| -> f64 {
        let (low, high) = (f64::from(candidate.low), f64::from(candidate.high));
        let rounding = ((high - low) / STEPS).powi(2) / 12.0;
        let cost = |(bin, &count): (usize, &u64)| {
            let value = f64::from(range.low) + (bin as f64 + 0.5) * width;
            let clipped = (value - value.clamp(low, high)).powi(2);
            count as f64 * if clipped > 0.0 { clipped } else { rounding }
        };
        counts.iter().enumerate().map(cost).sum()
    };
    let mut best = (error(range), range);
    for percent in (30..100).rev() {
        let share = percent as f32 / 100.0;
        for candidate in [
            Range { low: range.low * share, high: range.high * share },
            Range { low: range.low * share, high: range.high },
            Range { low: range.low, high: range.high * share },
        ] {
            let cost = error(candidate);
            if cost < best.0 {
                best = (cost, candidate);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use neji_format::Shape;

    use super::*;
    use crate::graph::{Activation, Node, Op};

    fn graph() -> Graph {
        let shape = Shape::new(1, 1, 2);
        let node = |name: &str, op, inputs| Node { name: name.into(), op, inputs, shape };
        Graph {
            name: "g".into(),
            nodes: vec![node("input", Op::Input, vec![]), node("relu", Op::Activation(Activation::Relu), vec![0])],
        }
    }

    #[test]
    fn extremes_hold_zero() {
        let ranges = calibrate(&graph(), &[vec![1.0, 3.0], vec![2.0, -0.5]], CalibrationName::Minmax);
        assert_eq!(ranges, [Range { low: -0.5, high: 3.0 }, Range { low: 0.0, high: 3.0 }]);
        let ranges = calibrate(&graph(), &[vec![1.0, 2.0]], CalibrationName::Minmax);
        assert_eq!(ranges[0], Range { low: 0.0, high: 2.0 });
    }

    #[test]
    fn an_outlier_is_clipped_where_that_is_asked_for() {
        // 20,000 values from 0 to 1 and one of 100.
        let mut inputs: Vec<Vec<f32>> = (0..10_000).map(|i| vec![i as f32 / 1e4; 2]).collect();
        inputs.push(vec![0.0, 100.0]);
        let high = |method| calibrate(&graph(), &inputs, method)[0].high;
        assert_eq!(high(CalibrationName::Minmax), 100.0);
        assert!((0.99..1.2).contains(&high(CalibrationName::Percentile)));
        // Rounding 20,001 values in steps of 100/255 costs 256; clipping one of them to 70 costs 900.
        assert!((85.0..99.9).contains(&high(CalibrationName::Mse)), "{}", high(CalibrationName::Mse));
    }
}
