//! Models over time that compute only what is new.
//!
//! The rows of the input are moments, the newest last, and the window moves on by a few of them, a hop. A row of a
//! convolution depends on a few rows of its input, so most of its rows are those of an earlier window, moved up: they stay in
//! the arena. What must be computed are the rows that see the new ones, and those whose kernel meets the padding above or
//! below, since padding is where the window ends now. The result is the whole window's, bit for bit.
//!
//! With strides over time, a row of the output moves by a whole row only after several hops. There is then a copy of such a
//! tensor for each hop until it does, and a list of operators for each of these phases. Nothing of this needs kernels of its
//! own: NHWC puts rows one behind the other, so that a run of rows is a tensor.

use anyhow::{Result, ensure};
use neji_format::{Element, Operator, Reshape, Shape, Streaming, Tensor, Window};

use super::arena::{ALIGNMENT, lay_out};
use super::lifetime::Lifetime;
use crate::lowered::Lowered;

/// A plan for every hop.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// The lists of all phases, one behind the other, with offsets.
    pub operators: Vec<Operator>,
    /// The new rows.
    pub input: Tensor,
    /// The output, the same as without streaming.
    pub output: Tensor,
    /// State and the rest of the arena.
    pub arena_bytes: usize,
    /// For the blob.
    pub streaming: Streaming,
}

/// Rows from the first to the one before the second.
type Span = (u32, u32);

/// How a tensor's rows move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moving {
    /// Rows of the input from row to row.
    stride: u32,
    /// Hops until rows have moved by whole rows.
    period: u32,
    /// By how many then.
    shift: u32,
    /// Those of its rows that are then the same, moved.
    kept: Span,
}

impl Moving {
    /// The rows that are the same after `period`, a multiple of its own.
    fn kept_for(self, period: u32) -> Span {
        let again = (period / self.period - 1) * self.shift;
        (self.kept.0, self.kept.1.saturating_sub(again))
    }

    /// Rows that are `stride` times as far apart as the input's, with those of them kept that read kept rows alone through a
    /// window's rows; `None` where there are none.
    fn through(self, rows: Axis, height: u32, hop: u32) -> Option<Self> {
        let stride = self.stride.checked_mul(rows.stride)?;
        let common = gcd(stride, hop);
        let (period, shift) = (stride / common, hop / common);
        let (low, high) = self.kept_for(period);
        let first = (low + rows.before).div_ceil(rows.stride);
        let end = ((high + rows.before).checked_sub(rows.extent)? / rows.stride + 1).min(height.checked_sub(shift)?);
        (first < end).then_some(Self { stride, period, shift, kept: (first, end) })
    }

    /// With the rows that both keep; `None` where they move differently.
    fn with(self, other: Self) -> Option<Self> {
        let kept = (self.kept.0.max(other.kept.0), self.kept.1.min(other.kept.1));
        let alike = (self.stride, self.period) == (other.stride, other.period);
        (alike && kept.0 < kept.1).then_some(Self { kept, ..self })
    }
}

/// The rows of a window.
#[derive(Debug, Clone, Copy)]
struct Axis {
    extent: u32,
    stride: u32,
    before: u32,
}

impl Axis {
    /// Each row for itself.
    const POINT: Self = Self { extent: 1, stride: 1, before: 0 };

    fn of(window: &Window) -> Self {
        let extent = (u32::from(window.kernel_height) - 1) * u32::from(window.dilation_height) + 1;
        Self { extent, stride: window.stride_height.into(), before: window.padding_top.into() }
    }

