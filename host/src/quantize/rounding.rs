//! Where a graph's values are rounded to steps, and whose range decides the steps.
//!
//! One table for all that round: lowering to integers, training with rounding in the loop, and what each layer's rounding does by itself.

use neji_format::Element;

use super::scheme::Scheme;
use crate::graph::{Activation, Graph, Op};

/// What happens to the values of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rounding {
    /// Nothing: the activation at this node, which alone reads them, is fused into the operator, and its values are rounded.
    Fused(usize),
    /// They are rounded to steps of the node's own range.
    Own,
    /// They have the steps of the (first) input.
    Input,
    /// They are rounded to steps that its operator always has.
    Fixed(Scheme),
}

/// The rounding of each node of `graph`, in which batch normalisation is folded, with activations of `element`s; that of the input is
/// [`Rounding::Own`].
pub fn roundings(graph: &Graph, element: Element) -> Vec<Rounding> {
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&input| readers[input].push(index));
    }
    let fused = |index: usize| {
        let [reader] = readers[index][..] else { return None };
        let takes = matches!(
            graph.nodes[index].op,
            Op::Conv2d { .. }
                | Op::DepthwiseConv2d { .. }
                | Op::TransposeConv2d { .. }
                | Op::FullyConnected { .. }
                | Op::Add
        );
        let bounds = matches!(graph.nodes[reader].op, Op::Activation(Activation::Relu | Activation::Relu6));
        (takes && bounds).then_some(reader)
    };
    let rounding = |index: usize| match &graph.nodes[index].op {
        _ if fused(index).is_some() => Rounding::Fused(fused(index).unwrap_or(index)),
        Op::Reshape | Op::Pad { .. } | Op::ResizeNearest { .. } | Op::MaxPool2d { .. } | Op::AveragePool2d { .. } => {
            Rounding::Input
        }
        Op::Activation(Activation::Logistic | Activation::Tanh) if element == Element::I16 => {
            Rounding::Fixed(Scheme::WIDE_UNIT)
        }
        Op::Softmax | Op::Activation(Activation::Logistic) => Rounding::Fixed(Scheme::UNIT),
        Op::Activation(Activation::Tanh) => Rounding::Fixed(Scheme::SIGNED_UNIT),
        _ => Rounding::Own,
    };
    (0..graph.nodes.len()).map(rounding).collect()
}

#[cfg(test)]
mod tests {
    use neji_format::Shape;

    use super::*;
    use crate::graph::Node;

    #[test]
    fn an_activation_is_fused_where_nothing_else_reads_the_layer() {
        let shape = Shape::new(1, 1, 1);
        let dense = || Op::FullyConnected { weights: vec![1.0], bias: vec![0.0] };
        let node = |op, inputs: &[usize]| Node { name: "n".into(), op, inputs: inputs.to_vec(), shape };
        let mut graph = Graph {
            name: "g".into(),
            nodes: vec![
                node(Op::Input, &[]),
                node(dense(), &[0]),
                node(Op::Activation(Activation::Relu), &[1]),
                node(dense(), &[2]),
                node(Op::Activation(Activation::Tanh), &[3]),
                node(Op::Reshape, &[4]),
            ],
        };
        let found = roundings(&graph, Element::I8);
        let tanh = Rounding::Fixed(Scheme::SIGNED_UNIT);
        assert_eq!(found, [Rounding::Own, Rounding::Fused(2), Rounding::Own, Rounding::Own, tanh, Rounding::Input]);
        assert_eq!(roundings(&graph, Element::I16)[4], Rounding::Fixed(Scheme::WIDE_UNIT));
        graph.nodes.push(node(Op::Add, &[1, 5]));
        assert_eq!(roundings(&graph, Element::I8)[1..3], [Rounding::Own, Rounding::Own]);
    }
}
