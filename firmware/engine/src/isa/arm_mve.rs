//! The M-profile vector extension of ARMv8.1-M (Helium): Cortex-M55 and M85.
//!
//! `vmladava.s8` adds sixteen products of int8 to a register, and tail-predicated loops (`dlstp`, `letp`) end in the middle
//! of a vector for nothing. So layers are summed on int8 as it lies: four rows of weights share each load of inputs. What
//! the inputs' offset adds, `offset * sum(weights)` of a row, joins the bias once a layer; padding is written out as zero
//! points, which together add nothing. Layers that do not fit are left to [`ArmDsp`].
//!
//! `vqrdmulh` is the first rounding of a requantization. `vrshl` is the second, but rounds a half up: where it shifts to the
//! right, values below 0 are made smaller by 1 before, which only halves notice.
//!
//! The instructions are in functions of their own, since the compiler's target need not have them: one image's other code
//! may be for cores without. They expect `FPSCR.LTPSIZE` as reset leaves it, and keep to the procedure call standard.
#![expect(unsafe_code, reason = "vector instructions, in assembly")]

use core::arch::naked_asm;
use core::mem::offset_of;

use neji_format::Add;

use super::{ArmDsp, Isa, Layer, Pair, Pixels, Quad, Rows, Sliding, Square};
use crate::element::Bias;
use crate::kernels::Channels;
use crate::kernels::conv::axes;
use crate::kernels::taps::upright;
use crate::kernels::window::{Axis, Span};

/// Cores with the vector extension's integer instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArmMve;

impl Isa for ArmMve {
    const PAIRS: bool = false;
    const LAYERS: bool = true;

    #[inline(always)]
    fn expand<const STRIDE: usize>(input: &[i8], input_offset: i32, quads: &mut [Quad], first: usize) {
        ArmDsp::expand::<STRIDE>(input, input_offset, quads, first);
    }

    #[inline(always)]
    fn add_rows(rows: &Rows<'_>, sums: &mut [[i32; 4]]) {
        ArmDsp::add_rows(rows, sums);
    }

    #[inline(always)]
    fn multiply_rows(rows: &Rows<'_>, output: &mut [i8], stride: usize) {
        ArmDsp::multiply_rows(rows, output, stride);
    }

    #[inline(always)]
    fn dot_rows(acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
        ArmDsp::dot_rows(acc, column, weights, stride)
    }

    #[inline(always)]
    fn spread(input: &[i8], depth: usize, input_offset: i32, lines: &mut [Pair], line: usize, start: usize) {
        ArmDsp::spread(input, depth, input_offset, lines, line, start);
    }

    #[inline(always)]
    fn square<const STRIDE: usize>(square: &Square<'_>, output: &mut [i8]) {
        ArmDsp::square::<STRIDE>(square, output);
    }

    #[inline(always)]
    fn add_taps(sums: &mut [i32], line: &[Pair], stride: usize, taps: &[Pair]) {
        ArmDsp::add_taps(sums, line, stride, taps);
    }

    #[inline(always)]
    fn conv_2d(layer: &Sliding<'_>, output: &mut [i8]) -> bool {
        conv_2d(layer, output).is_some()
    }

    #[inline(always)]
    fn depthwise_conv_2d(layer: &Sliding<'_>, output: &mut [i8]) -> bool {
        depthwise_conv_2d(layer, output).is_some()
    }

    #[inline(always)]
    fn fully_connected(layer: &Layer<'_>, output: &mut [i8]) -> bool {
        fully_connected(layer, output).is_some()
    }

    #[inline(always)]
    fn add(op: &Add, a: Option<&[i8]>, b: Option<&[i8]>, output: &mut [i8]) -> bool {
        add(op, a, b, output).is_some()
    }

    #[inline(always)]
    fn sum_pixels(input: &[i8], pixels: &Pixels) -> Option<[i32; 4]> {
        sum_pixels(input, pixels)
    }
}

/// Bytes of gathered windows.
const PATCHES: usize = 4096;
/// Most output channels of a convolution.
const CHANNELS: usize = 512;
/// Channels of a depthwise convolution that are summed at once: int16 in a vector.
const LANES: usize = 8;

/// The biases, multipliers and shifts of `count` channels.
fn constants<'a>(channels: &Channels<'a>, count: usize) -> Option<(&'a [i32], &'a [i32], &'a [i8])> {
    let Bias::Narrow(bias) = channels.bias else { return None };
    Some((bias.get(..count)?, channels.multiplier.get(..count)?, channels.shift.get(..count)?))
}

/// The elements of `[a, b, c]`.
fn volume(a: usize, b: usize, c: usize) -> Option<usize> {
    a.checked_mul(b)?.checked_mul(c)
}