    /// The rows of an input of `height` under the windows of some outputs, and padding above and below these.
    fn under(self, (first, end): Span, height: u32) -> (Span, u16, u16) {
        let start = first * self.stride;
        let stop = (end - 1) * self.stride + self.extent;
        let above = self.before.saturating_sub(start);
        let below = stop.saturating_sub(self.before + height);
        let span = (start.saturating_sub(self.before), stop.saturating_sub(self.before).min(height));
        (span, above as u16, below as u16)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How an operator's output rows come from its inputs' rows; `None` where an output row may need any.
fn rows_of(operator: &Operator) -> Option<Axis> {
    let output = operator.output().shape;
    match operator {
        Operator::Conv2d(op) => Some(Axis::of(&op.window)),
        Operator::DepthwiseConv2d(op) => Some(Axis::of(&op.window)),
        Operator::Pool2d(op) => Some(Axis::of(&op.window)),
        Operator::Add(_)
        | Operator::Sub(_)
        | Operator::Mul(_)
        | Operator::Lut(_)
        | Operator::Sigmoid(_)
        | Operator::Softmax(_)
        | Operator::Reshape(_) => {
            let mut inputs = operator.inputs();
            inputs.all(|input| input.shape.height == output.height).then_some(Axis::POINT)
        }
        _ => None,
    }
}

/// Rows `span` of a tensor.
fn part(element: Element, tensor: Tensor, span: Span) -> Tensor {
    let shape = Shape { height: span.1 - span.0, ..tensor.shape };
    let row = element.bytes() * tensor.shape.width as usize * tensor.shape.channels as usize;
    Tensor { offset: tensor.offset + span.0 * row as u32, shape, ..tensor }
}

/// Where the tensors of a model lie.
struct Places<'a> {
    lowered: &'a Lowered,
    moving: &'a [Option<Moving>],
    /// Of the first copy of what is kept.
    state: Vec<Option<usize>>,
    /// Of what lives for one run.
    run: Vec<usize>,
}

impl Places<'_> {
    /// A tensor as a phase has it.
    fn tensor(&self, index: usize, phase: u32) -> Tensor {
        let tensor = self.lowered.tensors[index];
        let offset = match (self.state[index], self.moving[index]) {
            (Some(first), Some(moving)) => {
                let bytes = self.lowered.element.bytes_of(&tensor).next_multiple_of(ALIGNMENT);
                first + (phase % moving.period) as usize * bytes
            }
            _ => self.run[index],
        };
        Tensor { offset: offset as u32, ..tensor }
    }

    /// An operator for some rows of its output, or for all.
    fn operator(&self, operator: &Operator, span: Option<Span>, phase: u32) -> Operator {
        let mut operator = operator.clone();
        let rows = rows_of(&operator).zip(span);
        let element = self.lowered.element;
        let mut padding = None;
        let mut left = operator.inputs().count();
        operator.for_each_tensor_mut(|tensor| {
            let whole = self.tensor(tensor.offset as usize, phase);
            *tensor = match rows {
                None => whole,
                Some((axis, span)) if left > 0 => {
                    let (under, above, below) = axis.under(span, whole.shape.height);
                    padding = Some((above, below));
                    part(element, whole, under)
                }
                Some((_, span)) => part(element, whole, span),
            };
            left = left.saturating_sub(1);
        });
        let window = match &mut operator {
            Operator::Conv2d(op) => Some(&mut op.window),
            Operator::DepthwiseConv2d(op) => Some(&mut op.window),
            Operator::Pool2d(op) => Some(&mut op.window),
            _ => None,
        };
        if let Some((window, (above, below))) = window.zip(padding) {
            (window.padding_top, window.padding_bottom) = (above, below);
        }
        operator
    }
}

/// The rows that are computed of a tensor.
fn computed(moving: Option<Moving>, height: u32) -> Vec<Span> {
    match moving {
        None => vec![(0, height)],
        Some(Moving { kept: (first, end), .. }) => {
            [(0, first), (end, height)].into_iter().filter(|(first, end)| first < end).collect()
        }
    }
}

