//! The DSP extension of ARMv7E-M and ARMv8-M: Cortex-M4, M7, M33, M55.
//!
//! `smlad` multiplies two pairs of int16 and adds both products. A word of four weights is spread by two `sxtb16` into the
//! first and third, and the second and fourth; so a [`Quad`] holds inputs 0, 2, 1, 3. Words of weights may be read at any
//! address: `ldr` needs no alignment on these cores.
#![expect(unsafe_code, reason = "inline assembly")]

use core::arch::asm;

use super::{Factor, Four, Isa, Pair, PairColumn, PairRows, Quad, Rows, Square, Triple, pairs, portable};
use crate::kernels::columns::DEPTH;
use crate::kernels::finish::rounded;

/// Cores with `smlad` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArmDsp;

impl Isa for ArmDsp {
    #[inline(always)]
    fn expand<const STRIDE: usize>(input: &[i8], input_offset: i32, quads: &mut [Quad], first: usize) {
        let quads = quads.get_mut(first..).unwrap_or(&mut []);
        let (whole, rest) = input.as_chunks::<4>();
        let offset = halves(input_offset);
        let last = whole.len().wrapping_mul(STRIDE);
        if last < quads.len().saturating_add(STRIDE) && !whole.is_empty() {
            expand_whole::<STRIDE>(whole, offset, quads);
        }
        if !rest.is_empty()
            && let Some(quad) = quads.get_mut(last)
        {
            let mut all = [0_i16; 4];
            all.iter_mut().zip(rest).for_each(|(all, &x)| *all = i16::from(x).wrapping_add(input_offset as i16));
            let [a, b, c, d] = all;
            quad.0 = [a, c, b, d];
        }
    }

    #[inline(always)]
    fn expand_pixels(input: &[i8], step: usize, input_offset: i32, columns: &mut [[Quad; 4]]) {
        let reach = step.saturating_mul(3).saturating_add(columns.len().saturating_mul(4));
        if reach <= input.len() && !columns.is_empty() {
            pixels_whole(input, step, halves(input_offset), columns);
        }
    }

    #[inline(always)]
    fn copy_runs(source: &[i8], target: &mut [i8], steps: [usize; 2], len: usize, count: usize) {
        let Some(more) = count.checked_sub(1) else { return };
        // Words make products of two.
        let reach = steps.map(|step| (step as u64).wrapping_mul(more as u64).wrapping_add(len as u64));
        if len > 0 && reach[0] <= source.len() as u64 && reach[1] <= target.len() as u64 {
            runs(source, target, steps, len, count);
        }
    }

    #[inline(always)]
    fn add_rows(rows: &Rows<'_>, sums: &mut [[i32; 4]]) {
        add_rows_apart::<Self>(rows, sums);
    }

    #[inline(always)]
    fn multiply_rows(rows: &Rows<'_>, output: &mut [i8], stride: usize) {
        rows_apart::<Self>(rows, output, stride);
    }

    #[inline(always)]
    fn dot_rows(mut acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
        let needed = stride.saturating_mul(3).saturating_add(column.len().saturating_mul(4));
        if needed <= weights.len() && !column.is_empty() {
            return rows_whole(acc, column, weights, stride);
        }
        let mut start = 0_usize;
        for acc in &mut acc {
            let row = weights.get(start..).unwrap_or(&[]);
            *acc = dot_row::<Self>(*acc, column, row);
            start = start.saturating_add(stride);
        }
        acc
    }

    #[inline(always)]
    fn multiply_column(column: &[Quad], weights: &[i8], stride: usize, factors: &[Factor], output: &mut [i8]) {
        column_apart::<Self>(column, weights, stride, factors, output);
    }

    #[inline(always)]
    fn expand_triples(input: &[i8], step: usize, input_offset: i32, columns: &mut [Triple]) {
        let reach = step.saturating_mul(2).saturating_add(columns.len().saturating_mul(4));
        if reach > input.len() || columns.is_empty() {
            return pairs::expand_some::<Self>(input, step, input_offset, columns);
        }
        pairs::expand(input, step, halves(input_offset), columns);
    }

    #[inline(always)]
    fn multiply_pairs(rows: &PairRows<'_>, output: &mut [i8], stride: usize) {
        pairs::multiply::<Self>(rows, output, stride);
    }

    #[inline(always)]
    fn multiply_pairs_column(column: &PairColumn<'_>, output: &mut [i8]) {
        pairs::multiply_column::<Self>(column, output);
    }

    #[inline(always)]
    fn spread(input: &[i8], depth: usize, input_offset: i32, lines: &mut [Pair], line: usize, start: usize) {
        // As many pixels as have four channels in the input and room in the last line.
        let Some(room) = line.saturating_mul(2).checked_sub(start) else { return };
        let count = match input.len().checked_sub(4) {
            Some(rest) => rest.checked_div(depth).unwrap_or(0).saturating_add(1).min(room),
            None => 0,
        };
        if count > 0 && line.saturating_mul(4) <= lines.len() {
            spread_pixels(input, depth, halves(input_offset), lines, line.wrapping_mul(4), start, count);
        }
    }

    #[inline(always)]
    fn square<const STRIDE: usize>(square: &Square<'_>, output: &mut [i8]) {
        let (Some(right), Some(below)) = (square.width.checked_sub(1), square.height.checked_sub(1)) else { return };
        let line = square.width.saturating_mul(STRIDE) / 2 + 3;
        let reach =
            square.slot.saturating_mul(2).saturating_add(below.saturating_mul(square.down)).saturating_add(line);
        let last = right.saturating_mul(square.step).saturating_add(below.saturating_mul(square.row));
        if reach > square.lines.len() || last >= output.len() {
            return;
        }
        if STRIDE == 1 { squares(square, output) } else { squares_by_two(square, output) }
    }

