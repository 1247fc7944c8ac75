//! Operators that only move elements.

use neji_format::{Pad, ResizeNearest, Shape};

/// Surrounds `input` with `value`.
pub(crate) fn pad(input: &[i8], pad: &Pad, value: i8, output: &mut [i8]) {
    output.fill(value);
    let depth = pad.input.shape.channels as usize;
    let row_len = (pad.input.shape.width as usize).saturating_mul(depth).max(1);
    let out_len = (pad.output.shape.width as usize).saturating_mul(depth).max(1);
    let left = usize::from(pad.left).saturating_mul(depth);
    let rows = output.chunks_exact_mut(out_len).skip(pad.top.into());
    for (row, out) in input.chunks_exact(row_len).zip(rows) {
        copy(row, out, left);
    }
}

/// Copies `source` to `target` at `start`; nothing where it does not fit.
pub(crate) fn copy(source: &[i8], target: &mut [i8], start: usize) {
    if let Some(target) = target.get_mut(start..start.saturating_add(source.len())) {
        target.copy_from_slice(source);
    }
}

/// Repeats each pixel; a row is widened once and then copied.
pub(crate) fn resize_nearest(input: &[i8], resize: &ResizeNearest, output: &mut [i8]) {
    let depth = (resize.input.shape.channels as usize).max(1);
    let row_len = (resize.input.shape.width as usize).saturating_mul(depth).max(1);
    let factor_width = usize::from(resize.factor_width.max(1));
    let out_len = row_len.saturating_mul(factor_width);
    let group_len = out_len.saturating_mul(resize.factor_height.max(1).into());
    for (row, group) in input.chunks_exact(row_len).zip(output.chunks_exact_mut(group_len)) {
        let (first, copies) = group.split_at_mut_checked(out_len).unwrap_or((&mut [], &mut []));
        let repeats = first.chunks_exact_mut(depth.saturating_mul(factor_width));
        for (pixel, repeats) in row.chunks_exact(depth).zip(repeats) {
            for target in repeats.chunks_exact_mut(depth) {
                target.copy_from_slice(pixel);
            }
        }
        for target in copies.chunks_exact_mut(out_len) {
            target.copy_from_slice(first);
        }
    }
}

/// Length of the runs of a tensor that stay together when it is joined along `axis`.
pub(crate) fn run_len(shape: Shape, axis: u8) -> usize {
    let channels = shape.channels as usize;
    match axis {
        0 => shape.len(),
        1 => (shape.width as usize).saturating_mul(channels),
        _ => channels,
    }
}

/// Writes `input` in runs of `len` to `output`, at `start` of every `stride` elements.
pub(crate) fn interleave(input: &[i8], len: usize, output: &mut [i8], start: usize, stride: usize) {
    for (run, out) in input.chunks_exact(len.max(1)).zip(output.chunks_exact_mut(stride.max(1))) {
        copy(run, out, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_columns() {
        let mut output = [0; 6];
        interleave(&[1, 2, 3, 4], 2, &mut output, 0, 3);
        interleave(&[8, 9], 1, &mut output, 2, 3);
        assert_eq!(output, [1, 2, 8, 3, 4, 9]);
    }

    #[test]
    fn runs_of_an_axis() {
        let shape = Shape::new(2, 3, 4);
        assert_eq!([0, 1, 2].map(|axis| run_len(shape, axis)), [24, 12, 4]);
    }
}
