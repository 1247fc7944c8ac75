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

use super::{Factor, Isa, PairRows, Quad, Triple, portable};

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
    unsafe { Tiles::<I>::run(passes.as_ptr(), if count < 4 { 1 } else { 2 }) }
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

/// A type's function, so that cores without these instructions need not assemble it.
struct Tiles<I>(PhantomData<I>);

impl<I: Isa> Tiles<I> {
    /// Outputs of the rows of `count` passes, one at least, for three pixels.
    ///
    /// # Safety
    /// Each pass has a pair of rows at least, and weights, factors and room for as many as it says.
    #[unsafe(naked)]
    unsafe extern "C" fn run(passes: *const Pass, count: usize) {
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

/// What the loop over blocks of four rows has no register for.
#[repr(C)]
struct Column {
    quads: *const Quad,
    turns: usize,
    blocks: usize,
    filler: usize,
    factor: *const Factor,
    output: *mut i8,
}

/// [`Isa::multiply_pairs_column`](super::Isa::multiply_pairs_column), once in an image.
#[inline(never)]
#[expect(clippy::extra_unused_type_parameters, reason = "cores without these instructions need not assemble it")]
pub(super) fn multiply_column<I: Isa>(column: &[Quad], weights: &[i16], factors: &[Factor], output: &mut [i8]) {
    let blocks = factors.len() / 4;
    let needed = column.len().saturating_mul(blocks).saturating_mul(8);
    if blocks == 0 || column.is_empty() || needed > weights.len() || blocks.saturating_mul(4) > output.len() {
        return portable::multiply_pairs_column(column, weights, factors, output);
    }
    blocks_of_column(column, weights, factors, output, blocks);
}

/// Four weights of four rows and their products.
macro_rules! turn_of_block {
    () => {
        "ldm {weights}!, {{r2, r3, r4, r5}}
         ldrd {x}, {y}, [{column}], #8
         smlad {q}, {x}, r2, {q}
         sxtb16 r2, r2
         smlad {q}, {y}, r3, {q}
         sxtb16 r3, r3
         smlad {s}, {x}, r4, {s}
         sxtb16 r4, r4
         smlad {s}, {y}, r5, {s}
         sxtb16 r5, r5
         smlad {p}, {x}, r2, {p}
         smlad {r}, {x}, r4, {r}
         smlad {p}, {y}, r3, {p}
         smlad {r}, {y}, r5, {r}"
    };
}

/// Outputs of `blocks` blocks of four rows, one at least. Weights for each quad of `column`, of which there is one at least,
/// factors and outputs must be there.
#[inline(always)]
fn blocks_of_column(column: &[Quad], weights: &[i16], factors: &[Factor], output: &mut [i8], blocks: usize) {
    /// One sum that `$double` doubles, requantized and written: `finish::rounded_pairs`.
    macro_rules! finish {
        ($double:literal, $sum:literal, $by:literal) => {
            concat!(
                "ldm {n}!, {{r2, r3, r4, r5}}\n",
                concat!($double, " ", $sum, ", ", $sum, ", ", $by, "\n"),
                concat!("smmulr ", $sum, ", ", $sum, ", r3\n"),
                concat!("and r2, r4, ", $sum, "\n"),
                concat!("add ", $sum, ", ", $sum, ", r2, asr #31\n"),
                concat!("add ", $sum, ", ", $sum, ", r5\n"),
                concat!("asr ", $sum, ", ", $sum, ", r4\n"),
                concat!("ssat ", $sum, ", #8, ", $sum, "\n"),
                concat!("strb ", $sum, ", [{y}], #1"),
            )
        };
    }
    let frame = Column {
        quads: column.as_ptr(),
        turns: column.len(),
        blocks,
        filler: 0,
        factor: factors.as_ptr(),
        output: output.as_mut_ptr(),
    };
    // SAFETY: for each of `blocks` blocks it reads four factors, all of `column`, which is aligned to 8, as `ldrd` needs, and
    // eight halfwords of weights for each of it, and writes four outputs; the caller has seen that all are there. Weights are
    // aligned as constants are, or whole words behind. The frame is as it lies in memory; what is pushed of it is taken off
    // the stack again.
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
            "ldr {x}, [sp, #16]",
            "ldrd {column}, {n}, [sp]",
            "ldr {p}, [{x}]",
            "ldr {q}, [{x}, #16]",
            "ldr {r}, [{x}, #32]",
            "ldr {s}, [{x}, #48]",
            "add {q}, {p}, {q}, lsl #8",
            "add {s}, {r}, {s}, lsl #8",
            "subs {n}, {n}, #4",
            "blt 4f",
            "3:",
            turn_of_block!(),
            turn_of_block!(),
            turn_of_block!(),
            turn_of_block!(),
            "subs {n}, {n}, #4",
            "bge 3b",
            "4:",
            "adds {n}, {n}, #4",
            "beq 6f",
            "5:",
            turn_of_block!(),
            "subs {n}, {n}, #1",
            "bne 5b",
            "6:",
            "ldrd {n}, {y}, [sp, #16]",
            "sub {q}, {q}, {p}",
            "sub {s}, {s}, {r}",
            finish!("lsl", "{p}", "#1"),
            finish!("asr", "{q}", "#7"),
            finish!("lsl", "{r}", "#1"),
            finish!("asr", "{s}", "#7"),
            "strd {n}, {y}, [sp, #16]",
            "ldr {x}, [sp, #8]",
            "subs {x}, {x}, #1",
            "str {x}, [sp, #8]",
            "bne 2b",
            "add sp, sp, #24",
            x = inout(reg) &raw const frame => _,
            weights = inout(reg) weights.as_ptr() => _,
            column = out(reg) _,
            n = out(reg) _,
            y = out(reg) _,
            p = out(reg) _,
            q = out(reg) _,
            r = out(reg) _,
            s = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}
