//! Weights in pairs of rows, for the DSP extension.
//!
//! A word is two halfwords, each `even + 256 * odd` of two rows. `smlad` with two inputs adds both rows' products at once;
//! `sxtb16` leaves the even row's weights, which are the low bytes, and `smlad` adds its products alone. Of the first sum the
//! second is taken off, and what is left is 256 times the odd row's: so four weights cost one instruction to part, where
//! rows cost two.
#![expect(unsafe_code, reason = "inline assembly")]

use core::arch::{asm, naked_asm};
use core::marker::PhantomData;
use core::mem::offset_of;

use super::{Factor, Isa, PairColumn, PairRows, Quad, Triple, portable};

/// [`Isa::expand_triples`](super::Isa::expand_triples) where inputs are missing, once in an image.
#[cold]
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "what nobody calls need not be there")]
pub(super) fn expand_some<I: Isa>(input: &[i8], step: usize, input_offset: i32, columns: &mut [Triple]) {
    portable::expand_triples(input, step, input_offset, columns);
}

/// [`Isa::expand_triples`](super::Isa::expand_triples) of columns, one at least, for inputs that are there.
#[inline(always)]
pub(super) fn expand(input: &[i8], step: usize, offset: i32, columns: &mut [Triple]) {
    // SAFETY: reads a word of each of three pixels for each of `columns`, of which the caller has seen that they are there,
    // and writes these.
    unsafe {
        asm!(
            "2:",
            "ldr {b}, [{input}, {step}]",
            "ldr {c}, [{input}, {step}, lsl #1]",
            "ldr {a}, [{input}], #4",
            "sxtab16 r3, {offset}, {b}",
            "sxtab16 r4, {offset}, {c}",
            "sxtab16 r2, {offset}, {a}",
            "stm {columns}!, {{r2, r3, r4}}",
            "sxtab16 r2, {offset}, {a}, ror #8",
            "sxtab16 r3, {offset}, {b}, ror #8",
            "sxtab16 r4, {offset}, {c}, ror #8",
            "subs {n}, {n}, #1",
            "stm {columns}!, {{r2, r3, r4}}",
            "bne 2b",
            input = inout(reg) input.as_ptr() => _,
            columns = inout(reg) columns.as_mut_ptr() => _,
            n = inout(reg) columns.len() => _,
            step = in(reg) step,
            offset = in(reg) offset,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            options(nostack),
        );
    }
}

/// Every second pair of rows, and the columns that they meet.
#[repr(C)]
struct Pass {
    columns: *const Triple,
    /// Columns, one at least.
    turns: usize,
    weights: *const i16,
    factor: *const Factor,
    output: *mut i8,
    stride: usize,
    /// Behind the factors of the last pair and the two rows that are left out after it.
    end: *const Factor,
}

/// [`Isa::multiply_pairs`](super::Isa::multiply_pairs), once in an image.
#[inline(never)]
pub(super) fn multiply<I: Isa>(rows: &PairRows<'_>, output: &mut [i8], stride: usize) {
    let (count, turns) = (rows.factors.len(), rows.columns.len());
    let blocks = count.div_ceil(4);
    let needed = turns.saturating_mul(blocks).saturating_mul(8);
    if count == 0
        || turns == 0
        || !count.is_multiple_of(2)
        || needed > rows.weights.len()
        || stride.saturating_mul(2).saturating_add(count) > output.len()
    {
        return portable::multiply_pairs(rows, output, stride);
    }
    let (factor, output) = (rows.factors.as_ptr(), output.as_mut_ptr());
    // The first pair of each block, then the second; the last block may have none.
    let pass = |second: usize, blocks: usize| {
        let first = second.wrapping_mul(2);
        Pass {
            columns: rows.columns.as_ptr(),
            turns,
            weights: rows.weights.as_ptr().wrapping_add(second.wrapping_mul(4)),
            factor: factor.wrapping_add(first),
            output: output.wrapping_add(first),
            stride,
            end: factor.wrapping_add(first.wrapping_add(blocks.wrapping_mul(4))),
        }
    };
    let passes = [pass(0, blocks), pass(1, count / 4)];
    // SAFETY: each of `blocks` blocks has its weights, as `needed` says; there are factors of all rows, and room for three
    // pixels of each. Without a second pair there is no second pass.
    unsafe { Loops::<I>::tiles(passes.as_ptr(), if count < 4 { 1 } else { 2 }) }
}

