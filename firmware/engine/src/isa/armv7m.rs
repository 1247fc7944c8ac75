//! ARMv7-M without the DSP extension: Cortex-M3.
//!
//! One `mla` a product is the floor; what can be saved is around it. Inputs are expanded to int32, five pixels side by side,
//! so that one `ldm` loads the five that meet a weight: seven instructions for five products. Weights are loaded one by
//! one, at offsets that the instruction holds, which takes no more instructions than to load four and take them apart.
//!
//! The loops take all registers. `r6` and `r7` cannot be named as operands, so they are saved by hand.
#![expect(unsafe_code, reason = "inline assembly")]

use core::arch::asm;

use super::{Dense, Factor, Five, Fives, Isa, Pair, Scale, Squares, portable};

/// Cores with `mla`, `smull` and `ssat`, but nothing that multiplies pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArmV7m;

impl Isa for ArmV7m {
    const WORDS: bool = true;
    const PAIRS: bool = false;

    #[inline(always)]
    fn expand_words<const STRIDE: usize>(input: &[i8], input_offset: i32, words: &mut [i32]) {
        let room = words.len().saturating_add(STRIDE.saturating_sub(1)).checked_div(STRIDE).unwrap_or(0);
        let input = input.get(..input.len().min(room)).unwrap_or(&[]);
        if !input.is_empty() {
            expand_some::<STRIDE>(input, input_offset, words);
        }
    }

    #[inline(always)]
    fn dot_fives(acc: Five, columns: &[Five], weights: &[i8]) -> Five {
        let len = columns.len().min(weights.len());
        let columns = columns.get(..len).unwrap_or(&[]);
        if columns.is_empty() { acc } else { row_of_fives(acc, columns, weights) }
    }

    #[inline(always)]
    fn multiply_fives(fives: &Fives<'_>, output: &mut [i8], stride: usize) {
        let count = fives.scales.len();
        let needed = count.saturating_mul(fives.columns.len());
        let reach = stride.saturating_mul(4).saturating_add(count);
        if needed > 0 && needed <= fives.weights.len() && reach <= output.len() {
            rows_of_fives(fives, output, stride);
        }
    }

    #[inline(always)]
    fn dot_rows_words(acc: [i32; 4], column: &[i32], weights: &[i8], stride: usize) -> [i32; 4] {
        let needed = stride.saturating_mul(3).saturating_add(column.len());
        let (mut whole, mut rest) = column.as_chunks::<4>();
        if needed > weights.len() {
            (whole, rest) = (&[], column);
        }
        let acc = if whole.is_empty() { acc } else { four_rows::<Self>(acc, whole, weights, stride) };
        let weights = weights.get(whole.len().wrapping_mul(4)..).unwrap_or(&[]);
        portable::dot_rows_words(acc, rest, weights, stride)
    }

    #[inline(always)]
    fn multiply_dense(dense: &Dense<'_>, output: &mut [i8]) -> usize {
        let Dense { column, weights, biases, multipliers, shifts, .. } = *dense;
        let depth = column.len();
        let rows = output.len().min(biases.len()).min(multipliers.len()).min(shifts.len());
        let fours = rows.min(weights.len().checked_div(depth).unwrap_or(0)) / 4;
        // Sums that do not leave -2^30 to 2^30.
        if fours == 0 || depth > 1 << 14 || !depth.is_multiple_of(4) {
            return 0;
        }
        rows_by_four::<Self>(dense, fours, output)
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
            spread_pixels(input, depth, input_offset, lines, line.wrapping_mul(4), start, count);
        }
    }

    #[inline(always)]
    fn squares<const STRIDE: usize>(squares: &Squares<'_>, output: &mut [i8]) {
        let Squares { line, slot, width, step, .. } = *squares;
        let count = squares.factors.len();
        let (Some(last), Some(last_channel)) = (width.checked_sub(1), count.checked_sub(1)) else { return };
        let before = slot.saturating_mul(2).saturating_add(last_channel.saturating_mul(line));
        let reach = before.saturating_add(width.saturating_mul(STRIDE) / 2 + 3);
        let written = last.saturating_mul(step).saturating_add(count);
        let (mut lines, mut output) = (squares.lines, output);
        for _ in 0..squares.height {
            let there = reach <= lines.len() && written <= output.len() && count <= squares.taps.len() && width > 1;
            let row = Squares { lines, height: 1, ..*squares };
            match STRIDE {
                1 if there => lines_of_squares(&row, output),
                2 if there => lines_of_squares_by_two(&row, output),
                _ => portable::squares::<Self, STRIDE>(&row, output),
            }
            lines = lines.get(squares.down..).unwrap_or(&[]);
            output = output.get_mut(squares.row..).unwrap_or(&mut []);
        }
    }
}

