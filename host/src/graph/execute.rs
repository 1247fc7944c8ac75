//! Runs a float graph. Plain loops over NHWC; callers spread samples over threads.

use neji_format::{Shape, Window};

use super::{Graph, Op};

impl Graph {
    /// The output for one input.
    ///
    /// # Panics
    /// Where `input` has not the length of the input's shape or the graph is not sound ([`Graph::check`]).
    pub fn run(&self, input: &[f32]) -> Vec<f32> {
        self.run_all(input).pop().expect("a graph has nodes")
    }

    /// Every node's values for one input.
    ///
    /// # Panics
    /// As [`Graph::run`].
    pub fn run_all(&self, input: &[f32]) -> Vec<Vec<f32>> {
        assert_eq!(input.len(), self.input_shape().len(), "length of the input");
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(self.nodes.len());
        for index in 0..self.nodes.len() {
            let value = if index == 0 { input.to_vec() } else { self.run_node(index, &values) };
            values.push(value);
        }
        values
    }

    /// The values of node `index`, above 0, from those of the nodes before it.
    pub(crate) fn run_node(&self, index: usize, values: &[Vec<f32>]) -> Vec<f32> {
        let node = &self.nodes[index];
        let x = values[node.inputs[0]].as_slice();
        let from = self.nodes[node.inputs[0]].shape;
        let to = node.shape;
        match &node.op {
            Op::Input => x.to_vec(),
            Op::Conv2d { weights, bias, window } => conv(x, from, to, weights, bias, window),
            Op::DepthwiseConv2d { weights, bias, window } => depthwise(x, from, to, weights, bias, window),
            Op::TransposeConv2d { weights, bias, window } => transpose(x, from, to, weights, bias, window),
            Op::FullyConnected { weights, bias } => {
                weights.chunks_exact(x.len()).zip(bias).map(|(row, bias)| bias + dot(row, x)).collect()
            }
            Op::BatchNorm { gamma, beta, mean, variance, epsilon } => {
                let channels = to.channels as usize;
                let scale: Vec<f32> = (0..channels).map(|c| gamma[c] / (variance[c] + epsilon).sqrt()).collect();
                x.iter()
                    .enumerate()
                    .map(|(i, x)| (x - mean[i % channels]) * scale[i % channels] + beta[i % channels])
                    .collect()
            }
            Op::Activation(activation) => x.iter().map(|&x| activation.apply(f64::from(x)) as f32).collect(),
            Op::MaxPool2d { window } => pool(x, from, to, window, f32::NEG_INFINITY, f32::max, |m, _| m),
            Op::AveragePool2d { window } => pool(x, from, to, window, 0.0, |a, b| a + b, |sum, n| sum / n.max(1.0)),
            Op::SumPool2d { window } => pool(x, from, to, window, 0.0, |a, b| a + b, |sum, _| sum),
            Op::Mean => {
                let mut sums = vec![0.0_f32; to.len()];
                for pixel in x.chunks_exact(to.len()) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
                }
                let pixels = (x.len() / to.len()) as f32;
                sums.iter().map(|sum| sum / pixels).collect()
            }
            Op::Add => x.iter().zip(&values[node.inputs[1]]).map(|(a, b)| a + b).collect(),
            Op::Concat { axis } => {
                let run = |shape: Shape| match axis {
                    0 => shape.len(),
                    1 => (shape.width * shape.channels) as usize,
                    _ => shape.channels as usize,
                };
                let mut out = Vec::with_capacity(to.len());
                for row in 0..to.len() / run(to) {
                    for &input in &node.inputs {
                        let len = run(self.nodes[input].shape);
                        out.extend_from_slice(&values[input][row * len..(row + 1) * len]);
                    }
                }
                out
            }
            Op::Pad { top, left, .. } => {
                let mut out = vec![0.0; to.len()];
                let row = (from.width * from.channels) as usize;
                for (y, line) in x.chunks_exact(row).enumerate() {
                    let start =
                        ((y + usize::from(*top)) * to.width as usize + usize::from(*left)) * to.channels as usize;
                    out[start..start + row].copy_from_slice(line);
                }
                out
            }
            Op::Reshape => x.to_vec(),
            Op::ResizeNearest { factor_height, factor_width } => {
                let mut out = Vec::with_capacity(to.len());
                let channels = from.channels as usize;
                for y in 0..to.height as usize {
                    for x_out in 0..to.width as usize {
                        let pixel =
                            y / usize::from(*factor_height) * from.width as usize + x_out / usize::from(*factor_width);
                        out.extend_from_slice(&x[pixel * channels..(pixel + 1) * channels]);
                    }
                }
                out
            }
            Op::Softmax => {
                let mut out = Vec::with_capacity(x.len());
                for pixel in x.chunks_exact(to.channels as usize) {
                    let top = pixel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let sum: f32 = pixel.iter().map(|x| (x - top).exp()).sum();
                    out.extend(pixel.iter().map(|x| (x - top).exp() / sum));
                }
                out
            }
        }
    }
}