/// Four weights of two rows, and their products with three pixels.
macro_rules! turn {
    () => {
        "ldrd r10, r11, [r12], #16
         ldm r0!, {{r1, r2, r3}}
         smlad r7, r1, r10, r7
         smlad r8, r2, r10, r8
         smlad r9, r3, r10, r9
         sxtb16 r10, r10
         smlad r4, r1, r10, r4
         smlad r5, r2, r10, r5
         smlad r6, r3, r10, r6
         ldm r0!, {{r1, r2, r3}}
         smlad r7, r1, r11, r7
         smlad r8, r2, r11, r8
         smlad r9, r3, r11, r9
         sxtb16 r11, r11
         smlad r4, r1, r11, r4
         smlad r5, r2, r11, r5
         smlad r6, r3, r11, r6"
    };
}

/// A generic type's functions, so that cores without these instructions need not assemble them.
struct Loops<I>(PhantomData<I>);

impl<I: Isa> Loops<I> {
    /// Outputs of the rows of `count` passes, one at least, for three pixels.
    ///
    /// # Safety
    /// Each pass has a pair of rows at least, and weights, factors and room for as many as it says.
    #[unsafe(naked)]
    unsafe extern "C" fn tiles(passes: *const Pass, count: usize) {
        naked_asm!(
            "push {{r4-r11, lr}}",
            "sub sp, sp, #36",
            "1:",
            "ldm r0!, {{r2-r8}}",
            "stm sp, {{r2-r8}}",
            "strd r0, r1, [sp, #28]",
            "mov r12, r4",
            "mov r0, r5",
            // The odd row's bias counts 256 times.
            "2:",
            "ldr r4, [r0]",
            "ldr r7, [r0, #16]",
            "str r0, [sp, #{factor}]",
            "ldrd r0, lr, [sp]",
            "add r7, r4, r7, lsl #8",
            "mov r5, r4",
            "mov r6, r4",
            "mov r8, r7",
            "mov r9, r7",
            "subs lr, lr, #4",
            "blt 4f",
            "3:",
            turn!(),
            turn!(),
            turn!(),
            turn!(),
            "subs lr, lr, #4",
            "bge 3b",
            "4:",
            "adds lr, lr, #4",
            "beq 6f",
            "5:",
            turn!(),
            "subs lr, lr, #1",
            "bne 5b",
            "6:",
            "ldr r0, [sp, #{factor}]",
            "sub r7, r7, r4",
            "ldm r0!, {{r1, r2, r3, r10}}",
            "sub r8, r8, r5",
            "sub r9, r9, r6",
            "lsl r4, r4, #1",
            "lsl r5, r5, #1",
            "lsl r6, r6, #1",
            "smmulr r4, r4, r2",
            "smmulr r5, r5, r2",
            "smmulr r6, r6, r2",
            "cmp r3, #0",
            "bmi 10f",
            "7:",
            "add r4, r4, r10",
            "add r5, r5, r10",
            "add r6, r6, r10",
            "asr r4, r4, r3",
            "asr r5, r5, r3",
            "asr r6, r6, r3",
            "ldrd r11, lr, [sp, #{output}]",
            "ssat r4, #8, r4",
            "ssat r5, #8, r5",
            "ssat r6, #8, r6",
            "strb r5, [r11, lr]",
            "strb r6, [r11, lr, lsl #1]",
            "strb r4, [r11], #1",
            // Twice the odd row's sum is what is left, divided by 128.
            "ldm r0!, {{r1, r2, r3, r10}}",
            "asr r7, r7, #7",
            "asr r8, r8, #7",
            "asr r9, r9, #7",
            "smmulr r7, r7, r2",
            "smmulr r8, r8, r2",
            "smmulr r9, r9, r2",
            "cmp r3, #0",
            "bmi 11f",
            "8:",
            "add r7, r7, r10",
            "add r8, r8, r10",
            "add r9, r9, r10",
            "asr r7, r7, r3",
            "asr r8, r8, r3",
            "asr r9, r9, r3",
            "ldr r1, [sp, #{end}]",
            "ssat r7, #8, r7",
            "ssat r8, #8, r8",
            "ssat r9, #8, r9",
            "strb r8, [r11, lr]",
            "strb r9, [r11, lr, lsl #1]",
            "strb r7, [r11], #3",
            "add r0, r0, #32",
            "str r11, [sp, #{output}]",
            "cmp r0, r1",
            "bne 2b",
            "ldrd r0, r1, [sp, #28]",
            "subs r1, r1, #1",
            "bne 1b",
            "add sp, sp, #36",
            "pop {{r4-r11, pc}}",
            "10:",
            "add r4, r4, r4, asr #31",
            "add r5, r5, r5, asr #31",
            "add r6, r6, r6, asr #31",
            "b 7b",
            "11:",
            "add r7, r7, r7, asr #31",
            "add r8, r8, r8, asr #31",
            "add r9, r9, r9, asr #31",
            "b 8b",
            factor = const offset_of!(Pass, factor),
            output = const offset_of!(Pass, output),
            end = const offset_of!(Pass, end),
        )
    }
}