/// Expands `input`, one at least, into every `STRIDE`th of `words`, whose last must be there.
#[inline(always)]
fn expand_some<const STRIDE: usize>(input: &[i8], offset: i32, words: &mut [i32]) {
    // SAFETY: reads the bytes of `input`, of which there is one at least, and writes as many words, `STRIDE` apart, of which
    // the caller has seen that the last is inside `words`.
    unsafe {
        asm!(
            "subs {n}, {n}, #4",
            "blt 3f",
            "2:",
            "ldrsb {b}, [{input}, #1]",
            "ldrsb {c}, [{input}, #2]",
            "ldrsb {d}, [{input}, #3]",
            "ldrsb {a}, [{input}], #4",
            "add {b}, {b}, {offset}",
            "add {c}, {c}, {offset}",
            "add {d}, {d}, {offset}",
            "add {a}, {a}, {offset}",
            "str {b}, [{words}, #{step}]",
            "str {c}, [{words}, #{step} * 2]",
            "str {d}, [{words}, #{step} * 3]",
            "str {a}, [{words}], #{step} * 4",
            "subs {n}, {n}, #4",
            "bge 2b",
            "3:",
            "adds {n}, {n}, #4",
            "beq 5f",
            "4:",
            "ldrsb {a}, [{input}], #1",
            "subs {n}, {n}, #1",
            "add {a}, {a}, {offset}",
            "str {a}, [{words}], #{step}",
            "bne 4b",
            "5:",
            input = inout(reg) input.as_ptr() => _,
            words = inout(reg) words.as_mut_ptr() => _,
            n = inout(reg) input.len() => _,
            step = const STRIDE * size_of::<i32>(),
            offset = in(reg) offset,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack),
        );
    }
}

/// The next column times the weight in `r3`.
macro_rules! five {
    () => {
        "ldm r1!, {{r4, r5, r6, r7, r8}}
         mla r9, r4, r3, r9
         mla r10, r5, r3, r10
         mla r11, r6, r3, r11
         mla r12, r7, r3, r12
         mla lr, r8, r3, lr\n"
    };
}

/// The sums in `r9` to `r12` and `lr` gain `r0` columns from `r1` on times weights from `r2` on, eight at a time; one column
/// at least. Takes `r3` to `r8`.
macro_rules! fives {
    () => {
        concat!(
            "subs r0, r0, #8
             blt 4f
             3:
             ldrsb r3, [r2], #8\n",
            five!(),
            "ldrsb r3, [r2, #-7]\n",
            five!(),
            "ldrsb r3, [r2, #-6]\n",
            five!(),
            "ldrsb r3, [r2, #-5]\n",
            five!(),
            "ldrsb r3, [r2, #-4]\n",
            five!(),
            "ldrsb r3, [r2, #-3]\n",
            five!(),
            "ldrsb r3, [r2, #-2]\n",
            five!(),
            "ldrsb r3, [r2, #-1]\n",
            five!(),
            "subs r0, r0, #8
             bge 3b
             4:
             adds r0, r0, #8
             beq 6f
             5:
             ldrsb r3, [r2], #1\n",
            five!(),
            "subs r0, r0, #1
             bne 5b
             6:"
        )
    };
}