    #[inline(always)]
    fn four(four: &Four<'_>, output: &mut [i8]) {
        let (Some(tap), Some(last)) = (four.taps.checked_sub(1), four.count.checked_sub(1)) else { return };
        // Words make products of two, and sums of two of them are below 2^64 where each keeps within a slice.
        let at = |step: usize, index: usize| (step as u64).wrapping_mul(index as u64);
        let fits = |start: u64, len: usize| start <= len as u64;
        let taps = at(four.tap, tap);
        let [inputs, outputs] = four.steps.map(|step| at(step, last));
        let there = four.tap > 0
            && fits(taps, four.weights.len().saturating_sub(4))
            && four.weights.len() >= 4
            && fits(inputs, four.input.len())
            && fits(inputs.wrapping_add(taps).wrapping_add(4), four.input.len())
            && fits(outputs, output.len().saturating_sub(4))
            && output.len() >= 4;
        if there {
            line_of_four(four, tap.wrapping_mul(four.tap), output);
        }
    }

    #[inline(always)]
    fn add_taps(sums: &mut [i32], line: &[Pair], stride: usize, taps: &[Pair]) {
        let reach = sums.len().saturating_mul(stride).saturating_add(taps.len().saturating_mul(2));
        if sums.is_empty() || reach > line.len().saturating_mul(2) {
            return;
        }
        match taps {
            [Pair([a, b]), Pair([c, 0])] if stride == 1 && sums.len().is_multiple_of(2) => {
                taps_of_three(sums, line, [[*a, *b], [*c, 0], [0, *a], [*b, *c]].map(word));
            }
            [a, b] if stride == 2 => taps_by_two(sums, line, [word(a.0), word(b.0)]),
            [] => {}
            _ => taps_of_line(sums, line, stride, taps),
        }
    }
}

/// [`Isa::add_rows`]. Generic, as what follows, so that cores without these instructions need not assemble it.
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "assembled where it is used, since it is generic")]
fn add_rows_apart<I: Isa>(rows: &Rows<'_>, sums: &mut [[i32; 4]]) {
    let read = rows.columns.len().saturating_mul(4);
    let mut last = None;
    for (index, sums) in sums.iter_mut().enumerate() {
        let row = rows.row(index);
        let row = if read <= row.len() { row } else { in_words(row, &mut last) };
        if read <= row.len() {
            *sums = columns_whole(*sums, rows.columns, row);
        }
    }
}

/// [`Isa::multiply_rows`].
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "assembled where it is used, since it is generic")]
fn rows_apart<I: Isa>(rows: &Rows<'_>, output: &mut [i8], stride: usize) {
    let read = rows.columns.len().saturating_mul(4);
    let (mut factors, mut output) = (rows.factors, output);
    if read == 0 || stride.saturating_mul(3).saturating_add(factors.len()) > output.len() {
        return;
    }
    let (mut weights, mut last) = (rows.weights, None);
    while !factors.is_empty() {
        // As many rows as end before the weights do, when whole words are read.
        let ends = |before: usize| before.saturating_mul(rows.stride).saturating_add(read) <= weights.len();
        let before = factors.len().saturating_sub(1);
        let (from, count) = if ends(before) {
            (weights, factors.len())
        } else if before > 0 && ends(before.saturating_sub(1)) {
            (weights, before)
        } else {
            (in_words(weights, &mut last), 1)
        };
        let (now, rest) = factors.split_at_checked(count).unwrap_or((factors, &[]));
        if read > from.len() {
            return;
        }
        rows_of_columns(rows, from, now, output, stride);
        factors = rest;
        weights = weights.get(count.saturating_mul(rows.stride)..).unwrap_or(&[]);
        output = output.get_mut(count..).unwrap_or(&mut []);
    }
}

/// The last weights, and zeros, so that they can be read by words.
#[inline(never)]
fn in_words<'l>(weights: &[i8], last: &'l mut Option<[i8; DEPTH]>) -> &'l [i8] {
    let last = last.insert([0; DEPTH]);
    last.iter_mut().zip(weights).for_each(|(last, &weight)| *last = weight);
    last
}

/// [`Isa::multiply_column`].
#[inline(never)]
fn column_apart<I: Isa>(column: &[Quad], weights: &[i8], stride: usize, factors: &[Factor], output: &mut [i8]) {
    // As many rows by fours as end before the weights do, when whole words are read.
    let read = column.len().saturating_mul(4);
    let there = weights.len().saturating_sub(read).checked_div(stride).map_or(0, |rows| rows.saturating_add(1));
    let there = if read <= weights.len() { there } else { 0 };
    let fours = there.min(factors.len()).min(output.len()) / 4;
    let rows = fours.wrapping_mul(4);
    if fours > 0 && !column.is_empty() {
        rows_of_column(column, weights, stride, factors, output, fours);
    }
    let mut weights = weights.get(rows.saturating_mul(stride)..).unwrap_or(&[]);
    for (out, factor) in output.iter_mut().zip(factors).skip(rows) {
        let sum = dot_row::<I>(factor.bias, column, weights);
        *out = rounded(sum, factor.multiplier, factor.right.wrapping_neg(), factor.half).clamp(-128, 127) as i8;
        weights = weights.get(stride..).unwrap_or(&[]);
    }
}

/// Two halves of a word.
#[inline(always)]
fn word([low, high]: [i16; 2]) -> i32 {
    i32::from(low) & 0xffff | i32::from(high).wrapping_shl(16)
}

