//! Block operations that an instruction set may speed up.

use neji_format::{Add, Shape, Window};

use crate::kernels::Channels;

#[cfg(target_arch = "arm")]
mod arm_dsp;
#[cfg(target_arch = "arm")]
mod arm_mve;
#[cfg(target_arch = "arm")]
mod armv7m;
#[cfg(not(target_arch = "arm"))]
mod host;
#[cfg(target_arch = "arm")]
mod pairs;
mod portable;
mod scratch;

#[cfg(target_arch = "arm")]
pub use arm_dsp::ArmDsp;
#[cfg(target_arch = "arm")]
pub use arm_mve::ArmMve;
#[cfg(target_arch = "arm")]
pub use armv7m::ArmV7m;
#[cfg(not(target_arch = "arm"))]
pub use host::Host;
pub use portable::Portable;
pub(crate) use scratch::Scratch;

/// Longest row of weights in pairs that a convolution takes by its quick way.
pub const PAIRS_DEPTH: usize = crate::kernels::pairs::DEPTH;
/// Longest row of weights in pairs that a dense layer takes by its quick way.
pub const PAIRS_COLUMN: usize = crate::kernels::pairs::COLUMN;

/// Four inputs as int16, their offset added, in an order that is the instruction set's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Quad(pub(crate) [i16; 4]);

impl Quad {
    /// Inputs that add nothing.
    pub const ZERO: Self = Self([0; 4]);
}

/// A layer of int8, its output apart.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub(crate) input: &'a [i8],
    pub(crate) zero_point: i8,
    /// All of them, and up to three bytes more.
    pub(crate) weights: &'a [i8],
    pub(crate) channels: &'a Channels<'a>,
}

/// A layer whose window slides over the input.
#[derive(Debug, Clone, Copy)]
pub struct Sliding<'a> {
    pub(crate) layer: Layer<'a>,
    pub(crate) input_shape: Shape,
    pub(crate) window: &'a Window,
    pub(crate) output_shape: Shape,
}

/// Pixels of an input, a rectangle.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Pixels {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// From pixel to pixel.
    pub(crate) depth: usize,
    /// From row to row.
    pub(crate) row_len: usize,
}

/// Two neighbours of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct Pair(pub(crate) [i16; 2]);

impl Pair {
    /// Two that add nothing.
    pub const ZERO: Self = Self([0; 2]);
}

/// Bias and requantization of one output channel, where all sums and shifts are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Factor {
    pub(crate) bias: i32,
    pub(crate) multiplier: i32,
    /// Bits that the second rounding takes away; the shift to the left where that is below 0.
    pub(crate) right: i32,
    /// What the second rounding adds: half of the divisor, and the zero point times the divisor; the zero point alone where
    /// there is no second rounding.
    pub(crate) half: i32,
}

impl Factor {
    /// Makes every sum 0.
    pub const NONE: Self = Self { bias: 0, multiplier: 0, right: 0, half: 0 };
}

/// Three rows of three taps and the lines that they meet, for a block of outputs of one channel.
#[derive(Debug, Clone, Copy)]
pub struct Square<'a> {
    /// The first line and what is behind it.
    pub(crate) lines: &'a [Pair],
    /// From line to line.
    pub(crate) slot: usize,
    /// From the first line of a row of outputs to that of the next.
    pub(crate) down: usize,
    /// Of each line, doubled: taps 0 and 1, 2 and none, none and 0, 1 and 2.
    pub(crate) taps: &'a [[Pair; 4]; 3],
    pub(crate) factor: Factor,
    /// Outputs of a row.
    pub(crate) width: usize,
    /// From output to output.
    pub(crate) step: usize,
    /// Rows of outputs.
    pub(crate) height: usize,
    /// From row to row of outputs.
    pub(crate) row: usize,
}