/// An instruction on one register: it stands twice.
macro_rules! twice {
    ($sum:literal, $name:literal, $rest:literal) => {
        concat!($name, " ", $sum, ", ", $sum, $rest, "\n")
    };
}

/// The first rounding of a sum within -2^30 to 2^30, by the multiplier in `r5`; takes `r4`. The doubled product's high half
/// and the highest bit of its low half.
macro_rules! high {
    ($sum:literal) => {
        concat!(
            twice!($sum, "lsl", ", #1"),
            "smull r4, ",
            twice!($sum, "", ", r5"),
            twice!($sum, "add", ", r4, lsr #31")
        )
    };
}

/// The first rounding of any sum.
macro_rules! high_of_large {
    ($sum:literal) => {
        concat!(
            "smull r4, ",
            twice!($sum, "", ", r5"),
            "adds r4, r4, #0x40000000\n",
            twice!($sum, "adc", ", #0"),
            twice!($sum, "lsl", ", #1"),
            twice!($sum, "add", ", r4, lsr #31")
        )
    };
}

/// The second rounding: away from zero where it is the last bit shifted out that is set, which `adc` adds to the zero point
/// in `r8`.
macro_rules! divide {
    ($sum:literal) => {
        concat!(
            "add ",
            $sum,
            ", ",
            twice!($sum, "", ", asr #31"),
            twice!($sum, "asrs", ", r6"),
            twice!($sum, "adc", ", r8"),
            "ssat ",
            $sum,
            ", #8, ",
            $sum,
            "\n"
        )
    };
}

/// All of it for a sum within -2^30 to 2^30 whose multiplier `r0`, shift to the left `r3` and output `r12` point at.
macro_rules! finish {
    ($sum:literal) => {
        concat!(
            "ldr r5, [r0], #4
             ldrsb r6, [r3], #1
             rsb r6, r6, #0\n",
            high!($sum),
            divide!($sum),
            "strb ",
            $sum,
            ", [r12], #1"
        )
    };
}

/// All of it for a sum that is shifted to the left by `r6` before.
macro_rules! left {
    ($sum:literal) => {
        concat!(
            twice!($sum, "lsl", ", r6"),
            high_of_large!($sum),
            "ssat ",
            $sum,
            ", #16, ",
            $sum,
            "\n",
            twice!($sum, "add", ", r8"),
            "ssat ",
            $sum,
            ", #8, ",
            $sum,
            "\n"
        )
    };
}

/// Both roundings the quick way of `finish::rounded`, with what it adds in `r7`.
macro_rules! round {
    ($sum:literal) => {
        concat!(
            high!($sum),
            "add ",
            $sum,
            ", ",
            twice!($sum, "", ", asr #31"),
            twice!($sum, "add", ", r7"),
            twice!($sum, "asr", ", r6"),
            "ssat ",
            $sum,
            ", #8, ",
            $sum
        )
    };
}

/// Five sums; there is a column, and `weights` has one for each.
#[inline(always)]
fn row_of_fives(mut acc: Five, columns: &[Five], weights: &[i8]) -> Five {
    // SAFETY: reads all of `columns`, of which there is one at least, and as many bytes of `weights`, which the caller has
    // seen to be there, and reads and writes `acc`; what is pushed is popped, and `r6` and `r7` are as before afterwards.
    unsafe {
        asm!(
            "push {{r3, r6, r7}}",
            "ldm r3, {{r9, r10, r11, r12, lr}}",
            fives!(),
            "pop {{r3, r6, r7}}",
            "stm r3, {{r9, r10, r11, r12, lr}}",
            inout("r0") columns.len() => _,
            inout("r1") columns.as_ptr() => _,
            inout("r2") weights.as_ptr() => _,
            inout("r3") acc.as_mut_ptr() => _,
            out("r4") _,
            out("r5") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("lr") _,
        );
    }
    acc
}