/// Spreads `count` pixels, one at least, to lines `line` bytes apart; inputs and room must be there.
#[inline(always)]
fn spread_pixels(input: &[i8], depth: usize, offset: i32, lines: &mut [Pair], line: usize, start: usize, count: usize) {
    // SAFETY: reads `count` words of `input`, `depth` apart, and writes as many int16 to each of four lines from element
    // `start` on; the caller has seen that all of them are there.
    unsafe {
        asm!(
            "subs {n}, {n}, #2",
            "blt 3f",
            "2:",
            "ldr {b}, [{input}]",
            "ldr {d}, [{input}, {depth}]",
            "add {input}, {input}, {depth}, lsl #1",
            "sxtab16 {a}, {offset}, {b}",
            "sxtab16 {b}, {offset}, {b}, ror #8",
            "sxtab16 {c}, {offset}, {d}",
            "sxtab16 {d}, {offset}, {d}, ror #8",
            "pkhbt {x}, {b}, {d}, lsl #16",
            "str {x}, [{lines}, {line}]",
            "pkhtb {x}, {d}, {b}, asr #16",
            "str {x}, [{lines}, {last}]",
            "pkhtb {x}, {c}, {a}, asr #16",
            "str {x}, [{lines}, {line}, lsl #1]",
            "pkhbt {x}, {a}, {c}, lsl #16",
            "str {x}, [{lines}], #4",
            "subs {n}, {n}, #2",
            "bge 2b",
            "3:",
            "adds {n}, {n}, #1",
            "bne 4f",
            "ldr {b}, [{input}]",
            "sxtab16 {a}, {offset}, {b}",
            "sxtab16 {b}, {offset}, {b}, ror #8",
            "strh {b}, [{lines}, {line}]",
            "lsr {b}, {b}, #16",
            "strh {b}, [{lines}, {last}]",
            "lsr {b}, {a}, #16",
            "strh {b}, [{lines}, {line}, lsl #1]",
            "strh {a}, [{lines}]",
            "4:",
            input = inout(reg) input.as_ptr() => _,
            lines = inout(reg) lines.as_mut_ptr().cast::<i16>().wrapping_add(start) => _,
            n = inout(reg) count => _,
            depth = in(reg) depth,
            offset = in(reg) offset,
            line = in(reg) line,
            last = in(reg) line.wrapping_mul(3),
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            x = out(reg) _,
            options(nostack),
        );
    }
}

/// Three taps at a stride of one, two sums at once: the same two pairs of inputs meet taps 0 and 1, 2; and 0, 1 and 2.
#[inline(always)]
fn taps_of_three(sums: &mut [i32], line: &[Pair], [a, b, c, d]: [i32; 4]) {
    // SAFETY: reads and writes `sums`, by twos, of which there are some, and reads as many elements of `line` and two more,
    // which the caller has seen to be there; both are aligned to 4, as `ldrd` needs.
    unsafe {
        asm!(
            "2:",
            "ldrd {p}, {q}, [{sums}]",
            "ldrd {x}, {y}, [{line}], #4",
            "smlad {p}, {x}, {a}, {p}",
            "smlad {q}, {x}, {c}, {q}",
            "smlad {p}, {y}, {b}, {p}",
            "smlad {q}, {y}, {d}, {q}",
            "strd {p}, {q}, [{sums}], #8",
            "subs {n}, {n}, #2",
            "bne 2b",
            sums = inout(reg) sums.as_mut_ptr() => _,
            line = inout(reg) line.as_ptr() => _,
            n = inout(reg) sums.len() => _,
            a = in(reg) a,
            b = in(reg) b,
            c = in(reg) c,
            d = in(reg) d,
            p = out(reg) _,
            q = out(reg) _,
            x = out(reg) _,
            y = out(reg) _,
            options(nostack),
        );
    }
}

/// Two pairs of taps at a stride of two.
#[inline(always)]
fn taps_by_two(sums: &mut [i32], line: &[Pair], [a, b]: [i32; 2]) {
    // SAFETY: reads and writes `sums`, of which there is one at least, and reads a pair of `line` for each and one more,
    // which the caller has seen to be there; `line` is aligned to 4, as `ldrd` needs.
    unsafe {
        asm!(
            "2:",
            "ldr {p}, [{sums}]",
            "ldrd {x}, {y}, [{line}], #4",
            "smlad {p}, {x}, {a}, {p}",
            "smlad {p}, {y}, {b}, {p}",
            "str {p}, [{sums}], #4",
            "subs {n}, {n}, #1",
            "bne 2b",
            sums = inout(reg) sums.as_mut_ptr() => _,
            line = inout(reg) line.as_ptr() => _,
            n = inout(reg) sums.len() => _,
            a = in(reg) a,
            b = in(reg) b,
            p = out(reg) _,
            x = out(reg) _,
            y = out(reg) _,
            options(nostack),
        );
    }
}

/// What the loops over squares have no register for; they read it from the stack.
#[repr(C)]
struct Line {
    multiplier: i32,
    right: i32,
    half: i32,
    step: usize,
    /// Doubled, as the taps are.
    biases: [i32; 2],
    width: usize,
    /// From the end of a row to the next, of inputs and outputs.
    skip: [usize; 2],
    height: usize,
    filler: [usize; 2],
}

