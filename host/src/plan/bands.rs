//! The first layers in bands of rows, for memory: what MCUNetV2 (Lin et al. 2021) calls patch-based inference.
//!
//! The first layers of a network for images have the largest activations. Here they are computed for some rows of the
//! last of them at a time, from as many rows of the input as that needs; between them only those rows are in memory. Rows
//! that two bands need are computed twice. A run of rows is a tensor of its own, so every band is made of ordinary
//! operators on the same weights, and the bytes are the same.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};
use neji_format::{Operator, Shape, Window};

use super::over::closest;
use super::{Effort, lay_out, lower_bound, over};
use crate::inspect::macs;
use crate::lowered::{Lowered, Part, Step};
use crate::quantize::assemble::lifetimes;

/// Most operators of a model in bands: each takes flash, and time when the model is checked.
const OPERATORS_MAX: usize = 400;

/// The model with its outputs over its inputs where that makes the arena smaller and takes hardly more instructions; with a
/// budget only as far as the arena has to have at most `budget` bytes, then whatever that takes, then with its first layers in
/// bands of rows: of all numbers of layers and heights of bands what takes the fewest multiplications.
///
/// # Errors
/// No bands are small enough: names the smallest arena that was found.
pub fn within(lowered: Lowered, budget: Option<usize>, keep_input: bool) -> Result<Lowered> {
    let Some(budget) = budget else { return Ok(over(lowered, keep_input, Effort::Little, 0)) };
    let arena = |lowered: &Lowered| lay_out(&lifetimes(lowered, keep_input)).bytes;
    let mut whole = usize::MAX;
    for effort in [Effort::Little, Effort::Any] {
        let found = over(lowered.clone(), keep_input, effort, budget);
        whole = arena(&found);
        if whole <= budget {
            return Ok(found);
        }
    }
    let mut candidates = Vec::new();
    for steps in 1..lowered.steps.len() {
        if !closed(&lowered, steps) {
            continue;
        }
        let rows = lowered.tensors[lowered.steps[steps - 1].tensors.output].shape.height;
        for count in 2..=rows {
            // Only what another number of bands does not give as well.
            let height = rows.div_ceil(count);
            if rows.div_ceil(height) != count {
                continue;
            }
            let Some(banded) = banded(&lowered, steps, height) else { continue };
            let banded = closest(banded);
            let cost: u64 = banded.steps.iter().map(|step| macs(&step.operator)).sum();
            candidates.push((cost, lower_bound(&lifetimes(&banded, keep_input)), steps, height));
        }
    }
    candidates.sort_unstable();
    let chosen = |steps, height| closest(banded(&lowered, steps, height).expect("a candidate"));
    for &(_, bound, steps, height) in &candidates {
        if bound > budget {
            continue;
        }
        let mut banded = chosen(steps, height);
        if arena(&banded) <= budget {
            banded.constants = lowered.constants;
            return Ok(over(banded, keep_input, Effort::Any, budget));
        }
    }
    candidates.sort_unstable_by_key(|&(_, bound, ..)| bound);
    let mut smallest = whole;
    for &(_, bound, steps, height) in &candidates {
        if bound >= smallest {
            break;
        }
        smallest = smallest.min(arena(&chosen(steps, height)));
    }
    ensure!(smallest < whole, "the arena needs {whole} bytes, more than {budget}, and bands of rows don't help");
    bail!("the arena needs {smallest} bytes in the best bands of rows that were found, more than {budget}")
}

/// Whether the first `steps` operators can run in bands: nothing but the last one's output is read after them.
fn closed(lowered: &Lowered, steps: usize) -> bool {
    let (first, rest) = lowered.steps.split_at(steps);
    let last = first[steps - 1].tensors.output;
    let inside = |tensor: usize| tensor != last && first.iter().any(|step| step.tensors.output == tensor);
    !inside(lowered.output) && !rest.iter().any(|step| step.tensors.inputs.iter().any(|&input| inside(input)))
}

/// The window of an operator that has one.
fn window(operator: &mut Operator) -> Option<&mut Window> {
    match operator {
        Operator::Conv2d(op) => Some(&mut op.window),
        Operator::DepthwiseConv2d(op) => Some(&mut op.window),
        Operator::Pool2d(op) => Some(&mut op.window),
        _ => None,
    }
}

