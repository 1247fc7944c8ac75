//! Plain Rust: the reference, and what every core can run.

use neji_format::packing::Pairs;

use super::{Dense, Factor, Five, Fives, Four, Isa, Pair, PairColumn, PairRows, Quad, Rows, Square, Squares, Triple};
use crate::kernels::finish::{rounded, rounded_pairs};
use crate::kernels::movement::copy;
use crate::requantize::requantize;

/// The instruction set that overrides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Isa for Portable {}

/// One product, added.
#[inline(always)]
fn step(acc: i32, input: i8, input_offset: i32, weight: i8) -> i32 {
    acc.wrapping_add((i32::from(input).wrapping_add(input_offset)).wrapping_mul(i32::from(weight)))
}

/// See [`Isa::dot_s8`]. Four products a turn: the compiler does not unroll by itself for Cortex-M.
#[inline(always)]
pub(super) fn dot_s8(mut acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
    let len = input.len().min(weights.len());
    let (inputs, inputs_left) = input.get(..len).unwrap_or(&[]).as_chunks::<4>();
    let (weights, weights_left) = weights.get(..len).unwrap_or(&[]).as_chunks::<4>();
    for (x, w) in inputs.iter().zip(weights) {
        acc = step(acc, x[0], input_offset, w[0]);
        acc = step(acc, x[1], input_offset, w[1]);
        acc = step(acc, x[2], input_offset, w[2]);
        acc = step(acc, x[3], input_offset, w[3]);
    }
    for (&x, &w) in inputs_left.iter().zip(weights_left) {
        acc = step(acc, x, input_offset, w);
    }
    acc
}

/// See [`Isa::dot_s8_rows_4`].
#[inline(always)]
pub(super) fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
    let [mut a, mut b, mut c, mut d] = acc;
    let [wa, wb, wc, wd] = weights;
    for ((((&x, &wa), &wb), &wc), &wd) in input.iter().zip(wa).zip(wb).zip(wc).zip(wd) {
        a = step(a, x, input_offset, wa);
        b = step(b, x, input_offset, wb);
        c = step(c, x, input_offset, wc);
        d = step(d, x, input_offset, wd);
    }
    [a, b, c, d]
}

/// See [`Isa::dot_s16`]. Eight products of 23 bits fit 32; their sum is widened once.
#[inline(always)]
pub(super) fn dot_s16(mut acc: i64, input: &[i16], weights: &[i8]) -> i64 {
    let len = input.len().min(weights.len());
    let (inputs, inputs_left) = input.get(..len).unwrap_or(&[]).as_chunks::<8>();
    let (weights, weights_left) = weights.get(..len).unwrap_or(&[]).as_chunks::<8>();
    let product = |x: i16, w: i8| i32::from(x).wrapping_mul(w.into());
    for (x, w) in inputs.iter().zip(weights) {
        let sum = x.iter().zip(w).fold(0_i32, |sum, (&x, &w)| sum.wrapping_add(product(x, w)));
        acc = acc.wrapping_add(sum.into());
    }
    for (&x, &w) in inputs_left.iter().zip(weights_left) {
        acc = acc.wrapping_add(product(x, w).into());
    }
    acc
}

/// See [`Isa::expand`]; the order is the inputs' own.
#[inline(always)]
pub(super) fn expand<const STRIDE: usize>(input: &[i8], input_offset: i32, quads: &mut [Quad], first: usize) {
    let offset = input_offset as i16;
    let mut quads = quads.get_mut(first..).unwrap_or(&mut []).iter_mut().step_by(STRIDE);
    let (whole, rest) = input.as_chunks::<4>();
    for (input, quad) in whole.iter().zip(&mut quads) {
        quad.0 = input.map(|x| i16::from(x).wrapping_add(offset));
    }
    if !rest.is_empty()
        && let Some(quad) = quads.next()
    {
        quad.0 = [0; 4];
        quad.0.iter_mut().zip(rest).for_each(|(quad, &x)| *quad = i16::from(x).wrapping_add(offset));
    }
}

/// See [`Isa::expand_pixels`].
#[inline(always)]
pub(super) fn expand_pixels<I: Isa>(input: &[i8], step: usize, input_offset: i32, columns: &mut [[Quad; 4]]) {
    let len = columns.len().saturating_mul(4);
    let quads = columns.as_flattened_mut();
    let mut rest = input;
    for pixel in 0..4 {
        I::expand::<4>(rest.get(..len).unwrap_or(rest), input_offset, quads, pixel);
        rest = rest.get(step..).unwrap_or(&[]);
    }
}