/// Four channels of a line of outputs, which meet as many taps each, one behind another.
#[derive(Debug, Clone, Copy)]
pub struct Four<'a> {
    /// From the first channel's input under the first tap of the first output on.
    pub(crate) input: &'a [i8],
    pub(crate) input_offset: i32,
    /// From the first channel's first tap on.
    pub(crate) weights: &'a [i8],
    /// From tap to tap, of inputs and weights.
    pub(crate) tap: usize,
    pub(crate) taps: usize,
    pub(crate) factors: &'a [Factor; 4],
    /// Outputs.
    pub(crate) count: usize,
    /// From output to output, of inputs and outputs.
    pub(crate) steps: [usize; 2],
}

/// Rows of weights, and the inputs of four pixels that meet each of them.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub(crate) columns: &'a [[Quad; 4]],
    /// From the first weight of the first row on.
    pub(crate) weights: &'a [i8],
    /// From row to row.
    pub(crate) stride: usize,
    /// Of each row.
    pub(crate) factors: &'a [Factor],
}

impl Rows<'_> {
    /// The weights from row `index` on.
    #[inline(always)]
    fn row(&self, index: usize) -> &[i8] {
        self.weights.get(index.saturating_mul(self.stride)..).unwrap_or(&[])
    }
}

/// Four inputs of three pixels, their offset added: 0 and 2 of each, then 1 and 3.
pub type Triple = [[Pair; 3]; 2];

/// Weights in pairs of rows, and the inputs of three pixels that meet each of them.
#[derive(Debug, Clone, Copy)]
pub struct PairRows<'a> {
    pub(crate) columns: &'a [Triple],
    /// From a block of four rows on, as [`Packing::Pairs`](neji_format::Packing::Pairs) has them.
    pub(crate) weights: &'a [i16],
    /// Of each row: [`Channels::pair_factors`].
    pub(crate) factors: &'a [Factor],
}

/// Weights in pairs of rows, and the inputs of one pixel that meet each of them.
#[derive(Debug, Clone, Copy)]
pub struct PairColumn<'a> {
    pub(crate) quads: &'a [Quad],
    /// As those of [`PairRows`].
    pub(crate) weights: &'a [i16],
    /// Of each row.
    pub(crate) biases: &'a [i32],
    pub(crate) multipliers: &'a [i32],
    /// Bits to the left, -22 to 0.
    pub(crate) shifts: &'a [i8],
    /// What is added last.
    pub(crate) zero_point: i32,
}

/// [`Square`]s of neighbouring channels.
#[derive(Debug, Clone, Copy)]
pub struct Squares<'a> {
    /// The first line of the first channel and what is behind it.
    pub(crate) lines: &'a [Pair],
    /// From channel to channel.
    pub(crate) line: usize,
    /// From line to line.
    pub(crate) slot: usize,
    /// From the first line of a row of outputs to that of the next.
    pub(crate) down: usize,
    /// Of each channel the taps of [`Square`].
    pub(crate) taps: &'a [[[Pair; 4]; 3]],
    /// Of each channel.
    pub(crate) factors: &'a [Factor],
    /// Outputs of a row.
    pub(crate) width: usize,
    /// From output to output.
    pub(crate) step: usize,
    /// Rows of outputs.
    pub(crate) height: usize,
    /// From row to row of outputs.
    pub(crate) row: usize,
}

/// Inputs of five pixels that meet the same weight, their offset added.
pub type Five = [i32; 5];

/// Rows of weights and the input of one pixel.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    pub(crate) column: &'a [i32],
    /// As many for each of the rows as there are inputs.
    pub(crate) weights: &'a [i8],
    /// Of each row.
    pub(crate) biases: &'a [i32],
    pub(crate) multipliers: &'a [i32],
    /// Bits to the left.
    pub(crate) shifts: &'a [i8],
    /// What is added last.
    pub(crate) zero_point: i32,
}

/// How a sum is requantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reach {
    /// The shift goes to the right, and no sum leaves -2^30 to 2^30.
    Small,
    /// The shift goes to the right.
    Large,
    /// The shift goes to the left, or nowhere.
    Left,
}