/// The operator that computes only some rows of the output, but for its tensors, and the rows of the inputs that it reads;
/// none where it does not go row by row.
fn slice(operator: &Operator, rows: &Range<u32>) -> Option<(Operator, Range<u32>)> {
    let mut slice = operator.clone();
    let height = operator.inputs().next()?.shape.height;
    if let Some(window) = window(&mut slice) {
        let (stride, top) = (i64::from(window.stride_height), i64::from(window.padding_top));
        let reach = (i64::from(window.kernel_height) - 1) * i64::from(window.dilation_height) + 1;
        let from = i64::from(rows.start) * stride - top;
        let to = (i64::from(rows.end) - 1) * stride - top + reach;
        window.padding_top = u16::try_from((-from).max(0)).ok()?;
        window.padding_bottom = u16::try_from((to - i64::from(height)).max(0)).ok()?;
        let needed = u32::try_from(from.max(0)).ok()?..u32::try_from(to.min(i64::from(height))).ok()?;
        return (needed.start < needed.end).then_some((slice, needed));
    }
    let elementwise = matches!(
        operator,
        Operator::Lut(_) | Operator::Sigmoid(_) | Operator::Add(_) | Operator::Sub(_) | Operator::Mul(_)
    );
    let same_shape = operator.inputs().all(|input| input.shape == operator.output().shape);
    (elementwise && same_shape).then(|| (slice, rows.clone()))
}