#[inline(never)]
fn fully_connected(layer: &Layer<'_>, output: &mut [i8]) -> Option<()> {
    let (depth, count) = (layer.input.len(), output.len());
    let (bias, multipliers, shifts) = constants(layer.channels, count)?;
    // `-(zero_point + 1)` is added to `-1 - x`, which has the opposite sign of what is to be added up.
    let offset = layer.zero_point.checked_add(1)?;
    let rest = count.checked_sub(4)?;
    let weights = layer.weights.get(..depth.checked_mul(count)?)?;
    if depth == 0 {
        return None;
    }
    let channels = layer.channels;
    let mut run = |first: usize, groups: usize| {
        let mut rows = Dense {
            weights: weights.get(first.checked_mul(depth)?..)?.as_ptr(),
            len: depth,
            bias: bias.get(first..)?.as_ptr(),
            multipliers: multipliers.get(first..)?.as_ptr(),
            shifts: shifts.get(first..)?.as_ptr(),
            input: layer.input.as_ptr(),
            output: output.get_mut(first..)?.as_mut_ptr(),
            groups,
            zero_point: channels.zero_point,
            low: channels.activation_min.into(),
            high: channels.activation_max.into(),
            offset: offset.into(),
        };
        // SAFETY: from `first` on there are `4 * groups` rows of `len` weights, as many constants and outputs; `input`
        // has `len` elements. Neither `len` nor `groups` is 0.
        unsafe { dense_rows(&mut rows) };
        Some(())
    };
    run(0, count / 4)?;
    // The last rows, when there are not four of them, along with some that are done already.
    if count.is_multiple_of(4) { Some(()) } else { run(rest, 1) }
}

/// What [`dense_rows`] goes through; it moves the pointers.
#[repr(C)]
struct Dense {
    weights: *const i8,
    len: usize,
    bias: *const i32,
    multipliers: *const i32,
    shifts: *const i8,
    input: *const i8,
    output: *mut i8,
    /// Of four rows.
    groups: usize,
    zero_point: i32,
    low: i32,
    high: i32,
    /// The zero point and 1.
    offset: i32,
}

/// Outputs of a dense layer.
///
/// The offset would take a weight sum that a dense layer uses once; it is multiplied along instead. `zero_point + 1` fits
/// int8 and goes with `-1 - x`: both sums are the negative of what is wanted.
#[unsafe(naked)]
unsafe extern "C" fn dense_rows(rows: &mut Dense) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "ldr r1, [r0, #{offset}]",
        "vdup.8 q3, r1",
        "ldr r12, [r0, #{zero_point}]",
        "1:",
        "ldr r5, [r0, #{weights}]",
        "ldr lr, [r0, #{len}]",
        "add r7, r5, lr",
        "add r9, r7, lr",
        "add r11, r9, lr",
        "add r2, r11, lr",
        "str r2, [r0, #{weights}]",
        "ldr r1, [r0, #{input}]",
        "mov r4, #0",
        "mov r6, #0",
        "mov r8, #0",
        "mov r10, #0",
        "dlstp.8 lr, lr",
        "2:",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q1, [r5], #16",
        "vmvn q0, q0",
        "vmladava.s8 r4, q0, q1",
        "vmladava.s8 r4, q3, q1",
        "vldrb.u8 q2, [r7], #16",
        "vmladava.s8 r6, q0, q2",
        "vmladava.s8 r6, q3, q2",
        "vldrb.u8 q1, [r9], #16",
        "vmladava.s8 r8, q0, q1",
        "vmladava.s8 r8, q3, q1",
        "vldrb.u8 q2, [r11], #16",
        "vmladava.s8 r10, q0, q2",
        "vmladava.s8 r10, q3, q2",
        "letp lr, 2b",
        "vmov q0[2], q0[0], r4, r8",
        "vmov q0[3], q0[1], r6, r10",
        "ldrd r2, r3, [r0, #{bias}]",
        "vldrw.u32 q1, [r2], #16",
        "vsub.i32 q0, q1, q0",
        "ldr r1, [r0, #{shifts}]",
        "vldrb.s32 q2, [r1], #4",
        "str r1, [r0, #{shifts}]",
        // To the left first, then to the right.
        "vmov.i32 q1, #0",
        "vmax.s32 q1, q1, q2",
        "vshl.s32 q0, q0, q1",
        "vsub.i32 q2, q2, q1",
        "vldrw.u32 q1, [r3], #16",
        "vqrdmulh.s32 q0, q0, q1",
        "strd r2, r3, [r0, #{bias}]",
        "vand q1, q0, q2",
        "vshr.s32 q1, q1, #31",
        "vqadd.s32 q0, q0, q1",
        "vrshl.s32 q0, q0, q2",
        "vqadd.s32 q0, q0, r12",
        "ldrd r2, r3, [r0, #{low}]",
        "vdup.32 q1, r2",
        "vmax.s32 q0, q0, q1",
        "vdup.32 q1, r3",
        "vmin.s32 q0, q0, q1",
        "ldrd r2, r3, [r0, #{output}]",
        "vstrb.32 q0, [r2], #4",
        "subs r3, r3, #1",
        "strd r2, r3, [r0, #{output}]",
        "bne 1b",
        "pop {{r4-r11, pc}}",
        weights = const offset_of!(Dense, weights),
        len = const offset_of!(Dense, len),
        bias = const offset_of!(Dense, bias),
        shifts = const offset_of!(Dense, shifts),
        input = const offset_of!(Dense, input),
        output = const offset_of!(Dense, output),
        zero_point = const offset_of!(Dense, zero_point),
        low = const offset_of!(Dense, low),
        offset = const offset_of!(Dense, offset),
    )
}

