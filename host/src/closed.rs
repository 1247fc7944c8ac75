//! Models that are computed outright: no epochs, no checkpoint, no trainer.

use anyhow::{Context, Result, ensure};
use neji_format::{Shape, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dataset::Dataset;
use crate::experiment::{AutoencoderKind, Experiment, Task};
use crate::frontend::{self, real_inputs};
use crate::graph::{Graph, Node, Op, window_output};
use crate::linear::{Eigen, Moments, Subspace};
use crate::lowered::POINT;
use crate::run::{Run, Trained, hex, split};

/// Most inputs that a subspace is computed from, evenly spread.
const INPUTS_MAX: usize = 1 << 15;
/// Most patches that components are computed from.
const PATCHES_MAX: usize = 1 << 16;
/// Least variance of a component of patches, as a share of the mean one: below it is what rounding to grey levels does.
const VARIANCE_MIN: f64 = 1e-4;

/// Whether the experiment's model is computed outright.
pub fn is_closed(experiment: &Experiment) -> bool {
    match experiment.task {
        Task::Features => true,
        Task::Autoencoder => experiment.model.kind == AutoencoderKind::Pca,
        Task::Cnn | Task::Distilled | Task::Student | Task::OneClass => false,
    }
}

/// Computes the model of a run whose experiment takes no epochs, and ends its training; none, and nothing done, where it takes some.
///
/// # Errors
/// As [`fit`], or a file can't be written.
pub fn train(experiment: &Experiment, data: &Dataset, run: &Run) -> Result<Option<Trained>> {
    if !is_closed(experiment) {
        return Ok(None);
    }
    let (trained, graph) = fit(experiment, data)?;
    run.finish(&trained, &graph)?;
    Ok(Some(trained))
}

/// Computes the model from the data's training part.
///
/// # Errors
/// Data that the front end can't take, or too few of them for the bottleneck.
pub fn fit(experiment: &Experiment, data: &Dataset) -> Result<(Trained, Graph)> {
    let (samples, held_out) = split(experiment, data)?;
    let front_end = frontend::fit(&experiment.front_end, &samples)?;
    let shape = front_end.shape().context("a front end that was fitted has a shape")?;
    let mut graph = Graph {
        name: experiment.name.clone(),
        nodes: vec![Node { name: "input".into(), op: Op::Input, inputs: vec![], shape }],
    };
    let mut loss = 0.0;
    if experiment.task == Task::Autoencoder {
        let train = spread(real_inputs(&front_end, &samples)?.inputs);
        ensure!(!train.is_empty(), "no training sample passes the front end; see [front_end] in the experiment");
        let count = experiment.model.bottleneck;
        let subspace = Subspace::fit(&train, count).context("the training inputs span no subspace")?;
        ensure!(
            subspace.variances.len() == count,
            "model.bottleneck is {count}, but {} training inputs vary in {} directions only; lower it",
            train.len(),
            subspace.variances.len()
        );
        let validation = real_inputs(&front_end, &held_out)?.inputs;
        loss = error(&subspace, if validation.is_empty() { &train } else { &validation });
        graph.nodes.extend(nodes(&subspace, shape, experiment.seed));
    }
    if experiment.model.patch > 0 {
        let train = real_inputs(&front_end, &samples)?.inputs;
        let settings = &experiment.model;
        graph.nodes.push(patches(&train, shape, settings.patch, settings.patch_stride, settings.bottleneck)?);
    }
    let trained = Trained {
        neji_version: env!("CARGO_PKG_VERSION").to_owned(),
        data_hash: hex(&data.hash()),
        classes: data.classes.clone(),
        front_end,
        best_epoch: 1,
        best_loss: loss,
    };
    Ok((trained, graph))
}

/// At most [`INPUTS_MAX`] of them.
fn spread(inputs: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let step = inputs.len().div_ceil(INPUTS_MAX).max(1);
    inputs.into_iter().step_by(step).collect()
}

/// The convolution that gives the first `count` principal components of patches of `side`, each of variance 1 on normal inputs, so that
/// one scale of int8 serves them.
fn patches(inputs: &[Vec<f32>], shape: Shape, side: usize, stride: usize, count: usize) -> Result<Node> {
    let window = Window {
        kernel_height: side as u16,
        kernel_width: side as u16,
        stride_height: stride as u16,
        stride_width: stride as u16,
        ..POINT
    };
    let (width, rows) = (shape.width as usize, shape.height as usize);
    ensure!(!inputs.is_empty(), "no training sample passes the front end; see [front_end] in the experiment");
    let (height, across) = window_output(shape, &window)
        .filter(|_| rows >= side && width >= side)
        .with_context(|| format!("model.patch is {side}, but the input is {width} x {rows}; lower it"))?;
    ensure!(count <= side * side, "model.bottleneck is {count}, but a patch has {} pixels; lower it", side * side);
    let all = inputs.len() * (height * across) as usize;
    let patch = |index: usize| -> Vec<f32> {
        let (input, place) = (&inputs[index / (height * across) as usize], index % (height * across) as usize);
        let (y, x) = (place / across as usize * stride, place % across as usize * stride);
        (y..y + side).flat_map(|row| &input[row * width + x..][..side]).copied().collect()
    };
    let found: Vec<Vec<f32>> = (0..all).step_by(all.div_ceil(PATCHES_MAX)).map(patch).collect();
    let moments = Moments::of(&found)?;
    let level = moments.covariance.trace() / (side * side) as f64;
    let axes = Eigen::of(moments.covariance.clone());
    let (mut weights, mut bias) = (Vec::new(), Vec::new());
    for (axis, variance) in axes.vectors.column_iter().zip(&axes.values).take(count) {
        let scale = variance.max(VARIANCE_MIN * level).max(1e-12).sqrt().recip();
        weights.extend(axis.iter().map(|weight| (weight * scale) as f32));
        bias.push((-scale * axis.iter().zip(&moments.mean).map(|(weight, mean)| weight * mean).sum::<f64>()) as f32);
    }
    let op = Op::Conv2d { weights, bias, window };
    Ok(Node { name: "patches".into(), op, inputs: vec![0], shape: Shape::new(height, across, count as u32) })
}

/// Mean squared error of reconstruction.
fn error(subspace: &Subspace, inputs: &[Vec<f32>]) -> f64 {
    let sum: f64 = inputs.iter().map(|input| subspace.residual(input)).sum();
    sum / (inputs.len() * subspace.mean.len()).max(1) as f64
}

/// Two dense layers onto the subspace and back.
///
/// Its basis is turned by a random rotation: the same subspace, but codes of like variance, which one scale of int8 serves best.
pub(crate) fn nodes(subspace: &Subspace, shape: Shape, seed: u64) -> Vec<Node> {
    let (features, codes) = subspace.axes.shape();
    let rotation = rotation(codes, &mut ChaCha8Rng::seed_from_u64(seed));
    let mut down = vec![0.0f64; codes * features];
    for (row, turn) in down.chunks_exact_mut(features).zip(&rotation) {
        for (axis, factor) in subspace.axes.column_iter().zip(turn) {
            row.iter_mut().zip(&axis).for_each(|(weight, v)| *weight += factor * v);
        }
    }
    let seen = |row: &[f64]| -row.iter().zip(&subspace.mean).map(|(weight, mean)| weight * mean).sum::<f64>();
    let bias = down.chunks_exact(features).map(|row| seen(row) as f32).collect();
    let up = (0..features).flat_map(|i| (0..codes).map(move |k| (i, k))).map(|(i, k)| down[k * features + i] as f32);
    let dense = |name: &str, weights, bias, input, len| Node {
        name: name.into(),
        op: Op::FullyConnected { weights, bias },
        inputs: vec![input],
        shape: Shape::new(1, 1, len),
    };
    let mean = subspace.mean.iter().map(|&mean| mean as f32).collect();
    vec![
        dense("encoder", down.iter().map(|&weight| weight as f32).collect(), bias, 0, codes as u32),
        dense("decoder", up.collect(), mean, 1, features as u32),
        Node { name: "output".into(), op: Op::Reshape, inputs: vec![2], shape },
    ]
}

/// A random orthogonal matrix: normal numbers, made orthonormal row by row (Gram and Schmidt).
fn rotation(size: usize, random: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    while rows.len() < size {
        // Sums of uniform numbers are as good as normal ones here.
        let mut row: Vec<f64> = (0..size).map(|_| (0..12).map(|_| random.random::<f64>() - 0.5).sum()).collect();
        // Twice, since what is left after the first time may be small.
        for _ in 0..2 {
            for other in &rows {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        if length > 1e-6 {
            row.iter_mut().for_each(|a| *a /= length);
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subspace_is_reconstructed_and_what_is_off_it_is_not() {
        // Inputs on a plane in four dimensions, off the origin.
        let on = |a: f32, b: f32| vec![1.0 + a, 2.0 + b, 3.0 - a, 4.0 + 2.0 * b];
        let inputs: Vec<Vec<f32>> = (0..50).map(|i| on((i % 7) as f32 * 0.1, (i % 11) as f32 * 0.2)).collect();
        let subspace = Subspace::fit(&inputs, 2).expect("a plane");
        let shape = Shape::new(2, 2, 1);
        let mut graph = Graph {
            name: "pca".into(),
            nodes: vec![Node { name: "input".into(), op: Op::Input, inputs: vec![], shape }],
        };
        graph.nodes.extend(nodes(&subspace, shape, 3));
        graph.check().expect("sound");
        let output = graph.run(&on(0.35, -1.0));
        assert!(output.iter().zip(on(0.35, -1.0)).all(|(a, b)| (a - b).abs() < 1e-4), "{output:?}");
        assert!(error(&subspace, &inputs) < 1e-9);
        let mut off = on(0.0, 0.0);
        off[0] += 1.0;
        off[2] += 1.0;
        assert!((error(&subspace, &[off]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn components_of_patches_are_uncorrelated_and_of_variance_one() {
        // Stripes of a random phase and noise on 12 x 10 pixels.
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let inputs: Vec<Vec<f32>> = (0..200)
            .map(|_| {
                let phase: f32 = random.random_range(0.0..6.0);
                let pixel =
                    |i: usize| 0.5 + 0.3 * ((i % 12) as f32 * 0.9 + phase).sin() + 0.05 * random.random::<f32>();
                (0..120).map(pixel).collect()
            })
            .collect();
        let shape = Shape::new(10, 12, 1);
        let node = patches(&inputs, shape, 4, 2, 5).expect("fits");
        assert_eq!(node.shape, Shape::new(4, 5, 5));
        let input = Node { name: "input".into(), op: Op::Input, inputs: vec![], shape };
        let graph = Graph { name: "patches".into(), nodes: vec![input, node] };
        graph.check().expect("sound");
        let vectors: Vec<Vec<f32>> = inputs
            .iter()
            .flat_map(|input| graph.run(input).chunks(5).map(<[f32]>::to_vec).collect::<Vec<_>>())
            .collect();
        let mean = |f: &dyn Fn(&[f32]) -> f32| vectors.iter().map(|v| f(v)).sum::<f32>() / vectors.len() as f32;
        for a in 0..5 {
            assert!(mean(&|v| v[a]).abs() < 1e-3);
            for b in 0..=a {
                let product = mean(&|v| v[a] * v[b]);
                assert!((product - if a == b { 1.0 } else { 0.0 }).abs() < 0.01, "{a} {b}: {product}");
            }
        }
        assert!(patches(&inputs, shape, 11, 2, 5).is_err() && patches(&inputs, shape, 2, 2, 5).is_err());
    }

    #[test]
    fn a_rotation_keeps_lengths() {
        let rows = rotation(9, &mut ChaCha8Rng::seed_from_u64(1));
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }
}