/// Dot product in eight lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

/// Index in the input of kernel position `k` at output position `out`, if it lies inside.
fn source(out: usize, k: usize, stride: u16, dilation: u16, padding: u16, size: u32) -> Option<usize> {
    let position = (out * usize::from(stride) + k * usize::from(dilation)).checked_sub(usize::from(padding))?;
    (position < size as usize).then_some(position)
}

/// Calls `each(output pixel, kernel pixel, input pixel)` for every meeting of a window with the input.
fn meetings(from: Shape, to: Shape, w: &Window, mut each: impl FnMut(usize, usize, usize)) {
    for y in 0..to.height as usize {
        for x in 0..to.width as usize {
            for ky in 0..usize::from(w.kernel_height) {
                let Some(row) = source(y, ky, w.stride_height, w.dilation_height, w.padding_top, from.height) else {
                    continue;
                };
                for kx in 0..usize::from(w.kernel_width) {
                    let column = source(x, kx, w.stride_width, w.dilation_width, w.padding_left, from.width);
                    let Some(column) = column else { continue };
                    each(
                        y * to.width as usize + x,
                        ky * usize::from(w.kernel_width) + kx,
                        row * from.width as usize + column,
                    );
                }
            }
        }
    }
}

fn filled(bias: &[f32], to: Shape) -> Vec<f32> {
    bias.iter().copied().cycle().take(to.len()).collect()
}

fn conv(x: &[f32], from: Shape, to: Shape, weights: &[f32], bias: &[f32], w: &Window) -> Vec<f32> {
    let (depth, channels) = (from.channels as usize, to.channels as usize);
    let kernel = usize::from(w.kernel_height) * usize::from(w.kernel_width);
    let mut out = filled(bias, to);
    meetings(from, to, w, |pixel, k, input| {
        let input = &x[input * depth..(input + 1) * depth];
        for (c, out) in out[pixel * channels..(pixel + 1) * channels].iter_mut().enumerate() {
            let start = (c * kernel + k) * depth;
            *out += dot(&weights[start..start + depth], input);
        }
    });
    out
}

fn depthwise(x: &[f32], from: Shape, to: Shape, weights: &[f32], bias: &[f32], w: &Window) -> Vec<f32> {
    let (depth, channels) = (from.channels as usize, to.channels as usize);
    let repeat = channels / depth;
    let mut out = filled(bias, to);
    meetings(from, to, w, |pixel, k, input| {
        for c in 0..channels {
            out[pixel * channels + c] += weights[k * channels + c] * x[input * depth + c / repeat];
        }
    });
    out
}

fn transpose(x: &[f32], from: Shape, to: Shape, weights: &[f32], bias: &[f32], w: &Window) -> Vec<f32> {
    let (depth, channels) = (from.channels as usize, to.channels as usize);
    let kernel = usize::from(w.kernel_height) * usize::from(w.kernel_width);
    let mut out = filled(bias, to);
    // A transposed convolution is a convolution's meetings with the roles of input and output exchanged.
    meetings(to, from, w, |input, k, pixel| {
        let input = &x[input * depth..(input + 1) * depth];
        for (c, out) in out[pixel * channels..(pixel + 1) * channels].iter_mut().enumerate() {
            let start = (c * kernel + k) * depth;
            *out += dot(&weights[start..start + depth], input);
        }
    });
    out
}

