//! Operators that only move elements.

use neji_format::{Pad, Shape};

use crate::kernels::window::run;

/// Surrounds `input` with `value`.
pub(crate) fn pad<E: Copy>(input: &[E], pad: &Pad, value: E, output: &mut [E]) {
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
pub(crate) fn copy<E: Copy>(source: &[E], target: &mut [E], start: usize) {
    if let Some(target) = target.get_mut(start..).and_then(|rest| rest.get_mut(..source.len())) {
        target.copy_from_slice(source);
    }
}

/// Output pixel `(y, x)` is input pixel `(rows[y], columns[x])`. A row that repeats the one before is copied from it.
pub(crate) fn resize_nearest<E: Copy>(input: &[E], shape: Shape, rows: &[u16], columns: &[u16], output: &mut [E]) {
    let depth = (shape.channels as usize).max(1);
    let row_len = (shape.width as usize).saturating_mul(depth);
    let out_len = columns.len().saturating_mul(depth).max(1);
    let (mut done, mut rest) = output.split_at_mut(0);
    let mut last = None;
    for &y in rows {
        let Some((out, behind)) = rest.split_at_mut_checked(out_len) else { return };
        if last == Some(y) {
            copy(done, out, 0);
        } else {
            let row = run(input, usize::from(y).saturating_mul(row_len), row_len);
            for (pixel, &x) in out.chunks_exact_mut(depth).zip(columns) {
                copy(run(row, usize::from(x).saturating_mul(depth), depth), pixel, 0);
            }
        }
        last = Some(y);
        (done, rest) = (out, behind);
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
pub(crate) fn interleave<E: Copy>(input: &[E], len: usize, output: &mut [E], start: usize, stride: usize) {
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
    fn a_nearest_pixel_is_looked_up() {
        // 2 x 2 pixels of one channel: rows 1, 1, 0 and columns 1, 0, 1.
        let mut output = [0; 9];
        resize_nearest(&[1, 2, 3, 4], Shape::new(2, 2, 1), &[1, 1, 0], &[1, 0, 1], &mut output);
        assert_eq!(output, [4, 3, 4, 4, 3, 4, 2, 1, 2]);
    }

    #[test]
    fn runs_of_an_axis() {
        let shape = Shape::new(2, 3, 4);
        assert_eq!([0, 1, 2].map(|axis| run_len(shape, axis)), [24, 12, 4]);
    }
}
