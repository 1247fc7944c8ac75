//! Weights in the order that a board's kernels read with the fewest instructions.
//!
//! The outputs stay what they are, bit by bit: only where weights lie changes, and channels that have one output whatever the
//! input get simpler numbers for it.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use neji_engine::isa::{PAIRS_COLUMN, PAIRS_DEPTH};
use neji_engine::requantize::requantize;
use neji_format::packing::{PAIRS_SHIFT_MIN, PAIRS_SUM_LIMIT, Pairs, pairs};
use neji_format::{
    AlignedBytes, Blob, Constant, Element, Model, Operator, Packing, Requantization, Tensor, push_constant,
};
use neji_machine::Board;

use crate::quantize::assemble::accepted;

/// Whether a board's kernels read all of a model's weights.
pub fn reads(board: &Board, model: &Model<'_>) -> bool {
    board.settings.pairs || model.operators().all(|operator| operator.packing() == Packing::Rows)
}

/// A model as a board's kernels like it best, which need not be another.
///
/// # Errors
/// The device would refuse it, which would be a bug.
pub fn for_board(board: &Board, model: &Model<'_>) -> Result<AlignedBytes> {
    pack(model, board.settings.pairs)
}

/// A model whose weights lie in rows, as every board reads them, or in pairs of rows where that is fewer instructions.
///
/// # Errors
/// The device would refuse it, which would be a bug.
pub fn pack(model: &Model<'_>, in_pairs: bool) -> Result<AlignedBytes> {
    let mut packed = Packed { model, constants: Vec::new(), known: HashMap::new() };
    let mut plan = *model.plan();
    plan.for_each_constant_mut(|constant| packed.keep(constant));
    let operators = model
        .operators()
        .map(|mut operator| {
            let layer = Layer::of(model, &operator);
            let paired = layer.as_ref().filter(|_| in_pairs).and_then(Layer::paired);
            match (layer, paired) {
                (_, Some(paired)) => packed.paired(&mut operator, &paired),
                (Some(layer), None) if operator.packing() == Packing::Pairs => packed.in_rows(&mut operator, &layer),
                _ => operator.for_each_constant_mut(|constant| packed.keep(constant)),
            }
            operator
        })
        .collect();
    let arena_bytes = model.header().arena_bytes;
    let blob = AlignedBytes::new(&Blob { plan, operators, constants: packed.constants, arena_bytes }.encode());
    accepted(&blob)?;
    Ok(blob)
}

/// Constants of the new blob.
struct Packed<'m> {
    model: &'m Model<'m>,
    constants: Vec<u8>,
    /// Those that are there, so that what was shared still is.
    known: HashMap<Vec<u8>, Constant>,
}

impl Packed<'_> {
    fn push(&mut self, bytes: Vec<u8>) -> Constant {
        let constants = &mut self.constants;
        *self.known.entry(bytes).or_insert_with_key(|bytes| push_constant(constants, bytes))
    }

    fn keep(&mut self, constant: &mut Constant) {
        *constant = self.push(self.model.constant(*constant).to_vec());
    }

    fn in_rows(&mut self, operator: &mut Operator, layer: &Layer) {
        // The packed weights stay behind.
        if let Some(Parts { requantization, .. }) = parts(operator) {
            self.keep(&mut requantization.bias);
            self.keep(&mut requantization.multiplier);
            self.keep(&mut requantization.shift);
        }
        let rows = layer.rows.iter().map(|weight| weight.cast_unsigned()).collect();
        let rows = self.push(rows);
        set(operator, rows, Packing::Rows);
    }

    fn paired(&mut self, operator: &mut Operator, paired: &Paired) {
        let words = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bias = self.push(words(&paired.bias));
        let multiplier = self.push(words(&paired.multiplier));
        let shift = self.push(paired.shift.iter().map(|shift| shift.cast_unsigned()).collect());
        let weights = self.push(paired.weights.clone());
        if let Some(Parts { requantization, .. }) = parts(operator) {
            *requantization = Requantization { bias, multiplier, shift, ..*requantization };
        }
        set(operator, weights, Packing::Pairs);
    }
}

/// What of an operator is packed.
struct Parts<'o> {
    weights: &'o mut Constant,
    packing: &'o mut Packing,
    requantization: &'o mut Requantization,
    output: &'o Tensor,
}