/// See [`Isa::copy_runs`].
#[inline(always)]
pub(super) fn copy_runs(source: &[i8], target: &mut [i8], steps: [usize; 2], len: usize, count: usize) {
    let (mut from, mut to) = (0_usize, 0_usize);
    for _ in 0..count {
        copy(source.get(from..from.saturating_add(len)).unwrap_or(&[]), target, to);
        (from, to) = (from.saturating_add(steps[0]), to.saturating_add(steps[1]));
    }
}

/// See [`Isa::expand_words`].
#[inline(always)]
pub(super) fn expand_words<const STRIDE: usize>(input: &[i8], input_offset: i32, words: &mut [i32]) {
    for (word, &x) in words.iter_mut().step_by(STRIDE).zip(input) {
        *word = i32::from(x).wrapping_add(input_offset);
    }
}

/// See [`Isa::dot_fives`].
#[inline(always)]
pub(super) fn dot_fives(mut acc: Five, columns: &[Five], weights: &[i8]) -> Five {
    for (column, &weight) in columns.iter().zip(weights) {
        for (acc, &x) in acc.iter_mut().zip(column) {
            *acc = acc.wrapping_add(x.wrapping_mul(weight.into()));
        }
    }
    acc
}

/// See [`Isa::multiply_fives`].
#[inline(always)]
pub(super) fn multiply_fives<I: Isa>(fives: &Fives<'_>, output: &mut [i8], stride: usize) {
    let rows = fives.weights.chunks_exact(fives.columns.len().max(1));
    for (index, (scale, row)) in fives.scales.iter().zip(rows).enumerate() {
        let sums = I::dot_fives([scale.bias; 5], fives.columns, row);
        let mut at = index;
        for sum in sums {
            let value = requantize(sum, scale.multiplier, scale.left());
            if let Some(out) = output.get_mut(at) {
                *out = value.saturating_add(fives.zero_point).clamp(-128, 127) as i8;
            }
            at = at.saturating_add(stride);
        }
    }
}

/// See [`Isa::dot_rows_words`].
#[inline(always)]
pub(super) fn dot_rows_words(acc: [i32; 4], column: &[i32], weights: &[i8], stride: usize) -> [i32; 4] {
    let mut acc = acc;
    for (row, acc) in acc.iter_mut().enumerate() {
        let weights = weights.get(stride.saturating_mul(row)..).unwrap_or(&[]);
        for (&x, &weight) in column.iter().zip(weights) {
            *acc = acc.wrapping_add(x.wrapping_mul(weight.into()));
        }
    }
    acc
}

/// See [`Isa::multiply_dense`].
#[inline(always)]
pub(super) fn multiply_dense<I: Isa>(dense: &Dense<'_>, output: &mut [i8]) -> usize {
    let Dense { column, weights, zero_point, .. } = *dense;
    let biases = dense.biases.as_chunks::<4>().0.iter();
    let multipliers = dense.multipliers.as_chunks::<4>().0.iter();
    let shifts = dense.shifts.as_chunks::<4>().0.iter();
    let rows = weights.chunks_exact(column.len().saturating_mul(4).max(1));
    let outs = output.as_chunks_mut::<4>().0.iter_mut();
    let mut done = 0_usize;
    for ((((out, rows), &biases), multipliers), shifts) in outs.zip(rows).zip(biases).zip(multipliers).zip(shifts) {
        let sums = I::dot_rows_words(biases, column, rows, column.len());
        for (((out, sum), &multiplier), &shift) in out.iter_mut().zip(sums).zip(multipliers).zip(shifts) {
            let value = requantize(sum, multiplier, shift.into());
            *out = value.saturating_add(zero_point).clamp(-128, 127) as i8;
        }
        done = done.saturating_add(4);
    }
    done
}

/// One product of an expanded input, added.
#[inline(always)]
fn product(acc: i32, x: i16, weight: i8) -> i32 {
    acc.wrapping_add(i32::from(x).wrapping_mul(weight.into()))
}