/// What the loop over rows has no register for.
#[repr(C)]
struct Frame {
    columns: *const Five,
    count: usize,
    scale: *const Scale,
    end: *const Scale,
    output: *mut i8,
    stride: usize,
    zero_point: i32,
}

/// Outputs of each row, of which there is one at least, as of columns. Each row must have a weight for each column, and
/// `output` room for five pixels.
#[inline(always)]
fn rows_of_fives(fives: &Fives<'_>, output: &mut [i8], stride: usize) {
    let ends = fives.scales.as_ptr_range();
    let mut frame = Frame {
        columns: fives.columns.as_ptr(),
        count: fives.columns.len(),
        scale: ends.start,
        end: ends.end,
        output: output.as_mut_ptr(),
        stride,
        zero_point: fives.zero_point,
    };
    // SAFETY: for each scale it reads that, all columns and as many weights, and writes one element for each of five
    // pixels, `stride` apart; the caller has seen that all are there. The frame is as it lies in memory, and outlives the
    // loop; `r6` and `r7` are as before afterwards.
    unsafe {
        asm!(
            "push {{r1, r6, r7}}",
            "2:",
            "ldr r3, [sp]",
            "ldrd r1, r0, [r3]",
            "ldr r3, [r3, #8]",
            "ldr r9, [r3]",
            "mov r10, r9",
            "mov r11, r9",
            "mov r12, r9",
            "mov lr, r9",
            fives!(),
            "ldr r0, [sp]",
            "ldr r3, [r0, #8]",
            "ldm r3!, {{r4, r5, r6, r7}}",
            "str r3, [r0, #8]",
            "ldr r8, [r0, #24]",
            "cmp r7, #0",
            "bne 10f",
            high!("r9"),
            high!("r10"),
            high!("r11"),
            high!("r12"),
            high!("lr"),
            "6:",
            divide!("r9"),
            divide!("r10"),
            divide!("r11"),
            divide!("r12"),
            divide!("lr"),
            "8:",
            "ldr r6, [r0, #12]",
            "ldrd r4, r5, [r0, #16]",
            "strb r10, [r4, r5]",
            "strb r11, [r4, r5, lsl #1]",
            "strb lr, [r4, r5, lsl #2]",
            "add r5, r5, r5, lsl #1",
            "strb r12, [r4, r5]",
            "strb r9, [r4], #1",
            "str r4, [r0, #16]",
            "cmp r3, r6",
            "bne 2b",
            "b 9f",
            "10:",
            "cmp r7, #1",
            "bne 7f",
            high_of_large!("r9"),
            high_of_large!("r10"),
            high_of_large!("r11"),
            high_of_large!("r12"),
            high_of_large!("lr"),
            "b 6b",
            "7:",
            left!("r9"),
            left!("r10"),
            left!("r11"),
            left!("r12"),
            left!("lr"),
            "b 8b",
            "9:",
            "pop {{r1, r6, r7}}",
            inout("r1") &raw mut frame => _,
            inout("r2") fives.weights.as_ptr() => _,
            out("r0") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("lr") _,
        );
    }
}

/// One weight and its product.
macro_rules! product {
    ($sum:literal, $x:literal, $row:literal, $at:literal) => {
        concat!("ldrsb r8, [", $row, $at, "\nmla ", $sum, ", ", $x, ", r8, ", $sum, "\n")
    };
}
/// Four products.
macro_rules! row {
    ($sum:literal, $row:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            product!($sum, "r4", $row, $a),
            product!($sum, "r5", $row, $b),
            product!($sum, "r6", $row, $c),
            product!($sum, "r7", $row, $d)
        )
    };
}
/// Four inputs and sixteen products; the weights' pointers are behind them by so much.
macro_rules! turn {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldm r1!, {{r4, r5, r6, r7}}\n",
            row!("r9", "r2", $a, $b, $c, $d),
            row!("r10", "r3", $a, $b, $c, $d),
            row!("r11", "r12", $a, $b, $c, $d),
            row!("lr", "r0", $a, $b, $c, $d)
        )
    };
}