fn parts(operator: &mut Operator) -> Option<Parts<'_>> {
    match operator {
        Operator::Conv2d(op) => Some(Parts {
            weights: &mut op.weights,
            packing: &mut op.packing,
            requantization: &mut op.requantization,
            output: &op.output,
        }),
        Operator::FullyConnected(op) => Some(Parts {
            weights: &mut op.weights,
            packing: &mut op.packing,
            requantization: &mut op.requantization,
            output: &op.output,
        }),
        _ => None,
    }
}

fn set(operator: &mut Operator, to: Constant, by: Packing) {
    if let Some(Parts { weights, packing, .. }) = parts(operator) {
        (*weights, *packing) = (to, by);
    }
}

/// A layer that may be packed.
struct Layer {
    /// Whether it is a dense layer.
    dense: bool,
    /// Largest `|q - zero_point|` of the input.
    reach: i64,
    zero_point: i32,
    full: bool,
    /// Outputs of a row.
    pixels: u64,
    depth: usize,
    rows: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
}

/// What lies in pairs of rows.
struct Paired {
    weights: Vec<u8>,
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
}

impl Layer {
    fn of(model: &Model<'_>, operator: &Operator) -> Option<Self> {
        let mut operator = operator.clone();
        let (depth, input, channels) = match &operator {
            Operator::Conv2d(op) => {
                let window = usize::from(op.window.kernel_height) * usize::from(op.window.kernel_width);
                (window * op.input.shape.channels as usize, op.input, op.output.shape.channels as usize)
            }
            Operator::FullyConnected(op) => (op.input.shape.len(), op.input, op.output.shape.len()),
            _ => return None,
        };
        let dense = matches!(operator, Operator::FullyConnected(_));
        let element = model.plan().element;
        if element == Element::I16 {
            return None;
        }
        let Parts { weights, packing, requantization, output } = parts(&mut operator)?;
        let rows = match packing {
            Packing::Rows => model.constant_i8(*weights).to_vec(),
            Packing::Pairs => {
                let packed = Pairs::new(model.constant_i16(*weights), depth);
                let row = |row: usize| (0..depth).map(move |index| packed.weight(row, index) as i8);
                (0..channels).flat_map(row).collect()
            }
        };
        let (low, high) = element.range();
        let zero_point = i64::from(input.zero_point);
        Some(Self {
            dense,
            reach: (zero_point - i64::from(low)).max(i64::from(high) - zero_point),
            zero_point: output.zero_point.into(),
            full: (requantization.activation_min, requantization.activation_max) == element.range(),
            pixels: if dense { 1 } else { u64::from(output.shape.height) * u64::from(output.shape.width) },
            depth,
            rows,
            bias: model.constant_i32(requantization.bias).to_vec(),
            multiplier: model.constant_i32(requantization.multiplier).to_vec(),
            shift: model.constant_i8(requantization.shift).to_vec(),
        })
    }

    /// The layer in pairs of rows; none where they do not hold it, the kernels would go the long way or nothing is gained.
    fn paired(&self) -> Option<Paired> {
        let channels = self.shift.len();
        let longest = if self.dense { PAIRS_COLUMN } else { PAIRS_DEPTH };
        let possible = self.full && self.depth <= longest && (self.dense || channels.is_multiple_of(2));
        if !possible || self.instructions(Packing::Pairs) >= self.instructions(Packing::Rows) {
            return None;
        }
        let mut rows = self.rows.clone();
        let mut paired = Paired {
            weights: Vec::new(),
            bias: self.bias.clone(),
            multiplier: self.multiplier.clone(),
            shift: self.shift.clone(),
        };
        for (channel, row) in rows.chunks_exact_mut(self.depth).enumerate() {
            let (bias, multiplier, shift) = (self.bias[channel], self.multiplier[channel], self.shift[channel]);
            let sum = self.reach * row.iter().map(|weight| i64::from(weight.unsigned_abs())).sum::<i64>();
            if (PAIRS_SHIFT_MIN..=0).contains(&shift) && sum + i64::from(bias.unsigned_abs()) < PAIRS_SUM_LIMIT as i64 {
                continue;
            }
            // A channel that died in training has one output, which a bias alone gives as well. Requantization is monotonic.
            let output = |sum: i64| {
                let sum = i32::try_from(sum).ok()?;
                Some(requantize(sum, multiplier, shift.into()).saturating_add(self.zero_point).clamp(-128, 127))
            };
            let low = output(i64::from(bias) - sum)?;
            if low != output(i64::from(bias) + sum)? {
                return None;
            }
            row.fill(0);
            paired.bias[channel] = (low - self.zero_point) * 2;
            (paired.multiplier[channel], paired.shift[channel]) = (1 << 30, 0);
        }
        paired.weights = pairs(&rows, self.depth)?;
        Some(paired)
    }