/// Two sums at once, requantized and written.
macro_rules! squares {
    ($(#[$doc:meta])* $name:ident, $step:literal, $row:literal) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name(square: &Square<'_>, output: &mut [i8]) {
            let Factor { bias, multiplier, right, half } = square.factor;
            let pairs = square.width.div_ceil(2);
            let line = Line {
                multiplier,
                right,
                half,
                step: square.step,
                biases: [bias.wrapping_shl(1); 2],
                width: square.width,
                skip: [
                    square.down.wrapping_mul(size_of::<Pair>()).wrapping_sub(pairs.wrapping_mul($step)),
                    square.row.wrapping_sub(pairs.wrapping_mul(2).wrapping_mul(square.step)),
                ],
                height: square.height,
                filler: [0; 2],
            };
            // SAFETY: reads the line and the taps as they lie in memory, and for each of `height` rows, `down` apart, pairs
            // of three lines up to three beyond those of the last output, and writes `width` outputs, one at least, `step`
            // apart; the caller has seen that all are there. Lines are aligned to 4, as `ldrd` needs. What is pushed is
            // taken off the stack again.
            unsafe {
                asm!(
                    "ldmdb {x}!, {{r2, r3, r4, r5}}",
                    "push {{r2, r3, r4, r5}}",
                    "ldmdb {x}!, {{r2, r3, r4, r5}}",
                    "push {{r2, r3, r4, r5}}",
                    "ldmdb {x}!, {{r2, r3, r4, r5}}",
                    "push {{r2, r3, r4, r5}}",
                    "2:",
                    "ldr {n}, [sp, #24]",
                    "3:",
                    "ldrd {p}, {q}, [sp, #16]",
                    "ldrd {x}, {y}, [{lines}]",
                    "ldm {taps}!, {{r2, r3, r4, r5}}",
                    $row,
                    "add {lines}, {lines}, {slot}",
                    "ldrd {x}, {y}, [{lines}]",
                    "ldm {taps}!, {{r2, r3, r4, r5}}",
                    $row,
                    "add {lines}, {lines}, {slot}",
                    "ldrd {x}, {y}, [{lines}]",
                    "ldm {taps}!, {{r2, r3, r4, r5}}",
                    $row,
                    "sub {lines}, {lines}, {slot}, lsl #1",
                    "add {lines}, {lines}, #{step}",
                    "sub {taps}, {taps}, #48",
                    "ldm sp, {{r2, r3, r4, r5}}",
                    "smmulr {p}, {p}, r2",
                    "smmulr {q}, {q}, r2",
                    "cbz r3, 4f",
                    "add {p}, {p}, {p}, asr #31",
                    "add {q}, {q}, {q}, asr #31",
                    "4:",
                    "add {p}, {p}, r4",
                    "add {q}, {q}, r4",
                    "asr {p}, {p}, r3",
                    "asr {q}, {q}, r3",
                    "ssat {p}, #8, {p}",
                    "ssat {q}, #8, {q}",
                    "subs {n}, {n}, #2",
                    "it ge",
                    "strbge {q}, [{output}, r5]",
                    "strb {p}, [{output}]",
                    "add {output}, {output}, r5, lsl #1",
                    "bgt 3b",
                    "ldrd {x}, {y}, [sp, #28]",
                    "add {lines}, {lines}, {x}",
                    "add {output}, {output}, {y}",
                    "ldr {x}, [sp, #36]",
                    "subs {x}, {x}, #1",
                    "str {x}, [sp, #36]",
                    "bne 2b",
                    "add sp, sp, #48",
                    step = const $step,
                    x = inout(reg) (&raw const line).wrapping_add(1) => _,
                    y = out(reg) _,
                    p = out(reg) _,
                    q = out(reg) _,
                    lines = inout(reg) square.lines.as_ptr() => _,
                    slot = in(reg) square.slot.wrapping_mul(size_of::<Pair>()),
                    taps = inout(reg) square.taps.as_ptr() => _,
                    output = inout(reg) output.as_mut_ptr() => _,
                    n = out(reg) _,
                    out("r2") _,
                    out("r3") _,
                    out("r4") _,
                    out("r5") _,
                );
            }
        }
    };
}

squares! {
    /// At a stride of one, where the same two pairs meet taps 0 and 1, 2; and 0, 1 and 2.
    squares, 4,
    "smlad {p}, {x}, r2, {p}
     smlad {q}, {x}, r4, {q}
     smlad {p}, {y}, r3, {p}
     smlad {q}, {y}, r5, {q}"
}

squares! {
    /// At a stride of two, where the second of three pairs serves both sums.
    squares_by_two, 8,
    "ldr r4, [{lines}, #8]
     smlad {p}, {x}, r2, {p}
     smlad {q}, {y}, r2, {q}
     smlad {p}, {y}, r3, {p}
     smlad {q}, r4, r3, {q}"
}

/// What the loop over outputs of four channels has no register for.
#[repr(C)]
struct Outputs {
    biases: [i32; 4],
    /// From the first tap to the last.
    reach: usize,
    count: usize,
    /// From output to output, and from the end of one to the next.
    steps: [usize; 2],
    factors: [Factor; 4],
    output: *mut i8,
}