/// Bias and requantization of one output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Scale {
    pub(crate) bias: i32,
    pub(crate) multiplier: i32,
    /// Bits, to whichever side.
    pub(crate) shift: u32,
    pub(crate) reach: Reach,
}

impl Scale {
    /// Makes every sum 0.
    pub const NONE: Self = Self { bias: 0, multiplier: 0, shift: 0, reach: Reach::Small };

    /// The shift to the left.
    pub(crate) fn left(&self) -> i32 {
        let shift = self.shift.cast_signed();
        if self.reach == Reach::Left { shift } else { shift.wrapping_neg() }
    }
}

/// Rows of weights, and the inputs of five pixels that meet each of them.
#[derive(Debug, Clone, Copy)]
pub struct Fives<'a> {
    pub(crate) columns: &'a [Five],
    /// As many for each of the scales as there are columns.
    pub(crate) weights: &'a [i8],
    /// Of each row.
    pub(crate) scales: &'a [Scale],
    /// What is added last.
    pub(crate) zero_point: i32,
}

/// The block operations of the kernels. Default bodies are the portable code and define the result: an implementation
/// overrides what it speeds up and must give the same bits.
///
/// Sums are i32 and wrap; [`Model::parse`](neji_format::Model::parse) has excluded weights for which one could.
/// Slices of unequal length are read as far as the shortest goes; what does not lie in them as an operation of whole blocks
/// says, which no kernel asks for, may be left as it is.
pub trait Isa: Sized {
    /// Whether models of int16 activations run; without, their kernels take no flash.
    const INT16: bool = true;

    /// Whether int8 kernels expand inputs to int16 on the stack, which takes some KiB of it, for blocks of sums.
    const COLUMNS: bool = true;

    /// Whether those inputs are expanded to int32 instead, five pixels side by side: for cores that multiply one by one, where
    /// words are loaded by the handful.
    const WORDS: bool = false;

    /// Whether weights in [`Packing::Pairs`](neji_format::Packing::Pairs) are read.
    const PAIRS: bool = true;

    /// Expands the inputs of three pixels, which are `step` apart, for as many columns as there are; they have that many.
    #[inline(always)]
    fn expand_triples(input: &[i8], step: usize, input_offset: i32, columns: &mut [Triple]) {
        portable::expand_triples(input, step, input_offset, columns);
    }

    /// Outputs of rows for three pixels, `stride` apart: bias and products, requantized and saturated. There are rows by twos.
    #[inline(always)]
    fn multiply_pairs(pairs: &PairRows<'_>, output: &mut [i8], stride: usize) {
        portable::multiply_pairs(pairs, output, stride);
    }

    /// An output of each row for the inputs of one pixel: its bias and products, requantized and saturated. There are outputs by
    /// fours.
    #[inline(always)]
    fn multiply_pairs_column(column: &PairColumn<'_>, output: &mut [i8]) {
        portable::multiply_pairs_column(column, output);
    }
    /// Whether some layers are taken as a whole: by [`Isa::conv_2d`] and [`Isa::depthwise_conv_2d`].
    const LAYERS: bool = false;

    /// Expands a run of inputs into `words[0]`, `words[STRIDE]` and so on.
    #[inline(always)]
    fn expand_words<const STRIDE: usize>(input: &[i8], input_offset: i32, words: &mut [i32]) {
        portable::expand_words::<STRIDE>(input, input_offset, words);
    }

    /// `acc[p] + sum(columns[i][p] * weights[i])`: one row of weights with the inputs of five pixels.
    #[inline(always)]
    fn dot_fives(acc: Five, columns: &[Five], weights: &[i8]) -> Five {
        portable::dot_fives(acc, columns, weights)
    }

    /// Outputs of each row for five pixels, `stride` apart: its bias and products, requantized and saturated.
    #[inline(always)]
    fn multiply_fives(fives: &Fives<'_>, output: &mut [i8], stride: usize) {
        portable::multiply_fives::<Self>(fives, output, stride);
    }

