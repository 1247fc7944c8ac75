//! Output tensor to score. The formulas are those of `neji_format::detector`; all divisions are plain integer divisions of
//! numbers that are not negative, so they round down.

mod classifier;
pub(crate) mod distance;
mod map;
mod reconstruction;

pub use classifier::{Classification, classify};
pub use map::TOP_K_MAX;

use neji_format::{Detector, Distance, Element, Fusion, Model, Plan, Shape, Tensor, Weights};

use reconstruction::{Weighing, residual_i8, residual_i16};

pub(crate) use map::Top;

/// Bound of a normalised residual.
const Z_MAX: i64 = 4095;

/// What a detector sees of a run: integers on the device, and of the float model what they stand for.
pub trait Elements {
    /// Residual of element `index` in 1/16 of the input's int8 step, or 8 steps of int16.
    fn residual(&self, params: &neji_format::Reconstruction, index: usize) -> i32;
    /// Output `index` in `1 / per_step` of its step, zero point removed.
    fn output(&self, index: usize, per_step: i32) -> i32;
    /// Which of 256 steps output `index` is, from the lowest up; of int16 the upper byte.
    fn step(&self, index: usize) -> u8;
}

/// The bytes of a run's input and output. What is missing of them counts as the zero point.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    input: (&'a [i8], Tensor),
    output: (&'a [i8], Tensor),
    element: Element,
}

impl<'a> Bytes<'a> {
    /// Of a model's run.
    pub fn new(plan: &Plan<'_>, input: &'a [i8], output: &'a [i8]) -> Self {
        Self { input: (input, plan.input), output: (output, plan.output), element: plan.element }
    }

    /// Element `index` less its zero point.
    fn value(&self, (bytes, tensor): (&[i8], Tensor), index: usize) -> i32 {
        let q = match self.element {
            Element::I8 => bytes.get(index).map(|&q| i32::from(q)),
            Element::I16 => at_i16(bytes, index).map(i32::from),
        };
        q.map_or(0, |q| q - i32::from(tensor.zero_point))
    }
}

impl Elements for Bytes<'_> {
    fn residual(&self, params: &neji_format::Reconstruction, index: usize) -> i32 {
        let ((x, input), (y, output)) = (self.input, self.output);
        let found = match self.element {
            Element::I8 => x.get(index).zip(y.get(index)).map(|(&x, &y)| residual_i8(params, &input, &output, x, y)),
            Element::I16 => at_i16(x, index).zip(at_i16(y, index)).map(|(x, y)| residual_i16(params, x, y)),
        };
        found.unwrap_or(0)
    }

    fn output(&self, index: usize, per_step: i32) -> i32 {
        self.value(self.output, index).saturating_mul(per_step)
    }

    fn step(&self, index: usize) -> u8 {
        // The upper byte of int16 is its second.
        let byte = match self.element {
            Element::I8 => index,
            Element::I16 => index.saturating_mul(2).saturating_add(1),
        };
        self.output.0.get(byte).map_or(0, |&q| q.cast_unsigned() ^ 0x80)
    }
}

/// Element `index` of the bytes of int16.
fn at_i16(bytes: &[i8], index: usize) -> Option<i16> {
    let (elements, _) = bytes.as_chunks::<2>();
    elements.get(index).map(|&[low, high]| i16::from_le_bytes([low.cast_unsigned(), high.cast_unsigned()]))
}

/// In how many parts of a step a detector of distances takes the output.
pub const fn output_parts(element: Element) -> i32 {
    match element {
        Element::I8 => 16,
        Element::I16 => 1,
    }
}

/// The rows that each distance of a fusion looks at.
fn parts(params: &Fusion, shape: Shape) -> (Shape, Shape) {
    let rows = u32::from(params.rows).min(shape.height);
    (Shape { height: rows, ..shape }, Shape { height: shape.height - rows, ..shape })
}

/// The pixels of the anomaly map; none where the detector makes no map. Its channels are those that each is made of.
pub fn map_shape(plan: &Plan<'_>) -> Option<Shape> {
    match &plan.detector {
        Detector::None | Detector::Classifier(_) => None,
        Detector::Reconstruction(_) => Some(plan.input.shape),
        Detector::Distance(_) => Some(plan.output.shape),
        Detector::Fusion(params) => Some(parts(params, plan.output.shape).0),
    }
}