#[inline(never)]
fn conv_2d(layer: &Sliding<'_>, output: &mut [i8]) -> Option<()> {
    let &Sliding { layer, input_shape, window, output_shape } = layer;
    let (vertical, horizontal) = axes(window, input_shape);
    let depth = input_shape.channels as usize;
    let (width, count) = (output_shape.width as usize, output_shape.channels as usize);
    let kernel_len = volume(vertical.kernel, horizontal.kernel, depth)?;
    let room = PATCHES.checked_div(kernel_len)?;
    let pixels = output.len().checked_div(count)?;
    let (bias, multipliers, shifts) = constants(layer.channels, count)?;
    let weights = layer.weights.get(..kernel_len.checked_mul(count)?)?;
    let rest = count.checked_sub(4)?;
    let mut biases = [0; CHANNELS];
    let biases = biases.get_mut(..count)?;
    if vertical.dilation != 1 || horizontal.dilation != 1 || pixels == 0 || room == 0 {
        return None;
    }
    let left = shifts.iter().any(|&shift| shift > 0);
    let offset = i32::from(layer.zero_point).wrapping_neg();
    // SAFETY: `weights` has `count` rows of `kernel_len`, `bias` and `biases` as many sums; none of this is 0.
    unsafe { add_sums(weights.as_ptr(), kernel_len, bias.as_ptr(), biases.as_mut_ptr(), count, offset) };
    let biases = &*biases;
    let channels = layer.channels;
    // All channels of neighbouring pixels.
    let run = |columns: &[i8], output: &mut [i8]| {
        let pixels = output.len().checked_div(count)?;
        if pixels == 0 || columns.len() < pixels.checked_mul(kernel_len)? {
            return None;
        }
        let mut run = |first: usize, groups: usize| {
            let mut rows = Columns {
                weights: weights.get(first.checked_mul(kernel_len)?..)?.as_ptr(),
                len: kernel_len,
                bias: biases.get(first..)?.as_ptr(),
                multipliers: multipliers.get(first..)?.as_ptr(),
                shifts: shifts.get(first..)?.as_ptr(),
                input: columns.as_ptr(),
                input_step: kernel_len.wrapping_sub(kernel_len.next_multiple_of(16)),
                output_step: count,
                output: output.get_mut(first..)?.as_mut_ptr(),
                groups,
                pixels,
                zero_point: channels.zero_point,
                low: channels.activation_min.into(),
                high: channels.activation_max.into(),
            };
            // SAFETY: from `first` on there are `4 * groups` rows of `len` weights, as many constants, and as many
            // outputs of `pixels` pixels; `columns` has `pixels` times `len` elements. None of this is 0.
            unsafe { if left { columns_rows_left(&mut rows) } else { columns_rows(&mut rows) } };
            Some(())
        };
        run(0, count / 4)?;
        // The last rows, when there are not four of them, along with some that are done already.
        if count.is_multiple_of(4) { Some(()) } else { run(rest, 1) }
    };
    let plain = |axis: &Axis| (axis.kernel, axis.stride, axis.padding) == (1, 1, 0);
    if plain(&vertical) && plain(&horizontal) {
        return run(layer.input, output);
    }
    layer.input.get(..volume(input_shape.height as usize, input_shape.width as usize, depth)?)?;
    let mut patches = [0; PATCHES];
    let row_len = (input_shape.width as usize).checked_mul(depth)?;
    let tap_row = horizontal.kernel.wrapping_mul(depth);
    let mut filled = 0_usize;
    // The first pixel that is not written yet.
    let mut begin = 0_usize;
    let height = pixels.checked_div(width)?;
    for y in 0..height {
        let rows = vertical.clip(y);
        let mut x = 0_usize;
        while x < width {
            let columns = horizontal.clip(x);
            let full = columns.taps == horizontal.kernel;
            let mut pixels = 1;
            if full {
                let right = horizontal.input.wrapping_sub(columns.start).wrapping_sub(columns.taps);
                pixels = right.checked_div(horizontal.stride)?.wrapping_add(1).min(width.wrapping_sub(x));
                pixels = pixels.min(room.wrapping_sub(filled));
            }
            let patch = patches.get_mut(filled.wrapping_mul(kernel_len)..)?;
            let patch = patch.get_mut(..pixels.wrapping_mul(kernel_len))?;
            if !full || rows.taps < vertical.kernel {
                patch.fill(layer.zero_point);
            }
            if rows.taps > 0 && columns.taps > 0 {
                gather(
                    layer.input,
                    patch,
                    rows,
                    columns,
                    &Steps { row_len, depth, tap_row, horizontal, kernel_len, pixels },
                )?;
            }
            x = x.wrapping_add(pixels);
            filled = filled.wrapping_add(pixels);
            let done = begin.wrapping_add(filled);
            if filled == room || (x == width && y.wrapping_add(1) == height) {
                run(&patches, output.get_mut(begin.wrapping_mul(count)..done.wrapping_mul(count))?)?;
                (filled, begin) = (0, done);
            }
        }
    }
    Some(())
}