    /// `acc[r] + sum(column[i] * weights[r * stride + i])`: four rows of weights with the inputs of one pixel.
    #[inline(always)]
    fn dot_rows_words(acc: [i32; 4], column: &[i32], weights: &[i8], stride: usize) -> [i32; 4] {
        portable::dot_rows_words(acc, column, weights, stride)
    }

    /// Outputs of rows by fours, requantized and saturated, as far as the implementation goes; how many they are.
    #[inline(always)]
    fn multiply_dense(dense: &Dense<'_>, output: &mut [i8]) -> usize {
        portable::multiply_dense::<Self>(dense, output)
    }

    /// Expands a run of inputs into `quads[first]`, `quads[first + STRIDE]` and so on; what is left of the last is 0.
    #[inline(always)]
    fn expand<const STRIDE: usize>(input: &[i8], input_offset: i32, quads: &mut [Quad], first: usize) {
        portable::expand::<STRIDE>(input, input_offset, quads, first);
    }

    /// Expands the inputs of four pixels, which are `step` apart, for as many columns as there are.
    #[inline(always)]
    fn expand_pixels(input: &[i8], step: usize, input_offset: i32, columns: &mut [[Quad; 4]]) {
        portable::expand_pixels::<Self>(input, step, input_offset, columns);
    }

    /// Copies `count` runs of `len` elements each, which are `[source_step, target_step]` apart; nothing where they are not.
    #[inline(always)]
    fn copy_runs(source: &[i8], target: &mut [i8], steps: [usize; 2], len: usize, count: usize) {
        portable::copy_runs(source, target, steps, len, count);
    }

    /// `acc[p] + sum(columns[i][p] * weights[i])`: one row of weights with the inputs of four pixels.
    ///
    /// Where the weights go on beyond the row, the columns must hold zeros there; where they end, so does the sum.
    #[inline(always)]
    fn dot_columns(acc: [i32; 4], columns: &[[Quad; 4]], weights: &[i8]) -> [i32; 4] {
        portable::dot_columns(acc, columns, weights)
    }

    /// Adds to the sums of each row; see [`Isa::dot_columns`].
    #[inline(never)]
    fn add_rows(rows: &Rows<'_>, sums: &mut [[i32; 4]]) {
        for (index, sums) in sums.iter_mut().enumerate() {
            *sums = Self::dot_columns(*sums, rows.columns, rows.row(index));
        }
    }

    /// Outputs of each row for four pixels, `stride` apart: its bias and products, requantized and saturated.
    #[inline(always)]
    fn multiply_rows(rows: &Rows<'_>, output: &mut [i8], stride: usize) {
        portable::multiply_rows::<Self>(rows, output, stride);
    }

    /// `acc[r] + sum(column[i] * weights[r * stride + i])`: four rows of weights with the inputs of one pixel.
    ///
    /// As in [`Isa::dot_columns`], the column holds zeros beyond the row.
    #[inline(always)]
    fn dot_rows(acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
        portable::dot_rows(acc, column, weights, stride)
    }

    /// An output of each row of weights, `stride` apart, for the inputs of one pixel: its bias and products, requantized and
    /// saturated. As in [`Isa::dot_columns`], the column holds zeros beyond the row.
    #[inline(always)]
    fn multiply_column(column: &[Quad], weights: &[i8], stride: usize, factors: &[Factor], output: &mut [i8]) {
        portable::multiply_column::<Self>(column, weights, stride, factors, output);
    }

    /// Spreads four channels of a row of pixels, `depth` apart, to four lines, each of `line` pairs, from element `start` on.
    #[inline(always)]
    fn spread(input: &[i8], depth: usize, input_offset: i32, lines: &mut [Pair], line: usize, start: usize) {
        portable::spread(input, depth, input_offset, lines, line, start);
    }