/// Outputs of four channels, one at least, of one tap at least, the last of them `reach` on; inputs, weights and room must be
/// there.
#[inline(always)]
fn line_of_four(four: &Four<'_>, reach: usize, output: &mut [i8]) {
    /// One sum, requantized and written: the quick way of `finish::rounded`.
    macro_rules! finish {
        ($sum:literal, $at:literal) => {
            concat!(
                "ldrd {x}, {w}, [{n}, #(36 + ",
                $at,
                ")]\n",
                "ldr {a}, [{n}, #(44 + ",
                $at,
                ")]\n",
                "lsl ",
                $sum,
                ", ",
                $sum,
                ", #1\n",
                "smmulr ",
                $sum,
                ", ",
                $sum,
                ", {x}\n",
                "cmp {w}, #0\n",
                "it ne\n",
                "addne ",
                $sum,
                ", ",
                $sum,
                ", ",
                $sum,
                ", asr #31\n",
                "add ",
                $sum,
                ", ",
                $sum,
                ", {a}\n",
                "asr ",
                $sum,
                ", ",
                $sum,
                ", {w}\n",
                "ssat ",
                $sum,
                ", #8, ",
                $sum,
                "\n",
                "strb ",
                $sum,
                ", [{b}], #1"
            )
        };
    }
    let mut outputs = Outputs {
        biases: four.factors.map(|factor| factor.bias),
        reach,
        count: four.count,
        steps: [four.steps[0], four.steps[1].wrapping_sub(4)],
        factors: *four.factors,
        output: output.as_mut_ptr(),
    };
    // SAFETY: for each output it reads a word of `input` and of `weights` for each tap, and writes a word; the caller has
    // seen that all are there. The frame is as it lies in memory, and outlives the loop; what is pushed is taken off the
    // stack again.
    unsafe {
        asm!(
            "push {{{b}}}",
            "2:",
            "ldr {b}, [sp]",
            "ldr {n}, [{b}, #16]",
            "ldm {b}, {{r2, r3, r4, r5}}",
            "3:",
            "ldr {x}, [{input}, {n}]",
            "ldr {w}, [{weights}, {n}]",
            "sxtab16 {a}, {offset}, {x}",
            "sxtab16 {x}, {offset}, {x}, ror #8",
            "sxtb16 {b}, {w}",
            "sxtb16 {w}, {w}, ror #8",
            "smlabb r2, {a}, {b}, r2",
            "smlatt r4, {a}, {b}, r4",
            "smlabb r3, {x}, {w}, r3",
            "smlatt r5, {x}, {w}, r5",
            "subs {n}, {n}, {tap}",
            "bhs 3b",
            "ldr {n}, [sp]",
            "ldr {b}, [{n}, #96]",
            finish!("r2", "0"),
            finish!("r3", "16"),
            finish!("r4", "32"),
            finish!("r5", "48"),
            "ldrd {a}, {x}, [{n}, #24]",
            "add {input}, {input}, {a}",
            "add {b}, {b}, {x}",
            "str {b}, [{n}, #96]",
            "ldr {a}, [{n}, #20]",
            "subs {a}, {a}, #1",
            "str {a}, [{n}, #20]",
            "bne 2b",
            "pop {{{b}}}",
            b = inout(reg) &raw mut outputs => _,
            input = inout(reg) four.input.as_ptr() => _,
            weights = in(reg) four.weights.as_ptr(),
            tap = in(reg) four.tap,
            offset = in(reg) halves(four.input_offset),
            n = out(reg) _,
            x = out(reg) _,
            w = out(reg) _,
            a = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

/// Any taps, of which there are some, at any stride.
#[inline(always)]
fn taps_of_line(sums: &mut [i32], line: &[Pair], stride: usize, taps: &[Pair]) {
    // SAFETY: reads and writes `sums`, of which there is one at least, and reads for each as many pairs of `line` as there
    // are `taps`, `stride` elements on, which the caller has seen to be there.
    unsafe {
        asm!(
            "2:",
            "ldr {p}, [{sums}]",
            "mov {x}, {line}",
            "mov {t}, {taps}",
            "3:",
            "ldr {a}, [{x}], #4",
            "ldr {b}, [{t}], #4",
            "cmp {t}, {end}",
            "smlad {p}, {a}, {b}, {p}",
            "bne 3b",
            "add {line}, {line}, {stride}, lsl #1",
            "str {p}, [{sums}], #4",
            "subs {n}, {n}, #1",
            "bne 2b",
            sums = inout(reg) sums.as_mut_ptr() => _,
            line = inout(reg) line.as_ptr() => _,
            n = inout(reg) sums.len() => _,
            taps = in(reg) taps.as_ptr(),
            end = in(reg) taps.as_ptr_range().end,
            stride = in(reg) stride,
            p = out(reg) _,
            x = out(reg) _,
            t = out(reg) _,
            a = out(reg) _,
            b = out(reg) _,
            options(nostack),
        );
    }
}

/// `x` in both halves of a word.
#[inline(always)]
fn halves(x: i32) -> i32 {
    (x & 0xffff) | x.wrapping_shl(16)
}

/// Expands `input` into every `STRIDE`th of `quads`, whose last must be there.
#[inline(always)]
fn expand_whole<const STRIDE: usize>(input: &[[i8; 4]], offset: i32, quads: &mut [Quad]) {
    // SAFETY: reads the `input.len()` words of `input` and writes as many quads, `STRIDE` quads apart, of which the caller
    // has seen that the last is inside `quads`; quads are aligned to 8, as `strd` needs.
    unsafe {
        asm!(
            "2:",
            "ldr {a}, [{input}], #4",
            "sxtab16 {b}, {offset}, {a}, ror #8",
            "sxtab16 {a}, {offset}, {a}",
            "subs {n}, {n}, #1",
            "strd {a}, {b}, [{quads}], #{step}",
            "bne 2b",
            input = inout(reg) input.as_ptr() => _,
            quads = inout(reg) quads.as_mut_ptr() => _,
            n = inout(reg) input.len() => _,
            step = const STRIDE * size_of::<Quad>(),
            offset = in(reg) offset,
            a = out(reg) _,
            b = out(reg) _,
            options(nostack),
        );
    }
}

/// Copies runs of one element at least, of which there is one at least; they must be there.
#[inline(always)]
fn runs(source: &[i8], target: &mut [i8], steps: [usize; 2], len: usize, count: usize) {
    // SAFETY: reads and writes `len` elements of each of `count` runs, by words as long as there are four, which the caller
    // has seen to be there.
    unsafe {
        asm!(
            "2:",
            "subs {n}, {len}, #4",
            "blt 4f",
            "3:",
            "ldr {a}, [{source}], #4",
            "subs {n}, {n}, #4",
            "str {a}, [{target}], #4",
            "bge 3b",
            "4:",
            "adds {n}, {n}, #4",
            "beq 6f",
            "5:",
            "ldrb {a}, [{source}], #1",
            "subs {n}, {n}, #1",
            "strb {a}, [{target}], #1",
            "bne 5b",
            "6:",
            "add {source}, {source}, {source_skip}",
            "add {target}, {target}, {target_skip}",
            "subs {count}, {count}, #1",
            "bne 2b",
            source = inout(reg) source.as_ptr() => _,
            target = inout(reg) target.as_mut_ptr() => _,
            source_skip = in(reg) steps[0].wrapping_sub(len),
            target_skip = in(reg) steps[1].wrapping_sub(len),
            len = in(reg) len,
            count = inout(reg) count => _,
            n = out(reg) _,
            a = out(reg) _,
            options(nostack),
        );
    }
}

/// Expands four pixels, `step` apart, into `columns`, of which there is one at least; inputs must be there.
#[inline(always)]
fn pixels_whole(input: &[i8], step: usize, offset: i32, columns: &mut [[Quad; 4]]) {
    // SAFETY: reads a word of each of four pixels for each of `columns`, which the caller has seen to be there, and writes
    // these.
    unsafe {
        asm!(
            "2:",
            "ldr r3, [{input}]",
            "ldr r5, [{input}, {step}]",
            "sxtab16 r2, {offset}, r3",
            "sxtab16 r3, {offset}, r3, ror #8",
            "sxtab16 r4, {offset}, r5",
            "sxtab16 r5, {offset}, r5, ror #8",
            "stm {columns}!, {{r2, r3, r4, r5}}",
            "ldr r3, [{input}, {step}, lsl #1]",
            "ldr r5, [{input}, {last}]",
            "sxtab16 r2, {offset}, r3",
            "sxtab16 r3, {offset}, r3, ror #8",
            "sxtab16 r4, {offset}, r5",
            "sxtab16 r5, {offset}, r5, ror #8",
            "stm {columns}!, {{r2, r3, r4, r5}}",
            "add {input}, {input}, #4",
            "subs {n}, {n}, #1",
            "bne 2b",
            input = inout(reg) input.as_ptr() => _,
            columns = inout(reg) columns.as_mut_ptr() => _,
            n = inout(reg) columns.len() => _,
            step = in(reg) step,
            last = in(reg) step.wrapping_mul(3),
            offset = in(reg) offset,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            options(nostack),
        );
    }
}

/// Four weights and their sixteen products.
macro_rules! turn {
    () => {
        "ldr {b}, [{weights}], #4
         ldm {columns}!, {{r2, r3, r4, r5}}
         sxtb16 {a}, {b}
         sxtb16 {b}, {b}, ror #8
         smlad {p}, r2, {a}, {p}
         smlad {p}, r3, {b}, {p}
         smlad {q}, r4, {a}, {q}
         smlad {q}, r5, {b}, {q}
         ldm {columns}!, {{r2, r3, r4, r5}}
         smlad {r}, r2, {a}, {r}
         smlad {r}, r3, {b}, {r}
         smlad {s}, r4, {a}, {s}
         smlad {s}, r5, {b}, {s}"
    };
}

/// What the loop over rows has no register for.
#[repr(C)]
struct Frame {
    columns: *const [Quad; 4],
    turns: usize,
    factor: *const Factor,
    filler: usize,
    output: *mut i8,
    stride: usize,
    /// From the end of what is read of a row to the next.
    skip: usize,
    end: *const Factor,
}

/// Outputs of `factors`, of which there is one at least, as of `columns`. Each row must have four weights for each column,
/// and `output` room for four pixels.
#[inline(always)]
fn rows_of_columns(rows: &Rows<'_>, weights: &[i8], factors: &[Factor], output: &mut [i8], stride: usize) {
    let ends = factors.as_ptr_range();
    let frame = Frame {
        columns: rows.columns.as_ptr(),
        turns: rows.columns.len(),
        factor: ends.start,
        filler: 0,
        output: output.as_mut_ptr(),
        stride,
        skip: rows.stride.wrapping_sub(rows.columns.len().wrapping_mul(4)),
        end: ends.end,
    };
    // SAFETY: for each of `factors` it reads that, all of `columns`, which are aligned to 8, as `ldm` needs, and as many
    // words of the row, and writes one element for each of four pixels, `stride` apart; the caller has seen that rows and
    // pixels are there. The frame is as it lies in memory; what is pushed of it is taken off the stack again.
    unsafe {
        asm!(
            "ldmdb {a}!, {{r2, r3, r4, r5}}",
            "push {{r2, r3, r4, r5}}",
            "ldmdb {a}!, {{r2, r3, r4, r5}}",
            "push {{r2, r3, r4, r5}}",
            "2:",
            "ldr {a}, [sp, #8]",
            "ldr {p}, [{a}]",
            "ldrd {columns}, {n}, [sp]",
            "mov {q}, {p}",
            "mov {r}, {p}",
            "mov {s}, {p}",
            "subs {n}, {n}, #4",
            "blt 4f",
            "3:",
            turn!(),
            turn!(),
            turn!(),
            turn!(),
            "subs {n}, {n}, #4",
            "bge 3b",
            "4:",
            "adds {n}, {n}, #4",
            "beq 6f",
            "5:",
            turn!(),
            "subs {n}, {n}, #1",
            "bne 5b",
            "6:",
            "ldr {a}, [sp, #8]",
            "ldm {a}!, {{r2, r3, r4, r5}}",
            "str {a}, [sp, #8]",
            "lsl {p}, {p}, #1",
            "lsl {q}, {q}, #1",
            "lsl {r}, {r}, #1",
            "lsl {s}, {s}, #1",
            "smmulr {p}, {p}, r3",
            "smmulr {q}, {q}, r3",
            "smmulr {r}, {r}, r3",
            "smmulr {s}, {s}, r3",
            "cbz r4, 7f",
            "add {p}, {p}, {p}, asr #31",
            "add {q}, {q}, {q}, asr #31",
            "add {r}, {r}, {r}, asr #31",
            "add {s}, {s}, {s}, asr #31",
            "7:",
            "add {p}, {p}, r5",
            "add {q}, {q}, r5",
            "add {r}, {r}, r5",
            "add {s}, {s}, r5",
            "asr {p}, {p}, r4",
            "asr {q}, {q}, r4",
            "asr {r}, {r}, r4",
            "asr {s}, {s}, r4",
            "ssat {p}, #8, {p}",
            "ssat {q}, #8, {q}",
            "ssat {r}, #8, {r}",
            "ssat {s}, #8, {s}",
            "ldrd {columns}, {n}, [sp, #16]",
            "strb {q}, [{columns}, {n}]",
            "strb {r}, [{columns}, {n}, lsl #1]",
            "add {b}, {n}, {n}, lsl #1",
            "strb {s}, [{columns}, {b}]",
            "strb {p}, [{columns}], #1",
            "str {columns}, [sp, #16]",
            "ldrd {n}, {b}, [sp, #24]",
            "add {weights}, {weights}, {n}",
            "cmp {a}, {b}",
            "bne 2b",
            "add sp, sp, #32",
            a = inout(reg) (&raw const frame).wrapping_add(1) => _,
            weights = inout(reg) weights.as_ptr() => _,
            columns = out(reg) _,
            n = out(reg) _,
            p = out(reg) _,
            q = out(reg) _,
            r = out(reg) _,
            s = out(reg) _,
            b = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

/// Four sums; `weights` must have four for each of `columns`.
#[inline(always)]
fn columns_whole(acc: [i32; 4], columns: &[[Quad; 4]], weights: &[i8]) -> [i32; 4] {
    let [mut p, mut q, mut r, mut s] = acc;
    // SAFETY: reads `columns.len()` elements of `columns`, which are aligned to 8, as `ldm` needs, and as many words of
    // `weights`, which the caller has seen to be there.
    unsafe {
        asm!(
            "subs {n}, {n}, #4",
            "blt 3f",
            "2:",
            turn!(),
            turn!(),
            turn!(),
            turn!(),
            "subs {n}, {n}, #4",
            "bge 2b",
            "3:",
            "adds {n}, {n}, #4",
            "beq 5f",
            "4:",
            turn!(),
            "subs {n}, {n}, #1",
            "bne 4b",
            "5:",
            columns = inout(reg) columns.as_ptr() => _,
            weights = inout(reg) weights.as_ptr() => _,
            n = inout(reg) columns.len() => _,
            p = inout(reg) p,
            q = inout(reg) q,
            r = inout(reg) r,
            s = inout(reg) s,
            a = out(reg) _,
            b = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            options(pure, readonly, nostack),
        );
    }
    [p, q, r, s]
}

/// Sixteen weights of four rows and their products.
macro_rules! turn_of_rows {
    () => {
        "ldrd {x}, {y}, [{column}], #8
         ldr {b}, [{weights}, {stride}]
         sxtb16 {a}, {b}
         sxtb16 {b}, {b}, ror #8
         smlad {q}, {x}, {a}, {q}
         smlad {q}, {y}, {b}, {q}
         ldr {b}, [{weights}, {stride}, lsl #1]
         sxtb16 {a}, {b}
         sxtb16 {b}, {b}, ror #8
         smlad {r}, {x}, {a}, {r}
         smlad {r}, {y}, {b}, {r}
         ldr {b}, [{weights}], #4
         sxtb16 {a}, {b}
         sxtb16 {b}, {b}, ror #8
         smlad {p}, {x}, {a}, {p}
         smlad {p}, {y}, {b}, {p}
         ldr {b}, [{last}], #4
         sxtb16 {a}, {b}
         sxtb16 {b}, {b}, ror #8
         smlad {s}, {x}, {a}, {s}
         smlad {s}, {y}, {b}, {s}"
    };
}

/// What the loop over rows of one column has no register for.
#[repr(C)]
struct Rest {
    column: *const Quad,
    turns: usize,
    /// From the end of what is read of the last of four rows to the next.
    skip: usize,
    fours: usize,
    factor: *const Factor,
    output: *mut i8,
}

/// Outputs of `fours` times four rows, one at least. Each must have four weights for each of `column`, of which there is
/// one at least, and factors and outputs must be there.
#[inline(always)]
fn rows_of_column(column: &[Quad], weights: &[i8], stride: usize, factors: &[Factor], output: &mut [i8], fours: usize) {
    /// One sum, requantized and written: the quick way of `finish::rounded`.
    macro_rules! finish {
        ($sum:literal, $at:literal) => {
            concat!(
                "ldrd {a}, {b}, [{n}, #(4 + ",
                $at,
                ")]\n",
                "ldr {y}, [{n}, #(12 + ",
                $at,
                ")]\n",
                "lsl ",
                $sum,
                ", ",
                $sum,
                ", #1\n",
                "smmulr ",
                $sum,
                ", ",
                $sum,
                ", {a}\n",
                "cmp {b}, #0\n",
                "it ne\n",
                "addne ",
                $sum,
                ", ",
                $sum,
                ", ",
                $sum,
                ", asr #31\n",
                "add ",
                $sum,
                ", ",
                $sum,
                ", {y}\n",
                "asr ",
                $sum,
                ", ",
                $sum,
                ", {b}\n",
                "ssat ",
                $sum,
                ", #8, ",
                $sum,
                "\n",
                "strb ",
                $sum,
                ", [{x}], #1"
            )
        };
    }
    let rest = Rest {
        column: column.as_ptr(),
        turns: column.len(),
        skip: stride.wrapping_sub(column.len().wrapping_mul(4)),
        fours,
        factor: factors.as_ptr(),
        output: output.as_mut_ptr(),
    };
    // SAFETY: for each of four times `fours` rows it reads its factor, all of `column`, which is aligned to 8, as `ldrd`
    // needs, and as many words of the row, and writes one element; the caller has seen that all are there. The frame is as
    // it lies in memory; what is pushed of it is taken off the stack again.
    unsafe {
        asm!(
            "sub sp, sp, #24",
            "ldrd {p}, {q}, [{x}]",
            "ldrd {r}, {s}, [{x}, #8]",
            "strd {p}, {q}, [sp]",
            "strd {r}, {s}, [sp, #8]",
            "ldrd {p}, {q}, [{x}, #16]",
            "strd {p}, {q}, [sp, #16]",
            "2:",
            "ldr {a}, [sp, #16]",
            "ldrd {column}, {n}, [sp]",
            "ldr {p}, [{a}]",
            "ldr {q}, [{a}, #16]",
            "ldr {r}, [{a}, #32]",
            "ldr {s}, [{a}, #48]",
            "add {last}, {weights}, {stride}",
            "add {last}, {last}, {stride}, lsl #1",
            "subs {n}, {n}, #4",
            "blt 4f",
            "3:",
            turn_of_rows!(),
            turn_of_rows!(),
            turn_of_rows!(),
            turn_of_rows!(),
            "subs {n}, {n}, #4",
            "bge 3b",
            "4:",
            "adds {n}, {n}, #4",
            "beq 6f",
            "5:",
            turn_of_rows!(),
            "subs {n}, {n}, #1",
            "bne 5b",
            "6:",
            "ldrd {n}, {x}, [sp, #16]",
            finish!("{p}", "0"),
            finish!("{q}", "16"),
            finish!("{r}", "32"),
            finish!("{s}", "48"),
            "add {n}, {n}, #64",
            "strd {n}, {x}, [sp, #16]",
            "ldrd {a}, {b}, [sp, #8]",
            "add {weights}, {last}, {a}",
            "subs {b}, {b}, #1",
            "str {b}, [sp, #12]",
            "bne 2b",
            "add sp, sp, #24",
            x = inout(reg) &raw const rest => _,
            weights = inout(reg) weights.as_ptr() => _,
            stride = in(reg) stride,
            column = out(reg) _,
            last = out(reg) _,
            n = out(reg) _,
            y = out(reg) _,
            a = out(reg) _,
            b = out(reg) _,
            p = out(reg) _,
            q = out(reg) _,
            r = out(reg) _,
            s = out(reg) _,
        );
    }
}

/// Four sums; each of four rows of `weights`, `stride` apart, must have four for each of `column`, of which there is one at
/// least.
#[inline(always)]
fn rows_whole(acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
    let [mut p, mut q, mut r, mut s] = acc;
    let last = weights.get(stride.wrapping_mul(3)..).unwrap_or(weights);
    // SAFETY: reads `column.len()` elements of `column`, which are aligned to 8, as `ldrd` needs, and as many words of each
    // row, which the caller has seen to be there.
    unsafe {
        asm!(
            "2:",
            turn_of_rows!(),
            "subs {n}, {n}, #1",
            "bne 2b",
            column = inout(reg) column.as_ptr() => _,
            weights = inout(reg) weights.as_ptr() => _,
            last = inout(reg) last.as_ptr() => _,
            stride = in(reg) stride,
            n = inout(reg) column.len() => _,
            p = inout(reg) p,
            q = inout(reg) q,
            r = inout(reg) r,
            s = inout(reg) s,
            a = out(reg) _,
            b = out(reg) _,
            x = out(reg) _,
            y = out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    [p, q, r, s]
}

/// One sum, for what is left of the rows.
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "assembled where it is used, since it is generic")]
fn dot_row<I: Isa>(acc: i32, column: &[Quad], weights: &[i8]) -> i32 {
    let (whole, rest) = weights.as_chunks::<4>();
    let mut acc = acc;
    for (at, quad) in column.iter().enumerate() {
        let weights = whole.get(at).copied().unwrap_or_else(|| portable::padded(rest));
        acc = dot_quad(acc, quad, weights);
    }
    acc
}

/// Four products.
#[inline(always)]
fn dot_quad(acc: i32, quad: &Quad, weights: [i8; 4]) -> i32 {
    let mut acc = acc;
    let weights = i32::from_le_bytes(weights.map(i8::cast_unsigned));
    let [a, c, b, d] = quad.0;
    // SAFETY: touches registers alone.
    unsafe {
        asm!(
            "sxtb16 {x}, {w}",
            "sxtb16 {w}, {w}, ror #8",
            "smlad {acc}, {p}, {x}, {acc}",
            "smlad {acc}, {q}, {w}, {acc}",
            acc = inout(reg) acc,
            w = inout(reg) weights => _,
            x = out(reg) _,
            p = in(reg) word([a, c]),
            q = in(reg) word([b, d]),
            options(pure, nomem, nostack),
        );
    }
    acc
}