/// How windows lie in the input and in the patches.
struct Steps {
    row_len: usize,
    depth: usize,
    /// Of a kernel's row.
    tap_row: usize,
    horizontal: Axis,
    kernel_len: usize,
    pixels: usize,
}

/// Copies what lies under the windows of `pixels` neighbours, which have the same taps inside, to their patches.
#[inline(always)]
fn gather(input: &[i8], patch: &mut [i8], rows: Span, columns: Span, steps: &Steps) -> Option<()> {
    let len = columns.taps.checked_mul(steps.depth)?;
    let pixel_step = steps.horizontal.stride.checked_mul(steps.depth)?;
    let start = rows.start.checked_mul(steps.row_len)?.checked_add(columns.start.checked_mul(steps.depth)?)?;
    let at = rows.tap.checked_mul(steps.tap_row)?.checked_add(columns.tap.checked_mul(steps.depth)?)?;
    let last = steps.pixels.checked_sub(1)?;
    let below = rows.taps.checked_sub(1)?;
    let end = start.checked_add(below.checked_mul(steps.row_len)?)?.checked_add(last.checked_mul(pixel_step)?)?;
    let target = at.checked_add(below.checked_mul(steps.tap_row)?)?.checked_add(last.checked_mul(steps.kernel_len)?)?;
    input.get(end..end.checked_add(len)?)?;
    patch.get(target..target.checked_add(len)?)?;
    // Pointers move by whole vectors.
    let read = len.next_multiple_of(16);
    let windows = Windows {
        from: input.get(start..)?.as_ptr(),
        to: patch.get_mut(at..)?.as_mut_ptr(),
        len,
        rows: rows.taps,
        from_row: steps.row_len.wrapping_sub(read),
        to_row: steps.tap_row.wrapping_sub(read),
        from_pixel: pixel_step,
        to_pixel: steps.kernel_len,
        pixels: steps.pixels,
    };
    if len > 0 {
        // SAFETY: the last row of the last window, which ends last, is inside both; no count is 0.
        unsafe { copy_windows(&windows) };
    }
    Some(())
}

/// What [`copy_windows`] copies.
#[repr(C)]
struct Windows {
    from: *const i8,
    to: *mut i8,
    /// From where reading one row ends, a multiple of 16 on, to the next.
    from_row: usize,
    to_row: usize,
    from_pixel: usize,
    to_pixel: usize,
    len: usize,
    rows: usize,
    pixels: usize,
}

/// Copies rows of neighbouring windows.
#[unsafe(naked)]
unsafe extern "C" fn copy_windows(windows: &Windows) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        // From, to, the skips to their next rows, to their next pixels; length, rows, pixels.
        "ldm r0, {{r1-r9}}",
        "1:",
        "mov r10, r1",
        "mov r11, r2",
        "mov r12, r8",
        "2:",
        "dlstp.8 lr, r7",
        "3:",
        "vldrb.u8 q0, [r10], #16",
        "vstrb.8 q0, [r11], #16",
        "letp lr, 3b",
        "add r10, r10, r3",
        "add r11, r11, r4",
        "subs r12, r12, #1",
        "bne 2b",
        "add r1, r1, r5",
        "add r2, r2, r6",
        "subs r9, r9, #1",
        "bne 1b",
        "pop {{r4-r11, pc}}",
    )
}

/// What [`columns_rows`] goes through; it moves the pointers.
#[repr(C)]
struct Columns {
    weights: *const i8,
    len: usize,
    bias: *const i32,
    multipliers: *const i32,
    shifts: *const i8,
    input: *const i8,
    /// From where reading one pixel ends, a multiple of 16 on, to the next.
    input_step: usize,
    output_step: usize,
    output: *mut i8,
    /// Of four rows.
    groups: usize,
    pixels: usize,
    zero_point: i32,
    low: i32,
    high: i32,
}

