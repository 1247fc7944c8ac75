//! Pooling over windows and the global mean.

use neji_format::{PoolKind, Shape, Window};

use crate::element::Element;
use crate::isa::{Isa, Pixels};
use crate::kernels::conv::axes;
use crate::kernels::window::run;
use crate::requantize::requantize;

/// Channels reduced at once.
const BLOCK: usize = 16;

/// What a pool does with the reduced value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish {
    pub(crate) kind: PoolKind,
    pub(crate) zero_point_in: i32,
    pub(crate) zero_point_out: i32,
    pub(crate) multiplier: i32,
    pub(crate) shift: i32,
    pub(crate) activation_min: i16,
    pub(crate) activation_max: i16,
}

impl Finish {
    /// The output for `value` reduced over `count` elements. The mean is TensorFlow Lite's: of the quantized values, half
    /// away from zero. A window with no element inside gives the zero point.
    #[inline(never)]
    fn output<E: Element>(&self, value: i32, count: i32) -> E {
        let value = match self.kind {
            _ if count == 0 => self.zero_point_out,
            PoolKind::Max => value,
            PoolKind::Average => {
                let half = count >> 1;
                let nudged = if value > 0 { value.wrapping_add(half) } else { value.wrapping_sub(half) };
                nudged.checked_div(count).unwrap_or(0)
            }
            PoolKind::Sum => {
                let sum = value.wrapping_sub(self.zero_point_in.wrapping_mul(count));
                requantize(sum, self.multiplier, self.shift).saturating_add(self.zero_point_out)
            }
        };
        E::clamp(value, self.activation_min, self.activation_max)
    }
}

/// Pools every window; elements in the padding do not take part.
pub(crate) fn pool2d<E: Element>(
    input: &[E],
    input_shape: Shape,
    window: &Window,
    finish: &Finish,
    output: &mut [E],
    output_shape: Shape,
) {
    let (vertical, horizontal) = axes(window, input_shape);
    let depth = (output_shape.channels as usize).max(1);
    let row_len = (output_shape.width as usize).saturating_mul(depth).max(1);
    let input_width = input_shape.width as usize;
    let first_value = if finish.kind == PoolKind::Max { i32::MIN } else { 0 };
    for (y, out_row) in output.chunks_exact_mut(row_len).enumerate() {
        let rows = vertical.clip(y);
        for (x, out_pixel) in out_row.chunks_exact_mut(depth).enumerate() {
            let columns = horizontal.clip(x);
            let count = rows.taps.wrapping_mul(columns.taps) as i32;
            for (block, out) in out_pixel.chunks_mut(BLOCK).enumerate() {
                let first = block.wrapping_mul(BLOCK);
                let mut values = [first_value; BLOCK];
                for iy in rows.start..rows.start.saturating_add(rows.taps) {
                    for ix in columns.start..columns.start.saturating_add(columns.taps) {
                        let pixel = iy.wrapping_mul(input_width).wrapping_add(ix).wrapping_mul(depth);
                        let input = run(input, pixel.wrapping_add(first), out.len());
                        reduce(finish.kind, &mut values, input);
                    }
                }
                for (out, &value) in out.iter_mut().zip(&values) {
                    *out = finish.output(value, count);
                }
            }
        }
    }
}

/// Averages every window of int8 by [`Isa::sum_pixels`]; `None` where that is not there or not enough.
#[inline(never)]
pub(crate) fn average<I: Isa>(
    input: &[i8],
    input_shape: Shape,
    window: &Window,
    finish: &Finish,
    output: &mut [i8],
    output_shape: Shape,
) -> Option<()> {
    let (vertical, horizontal) = axes(window, input_shape);
    let depth = (output_shape.channels as usize).max(1);
    if finish.kind != PoolKind::Average
        || !depth.is_multiple_of(4)
        || vertical.dilation != 1
        || horizontal.dilation != 1
    {
        return None;
    }
    let out_len = depth.checked_mul(output_shape.width as usize).filter(|&len| len > 0)?;
    let row_len = depth.saturating_mul(input_shape.width as usize);
    for (y, out_row) in output.chunks_exact_mut(out_len).enumerate() {
        let rows = vertical.clip(y);
        for (x, out_pixel) in out_row.chunks_exact_mut(depth).enumerate() {
            let columns = horizontal.clip(x);
            let count = rows.taps.wrapping_mul(columns.taps) as i32;
            let pixels = Pixels { rows: rows.taps, columns: columns.taps, depth, row_len };
            let mut start = rows.start.saturating_mul(row_len).saturating_add(columns.start.saturating_mul(depth));
            for out in out_pixel.as_chunks_mut::<4>().0 {
                let sums = I::sum_pixels(input.get(start..)?, &pixels)?;
                *out = sums.map(|sum| finish.output(sum, count));
                start = start.saturating_add(4);
            }
        }
    }
    Some(())
}

/// Takes one pixel's channels into a block.
#[inline(never)]
fn reduce<E: Element>(kind: PoolKind, values: &mut [i32; BLOCK], input: &[E]) {
    let pairs = values.iter_mut().zip(input);
    match kind {
        PoolKind::Max => pairs.for_each(|(value, &x)| *value = x.into().max(*value)),
        PoolKind::Average | PoolKind::Sum => pairs.for_each(|(value, &x)| *value = value.wrapping_add(x.into())),
    }
}

/// Mean of each channel over all pixels: `zero_point_out + requantize(sum(q - zero_point_in))`, clamped to its elements.
pub(crate) fn mean<E: Element>(
    input: &[E],
    zero_point_in: i8,
    zero_point_out: i8,
    multiplier: i32,
    shift: i32,
    output: &mut [E],
) {
    let depth = output.len().max(1);
    for (channel, out) in output.iter_mut().enumerate() {
        let mut sum = 0_i32;
        for &x in input.iter().skip(channel).step_by(depth) {
            sum = sum.wrapping_add(x.into().wrapping_sub(zero_point_in.into()));
        }
        let value = requantize(sum, multiplier, shift).saturating_add(zero_point_out.into());
        *out = E::narrowed(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(kind: PoolKind) -> Finish {
        Finish {
            kind,
            zero_point_in: 1,
            zero_point_out: 1,
            multiplier: 1 << 30,
            shift: 0,
            activation_min: -100,
            activation_max: 100,
        }
    }

    #[test]
    fn finishes() {
        // Halves go away from zero: 5 / 2 -> 3, -5 / 2 -> -3, 7 / 3 -> 2.
        assert_eq!(finish(PoolKind::Average).output::<i8>(5, 2), 3);
        assert_eq!(finish(PoolKind::Average).output::<i8>(-5, 2), -3);
        assert_eq!(finish(PoolKind::Average).output::<i8>(7, 3), 2);
        assert_eq!(finish(PoolKind::Max).output::<i8>(127, 2), 100);
        // (10 - 2 * 1) / 2 + 1.
        assert_eq!(finish(PoolKind::Sum).output::<i8>(10, 2), 5);
    }

    #[test]
    fn mean_of_two_pixels() {
        // Channel 0: (4 - 2) + (8 - 2) = 8, times 1/2, plus -1; channel 1: -9 - 9 = -18.
        let mut output = [0_i8; 2];
        mean(&[4, -7, 8, -7], 2, -1, 1 << 30, 0, &mut output);
        assert_eq!(output, [3, -10]);
    }
}