/// Words of memory that [`score`] needs: the map's and what is behind it.
pub fn map_words(plan: &Plan<'_>) -> usize {
    match &plan.detector {
        Detector::None | Detector::Classifier(_) => 0,
        Detector::Reconstruction(params) => map::len(params.pooling, plan.input.shape),
        Detector::Distance(params) => distance::words(params, plan.output.shape),
        Detector::Fusion(params) => {
            let (first, second) = parts(params, plan.output.shape);
            distance::words(&params.first, first).saturating_add(distance::words(&params.second, second))
        }
    }
}

/// A distance, the pixels that it looks at, and the index of their first element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) distance: Distance,
    pub(crate) shape: Shape,
    pub(crate) begin: usize,
}

/// The distances that a score is made of; of most detectors none.
pub(crate) fn distances(plan: &Plan<'_>) -> [Option<Part>; 2] {
    match &plan.detector {
        Detector::None | Detector::Classifier(_) | Detector::Reconstruction(_) => [None; 2],
        Detector::Distance(distance) => [Some(Part { distance: *distance, shape: plan.output.shape, begin: 0 }), None],
        Detector::Fusion(params) => {
            let (first, second) = parts(params, plan.output.shape);
            let a = Part { distance: params.first, shape: first, begin: 0 };
            let b = Part { distance: params.second, shape: second, begin: first.len() };
            [Some(a), Some(b)]
        }
    }
}

/// Who knows what normal outputs are.
pub(crate) trait Known {
    /// The distance of the pixels of a part of the output, 0 or 1; afterwards `memory` begins with their map.
    fn distance(
        &self,
        model: &Model<'_>,
        part: usize,
        distance: &Distance,
        shape: Shape,
        value: impl Fn(usize) -> i32,
        memory: &mut [u32],
    ) -> i32;
}

/// What the blob says.
pub(crate) struct Blob;

impl Known for Blob {
    fn distance(
        &self,
        model: &Model<'_>,
        _: usize,
        distance: &Distance,
        shape: Shape,
        value: impl Fn(usize) -> i32,
        memory: &mut [u32],
    ) -> i32 {
        distance::score(model, distance, shape, value, memory)
    }
}

/// The score of a run and, of a classifier, its class. Afterwards `memory`, which has [`map_words`], begins with the anomaly map,
/// in rows of [`map_shape`].
pub fn score(model: &Model<'_>, elements: &impl Elements, memory: &mut [u32]) -> (i32, Option<u16>) {
    score_by(&Blob, model, elements, memory)
}

/// [`score`] by what `known` knows of normal outputs.
pub(crate) fn score_by(
    known: &impl Known,
    model: &Model<'_>,
    elements: &impl Elements,
    memory: &mut [u32],
) -> (i32, Option<u16>) {
    let plan = model.plan();
    let shape = plan.output.shape;
    let value = |index| elements.output(index, output_parts(plan.element));
    let score = match &plan.detector {
        Detector::None => 0,
        Detector::Reconstruction(params) => {
            let shape = plan.input.shape;
            let predicted = |index: usize| elements.step(index.saturating_add(shape.len()));
            let weighing = match params.weights {
                Weights::One => Weighing::One,
                Weights::Elements(weights) => Weighing::Elements(model.constant_u16(weights)),
                Weights::Predicted(weights) => Weighing::Predicted(model.constant_u16(weights), predicted),
            };
            reconstruction::score(params, shape, &weighing, |index| elements.residual(params, index), memory)
        }
        Detector::Classifier(params) => {
            let found = classify(params, shape.len(), |index| elements.output(index, 256));
            return (found.score, Some(found.class));
        }
        Detector::Distance(params) => known.distance(model, 0, params, shape, value, memory),
        Detector::Fusion(params) => {
            let (first, second) = parts(params, shape);
            let words = distance::words(&params.first, first).min(memory.len());
            let (memory, rest) = memory.split_at_mut(words);
            let a = known.distance(model, 0, &params.first, first, value, memory);
            let behind = |index: usize| value(index.saturating_add(first.len()));
            let b = known.distance(model, 1, &params.second, second, behind, rest);
            let [weight_a, weight_b] = params.weights.map(i64::from);
            ((i64::from(a) * weight_a + i64::from(b) * weight_b) >> 8).clamp(0, i32::MAX.into()) as i32
        }
    };
    (score, None)
}