/// Outputs of some rows for some pixels; `$left` shifts sums to the left.
macro_rules! columns_rows {
    ($name:ident, $left:literal) => {
#[unsafe(naked)]
unsafe extern "C" fn $name(columns: &mut Columns) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d13}}",
        "sub sp, sp, #32",
        "ldrd r2, r3, [r0, #{low}]",
        "vdup.32 q2, r2",
        "vdup.32 q3, r3",
        "1:",
        // Where each row begins: its bias and weights.
        "ldr r5, [r0, #{weights}]",
        "ldr r1, [r0, #{len}]",
        "add r7, r5, r1",
        "add r9, r7, r1",
        "add r11, r9, r1",
        "add r2, r11, r1",
        "str r2, [r0, #{weights}]",
        "ldrd r2, r3, [r0, #{bias}]",
        "ldm r2!, {{r4, r6, r8, r10}}",
        "stm sp, {{r4-r11}}",
        "vldrw.u32 q4, [r3], #16",
        "strd r2, r3, [r0, #{bias}]",
        "ldrd r2, r1, [r0, #{shifts}]",
        "vldrb.s32 q5, [r2], #4",
        "str r2, [r0, #{shifts}]",
        // To the left first, then to the right.
        "vmov.i32 q6, #0",
        "vmax.s32 q6, q6, q5",
        "vsub.i32 q5, q5, q6",
        "ldr r2, [r0, #{output}]",
        "add r3, r2, #4",
        "str r3, [r0, #{output}]",
        "ldrd r3, r12, [r0, #{pixels}]",
        "2:",
        "ldr lr, [r0, #{len}]",
        "ldm sp, {{r4-r11}}",
        "dlstp.8 lr, lr",
        "3:",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q1, [r5], #16",
        "vmladava.s8 r4, q0, q1",
        "vldrb.u8 q1, [r7], #16",
        "vmladava.s8 r6, q0, q1",
        "vldrb.u8 q1, [r9], #16",
        "vmladava.s8 r8, q0, q1",
        "vldrb.u8 q1, [r11], #16",
        "vmladava.s8 r10, q0, q1",
        "letp lr, 3b",
        "vmov q0[2], q0[0], r4, r8",
        "vmov q0[3], q0[1], r6, r10",
        "ldrd r4, r5, [r0, #{input_step}]",
        $left,
        "vqrdmulh.s32 q0, q0, q4",
        "add r1, r1, r4",
        "vand q1, q0, q5",
        "vshr.s32 q1, q1, #31",
        "vqadd.s32 q0, q0, q1",
        "vrshl.s32 q0, q0, q5",
        "vqadd.s32 q0, q0, r12",
        "vmax.s32 q0, q0, q2",
        "vmin.s32 q0, q0, q3",
        "vstrb.32 q0, [r2]",
        "add r2, r2, r5",
        "subs r3, r3, #1",
        "bne 2b",
        "ldr r3, [r0, #{groups}]",
        "subs r3, r3, #1",
        "str r3, [r0, #{groups}]",
        "bne 1b",
        "add sp, sp, #32",
        "vpop {{d8-d13}}",
        "pop {{r4-r11, pc}}",
        weights = const offset_of!(Columns, weights),
        len = const offset_of!(Columns, len),
        bias = const offset_of!(Columns, bias),
        shifts = const offset_of!(Columns, shifts),
        input_step = const offset_of!(Columns, input_step),
        output = const offset_of!(Columns, output),
        groups = const offset_of!(Columns, groups),
        pixels = const offset_of!(Columns, pixels),
        low = const offset_of!(Columns, low),
    )
}
    };
}

columns_rows!(columns_rows, "");
columns_rows!(columns_rows_left, "vshl.s32 q0, q0, q6");

/// `sums[r] = bias[r] + offset * sum(weights[r * len..][..len])` of `rows` rows.
#[unsafe(naked)]
unsafe extern "C" fn add_sums(
    weights: *const i8,
    len: usize,
    bias: *const i32,
    sums: *mut i32,
    rows: usize,
    offset: i32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldrd r5, r6, [sp, #24]",
        "1:",
        "mov r7, r0",
        "mov r4, #0",
        "dlstp.8 lr, r1",
        "2:",
        "vldrb.u8 q0, [r7], #16",
        "vaddva.s8 r4, q0",
        "letp lr, 2b",
        "ldr r8, [r2], #4",
        "mla r8, r4, r6, r8",
        "str r8, [r3], #4",
        "add r0, r0, r1",
        "subs r5, r5, #1",
        "bne 1b",
        "pop {{r4-r8, pc}}",
    )
}