/// A column and the rows that it meets.
#[repr(C)]
struct Column {
    quads: *const Quad,
    /// Behind as many eights as there are.
    eights: *const Quad,
    end: *const Quad,
    biases: *const i32,
    multipliers: *const i32,
    shifts: *const i8,
    output: *mut i8,
    /// Twice the zero point, and 1.
    double: i32,
    /// Blocks of four rows, one at least.
    blocks: usize,
    /// Whether sums below 0 are rounded away from it.
    away: usize,
    weights: *const i16,
}

/// [`Isa::multiply_pairs_column`](super::Isa::multiply_pairs_column).
#[inline(always)]
pub(super) fn multiply_column<I: Isa>(column: &PairColumn<'_>, output: &mut [i8]) {
    let PairColumn { quads, weights, biases, multipliers, shifts, zero_point } = *column;
    let blocks = output.len() / 4;
    let (rows, needed) = (blocks.wrapping_mul(4), quads.len().saturating_mul(blocks).saturating_mul(8));
    if blocks == 0
        || quads.is_empty()
        || needed > weights.len()
        || rows > biases.len()
        || rows > multipliers.len()
        || rows > shifts.len()
    {
        return portable::multiply_pairs_column(column, output);
    }
    let ends = quads.as_ptr_range();
    let frame = Column {
        quads: ends.start,
        eights: ends.start.wrapping_add(quads.len() & !7),
        end: ends.end,
        biases: biases.as_ptr(),
        multipliers: multipliers.as_ptr(),
        shifts: shifts.as_ptr(),
        output: output.as_mut_ptr(),
        double: zero_point.wrapping_mul(2).wrapping_add(1),
        blocks,
        away: usize::from(zero_point != -128),
        weights: weights.as_ptr(),
    };
    // SAFETY: there is one quad at least, eight halfwords of weights for each of them and each block, and biases, multipliers,
    // shifts and outputs of all rows. Quads are aligned to 8, as `ldrd` needs, biases and multipliers to 4; weights are, since
    // constants are and eight halfwords are whole words.
    unsafe { Loops::<I>::column(&frame) }
}

/// Four weights of four rows and their products with the inputs in two registers.
macro_rules! turn_of_block {
    ($even:literal, $odd:literal) => {
        concat!(
            "ldm r12!, {{r8, r9, r10, r11}}\n",
            concat!("smlad r5, ", $even, ", r8, r5\n"),
            "sxtb16 r8, r8\n",
            concat!("smlad r7, ", $even, ", r10, r7\n"),
            "sxtb16 r10, r10\n",
            concat!("smlad r5, ", $odd, ", r9, r5\n"),
            "sxtb16 r9, r9\n",
            concat!("smlad r7, ", $odd, ", r11, r7\n"),
            "sxtb16 r11, r11\n",
            concat!("smlad r4, ", $even, ", r8, r4\n"),
            concat!("smlad r6, ", $even, ", r10, r6\n"),
            concat!("smlad r4, ", $odd, ", r9, r4\n"),
            concat!("smlad r6, ", $odd, ", r11, r6"),
        )
    };
}

/// One sum after the first rounding, shifted by a byte of four shifts, which `$turned` brings down, saturated and written.
macro_rules! finish {
    ($sum:literal, $turned:literal) => {
        concat!(
            concat!("uxtb r2, r10", $turned, "\n"),
            "lsl r3, r1, r2\n",
            concat!("add ", $sum, ", ", $sum, ", r3, asr #1\n"),
            concat!("asr ", $sum, ", ", $sum, ", r2\n"),
            concat!("ssat ", $sum, ", #8, ", $sum, "\n"),
            concat!("strb ", $sum, ", [r0], #1"),
        )
    };
}