/// The sums of four rows in `r9`, `r10`, `r11` and `lr` gain weights from `r2`, `r3`, `r12` and `r0` on times inputs from
/// `r1` to the end that is at `sp`; as long as there are eight times four, they end where is said behind it.
macro_rules! four_rows {
    () => {
        concat!(
            "ldr r8, [sp, #4]
             cmp r1, r8
             beq 3f
             2:\n",
            turn!("], #32", ", #-31]", ", #-30]", ", #-29]"),
            turn!(", #-28]", ", #-27]", ", #-26]", ", #-25]"),
            turn!(", #-24]", ", #-23]", ", #-22]", ", #-21]"),
            turn!(", #-20]", ", #-19]", ", #-18]", ", #-17]"),
            turn!(", #-16]", ", #-15]", ", #-14]", ", #-13]"),
            turn!(", #-12]", ", #-11]", ", #-10]", ", #-9]"),
            turn!(", #-8]", ", #-7]", ", #-6]", ", #-5]"),
            turn!(", #-4]", ", #-3]", ", #-2]", ", #-1]"),
            "ldr r8, [sp, #4]
             cmp r1, r8
             bne 2b
             3:
             ldr r8, [sp]
             cmp r1, r8
             beq 5f
             4:\n",
            turn!("], #4", ", #-3]", ", #-2]", ", #-1]"),
            "ldr r8, [sp]
             cmp r1, r8
             bne 4b
             5:"
        )
    };
}

/// Four sums; each of four rows of `weights`, `stride` apart, must have four for each of `column`, of which there is one at
/// least. Generic, so that cores without these instructions need not assemble it.
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "generic code is assembled where it is used")]
fn four_rows<I: Isa>(mut acc: [i32; 4], column: &[[i32; 4]], weights: &[i8], stride: usize) -> [i32; 4] {
    let ends = column.as_ptr_range();
    let middle = column.as_chunks::<8>().0.as_ptr_range().end.cast::<[i32; 4]>();
    // SAFETY: reads all of `column`, of which there is one at least, and as many bytes of each row, which the caller has
    // seen to be there, and reads and writes `acc`; what is pushed is popped, and `r6` and `r7` are as before afterwards.
    unsafe {
        asm!(
            "push {{r0}}",
            "push {{r4, r5, r6, r7}}",
            "ldm r0, {{r9, r10, r11, lr}}",
            "add r12, r2, r3, lsl #1",
            "add r0, r12, r3",
            "add r3, r2, r3",
            four_rows!(),
            "pop {{r4, r5, r6, r7}}",
            "pop {{r0}}",
            "stm r0, {{r9, r10, r11, lr}}",
            inout("r0") acc.as_mut_ptr() => _,
            inout("r1") ends.start => _,
            inout("r2") weights.as_ptr() => _,
            inout("r3") stride => _,
            inout("r4") ends.end => _,
            inout("r5") middle => _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("lr") _,
        );
    }
    acc
}

/// Spreads `count` pixels, one at least, to lines `line` bytes apart; inputs and room must be there.
#[inline(always)]
fn spread_pixels(input: &[i8], depth: usize, offset: i32, lines: &mut [Pair], line: usize, start: usize, count: usize) {
    // SAFETY: reads four bytes of `input` for each of `count` pixels, `depth` apart, and writes as many int16 to each of
    // four lines from element `start` on; the caller has seen that all of them are there.
    unsafe {
        asm!(
            "2:",
            "ldrsb {b}, [{input}, #1]",
            "ldrsb {c}, [{input}, #2]",
            "ldrsb {d}, [{input}, #3]",
            "ldrsb {a}, [{input}]",
            "add {input}, {input}, {depth}",
            "add {b}, {b}, {offset}",
            "add {c}, {c}, {offset}",
            "add {d}, {d}, {offset}",
            "add {a}, {a}, {offset}",
            "strh {b}, [{lines}, {line}]",
            "strh {c}, [{lines}, {line}, lsl #1]",
            "strh {d}, [{lines}, {last}]",
            "strh {a}, [{lines}], #2",
            "subs {n}, {n}, #1",
            "bne 2b",
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
            options(nostack),
        );
    }
}