    /// Instructions of the kernels for the DSP extension, about: counted in their loops.
    fn instructions(&self, packing: Packing) -> u64 {
        let (rows, quads) = (self.shift.len() as u64, self.depth.div_ceil(4) as u64);
        match (packing, self.dense) {
            (Packing::Rows, true) => rows.div_ceil(4) * (65 + quads * 22),
            (Packing::Pairs, true) => rows.div_ceil(4) * (57 + quads * 15),
            // Four pixels at a time, or one; then three.
            (Packing::Rows, false) if self.pixels == 1 => rows.div_ceil(4) * (65 + quads * 22) + quads * 9,
            (Packing::Rows, false) => self.pixels.div_ceil(4) * (200 + quads * 17 + rows * (48 + quads * 27 / 2)),
            (Packing::Pairs, false) => {
                self.pixels.div_ceil(3) * (200 + quads * 13 + rows.div_ceil(2) * (67 + quads * 35 / 2))
            }
        }
    }
}

/// Insists that a board reads a model's weights.
///
/// # Errors
/// It does not; the message names the first such operator and what helps.
pub fn check(board: &Board, model: &Model<'_>) -> Result<()> {
    let found = model.operators().enumerate().find(|(_, operator)| operator.packing() == Packing::Pairs);
    if let Some((index, operator)) = found {
        ensure!(
            board.settings.pairs,
            "operator {index}, {}: its weights are packed for other kernels than those of {}; \
             `neji pack BLOB --for {} -o OUT` packs them anew",
            operator.name(),
            board.package,
            board.package
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use neji_format::{
        Conv2d, Decision, Detector, FrontEnd, FullyConnected, Multiplier, Plan, Provenance, Shape, Window,
    };

    use super::*;
    use crate::lowered::POINT;
    use crate::tensor_file;

    const SHARED: Window = Window { kernel_height: 3, kernel_width: 3, padding_top: 1, padding_left: 1, ..POINT };

    /// A convolution of six channels, the last of which is dead, twice over the same weights; then a dense layer.
    fn blob() -> AlignedBytes {
        let mut constants = Vec::new();
        let mut layer = |rows: usize, depth: usize, dead: Option<usize>| {
            let small = |row| if Some(row) == dead { 0 } else { 1 };
            let weights: Vec<u8> =
                (0..rows * depth).map(|i| ((i * 37 % 255) as i32 - 127) as u8 * small(i / depth)).collect();
            let words = |value: &dyn Fn(usize) -> i32| (0..rows).flat_map(|row| value(row).to_le_bytes()).collect();
            let bias: Vec<u8> = words(&|row| if Some(row) == dead { 1 << 30 } else { 100 * row as i32 });
            let multiplier: Vec<u8> = words(&|row| (1 << 30) + row as i32);
            let shift: Vec<u8> = (0..rows).map(|row| if Some(row) == dead { -24_i8 } else { -8 } as u8).collect();
            let requantization = Requantization {
                bias: push_constant(&mut constants, &bias),
                multiplier: push_constant(&mut constants, &multiplier),
                shift: push_constant(&mut constants, &shift),
                activation_min: -128,
                activation_max: 127,
            };
            (push_constant(&mut constants, &weights), requantization)
        };
        let (first, first_requantization) = layer(6, 54, Some(5));
        let (last, last_requantization) = layer(3, 150, None);
        let tensor = |offset, height, width, channels| Tensor {
            offset,
            shape: Shape::new(height, width, channels),
            scale: 0.5,
            zero_point: -3,
        };
        let [input, middle, output] = [tensor(0, 5, 5, 6), tensor(160, 5, 5, 6), tensor(320, 1, 1, 3)];
        let window = Window { padding_bottom: 1, padding_right: 1, ..SHARED };
        let conv = |input, output| {
            let (weights, requantization) = (first, first_requantization);
            Operator::Conv2d(Conv2d { input, output, window, weights, packing: Packing::Rows, requantization })
        };
        let operators = vec![
            conv(input, middle),
            conv(middle, input),
            Operator::FullyConnected(FullyConnected {
                input,
                output,
                weights: last,
                packing: Packing::Rows,
                requantization: last_requantization,
            }),
        ];
        let plan = Plan {
            provenance: Provenance::of("packed"),
            front_end: FrontEnd::Raw,
            streaming: None,
            detector: Detector::None,
            decision: Decision::EACH,
            element: Element::I8,
            input,
            output,
            operator_count: 0,
        };
        AlignedBytes::new(&Blob { plan, operators, constants, arena_bytes: 336 }.encode())
    }

    #[test]
    fn packed_and_unpacked_models_give_the_same_bytes() {
        let blob = blob();
        let model = accepted(&blob).expect("a model");
        let packed = pack(&model, true).expect("packed");
        let packed = accepted(&packed).expect("a model");
        assert!(packed.operators().all(|operator| operator.packing() == Packing::Pairs));
        let weights = packed.operators().map(|mut op| *parts(&mut op).expect("a layer").weights);
        let [first, second, _] = weights.collect::<Vec<_>>()[..] else { panic!("three layers") };
        assert_eq!(first, second, "what was shared still is");
        let rows = pack(&packed, false).expect("unpacked");
        let rows = accepted(&rows).expect("a model");
        assert!(rows.operators().all(|operator| operator.packing() == Packing::Rows));
        assert_eq!(rows.bytes().len(), model.bytes().len());
        let inputs: Vec<Vec<i8>> =
            (1..30).map(|seed| (0..150).map(|i| (i * seed * 41 % 256) as u8 as i8).collect()).collect();
        let expected = tensor_file::run(model, &inputs);
        assert!(expected.iter().any(|output| output != &expected[0]));
        assert_eq!(tensor_file::run(packed, &inputs), expected);
        assert_eq!(tensor_file::run(rows, &inputs), expected);
    }

    #[test]
    fn what_pairs_do_not_hold_stays_in_rows() {
        let blob = blob();
        let model = accepted(&blob).expect("a model");
        let layer = |index: usize| {
            let operator = model.operators().nth(index).expect("an operator");
            Layer::of(&model, &operator).expect("a layer")
        };
        assert!(layer(0).paired().is_some() && layer(2).paired().is_some());
        assert!(Layer { full: false, ..layer(0) }.paired().is_none());
        assert!(Layer { depth: PAIRS_DEPTH + 1, ..layer(0) }.paired().is_none());
        let mut minus = layer(2);
        (minus.rows[0], minus.rows[150]) = (-1, -128);
        assert!(minus.paired().is_none(), "no halfword holds -1 and -128");
        let mut large = layer(2);
        // Smaller shifts would make it one output, whatever the input.
        (large.bias[1], large.shift[1]) = (1 << 23, -20);
        assert!(large.paired().is_none(), "a sum of 2^23");
        // The dead channel's output is a bias.
        let paired = layer(0).paired().expect("pairs");
        assert_eq!((paired.multiplier[5], paired.shift[5]), (1 << 30, 0));
        let factor = Multiplier { multiplier: 1 << 30, shift: -24 };
        let output = requantize(1 << 30, factor.multiplier, factor.shift.into());
        assert_eq!(requantize(paired.bias[5], 1 << 30, 0), output);
    }

    /// All golden blobs, detectors' and front ends' constants included.
    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden");
        for entry in folder.read_dir().expect("the golden blobs") {
            let path = entry.expect("a file").path();
            let bytes = AlignedBytes::new(&std::fs::read(&path).expect("read"));
            let model = accepted(&bytes).expect("a model");
            let rows = pack(&model, false).expect("packed");
            let rows = accepted(&rows).expect("a model");
            let constants = |model: &Model<'_>| {
                let mut found = Vec::new();
                let mut look = |constant: &mut Constant| found.push(model.constant(*constant).to_vec());
                model.plan().clone().for_each_constant_mut(&mut look);
                model.operators().for_each(|mut operator| operator.for_each_constant_mut(&mut look));
                found
            };
            if model.operators().all(|operator| operator.packing() == Packing::Rows) {
                assert_eq!(constants(&rows), constants(&model), "{}", path.display());
            }
            let plan = model.plan();
            let input = vec![(0..plan.element.bytes_of(&plan.input)).map(|i| (i * 29 % 256) as u8 as i8).collect()];
            assert_eq!(tensor_file::run(rows, &input), tensor_file::run(model, &input), "{}", path.display());
        }
    }
}
