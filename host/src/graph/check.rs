//! Whether a graph is sound: shapes, lengths and finite weights.

use anyhow::{Result, bail, ensure};
use neji_format::{Shape, Window};

use super::{Graph, Op};

/// Output size of a window over `shape`, or `None` where it does not fit.
pub fn window_output(shape: Shape, window: &Window) -> Option<(u32, u32)> {
    let one = |size: u32, kernel: u16, stride: u16, dilation: u16, before: u16, after: u16| {
        if kernel == 0 || stride == 0 || dilation == 0 {
            return None;
        }
        let extent = (u32::from(kernel) - 1) * u32::from(dilation) + 1;
        Some((size + u32::from(before) + u32::from(after)).checked_sub(extent)? / u32::from(stride) + 1)
    };
    let w = window;
    Some((
        one(shape.height, w.kernel_height, w.stride_height, w.dilation_height, w.padding_top, w.padding_bottom)?,
        one(shape.width, w.kernel_width, w.stride_width, w.dilation_width, w.padding_left, w.padding_right)?,
    ))
}

impl Graph {
    /// Checks the whole graph.
    ///
    /// # Errors
    /// Names the first node that is not sound and says why.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.nodes.is_empty(), "the graph has no nodes");
        for (index, node) in self.nodes.iter().enumerate() {
            if let Err(error) = self.check_node(index) {
                bail!("node {index} \"{}\": {error}", node.name);
            }
        }
        Ok(())
    }

    fn check_node(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let out = node.shape;
        ensure!(!out.is_empty() && out.checked_len().is_some(), "its shape is empty or too large");
        ensure!(matches!(node.op, Op::Input) == (index == 0), "the input must be node 0 and only there");
        ensure!(node.inputs.iter().all(|&input| input < index), "it reads a node that does not come before it");
        let count = match node.op {
            Op::Input => 0..=0,
            Op::Add => 2..=2,
            Op::Concat { .. } => 1..=usize::MAX,
            _ => 1..=1,
        };
        ensure!(count.contains(&node.inputs.len()), "it has {} inputs", node.inputs.len());
        let Some(&first) = node.inputs.first() else { return Ok(()) };
        let input = self.nodes[first].shape;
        let channels = out.channels as usize;
        let kernel = |window: &Window| usize::from(window.kernel_height) * usize::from(window.kernel_width);
        let want = |name: &str, values: &[f32], len: usize| {
            ensure!(values.len() == len, "{name} has {} values where {len} are needed", values.len());
            ensure!(values.iter().all(|value| value.is_finite()), "{name} has a value that is not finite");
            Ok(())
        };
        let shaped = |expected: Option<Shape>| {
            ensure!(expected == Some(out), "its shape is {}, its input gives {}", text(Some(out)), text(expected));
            Ok(())
        };
        let windowed = |window: &Window, channels| {
            window_output(input, window).map(|(height, width)| Shape::new(height, width, channels))
        };
        match &node.op {
            Op::Input => Ok(()),
            Op::Conv2d { weights, bias, window } => {
                want("weights", weights, channels * kernel(window) * input.channels as usize)?;
                want("bias", bias, channels)?;
                shaped(windowed(window, out.channels))
            }
            Op::DepthwiseConv2d { weights, bias, window } => {
                ensure!(out.channels.is_multiple_of(input.channels), "output channels are no multiple of the input's");
                want("weights", weights, channels * kernel(window))?;
                want("bias", bias, channels)?;
                shaped(windowed(window, out.channels))
            }
            Op::TransposeConv2d { weights, bias, window } => {
                ensure!(window.stride_height > 0 && window.stride_width > 0, "a stride is 0");
                ensure!(window.dilation_height == 1 && window.dilation_width == 1, "its dilation is not 1");
                want("weights", weights, channels * kernel(window) * input.channels as usize)?;
                want("bias", bias, channels)
            }
            Op::FullyConnected { weights, bias } => {
                want("weights", weights, out.len() * input.len())?;
                want("bias", bias, out.len())
            }
            Op::BatchNorm { gamma, beta, mean, variance, epsilon } => {
                for (name, values) in [("gamma", gamma), ("beta", beta), ("mean", mean), ("variance", variance)] {
                    want(name, values, channels)?;
                }
                ensure!(variance.iter().all(|v| v + epsilon > 0.0), "a variance is not positive");
                shaped(Some(input))
            }
            Op::Activation(_) | Op::Softmax => shaped(Some(input)),
            Op::MaxPool2d { window } | Op::AveragePool2d { window } | Op::SumPool2d { window } => {
                shaped(windowed(window, input.channels))
            }
            Op::Mean => shaped(Some(Shape::new(1, 1, input.channels))),
            Op::Add => {
                ensure!(self.nodes[node.inputs[1]].shape == input, "its summands have different shapes");
                shaped(Some(input))
            }
            Op::Concat { axis } => {
                ensure!(*axis < 3, "its axis is {axis}");
                let mut sum = input;
                for &other in &node.inputs[1..] {
                    let other = self.nodes[other].shape;
                    match axis {
                        0 => sum.height += other.height,
                        1 => sum.width += other.width,
                        _ => sum.channels += other.channels,
                    }
                    let same = [
                        *axis == 0 || other.height == input.height,
                        *axis == 1 || other.width == input.width,
                        *axis == 2 || other.channels == input.channels,
                    ];
                    ensure!(same.iter().all(|&same| same), "its inputs do not fit together");
                }
                shaped(Some(sum))
            }
            Op::Pad { top, bottom, left, right } => shaped(Some(Shape::new(
                input.height + u32::from(*top) + u32::from(*bottom),
                input.width + u32::from(*left) + u32::from(*right),
                input.channels,
            ))),
            Op::Reshape => {
                ensure!(input.len() == out.len(), "{} elements become {}", input.len(), out.len());
                Ok(())
            }
            Op::ResizeNearest { factor_height, factor_width } => shaped(Some(Shape::new(
                input.height * u32::from(*factor_height),
                input.width * u32::from(*factor_width),
                input.channels,
            ))),
        }
    }
}

fn text(shape: Option<Shape>) -> String {
    shape.map_or("nothing".into(), |s| format!("{}x{}x{}", s.height, s.width, s.channels))
}