    /// Rows of outputs: bias and nine products each, requantized and saturated; the windows of a row are `STRIDE` elements
    /// apart, 1 or 2.
    #[inline(always)]
    fn square<const STRIDE: usize>(square: &Square<'_>, output: &mut [i8]) {
        portable::square::<STRIDE>(square, output);
    }

    /// Outputs of four channels of a line: bias and products, requantized and saturated.
    #[inline(always)]
    fn four(four: &Four<'_>, output: &mut [i8]) {
        portable::four(four, output);
    }

    /// [`Isa::square`] of neighbouring channels.
    #[inline(always)]
    fn squares<const STRIDE: usize>(squares: &Squares<'_>, output: &mut [i8]) {
        portable::squares::<Self, STRIDE>(squares, output);
    }

    /// `sums[x] += sum(line[x * stride + i] * taps[i])` over the elements of the pairs; there are sums by twos, and elements
    /// of the line beyond its end count as 0.
    #[inline(always)]
    fn add_taps(sums: &mut [i32], line: &[Pair], stride: usize, taps: &[Pair]) {
        portable::add_taps(sums, line, stride, taps);
    }

    /// A convolution as a whole. False where the instruction set has nothing for it; the output is then undefined, and the
    /// block operations follow. So in those below.
    #[inline(always)]
    fn conv_2d(_layer: &Sliding<'_>, _output: &mut [i8]) -> bool {
        false
    }

    /// A depthwise convolution as a whole; see [`Isa::conv_2d`].
    #[inline(always)]
    fn depthwise_conv_2d(_layer: &Sliding<'_>, _output: &mut [i8]) -> bool {
        false
    }

    /// A dense layer as a whole; see [`Isa::conv_2d`].
    #[inline(always)]
    fn fully_connected(_layer: &Layer<'_>, _output: &mut [i8]) -> bool {
        false
    }

    /// Sums of two operands of the output's shape, or of one and what is in the output already, which `None` stands for.
    /// False as in [`Isa::conv_2d`], with the output as it was.
    #[inline(always)]
    fn add(_op: &Add, _a: Option<&[i8]>, _b: Option<&[i8]>, _output: &mut [i8]) -> bool {
        false
    }

    /// Sums of the first four channels over some pixels, where the instruction set has something for it.
    #[inline(always)]
    fn sum_pixels(_input: &[i8], _pixels: &Pixels) -> Option<[i32; 4]> {
        None
    }

    /// `acc + sum((input[i] + input_offset) * weights[i])`; `input_offset` is -127 to 128.
    #[inline(always)]
    fn dot_s8(acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        portable::dot_s8(acc, input, input_offset, weights)
    }

    /// [`Isa::dot_s8`] of one input with four rows of weights, which loads each input once.
    #[inline(always)]
    fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        portable::dot_s8_rows_4(acc, input, input_offset, weights)
    }

    /// `acc[i] += (input[i] + input_offset) * weights[i]`: one tap of a depthwise kernel over a block of channels.
    #[inline(always)]
    fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        portable::multiply_accumulate_s8(acc, input, input_offset, weights);
    }

    /// `acc + sum(input[i] * weights[i])` of int16 activations.
    #[inline(always)]
    fn dot_s16(acc: i64, input: &[i16], weights: &[i8]) -> i64 {
        portable::dot_s16(acc, input, weights)
    }
}

/// `I` for boards that are short of flash and RAM: models of int16 activations are refused, and inputs are not expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int8Only<I>(core::marker::PhantomData<I>);

impl<I: Isa> Isa for Int8Only<I> {
    const INT16: bool = false;
    const COLUMNS: bool = false;
    const PAIRS: bool = false;

    #[inline(always)]
    fn dot_s8(acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        I::dot_s8(acc, input, input_offset, weights)
    }

    #[inline(always)]
    fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        I::dot_s8_rows_4(acc, input, input_offset, weights)
    }

    #[inline(always)]
    fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        I::multiply_accumulate_s8(acc, input, input_offset, weights);
    }
}