/// Plans a model whose window moves on by `hop` rows.
///
/// # Errors
/// The input has no rows to keep, or no operator's rows can be kept: says so.
pub fn stream(lowered: &Lowered, hop: u32) -> Result<Streamed> {
    let element = lowered.element;
    let input = lowered.tensors[0];
    let height = input.shape.height;
    ensure!(
        (1..height).contains(&hop),
        "a hop of {hop} leaves nothing of a window of {height}; time goes along the input's rows"
    );
    let mut moving: Vec<Option<Moving>> = vec![None; lowered.tensors.len()];
    moving[0] = Some(Moving { stride: 1, period: 1, shift: hop, kept: (0, height - hop) });
    for step in &lowered.steps {
        let Some(rows) = rows_of(&step.operator) else { continue };
        let output = step.operator.output().shape.height;
        let through = step.tensors.inputs.iter().map(|&index| moving[index]?.through(rows, output, hop));
        let joined = through.reduce(|a, b| a?.with(b?)).flatten();
        moving[step.tensors.output] = joined;
    }
    ensure!(
        moving.iter().skip(1).any(Option::is_some),
        "no operator keeps rows from one window to the next: each needs them all, or its kernel is as long as the window"
    );

    // What is read otherwise than as it is computed in a run must be there from before, all of it.
    let mut is_state: Vec<bool> = vec![false; lowered.tensors.len()];
    is_state[0] = true;
    let mut read = |index: usize, span: Span| {
        if moving[index].is_some() {
            is_state[index] |= !computed(moving[index], lowered.tensors[index].shape.height).contains(&span);
        }
    };
    for step in &lowered.steps {
        let output = step.tensors.output;
        let spans = computed(moving[output], lowered.tensors[output].shape.height);
        for &index in &step.tensors.inputs {
            let height = lowered.tensors[index].shape.height;
            for &span in &spans {
                match rows_of(&step.operator) {
                    Some(axis) => read(index, axis.under(span, height).0),
                    None => read(index, (0, height)),
                }
            }
        }
    }
    read(lowered.output, (0, lowered.tensors[lowered.output].shape.height));

    let phases = moving.iter().flatten().map(|moving| moving.period).fold(1, |a, b| a / gcd(a, b) * b);
    let bytes = |index: usize| element.bytes_of(&lowered.tensors[index]);
    let mut state_bytes = 0;
    let mut state = vec![None; lowered.tensors.len()];
    for (index, place) in state.iter_mut().enumerate().filter(|(index, _)| is_state[*index]) {
        *place = Some(state_bytes);
        let copies = moving[index].map_or(1, |moving| moving.period as usize);
        state_bytes += copies * bytes(index).next_multiple_of(ALIGNMENT);
    }

    // What lives for a run only: tensors, then the new rows and a copy of the output where that is kept.
    let new_rows = Tensor { shape: Shape { height: hop, ..input.shape }, ..input };
    let end = lowered.steps.len() + 1;
    let mut alive: Vec<Lifetime> = (0..lowered.tensors.len())
        .map(|index| Lifetime {
            bytes: if is_state[index] { 0 } else { bytes(index) },
            first: end,
            last: 0,
            shares: None,
            over: None,
        })
        .collect();
    for (time, step) in lowered.steps.iter().enumerate().map(|(index, step)| (index + 1, step)) {
        for &index in step.tensors.inputs.iter().chain([&step.tensors.output]) {
            alive[index].first = alive[index].first.min(time);
            alive[index].last = alive[index].last.max(time);
        }
    }
    let output = lowered.output;
    alive[output].last = end;
    alive.push(Lifetime { bytes: element.bytes_of(&new_rows), first: 0, last: 0, shares: None, over: None });
    let copied = if is_state[output] { bytes(output) } else { 0 };
    alive.push(Lifetime { bytes: copied, first: end, last: end, shares: None, over: None });
    let layout = lay_out(&alive);
    let run: Vec<usize> = layout.offsets.iter().map(|offset| state_bytes + offset).collect();
    let new_rows = Tensor { offset: run[lowered.tensors.len()] as u32, ..new_rows };
    let copy = Tensor { offset: run[lowered.tensors.len() + 1] as u32, ..lowered.tensors[output] };

    let places = Places { lowered, moving: &moving, state, run };
    let mut operators = Vec::new();
    let mut result = copy;
    let copy_rows = |from: Tensor, to: Tensor| Operator::Reshape(Reshape { input: from, output: to });
    for phase in 0..phases {
        let window = places.tensor(0, phase);
        operators.push(copy_rows(part(element, window, (hop, height)), part(element, window, (0, height - hop))));
        operators.push(copy_rows(new_rows, part(element, window, (height - hop, height))));
        for step in &lowered.steps {
            let index = step.tensors.output;
            let tensor = places.tensor(index, phase);
            let Some(of) = moving[index] else {
                operators.push(places.operator(&step.operator, None, phase));
                continue;
            };
            if is_state[index] {
                let (first, end) = of.kept;
                let from = part(element, tensor, (first + of.shift, end + of.shift));
                operators.push(copy_rows(from, part(element, tensor, of.kept)));
            }
            for span in computed(Some(of), tensor.shape.height) {
                operators.push(places.operator(&step.operator, Some(span), phase));
            }
        }
        let tensor = places.tensor(output, phase);
        if is_state[output] {
            operators.push(copy_rows(tensor, copy));
        } else {
            result = tensor;
        }
    }
    let phases = u16::try_from(phases)?;
    let full_after = u16::try_from(height.div_ceil(hop))?;
    let streaming = Streaming { phases, full_after, state_bytes: u32::try_from(state_bytes)? };
    Ok(Streamed { operators, input: new_rows, output: result, arena_bytes: state_bytes + layout.bytes, streaming })
}

#[cfg(test)]
mod tests {
    use neji_format::{
        AlignedBytes, Constant, Conv2d, Decision, DepthwiseConv2d, LutFunction, Mean, Multiplier, Packing, Pool2d,
        PoolKind, Requantization, push_constant,
    };
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::lowered::{POINT, add};
    use crate::quantize::assemble::{Edges, Memory, accepted, assemble};
    use crate::quantize::scheme::{Scheme, multiplier};
    use crate::tensor_file;