/// What the loops over lines of squares have no register for.
#[repr(C)]
struct Lines {
    /// As of the channel's factor, its bias apart.
    scale: [i32; 3],
    output: *mut i8,
    step: usize,
    /// Outputs that are left of the line.
    left: usize,
    width: usize,
    lines: *const Pair,
    /// Bytes from channel to channel.
    line: usize,
    taps: *const [Pair; 4],
    factor: *const Factor,
    end: *const Factor,
    first: *mut i8,
}

/// Two sums at once, requantized and written. The taps are in `r4` to `r12`, the sums in `r0` and `lr`.
macro_rules! lines_of_squares {
    ($(#[$doc:meta])* $name:ident, $row:ident, $next:literal) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name(squares: &Squares<'_>, output: &mut [i8]) {
            let factors = squares.factors.as_ptr_range();
            let first = output.as_mut_ptr();
            let mut lines = Lines {
                scale: [0; 3],
                output: first,
                step: squares.step,
                left: 0,
                width: squares.width,
                lines: squares.lines.as_ptr(),
                line: squares.line.wrapping_mul(size_of::<Pair>()),
                taps: squares.taps.as_ptr().cast::<[Pair; 4]>(),
                factor: factors.start,
                end: factors.end,
                first,
            };
            // SAFETY: for each factor, of which there is one at least, it reads that, the channel's taps as they lie in
            // memory, and elements of three lines up to three pairs beyond those of the last output, and writes `width`
            // outputs, two at least, `step` apart; the caller has seen that all are there. What is pushed is popped, and
            // `r6` and `r7` are as before afterwards.
            unsafe {
                asm!(
                    "push {{r0, r6, r7}}",
                    "sub sp, sp, #40",
                    "2:",
                    // The channel's factor.
                    "ldr r1, [r0, #40]",
                    "ldm r1!, {{r2, r4, r5, r6}}",
                    "str r1, [r0, #40]",
                    "stm r0, {{r4, r5, r6}}",
                    // Its outputs.
                    "ldr r1, [r0, #48]",
                    "str r1, [r0, #12]",
                    "add r1, r1, #1",
                    "str r1, [r0, #48]",
                    "ldr r1, [r0, #24]",
                    "str r1, [r0, #20]",
                    // Its taps, and the bias before them.
                    "ldr r1, [r0, #36]",
                    "ldrsh r4, [r1]",
                    "ldrsh r5, [r1, #2]",
                    "ldrsh r6, [r1, #4]",
                    "ldrsh r7, [r1, #16]",
                    "ldrsh r8, [r1, #18]",
                    "ldrsh r9, [r1, #20]",
                    "ldrsh r10, [r1, #32]",
                    "ldrsh r11, [r1, #34]",
                    "ldrsh r12, [r1, #36]",
                    // They are doubled.
                    "asr r4, r4, #1",
                    "asr r5, r5, #1",
                    "asr r6, r6, #1",
                    "asr r7, r7, #1",
                    "asr r8, r8, #1",
                    "asr r9, r9, #1",
                    "asr r10, r10, #1",
                    "asr r11, r11, #1",
                    "asr r12, r12, #1",
                    "add r1, r1, #48",
                    "str r1, [r0, #36]",
                    "stm sp, {{r2, r4, r5, r6, r7, r8, r9, r10, r11, r12}}",
                    // Its lines.
                    "ldrd r1, lr, [r0, #28]",
                    "add lr, lr, r1",
                    "str lr, [r0, #28]",
                    "mov r0, r2",
                    "mov r2, r1",
                    "b 4f",
                    "3:",
                    "ldm sp, {{r0, r4, r5, r6, r7, r8, r9, r10, r11, r12}}",
                    "4:",
                    "mov lr, r0",
                    $row!("r4", "r5", "r6"),
                    "add r2, r2, r3",
                    $row!("r7", "r8", "r9"),
                    "add r2, r2, r3",
                    $row!("r10", "r11", "r12"),
                    "sub r2, r2, r3, lsl #1",
                    $next,
                    "ldr r10, [sp, #40]",
                    "ldm r10, {{r5, r6, r7, r8, r9, r11}}",
                    round!("r0"),
                    round!("lr"),
                    "strb lr, [r8, r9]",
                    "strb r0, [r8]",
                    "add r8, r8, r9, lsl #1",
                    "str r8, [r10, #12]",
                    "sub r11, r11, #2",
                    "str r11, [r10, #20]",
                    "cmp r11, #1",
                    "bgt 3b",
                    "blt 6f",
                    // The last of an odd number.
                    "ldm sp, {{r0, r4, r5, r6, r7, r8, r9, r10, r11, r12}}",
                    single!("r4", "r5", "r6"),
                    "add r2, r2, r3",
                    single!("r7", "r8", "r9"),
                    "add r2, r2, r3",
                    single!("r10", "r11", "r12"),
                    "ldr r10, [sp, #40]",
                    "ldm r10, {{r5, r6, r7, r8}}",
                    round!("r0"),
                    "strb r0, [r8]",
                    "6:",
                    "mov r0, r10",
                    "ldrd r1, r2, [r0, #40]",
                    "cmp r1, r2",
                    "bne 2b",
                    "add sp, sp, #40",
                    "pop {{r0, r6, r7}}",
                    inout("r0") &raw mut lines => _,
                    out("r1") _,
                    out("r2") _,
                    in("r3") squares.slot.wrapping_mul(size_of::<Pair>()),
                    out("r4") _,
                    out("r5") _,
                    out("r8") _,
                    out("r9") _,
                    out("r10") _,
                    out("r11") _,
                    out("r12") _,
                    out("lr") _,
                );
            }
        }
    };
}