#[inline(never)]
fn depthwise_conv_2d(layer: &Sliding<'_>, output: &mut [i8]) -> Option<()> {
    let &Sliding { layer, mut input_shape, window, mut output_shape } = layer;
    let mut window = *window;
    upright(&mut input_shape, &mut window, &mut output_shape);
    let (vertical, horizontal) = axes(&window, input_shape);
    let depth = input_shape.channels as usize;
    let width = output_shape.width as usize;
    let kernel_len = volume(vertical.kernel, horizontal.kernel, depth)?;
    let (bias, multipliers, shifts) = constants(layer.channels, depth)?;
    let weights = layer.weights.get(..kernel_len)?;
    let last = depth.checked_sub(LANES)?;
    if output_shape.channels as usize != depth || vertical.dilation != 1 || horizontal.dilation != 1 {
        return None;
    }
    let row_len = (input_shape.width as usize).checked_mul(depth)?;
    layer.input.get(..row_len.checked_mul(input_shape.height as usize)?)?;
    let out_len = width.checked_mul(depth)?;
    if out_len == 0 {
        return None;
    }
    let pixel_step = horizontal.stride.checked_mul(depth)?;
    let channels = layer.channels;
    let left = shifts.iter().any(|&shift| shift > 0);
    for (y, out_row) in output.chunks_exact_mut(out_len).enumerate() {
        let rows = vertical.clip(y);
        let mut x = 0_usize;
        while x < width {
            let columns = horizontal.clip(x);
            if rows.taps == 0 || columns.taps == 0 {
                return None;
            }
            let mut pixels = 1;
            if columns.taps == horizontal.kernel {
                let right = horizontal.input.wrapping_sub(columns.start).wrapping_sub(columns.taps);
                pixels = right.checked_div(horizontal.stride)?.wrapping_add(1).min(width.wrapping_sub(x));
            }
            // None of these wraps: each is within a slice that there is.
            let start = rows.start.wrapping_mul(row_len).wrapping_add(columns.start.wrapping_mul(depth));
            let tap = rows.tap.wrapping_mul(horizontal.kernel).wrapping_add(columns.tap).wrapping_mul(depth);
            let mut run = |first: usize, blocks: usize| {
                let mut run = Lanes {
                    rows: rows.taps,
                    columns: columns.taps,
                    depth,
                    offset: i32::from(layer.zero_point).wrapping_neg(),
                    row_skip: row_len.wrapping_sub(columns.taps.wrapping_mul(depth)),
                    tap_skip: horizontal.kernel.wrapping_sub(columns.taps).wrapping_mul(depth),
                    input: layer.input.get(start.wrapping_add(first)..)?.as_ptr(),
                    output: out_row.get_mut(x.wrapping_mul(depth).wrapping_add(first)..)?.as_mut_ptr(),
                    weights: weights.get(tap.wrapping_add(first)..)?.as_ptr(),
                    pixels,
                    bias: bias.get(first..)?.as_ptr(),
                    zero_point: channels.zero_point,
                    multipliers: multipliers.get(first..)?.as_ptr(),
                    shifts: shifts.get(first..)?.as_ptr(),
                    low: channels.activation_min.into(),
                    high: channels.activation_max.into(),
                    pixel_step,
                    blocks,
                };
                // SAFETY: `clip` has the windows' taps inside the input, whose rows are all there, and inside the kernel,
                // `pixels` counts windows that are, and outputs of this row; from `first` on there are `blocks` times
                // eight channels. No count is 0.
                unsafe { if left { lanes_left(&mut run) } else { lanes(&mut run) } };
                Some(())
            };
            run(0, depth / LANES)?;
            if !depth.is_multiple_of(LANES) {
                // The last channels, along with some that are done already.
                run(last, 1)?;
            }
            x = x.wrapping_add(pixels);
        }
    }
    Some(())
}

/// Neighbouring outputs, whose windows have the same taps inside. [`lanes`] moves the pointers.
#[repr(C)]
struct Lanes {
    rows: usize,
    columns: usize,
    /// From pixel to pixel, in the weights as in the input.
    depth: usize,
    offset: i32,
    /// From behind the last tap of a row to the next row.
    row_skip: usize,
    /// The same for the weights.
    tap_skip: usize,
    input: *const i8,
    output: *mut i8,
    weights: *const i8,
    pixels: usize,
    bias: *const i32,
    zero_point: i32,
    multipliers: *const i32,
    shifts: *const i8,
    low: i32,
    high: i32,
    pixel_step: usize,
    /// Of eight channels.
    blocks: usize,
}