/// The sign of a sum that is shifted.
macro_rules! away {
    ($sum:literal, $turned:literal) => {
        concat!(
            concat!("uxtb r2, r10", $turned, "\n"),
            "cmp r2, #0\n",
            "it ne\n",
            concat!("addne ", $sum, ", ", $sum, ", ", $sum, ", asr #31"),
        )
    };
}

impl<I: Isa> Loops<I> {
    /// Outputs of a frame's blocks of four rows.
    ///
    /// # Safety
    /// As many weights, biases, multipliers, shifts and outputs as quads and blocks ask for, of which there is one at least.
    #[unsafe(naked)]
    unsafe extern "C" fn column(frame: *const Column) {
        naked_asm!(
            "push {{r4-r11, lr}}",
            "sub sp, sp, #44",
            "ldm r0!, {{r1-r11}}",
            "stm sp, {{r1-r11}}",
            "mov r12, r11",
            "2:",
            "ldr r0, [sp, #{biases}]",
            "ldrd lr, r1, [sp]",
            "ldrd r4, r5, [r0], #8",
            "ldrd r6, r7, [r0], #8",
            "str r0, [sp, #{biases}]",
            // The odd row's bias counts 256 times.
            "add r5, r4, r5, lsl #8",
            "add r7, r6, r7, lsl #8",
            "cmp lr, r1",
            "beq 4f",
            "3:",
            "ldm lr!, {{r0, r1, r2, r3}}",
            turn_of_block!("r0", "r1"),
            turn_of_block!("r2", "r3"),
            "ldm lr!, {{r0, r1, r2, r3}}",
            turn_of_block!("r0", "r1"),
            turn_of_block!("r2", "r3"),
            "ldm lr!, {{r0, r1, r2, r3}}",
            turn_of_block!("r0", "r1"),
            turn_of_block!("r2", "r3"),
            "ldm lr!, {{r0, r1, r2, r3}}",
            turn_of_block!("r0", "r1"),
            turn_of_block!("r2", "r3"),
            "ldr r0, [sp, #{eights}]",
            "cmp lr, r0",
            "bne 3b",
            "4:",
            "ldr r2, [sp, #{end}]",
            "cmp lr, r2",
            "beq 6f",
            "5:",
            "ldrd r0, r1, [lr], #8",
            turn_of_block!("r0", "r1"),
            "cmp lr, r2",
            "bne 5b",
            "6:",
            "ldrd r0, r1, [sp, #{multipliers}]",
            "sub r5, r5, r4",
            "sub r7, r7, r6",
            "ldm r0!, {{r2, r3, r8, r9}}",
            "ldr r10, [r1], #4",
            "strd r0, r1, [sp, #{multipliers}]",
            // Twice the odd row's sum is what is left, divided by 128.
            "lsl r4, r4, #1",
            "asr r5, r5, #7",
            "lsl r6, r6, #1",
            "asr r7, r7, #7",
            "smmulr r4, r4, r2",
            "smmulr r5, r5, r3",
            "smmulr r6, r6, r8",
            "smmulr r7, r7, r9",
            "mov r2, #0",
            "ssub8 r10, r2, r10",
            "ldrd r0, r1, [sp, #{output}]",
            "ldrd r8, r9, [sp, #{blocks}]",
            "cmp r9, #0",
            "bne 8f",
            "7:",
            finish!("r4", ""),
            finish!("r5", ", ror #8"),
            finish!("r6", ", ror #16"),
            finish!("r7", ", ror #24"),
            "subs r8, r8, #1",
            "str r0, [sp, #{output}]",
            "str r8, [sp, #{blocks}]",
            "bne 2b",
            "add sp, sp, #44",
            "pop {{r4-r11, pc}}",
            "8:",
            away!("r4", ""),
            away!("r5", ", ror #8"),
            away!("r6", ", ror #16"),
            away!("r7", ", ror #24"),
            "b 7b",
            eights = const offset_of!(Column, eights),
            end = const offset_of!(Column, end),
            biases = const offset_of!(Column, biases),
            multipliers = const offset_of!(Column, multipliers),
            output = const offset_of!(Column, output),
            blocks = const offset_of!(Column, blocks),
        )
    }
}
