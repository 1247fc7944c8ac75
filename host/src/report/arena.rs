//! The memory map of the arena: which activation lies where, and how long it lives.

use std::fmt::Write as _;

use neji_format::{Detector, Element, Model, Operator, Tensor};
use serde::Serialize;

use super::html::escape;
use crate::plan::Over;

/// An activation's place in the arena and its time, in operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// What wrote it.
    pub name: String,
    /// First byte in the arena.
    pub offset: u32,
    /// Length in bytes.
    pub bytes: u32,
    /// The operator that writes it; 0 for the model's input, 1 for the first operator.
    pub first: usize,
    /// The last operator that reads it; one past the last operator where it is read after the run.
    pub last: usize,
}

/// The activations of a model in the order in which they are written.
pub fn blocks(model: &Model<'_>) -> Vec<Block> {
    let block = |name: &str, tensor: &Tensor, first| Block {
        name: format!("{name} {} x {} x {}", tensor.shape.height, tensor.shape.width, tensor.shape.channels),
        offset: tensor.offset,
        bytes: model.plan().element.bytes_of(tensor) as u32,
        first,
        last: first,
    };
    let mut blocks = vec![block("input", &model.plan().input, 0)];
    let mut end = 1;
    let element = model.plan().element;
    for (index, operator) in model.operators().enumerate() {
        for input in operator.inputs() {
            read(&mut blocks, element, input, index + 1);
        }
        blocks.push(block(operator.name(), operator.output(), index + 1));
        end = index + 2;
    }
    read(&mut blocks, element, &model.plan().output, end);
    if let Detector::Reconstruction(_) = model.plan().detector {
        blocks[0].last = end;
    }
    blocks
}

/// Prolongs the newest blocks at a tensor's place, from the last one back until they fill it.
fn read(blocks: &mut [Block], element: Element, tensor: &Tensor, time: usize) {
    let end = tensor.offset + element.bytes_of(tensor) as u32;
    let mut missing = end - tensor.offset;
    for block in blocks.iter_mut().rev() {
        let common = end.min(block.offset + block.bytes).saturating_sub(tensor.offset.max(block.offset));
        if common > 0 {
            block.last = time;
            missing = missing.saturating_sub(common);
        }
        if missing == 0 {
            break;
        }
    }
}

/// The most bytes alive at one time, those of an operator in place once, and of an output that may lie over its input what
/// it needs beside it: what no arena for these operators goes below.
pub fn lower_bound(model: &Model<'_>) -> usize {
    let blocks = blocks(model);
    let alive = |time: usize| {
        let mut alive: Vec<_> = blocks.iter().filter(|block| (block.first..=block.last).contains(&time)).collect();
        alive.sort_by_key(|block| block.offset);
        let (mut bytes, mut end) = (0, 0);
        for block in alive {
            let to = block.offset + block.bytes;
            bytes += to.saturating_sub(block.offset.max(end));
            end = end.max(to);
        }
        bytes as usize
    };
    let most = |time: usize| {
        let operator = time.checked_sub(1).and_then(|index| model.operators().nth(index));
        alive(time) - operator.map_or(0, |operator| spared(model, &blocks, &operator, time))
    };
    (0..=blocks.len()).map(most).max().unwrap_or(0).next_multiple_of(crate::plan::arena::ALIGNMENT)
}

/// Bytes that an operator's output could lie over of the input, beside those that it does.
fn spared(model: &Model<'_>, blocks: &[Block], operator: &Operator, time: usize) -> usize {
    let element = model.plan().element;
    let (Some(rows), Some(input)) = (operator.rows(element), operator.inputs().next()) else { return 0 };
    let Some(Over { below, above }) = Over::of(&rows, 1) else { return 0 };
    let [from, to] = [input, operator.output()].map(|tensor| element.bytes_of(tensor));
    let last = blocks.iter().rev().find(|block| block.first < time && block.offset == input.offset);
    if last.is_none_or(|block| block.last > time || block.bytes as usize != from) {
        return 0;
    }
    let least = to.max(below + from).min(from.max(above + to));
    (from + to - shared(element, input, operator.output()) as usize).saturating_sub(least)
}

/// Bytes that two tensors have in common.
pub fn shared(element: Element, a: &Tensor, b: &Tensor) -> u32 {
    let end = |tensor: &Tensor| tensor.offset + element.bytes_of(tensor) as u32;
    end(a).min(end(b)).saturating_sub(a.offset.max(b.offset))
}

/// The map as inline SVG: time to the right, addresses upward, one rectangle an activation.
pub fn map(model: &Model<'_>) -> String {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 260.0;
    let blocks = blocks(model);
    let steps = blocks.iter().map(|block| block.last + 1).max().unwrap_or(1) as f64;
    let arena = model.arena_bytes().max(1) as f64;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">");
    for (index, block) in blocks.iter().enumerate() {
        let x = block.first as f64 / steps * WIDTH;
        let width = (block.last + 1 - block.first) as f64 / steps * WIDTH;
        let height = f64::from(block.bytes) / arena * HEIGHT;
        let y = HEIGHT - f64::from(block.offset) / arena * HEIGHT - height;
        let plotters::style::RGBColor(red, green, blue) = super::charts::colour(index);
        let title = format!("{}: {} bytes at {}", block.name, block.bytes, block.offset);
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"rgb({red},{green},{blue})\" \
             fill-opacity=\"0.55\" stroke=\"currentColor\" stroke-opacity=\"0.4\"><title>{}</title></rect>",
            escape(&title)
        );
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use neji_format::{AlignedBytes, Blob, Decision, FrontEnd, Plan, Provenance, Reshape, Shape};

    use super::*;

    #[test]
    fn lifetimes_by_hand() {
        let tensor = |offset, shape| Tensor { offset, shape, scale: 1.0, zero_point: 0 };
        let (input, output) = (tensor(0, Shape::new(2, 4, 1)), tensor(16, Shape::new(1, 1, 8)));
        let decision = Decision::EACH;
        let provenance = Provenance::of("map");
        let plan = Plan {
            element: neji_format::Element::I8,
            provenance,
            front_end: FrontEnd::Raw,
            streaming: None,
            detector: Detector::None,
            decision,
            input,
            output,
            operator_count: 1,
        };
        let operators = vec![Operator::Reshape(Reshape { input, output })];
        let bytes = AlignedBytes::new(&Blob { plan, operators, constants: vec![], arena_bytes: 32 }.encode());
        let model = Model::parse(bytes.as_slice()).expect("a model");
        let found = blocks(&model);
        assert_eq!((found[0].offset, found[0].bytes, found[0].first, found[0].last), (0, 8, 0, 1));
        assert_eq!((found[1].offset, found[1].bytes, found[1].first, found[1].last), (16, 8, 1, 2));
        assert_eq!(lower_bound(&model), 16);
        crate::report::html::check_balance(&map(&model)).expect("balanced");
    }
}