    #[test]
    fn rows_that_meet_padding_or_new_rows_are_computed() {
        // 49 rows, a hop of 1; a kernel of 10 at a stride of 2, padded by 4 and 5: windows -4..6, -2..8, 0..10, ..., 44..54.
        let input = Moving { stride: 1, period: 1, shift: 1, kept: (0, 48) };
        let rows = Axis { extent: 10, stride: 2, before: 4 };
        let moving = input.through(rows, 25, 1).expect("most rows are kept");
        // After two hops rows 0 to 46 are old; window 21 reads 38 to 47.
        assert_eq!(moving, Moving { stride: 2, period: 2, shift: 1, kept: (2, 21) });
        assert_eq!(computed(Some(moving), 25), [(0, 2), (21, 25)]);
        assert_eq!(rows.under((0, 2), 49), ((0, 8), 4, 0));
        assert_eq!(rows.under((21, 25), 49), ((38, 49), 0, 5));
        let next = moving.through(Axis { extent: 3, stride: 1, before: 1 }, 25, 1).expect("some are");
        assert_eq!(next, Moving { kept: (3, 20), ..moving });
        // A kernel over all rows keeps none.
        assert_eq!(moving.through(Axis { extent: 25, stride: 1, before: 0 }, 1, 1), None);
    }

    /// A window of constants for `channels` outputs of `taps` products each.
    fn constants(
        lowered: &mut Lowered,
        random: &mut ChaCha8Rng,
        channels: u32,
        taps: usize,
    ) -> (Constant, Requantization) {
        let weights: Vec<u8> = (0..taps).map(|_| random.random()).collect();
        let mut each = |word: &mut dyn FnMut(&mut ChaCha8Rng) -> i32| {
            let bytes: Vec<u8> = (0..channels).flat_map(|_| word(random).to_le_bytes()).collect();
            push_constant(&mut lowered.constants, &bytes)
        };
        let bias = each(&mut |random| random.random_range(-2000..2000));
        let multiplier = each(&mut |random| random.random_range(1 << 30..i32::MAX));
        let shift = push_constant(&mut lowered.constants, &vec![(-7_i8).cast_unsigned(); channels as usize]);
        let weights = push_constant(&mut lowered.constants, &weights);
        (weights, Requantization { bias, multiplier, shift, activation_min: -128, activation_max: 127 })
    }

    /// A few layers over time, their head perhaps a mean.
    fn network(random: &mut ChaCha8Rng) -> Lowered {
        let mut lowered = Lowered::default();
        let scheme = Scheme { scale: 0.5, zero_point: 3 };
        let height = random.random_range(12..30);
        let mut last =
            lowered.tensor(0, Shape::new(height, random.random_range(1..5), random.random_range(1..4)), scheme);
        for _ in 0..random.random_range(1..6) {
            let shape = lowered.tensors[last].shape;
            let input = lowered.tensors[last];
            let kernel = (random.random_range(1..4), random.random_range(1..3));
            let stride = random.random_range(1..3);
            let pads: [u16; 4] = std::array::from_fn(|_| random.random_range(0..2));
            let window = Window {
                kernel_height: kernel.0,
                kernel_width: kernel.1,
                stride_height: stride,
                stride_width: 1,
                padding_top: pads[0].min(kernel.0 - 1),
                padding_bottom: pads[1].min(kernel.0 - 1),
                padding_left: pads[2].min(kernel.1 - 1),
                padding_right: pads[3].min(kernel.1 - 1),
                ..POINT
            };
            let size = |len: u32, kernel: u16, stride: u16, around: u16| {
                Some((len + u32::from(around)).checked_sub(kernel.into())? / u32::from(stride) + 1)
            };
            let (Some(height), Some(width)) = (
                size(shape.height, kernel.0, stride, window.padding_top + window.padding_bottom),
                size(shape.width, kernel.1, 1, window.padding_left + window.padding_right),
            ) else {
                continue;
            };
            let taps = usize::from(kernel.0 * kernel.1) * shape.channels as usize;
            match random.random_range(0..5) {
                0 => {
                    let channels = random.random_range(1..6);
                    let output = lowered.tensor(0, Shape::new(height, width, channels), scheme);
                    let (weights, requantization) = constants(&mut lowered, random, channels, taps * channels as usize);
                    let output = lowered.tensors[output];
                    lowered.push(
                        "conv",
                        Operator::Conv2d(Conv2d {
                            input,
                            output,
                            window,
                            weights,
                            packing: Packing::Rows,
                            requantization,
                        }),
                    );
                }
                1 => {
                    let output = lowered.tensor(0, Shape::new(height, width, shape.channels), scheme);
                    let (weights, requantization) = constants(&mut lowered, random, shape.channels, taps);
                    let output = lowered.tensors[output];
                    let conv = DepthwiseConv2d { input, output, window, weights, requantization };
                    lowered.push("depthwise", Operator::DepthwiseConv2d(conv));
                }
                2 => {
                    let output = lowered.tensor(0, Shape::new(height, width, shape.channels), scheme);
                    let kind = if random.random() { PoolKind::Max } else { PoolKind::Average };
                    let pool = Pool2d {
                        kind,
                        input,
                        output: lowered.tensors[output],
                        window,
                        multiplier: Multiplier { multiplier: 1 << 30, shift: 1 },
                        activation_min: -128,
                        activation_max: 127,
                    };
                    lowered.push("pool", Operator::Pool2d(pool));
                }
                3 => {
                    let output = lowered.tensor(0, shape, scheme);
                    lowered.push_table("table", last, output, LutFunction::Relu, |q| q.max(3));
                }
                _ => {
                    let output = lowered.tensor(0, shape, scheme);
                    let other = (0..output).rev().find(|&other| lowered.tensors[other].shape == shape).unwrap_or(last);
                    let output = lowered.tensors[output];
                    let sum = add(Element::I8, input, lowered.tensors[other], output, (-128, 127));
                    lowered.push("add", Operator::Add(sum));
                }
            }
            last = lowered.tensors.len() - 1;
        }
        if random.random() {
            let input = lowered.tensors[last];
            let output = lowered.tensor(0, Shape::new(1, 1, input.shape.channels), scheme);
            let multiplier = multiplier(1.0 / f64::from(input.shape.height * input.shape.width));
            lowered.push("mean", Operator::Mean(Mean { input, output: lowered.tensors[output], multiplier }));
            last = output;
        }
        lowered.output = last;
        lowered
    }

