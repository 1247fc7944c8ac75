//! Views of the arena: one output to write, everything else to read.

use neji_format::{Element, Tensor};

use crate::kernels::movement::copy as copy_run;

/// The arena, cut at one tensor.
pub(crate) struct Split<'m, E> {
    before: &'m [E],
    /// The tensor that is written.
    pub(crate) output: &'m mut [E],
    after: &'m [E],
    start: usize,
}

/// Index of a tensor's first element.
fn first<E>(tensor: &Tensor) -> usize {
    tensor.offset as usize / size_of::<E>().max(1)
}

/// Cuts `arena` at `output`. The slice is empty where the tensor lies outside, which the parser excludes.
// Once in an image, as the input: every operator has them.
#[inline(never)]
pub(crate) fn split<'m, E>(arena: &'m mut [E], output: &Tensor) -> Split<'m, E> {
    let start = first::<E>(output);
    let Some((before, rest)) = arena.split_at_mut_checked(start) else {
        return Split { before: &[], output: &mut [], after: &[], start: 0 };
    };
    match rest.split_at_mut_checked(output.shape.len()) {
        Some((output, after)) => Split { before, output, after, start },
        None => Split { before, output: &mut [], after: &[], start },
    }
}

impl<'m, E> Split<'m, E> {
    /// A tensor beside the output; empty where it overlaps it or lies outside.
    #[inline(never)]
    pub(crate) fn input(&self, tensor: &Tensor) -> &'m [E] {
        let len = tensor.shape.len();
        let offset = first::<E>(tensor);
        match offset.checked_sub(self.start.saturating_add(self.output.len())) {
            Some(offset) => self.after.get(offset..offset.saturating_add(len)),
            None => self.before.get(offset..offset.saturating_add(len)),
        }
        .unwrap_or(&[])
    }
}

/// Copies a tensor over another of as many elements, which may overlap it. Nothing where one lies outside, which the parser
/// excludes.
///
/// By runs as long as the two are apart, which do not overlap, in the order in which none is overwritten before it is read.
pub(crate) fn copy<E: Copy>(arena: &mut [E], from: &Tensor, to: &Tensor) {
    let len = to.shape.len();
    let (from, to) = (first::<E>(from), first::<E>(to));
    let (low, gap) = (from.min(to), from.abs_diff(to));
    if gap == 0 || from.max(to).saturating_add(len) > arena.len() {
        return;
    }
    let mut left = len;
    while left > 0 {
        let run = left.min(gap);
        left = left.wrapping_sub(run);
        // Down from the first element on, up from the last one back.
        let done = if to < from { len.wrapping_sub(left).wrapping_sub(run) } else { left };
        let area = arena.get_mut(low.saturating_add(done)..).unwrap_or(&mut []);
        let Some((lower, upper)) = area.split_at_mut_checked(gap) else { return };
        let (source, target) = if to < from { (upper, lower) } else { (lower, upper) };
        copy_run(source.get(..run).unwrap_or(&[]), target, 0);
    }
}

/// A tensor to be changed in place.
pub(crate) fn in_place<'m, E>(arena: &'m mut [E], tensor: &Tensor) -> &'m mut [E] {
    split(arena, tensor).output
}

/// The bytes of a tensor.
pub(crate) fn bytes(element: Element, tensor: &Tensor) -> core::ops::Range<usize> {
    let start = tensor.offset as usize;
    start..start.saturating_add(element.bytes_of(tensor))
}

#[cfg(test)]
mod tests {
    use neji_format::Shape;

    use super::*;

    fn tensor(offset: u32, len: u32) -> Tensor {
        Tensor { offset, shape: Shape::new(1, 1, len), scale: 1.0, zero_point: 0 }
    }

    #[test]
    fn inputs_lie_on_both_sides_of_the_output() {
        let mut arena = [0_i8, 1, 2, 3, 4, 5];
        let split = split(&mut arena, &tensor(2, 2));
        assert_eq!(split.output, [2, 3]);
        assert_eq!(split.input(&tensor(0, 2)), [0, 1]);
        assert_eq!(split.input(&tensor(4, 2)), [4, 5]);
        assert_eq!(split.input(&tensor(1, 2)), []);
        assert_eq!(split.input(&tensor(2, 2)), []);
        assert_eq!(split.input(&tensor(5, 2)), []);
    }

    #[test]
    fn outside_is_empty() {
        let mut arena = [0_i8, 1, 2];
        assert!(split(&mut arena, &tensor(2, 2)).output.is_empty());
        assert!(split(&mut arena, &tensor(4, 1)).output.is_empty());
        assert_eq!(in_place(&mut arena, &tensor(1, 2)), [1, 2]);
        assert_eq!(bytes(Element::I16, &tensor(4, 3)), 4..10);
    }

    #[test]
    fn copies_overlap_either_way() {
        let mut arena = [0_i8, 1, 2, 3, 4, 5];
        copy(&mut arena, &tensor(2, 4), &tensor(0, 4));
        assert_eq!(arena, [2, 3, 4, 5, 4, 5]);
        copy(&mut arena, &tensor(0, 4), &tensor(1, 4));
        assert_eq!(arena, [2, 2, 3, 4, 5, 5]);
        copy(&mut arena, &tensor(0, 4), &tensor(3, 4));
        assert_eq!(arena, [2, 2, 3, 4, 5, 5]);
    }

    #[test]
    fn offsets_are_bytes_whatever_the_elements_are() {
        let mut arena = [0_i16, 1, 2, 3, 4, 5];
        let split = split(&mut arena, &tensor(4, 2));
        assert_eq!(split.output, [2, 3]);
        assert_eq!(split.input(&tensor(8, 2)), [4, 5]);
    }
}