fn pool(
    x: &[f32],
    from: Shape,
    to: Shape,
    window: &Window,
    start: f32,
    join: impl Fn(f32, f32) -> f32,
    end: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    let channels = to.channels as usize;
    let mut out = vec![start; to.len()];
    let mut counts = vec![0.0_f32; to.len() / channels];
    meetings(from, to, window, |pixel, _, input| {
        counts[pixel] += 1.0;
        for c in 0..channels {
            out[pixel * channels + c] = join(out[pixel * channels + c], x[input * channels + c]);
        }
    });
    for (i, value) in out.iter_mut().enumerate() {
        *value = end(*value, counts[i / channels]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, Node};
    use super::*;

    fn node(op: Op, inputs: &[usize], shape: Shape) -> Node {
        Node { name: "n".into(), op, inputs: inputs.to_vec(), shape }
    }

    fn window(kernel: u16, stride: u16, padding: u16) -> Window {
        Window {
            kernel_height: kernel,
            kernel_width: kernel,
            stride_height: stride,
            stride_width: stride,
            dilation_height: 1,
            dilation_width: 1,
            padding_top: padding,
            padding_left: padding,
            padding_bottom: padding,
            padding_right: padding,
        }
    }

    fn graph(nodes: Vec<Node>) -> Graph {
        let graph = Graph { name: "test".into(), nodes };
        graph.check().unwrap();
        graph
    }

    #[test]
    fn a_convolution_by_hand() {
        // 1 2 3
        // 4 5 6   a 3x3 kernel of ones with padding sums each neighbourhood
        // 7 8 9
        let graph = graph(vec![
            node(Op::Input, &[], Shape::new(3, 3, 1)),
            node(
                Op::Conv2d { weights: vec![1.0; 9], bias: vec![0.5], window: window(3, 1, 1) },
                &[0],
                Shape::new(3, 3, 1),
            ),
        ]);
        let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        assert_eq!(graph.run(&x), [12.5, 21.5, 16.5, 27.5, 45.5, 33.5, 24.5, 39.5, 28.5]);
    }

    #[test]
    fn a_transposed_convolution_spreads_each_pixel() {
        let graph = graph(vec![
            node(Op::Input, &[], Shape::new(1, 2, 1)),
            node(
                Op::TransposeConv2d { weights: vec![1.0, 2.0, 3.0, 4.0], bias: vec![0.0], window: window(2, 2, 0) },
                &[0],
                Shape::new(2, 4, 1),
            ),
        ]);
        assert_eq!(graph.run(&[1.0, 10.0]), [1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0]);
    }

    #[test]
    fn dense_activation_and_softmax() {
        let graph = graph(vec![
            node(Op::Input, &[], Shape::new(1, 1, 2)),
            node(
                Op::FullyConnected { weights: vec![1.0, 1.0, 1.0, -1.0], bias: vec![0.0, 1.0] },
                &[0],
                Shape::new(1, 1, 2),
            ),
            node(Op::Activation(Activation::Relu), &[1], Shape::new(1, 1, 2)),
            node(Op::Softmax, &[2], Shape::new(1, 1, 2)),
        ]);
        let all = graph.run_all(&[1.0, 4.0]);
        assert_eq!(all[1], [5.0, -2.0]);
        assert_eq!(all[2], [5.0, 0.0]);
        assert!((all[3][0] - 0.993_307).abs() < 1e-5);
    }

    #[test]
    fn a_graph_survives_the_file_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.neji-graph");
        let mut graph = graph(vec![
            node(Op::Input, &[], Shape::new(1, 1, 2)),
            node(Op::FullyConnected { weights: vec![1.0; 2], bias: vec![0.0] }, &[0], Shape::new(1, 1, 1)),
        ]);
        graph.save(&path).unwrap();
        assert_eq!(Graph::load(&path).unwrap(), graph);
        if let Op::FullyConnected { weights, .. } = &mut graph.nodes[1].op {
            weights[1] = f32::NAN;
        }
        let message = format!("{:#}", graph.save(&path).unwrap_err());
        assert!(message.contains("node 1 \"n\": weights has a value that is not finite"), "{message}");
    }
}