/// Outputs of a depthwise convolution. Even and odd lanes of int16 make products of 32 bits; `$left` shifts sums to the
/// left and `$right` leaves shifts to the right.
macro_rules! lanes {
    ($name:ident, $left:expr, $right:literal) => {
#[unsafe(naked)]
unsafe extern "C" fn $name(run: &mut Lanes) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "ldrd r1, r2, [r0, #{low}]",
        "vdup.16 q3, r1",
        "vdup.16 q6, r2",
        "vmov.i32 q7, #0",
        // Rows, columns, depth, offset, skips.
        "ldm r0, {{r6-r11}}",
        "1:",
        "ldrd r1, r2, [r0, #{input}]",
        "add r4, r1, #8",
        "add r5, r2, #8",
        "strd r4, r5, [r0, #{input}]",
        "ldrd r12, r3, [r0, #{weights}]",
        "2:",
        "ldr lr, [r0, #{bias}]",
        "vld20.32 {{q4, q5}}, [lr]",
        "vld21.32 {{q4, q5}}, [lr]",
        "mov r4, r1",
        "mov r5, r12",
        "3:",
        "dls lr, r7",
        "4:",
        "vldrb.s16 q0, [r4]",
        "vldrb.s16 q1, [r5]",
        "add r5, r5, r8",
        "vadd.i16 q0, q0, r9",
        "add r4, r4, r8",
        "vmullb.s16 q2, q0, q1",
        "vadd.i32 q4, q4, q2",
        "vmullt.s16 q2, q0, q1",
        "vadd.i32 q5, q5, q2",
        "le lr, 4b",
        "add r4, r4, r10",
        "add r5, r5, r11",
        "subs r6, r6, #1",
        "bne 3b",
        "ldrd r4, r5, [r0, #{multipliers}]",
        "vldrb.s16 q2, [r5]",
        $left,
        "vld20.32 {{q0, q1}}, [r4]",
        "vld21.32 {{q0, q1}}, [r4]",
        $right,
        "vqrdmulh.s32 q4, q4, q0",
        "vqrdmulh.s32 q5, q5, q1",
        "vmovlb.s16 q0, q2",
        "vmovlt.s16 q1, q2",
        "vand q2, q4, q0",
        "vshr.s32 q2, q2, #31",
        "vqadd.s32 q4, q4, q2",
        "vrshl.s32 q4, q4, q0",
        "vand q2, q5, q1",
        "vshr.s32 q2, q2, #31",
        "vqadd.s32 q5, q5, q2",
        "vrshl.s32 q5, q5, q1",
        "ldr r4, [r0, #{zero_point}]",
        "vqmovnb.s32 q0, q4",
        "vqmovnt.s32 q0, q5",
        "vqadd.s16 q0, q0, r4",
        "vmax.s16 q0, q0, q3",
        "vmin.s16 q0, q0, q6",
        "vstrb.16 q0, [r2]",
        "add r2, r2, r8",
        "ldr r4, [r0, #{pixel_step}]",
        "add r1, r1, r4",
        "ldr r6, [r0]",
        "subs r3, r3, #1",
        "bne 2b",
        "add r12, r12, #8",
        "str r12, [r0, #{weights}]",
        "ldrd r4, r5, [r0, #{multipliers}]",
        "add r4, r4, #32",
        "add r5, r5, #8",
        "strd r4, r5, [r0, #{multipliers}]",
        "ldr r4, [r0, #{bias}]",
        "add r4, r4, #32",
        "str r4, [r0, #{bias}]",
        "ldr r4, [r0, #{blocks}]",
        "subs r4, r4, #1",
        "str r4, [r0, #{blocks}]",
        "bne 1b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        pixel_step = const offset_of!(Lanes, pixel_step),
        input = const offset_of!(Lanes, input),
        weights = const offset_of!(Lanes, weights),
        bias = const offset_of!(Lanes, bias),
        zero_point = const offset_of!(Lanes, zero_point),
        multipliers = const offset_of!(Lanes, multipliers),
        low = const offset_of!(Lanes, low),
        blocks = const offset_of!(Lanes, blocks),
    )
}
    };
}

lanes!(lanes, "", "");
lanes!(
    lanes_left,
    "vmax.s16 q1, q2, q7
     vmovlb.s16 q0, q1
     vshl.s32 q4, q4, q0
     vmovlt.s16 q0, q1
     vshl.s32 q5, q5, q0",
    "vmin.s16 q2, q2, q7"
);