    fn blob(lowered: &Lowered, memory: Memory) -> Result<AlignedBytes> {
        let edges = Edges {
            front_end: crate::frontend::Fitted::Raw,
            detector: crate::detect::Fitted::None,
            decision: Decision::EACH,
            provenance: crate::tflite::provenance(b"", "network"),
        };
        assemble(lowered, memory, &edges)
    }

    #[test]
    fn every_full_window_gives_the_same_bytes() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (mut streamed, mut phased) = (0, 0);
        for _ in 0..400 {
            let lowered = network(&mut random);
            let hop = random.random_range(1..4);
            if lowered.steps.is_empty() || stream(&lowered, hop).is_err() {
                continue;
            }
            let whole = blob(&lowered, Memory::Planned).expect("a blob");
            let hops = blob(&lowered, Memory::Streaming { hop }).expect("a blob that streams");
            let (whole, hops) = (accepted(&whole).expect("a model"), accepted(&hops).expect("a model"));
            let input = lowered.tensors[0].shape;
            let row = (input.width * input.channels) as usize;
            let len = hop as usize * row;
            let rows: Vec<i8> = (0..len * (input.height as usize + 9)).map(|_| random.random()).collect();
            let moments: Vec<Vec<i8>> = rows.chunks_exact(len).map(<[i8]>::to_vec).collect();
            let found = tensor_file::run(hops, &moments);
            let streaming = hops.plan().streaming.expect("it streams");
            for run in usize::from(streaming.full_after)..=moments.len() {
                let window = &rows[run * len - input.height as usize * row..run * len];
                assert_eq!(
                    found[run - 1],
                    tensor_file::run(whole, &[window.to_vec()])[0],
                    "hop {hop}, run {run}: {lowered:?}"
                );
            }
            streamed += 1;
            phased += usize::from(streaming.phases > 1);
        }
        assert!(streamed > 150 && phased > 50, "{streamed} streamed, {phased} in phases");
    }

    #[test]
    fn a_window_of_one_row_is_refused() {
        let mut lowered = Lowered::default();
        let scheme = Scheme { scale: 0.5, zero_point: 3 };
        lowered.tensor(0, Shape::new(1, 1, 640), scheme);
        let error = stream(&lowered, 1).expect_err("one row").to_string();
        assert!(error.contains("window of 1") && error.contains("hop of 1"), "{error}");
    }

    #[test]
    fn longer_periods_keep_less() {
        let moving = Moving { stride: 2, period: 2, shift: 1, kept: (3, 20) };
        assert_eq!((moving.kept_for(2), moving.kept_for(6)), ((3, 20), (3, 18)));
    }
}