/// A row of three taps of two windows side by side.
macro_rules! neighbours {
    ($a:literal, $b:literal, $c:literal) => {
        concat!(
            "ldrsh r1, [r2]
             mla r0, r1, ",
            $a,
            ", r0
             ldrsh r1, [r2, #2]
             mla r0, r1, ",
            $b,
            ", r0
             mla lr, r1, ",
            $a,
            ", lr
             ldrsh r1, [r2, #4]
             mla r0, r1, ",
            $c,
            ", r0
             mla lr, r1, ",
            $b,
            ", lr
             ldrsh r1, [r2, #6]
             mla lr, r1, ",
            $c,
            ", lr"
        )
    };
}

/// A row of three taps of two windows, the second two elements on.
macro_rules! seconds {
    ($a:literal, $b:literal, $c:literal) => {
        concat!(
            "ldrsh r1, [r2]
             mla r0, r1, ",
            $a,
            ", r0
             ldrsh r1, [r2, #2]
             mla r0, r1, ",
            $b,
            ", r0
             ldrsh r1, [r2, #4]
             mla r0, r1, ",
            $c,
            ", r0
             mla lr, r1, ",
            $a,
            ", lr
             ldrsh r1, [r2, #6]
             mla lr, r1, ",
            $b,
            ", lr
             ldrsh r1, [r2, #8]
             mla lr, r1, ",
            $c,
            ", lr"
        )
    };
}

/// A row of three taps of one window.
macro_rules! single {
    ($a:literal, $b:literal, $c:literal) => {
        concat!(
            "ldrsh r1, [r2]
             mla r0, r1, ",
            $a,
            ", r0
             ldrsh r1, [r2, #2]
             mla r0, r1, ",
            $b,
            ", r0
             ldrsh r1, [r2, #4]
             mla r0, r1, ",
            $c,
            ", r0"
        )
    };
}

lines_of_squares! {
    /// At a stride of one.
    lines_of_squares,
    neighbours,
    "adds r2, r2, #4"
}

lines_of_squares! {
    /// At a stride of two.
    lines_of_squares_by_two,
    seconds,
    "adds r2, r2, #8"
}

/// What the loop over rows by four has no register for.
#[repr(C)]
struct DenseFrame {
    column: *const i32,
    depth: usize,
    zero_point: i32,
    biases: *const i32,
    multipliers: *const i32,
    shifts: *const i8,
    output: *mut i8,
    /// Four rows each that are left.
    left: usize,
}

/// Outputs of `fours` times four rows, one at least, up to the first four of which a bias is large or a shift goes to the
/// left: how many. There are inputs, and by fours; each row must have as many weights, and an output, bias and scale.
/// Generic, so that cores without these instructions need not assemble it.
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "generic code is assembled where it is used")]
fn rows_by_four<I: Isa>(dense: &Dense<'_>, fours: usize, output: &mut [i8]) -> usize {
    let column = dense.column.as_ptr_range();
    let middle = dense.column.as_chunks::<32>().0.as_ptr_range().end.cast::<i32>();
    let mut frame = DenseFrame {
        column: column.start,
        depth: dense.column.len(),
        zero_point: dense.zero_point,
        biases: dense.biases.as_ptr(),
        multipliers: dense.multipliers.as_ptr(),
        shifts: dense.shifts.as_ptr(),
        output: output.as_mut_ptr(),
        left: fours,
    };
    // SAFETY: for each row it reads all inputs and as many weights, and bias, multiplier and shift, and writes an output,
    // which the caller has seen to be there. The frame is as it lies in memory, and outlives the loop. What is pushed is
    // popped, and `r6` and `r7` are as before afterwards.
    unsafe {
        asm!(
            // The ends of the inputs, and the frame.
            "push {{r3, r4, r5, r6, r7}}",
            "6:",
            "ldr r8, [sp, #8]",
            "ldr r4, [r8, #12]",
            "ldr r5, [r8, #20]",
            "ldm r4!, {{r9, r10, r11, lr}}",
            // No bias is large, and every shift is below 0.
            "eor r0, r9, r9, asr #31",
            "eor r1, r10, r10, asr #31",
            "orr r0, r0, r1",
            "eor r1, r11, r11, asr #31",
            "orr r0, r0, r1",
            "eor r1, lr, lr, asr #31",
            "orr r0, r0, r1",
            "ldr r1, [r5]",
            "mvn r1, r1",
            "and r1, r1, #0x80808080",
            "orrs r0, r1, r0, lsr #29",
            "bne 7f",
            "str r4, [r8, #12]",
            "ldrd r1, r3, [r8]",
            "add r12, r2, r3, lsl #1",
            "add r0, r12, r3",
            "add r3, r2, r3",
            four_rows!(),
            // Where the fourth row ends the next begins.
            "mov r2, r0",
            "ldr r1, [sp, #8]",
            "ldr r8, [r1, #8]",
            "add r3, r1, #16",
            "ldm r3, {{r0, r3, r12}}",
            finish!("r9"),
            finish!("r10"),
            finish!("r11"),
            finish!("lr"),
            "add r4, r1, #16",
            "stm r4, {{r0, r3, r12}}",
            "ldr r4, [r1, #28]",
            "subs r4, r4, #1",
            "str r4, [r1, #28]",
            "bne 6b",
            "7:",
            "pop {{r3, r4, r5, r6, r7}}",
            out("r0") _,
            out("r1") _,
            inout("r2") dense.weights.as_ptr() => _,
            inout("r3") column.end => _,
            inout("r4") middle => _,
            inout("r5") &raw mut frame => _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("lr") _,
        );
    }
    fours.wrapping_sub(frame.left).wrapping_mul(4)
}
