//! Folds batch normalisation into the layer before it.
//!
//! `gamma (w x + b - mean) / d + beta` with `d = sqrt(variance + epsilon)` is a layer with weights `w gamma / d` and bias
//! `(b - mean) gamma / d + beta` (Jacob et al. 2018, section 3.2).

use crate::graph::{Graph, Op};
use crate::lowered::POINT;

/// Gives the graph without the batch normalisations that follow a convolution or dense layer which nothing else reads.
///
/// Any other becomes a depthwise 1x1 convolution, which is what it is.
pub fn fold(graph: &Graph) -> Graph {
    let mut folded = Graph { name: graph.name.clone(), nodes: Vec::new() };
    let mut readers = vec![0_usize; graph.nodes.len()];
    graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
    // Where each node of the old graph is in the new one.
    let mut place = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let mut node = node.clone();
        let old_input = node.inputs.first().copied();
        node.inputs.iter_mut().for_each(|input| *input = place[*input]);
        if let (Op::BatchNorm { gamma, beta, mean, variance, epsilon }, Some(old_input)) = (&node.op, old_input) {
            let factors: Vec<f32> = gamma
                .iter()
                .zip(variance)
                .map(|(g, v)| (f64::from(*g) / (f64::from(*v) + f64::from(*epsilon)).sqrt()) as f32)
                .collect();
            let into = node.inputs[0];
            let spatial = node.shape.height * node.shape.width > 1;
            let into_op = &mut folded.nodes[into].op;
            let foldable = readers[old_input] == 1
                && (matches!(into_op, Op::FullyConnected { .. }) && !spatial
                    || matches!(into_op, Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::TransposeConv2d { .. }));
            if foldable {
                scale(into_op, &factors, mean, beta);
                place.push(into);
                continue;
            }
            let bias = (0..factors.len()).map(|c| beta[c] - mean[c] * factors[c]).collect();
            node.op = Op::DepthwiseConv2d { weights: factors, bias, window: POINT };
        }
        folded.nodes.push(node);
        place.push(folded.nodes.len() - 1);
    }
    folded
}

fn scale(op: &mut Op, factors: &[f32], mean: &[f32], beta: &[f32]) {
    let channels = factors.len();
    let (weights, bias, channel_last) = match op {
        Op::Conv2d { weights, bias, .. } | Op::TransposeConv2d { weights, bias, .. } => (weights, bias, false),
        Op::FullyConnected { weights, bias } => (weights, bias, false),
        Op::DepthwiseConv2d { weights, bias, .. } => (weights, bias, true),
        _ => return,
    };
    let per_channel = weights.len() / channels;
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight *= factors[if channel_last { i % channels } else { i / per_channel }];
    }
    for (c, bias) in bias.iter_mut().enumerate() {
        *bias = (*bias - mean[c]) * factors[c] + beta[c];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use neji_format::{Shape, Window};

    fn norm() -> Op {
        Op::BatchNorm {
            gamma: vec![2.0, -0.5],
            beta: vec![0.25, 1.0],
            mean: vec![0.5, -1.0],
            variance: vec![4.0, 0.25],
            epsilon: 1e-5,
        }
    }

    fn check(op: Op, input: Shape, shape: Shape) {
        let node =
            |name: &str, op, inputs: &[usize], shape| Node { name: name.into(), op, inputs: inputs.into(), shape };
        let graph = Graph {
            name: "g".into(),
            nodes: vec![
                node("input", Op::Input, &[], input),
                node("layer", op, &[0], shape),
                node("norm", norm(), &[1], shape),
                node("out", Op::Softmax, &[2], shape),
            ],
        };
        graph.check().unwrap();
        let folded = fold(&graph);
        folded.check().unwrap();
        assert_eq!(folded.nodes.len(), 3);
        let x: Vec<f32> = (0..input.len()).map(|i| (i as f32 * 0.7).sin()).collect();
        let (a, b) = (graph.run_all(&x), folded.run_all(&x));
        for (a, b) in a[2].iter().zip(&b[1]) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn the_folded_graph_computes_the_same() {
        let weights = |n: usize| (0..n).map(|i| (i as f32 * 1.3).cos()).collect::<Vec<_>>();
        let window = Window { kernel_height: 2, kernel_width: 2, ..POINT };
        let bias = vec![0.1, -0.2];
        let (small, big) = (Shape::new(3, 3, 2), Shape::new(4, 4, 2));
        check(Op::Conv2d { weights: weights(16), bias: bias.clone(), window }, big, small);
        check(Op::DepthwiseConv2d { weights: weights(8), bias: bias.clone(), window }, big, small);
        check(Op::TransposeConv2d { weights: weights(16), bias: bias.clone(), window }, small, big);
        let vector = Shape::new(1, 1, 2);
        check(Op::FullyConnected { weights: weights(6), bias }, Shape::new(1, 1, 3), vector);
    }

    #[test]
    fn a_norm_that_cant_be_folded_becomes_depthwise() {
        let shape = Shape::new(2, 2, 2);
        let graph = Graph {
            name: "g".into(),
            nodes: vec![
                Node { name: "input".into(), op: Op::Input, inputs: vec![], shape },
                Node { name: "norm".into(), op: norm(), inputs: vec![0], shape },
            ],
        };
        let folded = fold(&graph);
        folded.check().unwrap();
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        for (a, b) in graph.run(&x).iter().zip(&folded.run(&x)) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}