#[inline(never)]
fn add(op: &Add, a: Option<&[i8]>, b: Option<&[i8]>, output: &mut [i8]) -> Option<()> {
    let len = output.len();
    let out = output.as_mut_ptr();
    let there = |operand: Option<&[i8]>| operand.is_none_or(|values| values.len() == len);
    let shifts = [op.multiplier_a, op.multiplier_b, op.output_multiplier].map(|factor| i32::from(factor.shift));
    if len == 0 || !there(a) || !there(b) || shifts.iter().any(|&shift| shift > 0) {
        return None;
    }
    let sums = Sums {
        a: a.map_or(out.cast_const(), <[i8]>::as_ptr),
        b: b.map_or(out.cast_const(), <[i8]>::as_ptr),
        output: out,
        offset_a: i32::from(op.input_a.zero_point).wrapping_neg(),
        offset_b: i32::from(op.input_b.zero_point).wrapping_neg(),
        left_shift: op.left_shift.into(),
        multiplier_a: op.multiplier_a.multiplier,
        multiplier_b: op.multiplier_b.multiplier,
        multiplier: op.output_multiplier.multiplier,
        zero_point: op.output.zero_point.into(),
        len,
        shifts,
        low: op.activation_min.into(),
        high: op.activation_max.into(),
    };
    // SAFETY: all three are `len` long, which is not 0; an operand may be the output itself, of which each element is
    // read before it is written.
    unsafe { add_all(&sums) };
    Some(())
}

/// Two operands and their sum.
#[repr(C)]
struct Sums {
    a: *const i8,
    b: *const i8,
    output: *mut i8,
    offset_a: i32,
    offset_b: i32,
    left_shift: i32,
    multiplier_a: i32,
    multiplier_b: i32,
    multiplier: i32,
    zero_point: i32,
    len: usize,
    shifts: [i32; 3],
    low: i32,
    high: i32,
}

/// Adds element by element.
#[unsafe(naked)]
unsafe extern "C" fn add_all(sums: &Sums) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "add r12, r0, #{len}",
        "ldm r12, {{r4-r9}}",
        "mov lr, r4",
        "vdup.32 q3, r5",
        "vdup.32 q4, r6",
        "vdup.32 q5, r7",
        "vdup.32 q6, r8",
        "vdup.32 q7, r9",
        "ldm r0, {{r1-r10}}",
        "dlstp.32 lr, lr",
        "2:",
        "vldrb.s32 q0, [r1], #4",
        "vldrb.s32 q1, [r2], #4",
        "vadd.i32 q0, q0, r4",
        "vadd.i32 q1, q1, r5",
        "vshl.s32 q0, r6",
        "vshl.s32 q1, r6",
        "vqrdmulh.s32 q0, q0, r7",
        "vqrdmulh.s32 q1, q1, r8",
        "vand q2, q0, q3",
        "vshr.s32 q2, q2, #31",
        "vqadd.s32 q0, q0, q2",
        "vrshl.s32 q0, q0, q3",
        "vand q2, q1, q4",
        "vshr.s32 q2, q2, #31",
        "vqadd.s32 q1, q1, q2",
        "vrshl.s32 q1, q1, q4",
        "vadd.i32 q0, q0, q1",
        "vqrdmulh.s32 q0, q0, r9",
        "vand q2, q0, q5",
        "vshr.s32 q2, q2, #31",
        "vqadd.s32 q0, q0, q2",
        "vrshl.s32 q0, q0, q5",
        "vqadd.s32 q0, q0, r10",
        "vmax.s32 q0, q0, q6",
        "vmin.s32 q0, q0, q7",
        "vstrb.32 q0, [r3], #4",
        "letp lr, 2b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        len = const offset_of!(Sums, len),
    )
}

#[inline(always)]
fn sum_pixels(input: &[i8], pixels: &Pixels) -> Option<[i32; 4]> {
    let below = pixels.rows.checked_sub(1)?.checked_mul(pixels.row_len)?;
    let last = pixels.columns.checked_sub(1)?.checked_mul(pixels.depth)?.checked_add(below)?;
    input.get(last..last.checked_add(4)?)?;
    let skip = pixels.row_len.wrapping_sub(pixels.columns.wrapping_mul(pixels.depth));
    let mut sums = [0; 4];
    // SAFETY: the last of the pixels has four channels in `input`; neither count is 0.
    unsafe { add_pixels(input.as_ptr(), pixels, skip, &mut sums) };
    Some(sums)
}

/// Sums of four channels.
#[unsafe(naked)]
unsafe extern "C" fn add_pixels(input: *const i8, pixels: &Pixels, skip: usize, sums: &mut [i32; 4]) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r6, lr}}",
        "ldm r1, {{r4-r6}}",
        "vmov.i32 q1, #0",
        "1:",
        "dls lr, r5",
        "2:",
        "vldrb.s32 q0, [r0]",
        "add r0, r0, r6",
        "vadd.i32 q1, q1, q0",
        "le lr, 2b",
        "add r0, r0, r2",
        "subs r4, r4, #1",
        "bne 1b",
        "vstrw.32 q1, [r3]",
        "pop {{r4-r6, pc}}",
    )
}