/// See [`Isa::dot_columns`].
#[inline(always)]
pub(super) fn dot_columns(mut acc: [i32; 4], columns: &[[Quad; 4]], weights: &[i8]) -> [i32; 4] {
    let mut step = |quads: &[Quad; 4], weights: [i8; 4]| {
        for (acc, quad) in acc.iter_mut().zip(quads) {
            *acc = quad.0.iter().zip(weights).fold(*acc, |acc, (&x, w)| product(acc, x, w));
        }
    };
    let (whole, rest) = weights.as_chunks::<4>();
    for (quads, &weights) in columns.iter().zip(whole) {
        step(quads, weights);
    }
    if let Some(quads) = columns.get(whole.len()) {
        step(quads, padded(rest));
    }
    acc
}

/// See [`Isa::multiply_rows`].
#[inline(always)]
pub(super) fn multiply_rows<I: Isa>(rows: &Rows<'_>, output: &mut [i8], stride: usize) {
    for (index, factor) in rows.factors.iter().enumerate() {
        let sums = I::dot_columns([factor.bias; 4], rows.columns, rows.row(index));
        let mut at = index;
        for sum in sums {
            if let Some(out) = output.get_mut(at) {
                *out = rounded(sum, factor.multiplier, factor.right.wrapping_neg(), factor.half).clamp(-128, 127) as i8;
            }
            at = at.saturating_add(stride);
        }
    }
}

/// See [`Isa::dot_rows`].
#[inline(always)]
pub(super) fn dot_rows(acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
    let row = |index: usize| weights.get(stride.saturating_mul(index)..).unwrap_or(&[]).as_chunks::<4>();
    let [(a, rest_a), (b, rest_b), (c, rest_c), (d, rest_d)] = [row(0), row(1), row(2), row(3)];
    let add = |[p, q, r, s]: [i32; 4], quad: &Quad, [a, b, c, d]: [&[i8; 4]; 4]| {
        let row = |acc, weights: &[i8; 4]| quad.0.iter().zip(weights).fold(acc, |acc, (&x, &w)| product(acc, x, w));
        [row(p, a), row(q, b), row(r, c), row(s, d)]
    };
    let mut acc = acc;
    // Four rows at once as far as the last of them, which is the shortest, goes.
    for ((((quad, a), b), c), d) in column.iter().zip(a).zip(b).zip(c).zip(d) {
        acc = add(acc, quad, [a, b, c, d]);
    }
    for (at, quad) in column.iter().enumerate().skip(d.len()) {
        let of = |whole: &[[i8; 4]], rest: &[i8]| match whole.get(at) {
            Some(weights) => *weights,
            None if at == whole.len() => padded(rest),
            None => [0; 4],
        };
        acc = add(acc, quad, [&of(a, rest_a), &of(b, rest_b), &of(c, rest_c), &of(d, rest_d)]);
    }
    acc
}

/// See [`Isa::multiply_column`].
#[inline(always)]
pub(super) fn multiply_column<I: Isa>(
    column: &[Quad],
    weights: &[i8],
    stride: usize,
    factors: &[Factor],
    output: &mut [i8],
) {
    let mut start = 0_usize;
    for (factors, output) in factors.chunks(4).zip(output.chunks_mut(4)) {
        let mut acc = [0; 4];
        acc.iter_mut().zip(factors).for_each(|(acc, factor)| *acc = factor.bias);
        let acc = I::dot_rows(acc, column, weights.get(start..).unwrap_or(&[]), stride);
        for ((out, acc), factor) in output.iter_mut().zip(acc).zip(factors) {
            let value = rounded(acc, factor.multiplier, factor.right.wrapping_neg(), factor.half);
            *out = value.clamp(-128, 127) as i8;
        }
        start = start.saturating_add(stride.saturating_mul(4));
    }
}

/// See [`Isa::expand_triples`].
#[inline(always)]
pub(super) fn expand_triples(input: &[i8], step: usize, input_offset: i32, columns: &mut [Triple]) {
    let mut rest = input;
    for pixel in 0..3 {
        let quads = rest.chunks(4);
        for ([even, odd], quad) in columns.iter_mut().zip(quads) {
            let [a, b, c, d] = padded(quad).map(|x| i16::from(x).wrapping_add(input_offset as i16));
            even[pixel] = Pair([a, c]);
            odd[pixel] = Pair([b, d]);
        }
        rest = rest.get(step..).unwrap_or(&[]);
    }
}