/// The model with its first `steps` operators in bands that give `height` rows of the last one's output, without constants.
fn banded(lowered: &Lowered, steps: usize, height: u32) -> Option<Lowered> {
    let (first, rest) = lowered.steps.split_at(steps);
    let last = first.last()?.tensors.output;
    let mut out = Lowered { element: lowered.element, ..Lowered::default() };
    // Where each tensor that is whole has gone.
    let mut whole = BTreeMap::new();
    let mut keep = |out: &mut Lowered, tensor: usize| {
        *whole
            .entry(tensor)
            .or_insert_with(|| out.tensor(lowered.nodes[tensor], lowered.tensors[tensor].shape, lowered.scheme(tensor)))
    };
    keep(&mut out, 0);
    keep(&mut out, last);

    let rows = lowered.tensors[last].shape.height;
    for from in (0..rows).step_by(height as usize) {
        // Backwards, the rows that are needed of each tensor.
        let mut needed = BTreeMap::from([(last, from..rows.min(from + height))]);
        let mut slices = Vec::new();
        for step in first.iter().rev() {
            let rows = needed.get(&step.tensors.output)?;
            let (operator, reads) = slice(&step.operator, rows)?;
            let rows = rows.clone();
            for &input in &step.tensors.inputs {
                let all = needed.entry(input).or_insert_with(|| reads.clone());
                *all = all.start.min(reads.start)..all.end.max(reads.end);
            }
            slices.push((step, operator, rows, reads));
        }
        if out.steps.len() + slices.len() + rest.len() > OPERATORS_MAX {
            return None;
        }
        // Forwards, the operators. What lies between the first and the last is in memory only as far as it is needed.
        let mut between: BTreeMap<usize, usize> = BTreeMap::new();
        for (step, mut operator, writes, reads) in slices.into_iter().rev() {
            let mut uses = Vec::new();
            operator.for_each_tensor_mut(|tensor| {
                let index = tensor.offset as usize;
                let rows = if index == step.tensors.output { &writes } else { &reads };
                let (target, base) = if index == 0 || index == last {
                    (keep(&mut out, index), 0)
                } else {
                    let needed = &needed[&index];
                    let shape = Shape { height: needed.end - needed.start, ..tensor.shape };
                    let new = || out.tensor(lowered.nodes[index], shape, lowered.scheme(index));
                    (*between.entry(index).or_insert_with(new), needed.start)
                };
                let row = tensor.shape.width as usize * tensor.shape.channels as usize * lowered.element.bytes();
                tensor.shape.height = rows.end - rows.start;
                tensor.offset = out.part(Part { whole: target, byte: (rows.start - base) as usize * row });
                uses.push(target);
            });
            // In place only where both are whole.
            let in_place = operator.in_place()
                && std::iter::once(operator.output()).chain(operator.inputs()).all(|tensor| {
                    out.tensors.get(tensor.offset as usize).is_some_and(|whole| whole.shape == tensor.shape)
                });
            let output = uses.pop()?;
            let tensors = super::Use { inputs: uses, output, in_place, over: None };
            out.steps.push(Step { operator, tensors, name: step.name.clone() });
        }
    }
    for step in rest {
        let mut step = step.clone();
        step.operator.for_each_tensor_mut(|tensor| tensor.offset = keep(&mut out, tensor.offset as usize) as u32);
        step.tensors.inputs.iter_mut().for_each(|input| *input = keep(&mut out, *input));
        step.tensors.output = keep(&mut out, step.tensors.output);
        out.steps.push(step);
    }
    out.output = keep(&mut out, lowered.output);
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use neji_format::{
        AlignedBytes, Conv2d, Decision, DepthwiseConv2d, LutFunction, Model, Multiplier, Packing, Pool2d, PoolKind,
        Provenance, Requantization, push_constant,
    };
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::lowered::POINT;
    use crate::quantize::assemble::{Edges, Memory, accepted, assemble};
    use crate::quantize::scheme::Scheme;
    use crate::tensor_file;

    const SCHEME: Scheme = Scheme { scale: 0.5, zero_point: 3 };

    fn constant(lowered: &mut Lowered, bytes: impl Iterator<Item = u8>) -> neji_format::Constant {
        push_constant(&mut lowered.constants, &bytes.collect::<Vec<u8>>())
    }

    fn requantization(lowered: &mut Lowered, channels: u32, random: &mut ChaCha8Rng) -> Requantization {
        let bias = constant(lowered, (0..channels).flat_map(|_| random.random_range(-500..500_i32).to_le_bytes()));
        let multiplier = constant(lowered, (0..channels).flat_map(|_| (3_i32 << 29).to_le_bytes()));
        let shift = constant(lowered, (0..channels).map(|_| (-7_i8).cast_unsigned()));
        Requantization { bias, multiplier, shift, activation_min: -128, activation_max: 127 }
    }

    /// A network of convolutions, depthwise convolutions, pools, tables and sums, padded or not, strided or not.
    pub(in crate::plan) fn network(random: &mut ChaCha8Rng) -> Lowered {
        let mut lowered = Lowered::default();
        let size = |random: &mut ChaCha8Rng| random.random_range(12..24_u32);
        let shape = Shape::new(size(random), size(random), random.random_range(1..4));
        let mut input = lowered.tensor(0, shape, SCHEME);
        for node in 1..random.random_range(4..8_usize) {
            let shape = lowered.tensors[input].shape;
            let kernel = if shape.height < 3 || shape.width < 3 { 1 } else { random.random_range(0..2) * 2 + 1_u16 };
            let stride = random.random_range(1..3_u16);
            let pad = if random.random() { kernel / 2 } else { 0 };
            let mut window = POINT;
            (window.kernel_height, window.kernel_width) = (kernel, kernel);
            (window.stride_height, window.stride_width) = (stride, stride);
            (window.padding_top, window.padding_left) = (pad, pad);
            (window.padding_bottom, window.padding_right) = (pad, pad);
            let out = |size: u32| (size + u32::from(2 * pad) - u32::from(kernel)) / u32::from(stride) + 1;
            let mut to = Shape::new(out(shape.height), out(shape.width), shape.channels);
            let kind = random.random_range(0..5);
            to = match kind {
                0 => Shape { channels: random.random_range(1..9), ..to },
                1 | 2 => to,
                _ => shape,
            };
            let output = lowered.tensor(node, to, SCHEME);
            let (from, into) = (lowered.tensors[input], lowered.tensors[output]);
            let weights = |lowered: &mut Lowered, random: &mut ChaCha8Rng, inputs: u32| {
                let count = to.channels * u32::from(kernel * kernel) * inputs;
                constant(lowered, (0..count).map(|_| random.random_range(-127..=127_i8).cast_unsigned()))
            };
            match kind {
                0 => {
                    let weights = weights(&mut lowered, random, shape.channels);
                    let requantization = requantization(&mut lowered, to.channels, random);
                    let conv =
                        Conv2d { input: from, output: into, window, weights, packing: Packing::Rows, requantization };
                    lowered.push("conv", Operator::Conv2d(conv));
                }
                1 => {
                    let weights = weights(&mut lowered, random, 1);
                    let requantization = requantization(&mut lowered, to.channels, random);
                    let conv = DepthwiseConv2d { input: from, output: into, window, weights, requantization };
                    lowered.push("depthwise", Operator::DepthwiseConv2d(conv));
                }
                2 => {
                    let kind = if random.random() { PoolKind::Max } else { PoolKind::Average };
                    let multiplier = Multiplier { multiplier: 1 << 30, shift: 1 };
                    let (activation_min, activation_max) = (-128, 127);
                    let pool =
                        Pool2d { kind, input: from, output: into, window, multiplier, activation_min, activation_max };
                    lowered.push("pool", Operator::Pool2d(pool));
                }
                3 => lowered.push_table("table", input, output, LutFunction::Relu, |q| q.max(3)),
                _ => {
                    let add = crate::lowered::add(lowered.element, from, from, into, (-128, 127));
                    lowered.push("add", Operator::Add(add));
                }
            }
            input = output;
        }
        lowered.output = input;
        lowered
    }

    fn blob(lowered: &Lowered) -> AlignedBytes {
        blob_in(lowered, Memory::Planned)
    }

    pub(in crate::plan) fn blob_in(lowered: &Lowered, memory: Memory) -> AlignedBytes {
        let edges = Edges {
            front_end: crate::frontend::Fitted::Raw,
            detector: crate::detect::Fitted::None,
            decision: Decision::EACH,
            provenance: Provenance::of("bands"),
        };
        assemble(lowered, memory, &edges).expect("a model")
    }

    pub(in crate::plan) fn run(bytes: &AlignedBytes, input: &[i8]) -> Vec<Vec<i8>> {
        let model: Model<'_> = accepted(bytes).expect("a model");
        tensor_file::run(model, &[input.to_vec()])
    }

    #[test]
    fn bands_give_the_same_bytes() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut compared = 0;
        for _ in 0..40 {
            let lowered = network(&mut random);
            let input: Vec<i8> = (0..lowered.tensors[0].shape.len()).map(|_| random.random()).collect();
            let expected = run(&blob(&lowered), &input);
            for steps in (1..lowered.steps.len()).filter(|&steps| closed(&lowered, steps)) {
                for height in [1, 2, 3, 5] {
                    let Some(mut banded) = banded(&lowered, steps, height) else { continue };
                    banded.constants.clone_from(&lowered.constants);
                    assert_eq!(run(&blob(&banded), &input), expected, "{steps} operators, {height} rows");
                    compared += 1;
                }
            }
        }
        assert!(compared > 200, "only {compared} were compared");
    }

    #[test]
    fn a_budget_is_met_or_the_smallest_is_named() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let arena = |lowered: &Lowered| lay_out(&lifetimes(lowered, false)).bytes;
        let mut banded = 0;
        for _ in 0..20 {
            let lowered = network(&mut random);
            let whole = arena(&lowered);
            assert_eq!(within(lowered.clone(), Some(whole), false).expect("nothing over another").steps, lowered.steps);
            let close = arena(&closest(lowered.clone()));
            let found = within(lowered.clone(), Some(close), false).expect("nothing in bands");
            assert!(arena(&found) <= close && found.steps.len() == lowered.steps.len());
            match within(lowered.clone(), Some(close - 1), false) {
                Ok(found) => {
                    assert!(arena(&found) < close && found.steps.len() > lowered.steps.len());
                    banded += 1;
                }
                Err(error) => assert!(error.to_string().contains(&close.to_string()), "{error}"),
            }
            let error = within(lowered, Some(1), false).expect_err("an arena of a byte").to_string();
            assert!(error.contains("more than 1"), "{error}");
        }
        assert!(banded > 0);
    }
}
