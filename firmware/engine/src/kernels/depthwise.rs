//! Depthwise convolution: every output channel reads one input channel.

use neji_format::{Shape, Window};

use crate::element::Element;
use crate::isa::Isa;
use crate::kernels::Channels;
use crate::kernels::conv::axes;
use crate::kernels::window::run;

/// Channels summed at once.
const BLOCK: usize = 16;

/// Depthwise convolution; `weights` are `[kernel_height, kernel_width, channels_out]`, output channel `c` reads input
/// channel `c / depth_multiplier`.
///
/// Blocks of channels are summed in registers or on the stack, tap by tap, so that inputs and weights are read in the
/// order in which they lie.
#[expect(clippy::too_many_arguments, reason = "two tensors, a window and constants: each is one thing")]
pub(crate) fn depthwise_conv2d<I: Isa, E: Element>(
    input: &[E],
    input_shape: Shape,
    input_offset: i32,
    window: &Window,
    weights: &[i8],
    channels: &Channels<'_>,
    output: &mut [E],
    output_shape: Shape,
) {
    let (vertical, horizontal) = axes(window, input_shape);
    let depth = (input_shape.channels as usize).max(1);
    let channels_out = (output_shape.channels as usize).max(1);
    let depth_multiplier = channels_out.checked_div(depth).unwrap_or(1).max(1);
    let row_len = (output_shape.width as usize).saturating_mul(channels_out).max(1);
    let input_width = input_shape.width as usize;
    for (y, out_row) in output.chunks_exact_mut(row_len).enumerate() {
        let rows = vertical.clip(y);
        for (x, out_pixel) in out_row.chunks_exact_mut(channels_out).enumerate() {
            let columns = horizontal.clip(x);
            for (block, out) in out_pixel.chunks_mut(BLOCK).enumerate() {
                let first = block.wrapping_mul(BLOCK);
                let mut sums = [E::Sum::default(); BLOCK];
                let sums = sums.get_mut(..out.len()).unwrap_or(&mut []);
                channels.begin::<E>(first, sums);
                for row in 0..rows.taps {
                    let iy = rows.start.wrapping_add(row.wrapping_mul(vertical.dilation));
                    let tap = rows.tap.wrapping_add(row).wrapping_mul(horizontal.kernel).wrapping_add(columns.tap);
                    for column in 0..columns.taps {
                        let ix = columns.start.wrapping_add(column.wrapping_mul(horizontal.dilation));
                        let pixel = iy.wrapping_mul(input_width).wrapping_add(ix).wrapping_mul(depth);
                        let tap = tap.wrapping_add(column).wrapping_mul(channels_out).wrapping_add(first);
                        let weights = run(weights, tap, out.len());
                        if depth_multiplier == 1 {
                            let input = run(input, pixel.wrapping_add(first), out.len());
                            E::multiply_accumulate::<I>(sums, input, input_offset, weights);
                        } else {
                            let input = run(input, pixel, depth);
                            multiplied(sums, first, depth_multiplier, input, input_offset, weights);
                        }
                    }
                }
                channels.end(first, sums, out);
            }
        }
    }
}

/// One tap of a block that begins at output channel `first`, with several outputs an input channel.
#[inline(never)]
fn multiplied<E: Element>(
    sums: &mut [E::Sum],
    first: usize,
    depth_multiplier: usize,
    input: &[E],
    input_offset: i32,
    weights: &[i8],
) {
    let mut channel = first.checked_div(depth_multiplier).unwrap_or(0);
    let mut copy = first.checked_rem(depth_multiplier).unwrap_or(0);
    for (acc, &weight) in sums.iter_mut().zip(weights) {
        let x: i32 = input.get(channel).map_or(0, |&x| x.into());
        *acc = E::step(*acc, x.wrapping_add(input_offset), weight);
        copy = copy.wrapping_add(1);
        if copy == depth_multiplier {
            copy = 0;
            channel = channel.wrapping_add(1);
        }
    }
}