/// See [`Isa::multiply_pairs`].
#[inline(always)]
pub(super) fn multiply_pairs(pairs: &PairRows<'_>, output: &mut [i8], stride: usize) {
    let weights = Pairs::new(pairs.weights, pairs.columns.len().saturating_mul(4));
    for (row, factor) in pairs.factors.iter().enumerate() {
        let mut at = row;
        for pixel in 0..3 {
            let mut sum = factor.bias;
            let mut index = 0_usize;
            for [even, odd] in pairs.columns {
                let ([a, c], [b, d]) = (even[pixel].0, odd[pixel].0);
                for x in [a, b, c, d] {
                    sum = sum.wrapping_add(i32::from(x).wrapping_mul(weights.weight(row, index).into()));
                    index = index.saturating_add(1);
                }
            }
            if let Some(out) = output.get_mut(at) {
                *out = rounded_pairs(sum, factor);
            }
            at = at.saturating_add(stride);
        }
    }
}

/// See [`Isa::multiply_pairs_column`].
#[inline(always)]
pub(super) fn multiply_pairs_column(column: &PairColumn<'_>, output: &mut [i8]) {
    let PairColumn { quads, weights, biases, multipliers, shifts, zero_point } = *column;
    let weights = Pairs::new(weights, quads.len().saturating_mul(4));
    let rows = biases.iter().zip(multipliers).zip(shifts).enumerate();
    for ((row, ((&bias, &multiplier), &shift)), out) in rows.zip(output) {
        let mut sum = bias;
        for (index, &x) in quads.iter().flat_map(|quad| &quad.0).enumerate() {
            sum = sum.wrapping_add(i32::from(x).wrapping_mul(weights.weight(row, index).into()));
        }
        *out = requantize(sum, multiplier, shift.into()).saturating_add(zero_point).clamp(-128, 127) as i8;
    }
}

/// Up to four weights, then zeros.
#[inline(always)]
pub(super) fn padded(rest: &[i8]) -> [i8; 4] {
    let mut padded = [0; 4];
    padded.iter_mut().zip(rest).for_each(|(padded, &weight)| *padded = weight);
    padded
}

/// See [`Isa::spread`].
#[inline(always)]
pub(super) fn spread(input: &[i8], depth: usize, input_offset: i32, lines: &mut [Pair], line: usize, start: usize) {
    for (channel, line) in lines.chunks_exact_mut(line.max(1)).enumerate() {
        let line = line.iter_mut().flat_map(|pair| pair.0.iter_mut()).skip(start);
        for (slot, &x) in line.zip(input.iter().skip(channel).step_by(depth.max(1))) {
            *slot = i16::from(x).wrapping_add(input_offset as i16);
        }
    }
}

/// See [`Isa::square`].
#[inline(always)]
pub(super) fn square<const STRIDE: usize>(square: &Square<'_>, output: &mut [i8]) {
    let (mut lines, mut output) = (square.lines, output);
    for _ in 0..square.height {
        row_of_squares::<STRIDE>(&Square { lines, ..*square }, output);
        lines = lines.get(square.down..).unwrap_or(&[]);
        output = output.get_mut(square.row..).unwrap_or(&mut []);
    }
}

/// The first row of `square`.
#[inline(always)]
fn row_of_squares<const STRIDE: usize>(square: &Square<'_>, output: &mut [i8]) {
    let Square { lines, slot, taps, factor, width, step, .. } = *square;
    let pairs = |row: usize| lines.get(slot.saturating_mul(row)..).unwrap_or(&[]).windows(2);
    let taps = taps.map(|[Pair([a, b]), Pair([c, _]), ..]| [a, b, c].map(|tap| i32::from(tap) >> 1));
    let finish = |sum| rounded(sum, factor.multiplier, factor.right.wrapping_neg(), factor.half).clamp(-128, 127) as i8;
    let mut outs = output.chunks_mut(step.max(1)).take(width).filter_map(|chunk| chunk.first_mut());
    for ((top, middle), bottom) in pairs(0).zip(pairs(1)).zip(pairs(2)) {
        let mut sums = [factor.bias; 2];
        for (row, [p, q, r]) in [top, middle, bottom].iter().zip(taps) {
            let &&[Pair([a, b]), Pair([c, d])] = row else { continue };
            let [a, b, c, d] = [a, b, c, d].map(i32::from);
            let three = |sum: i32, [a, b, c]: [i32; 3]| {
                sum.wrapping_add(a.wrapping_mul(p)).wrapping_add(b.wrapping_mul(q)).wrapping_add(c.wrapping_mul(r))
            };
            sums = [three(sums[0], [a, b, c]), three(sums[1], [b, c, d])];
        }
        // The second window begins where the first's neighbour does.
        for sum in sums.into_iter().step_by(STRIDE) {
            let Some(out) = outs.next() else { return };
            *out = finish(sum);
        }
    }
}

