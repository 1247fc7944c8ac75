//! Activations of either kind as the bytes that the engine takes and gives.

use neji_app::frontend::image::{I16_PER_LEVEL, ZERO_POINT};
use neji_format::{Element, Model};

/// An arena at an address that suits every element.
#[derive(Debug, Clone)]
pub struct ArenaBuffer {
    words: Vec<u32>,
    bytes: usize,
}

impl ArenaBuffer {
    /// An arena for `model`, zeroed.
    pub fn new(model: &Model<'_>) -> Self {
        let bytes = model.arena_bytes();
        Self { words: vec![0; bytes.div_ceil(4)], bytes }
    }

    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [i8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.bytes]
    }
}

/// The values in bytes.
pub fn values(element: Element, bytes: &[i8]) -> Vec<i32> {
    match element {
        Element::I8 => bytes.iter().map(|&q| q.into()).collect(),
        Element::I16 => {
            let pairs = bytes.as_chunks::<2>().0.iter();
            pairs.map(|pair| i16::from_le_bytes(pair.map(i8::cast_unsigned)).into()).collect()
        }
    }
}

/// The bytes of values, clamped to what an element can be.
pub fn bytes(element: Element, values: impl IntoIterator<Item = i32>) -> Vec<i8> {
    let (low, high) = element.range();
    let values = values.into_iter().map(|value| value.clamp(low.into(), high.into()));
    match element {
        Element::I8 => values.map(|value| value as i8).collect(),
        Element::I16 => values.flat_map(|value| (value as i16).to_le_bytes().map(u8::cast_signed)).collect(),
    }
}

/// What the front end gives a model of `element`s where it gives one of int8 `image`.
pub fn of_image(element: Element, image: &[i8]) -> Vec<i8> {
    match element {
        Element::I8 => image.to_vec(),
        Element::I16 => bytes(element, image.iter().map(|&q| (i32::from(q) - ZERO_POINT) * I16_PER_LEVEL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_are_one() {
        let all = vec![-32768, -1, 0, 258, 32767];
        assert_eq!(values(Element::I16, &bytes(Element::I16, all.clone())), all);
        assert_eq!(bytes(Element::I16, [258]), [2, 1]);
        assert_eq!(bytes(Element::I8, [258, -3]), [127, -3]);
        assert_eq!(values(Element::I16, &of_image(Element::I16, &[-128, 127])), [0, 32640]);
    }
}