/// See [`Isa::four`].
#[inline(always)]
pub(super) fn four(four: &Four<'_>, output: &mut [i8]) {
    let (mut input, mut output) = (four.input, output);
    for _ in 0..four.count {
        let mut sums = four.factors.map(|factor| factor.bias);
        let inputs = input.chunks(four.tap.max(1)).zip(four.weights.chunks(four.tap.max(1)));
        for (input, weights) in inputs.take(four.taps) {
            multiply_accumulate_s8(&mut sums, input, four.input_offset, weights);
        }
        for ((out, sum), factor) in output.iter_mut().zip(sums).zip(four.factors) {
            let value = rounded(sum, factor.multiplier, factor.right.wrapping_neg(), factor.half);
            *out = value.clamp(-128, 127) as i8;
        }
        input = input.get(four.steps[0]..).unwrap_or(&[]);
        output = output.get_mut(four.steps[1]..).unwrap_or(&mut []);
    }
}

/// See [`Isa::squares`].
#[inline(always)]
pub(super) fn squares<I: Isa, const STRIDE: usize>(squares: &Squares<'_>, output: &mut [i8]) {
    let Squares { line, slot, down, width, step, height, row, .. } = *squares;
    for (channel, (taps, &factor)) in squares.taps.iter().zip(squares.factors).enumerate() {
        let lines = squares.lines.get(channel.saturating_mul(line)..).unwrap_or(&[]);
        let output = output.get_mut(channel..).unwrap_or(&mut []);
        I::square::<STRIDE>(&Square { lines, slot, down, taps, factor, width, step, height, row }, output);
    }
}

/// See [`Isa::add_taps`].
#[inline(always)]
pub(super) fn add_taps(sums: &mut [i32], line: &[Pair], stride: usize, taps: &[Pair]) {
    let mut at = 0_usize;
    let element = |at: usize| line.get(at >> 1).map_or(0, |pair| i32::from(pair.0[at & 1]));
    for sum in sums {
        let mut x = at;
        for tap in taps {
            let [a, b] = tap.0.map(i32::from);
            *sum = sum.wrapping_add(element(x).wrapping_mul(a));
            *sum = sum.wrapping_add(element(x.wrapping_add(1)).wrapping_mul(b));
            x = x.wrapping_add(2);
        }
        at = at.wrapping_add(stride);
    }
}

/// See [`Isa::multiply_accumulate_s8`].
#[inline(always)]
pub(super) fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
    for ((acc, &x), &w) in acc.iter_mut().zip(input).zip(weights) {
        *acc = step(*acc, x, input_offset, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_adds_the_offset_to_each_input() {
        // (1 + 10) 2 + (-3 + 10) 4 + (0 + 10) (-1) + (5 + 10) 1 + (6 + 10) 3 = 22 + 28 - 10 + 15 + 48.
        assert_eq!(Portable::dot_s8(100, &[1, -3, 0, 5, 6], 10, &[2, 4, -1, 1, 3]), 203);
        assert_eq!(Portable::dot_s8(7, &[], 10, &[]), 7);
    }

    #[test]
    fn four_rows_are_four_dots() {
        let rows: [&[i8]; 4] = [&[1, 0], &[0, 1], &[1, 1], &[-128, 127]];
        assert_eq!(Portable::dot_s8_rows_4([0, 1, 2, 3], &[3, -4], 1, rows), [4, -2, 3, -890]);
    }

    #[test]
    fn the_largest_int16_products_do_not_overflow() {
        assert_eq!(Portable::dot_s16(5, &[i16::MIN; 19], &[i8::MIN; 19]), 5 + 19 * 32768 * 128);
        assert_eq!(Portable::dot_s16(0, &[1, -2, 3], &[10, 20, 30]), 60);
    }

    #[test]
    fn channels_accumulate_apart() {
        let mut acc = [1, 2];
        Portable::multiply_accumulate_s8(&mut acc, &[3, -3], 1, &[5, 7]);
        assert_eq!(acc, [21, -12]);
    }
}
