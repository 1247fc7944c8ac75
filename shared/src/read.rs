//! Reads operators from postcard's bytes.
//!
//! The same as serde's derived code reads through postcard, in a tenth of the flash: a device has this instead. Fields are
//! listed in the order in which they are declared, which is that of the bytes.

use crate::operator::{
    Add, Concat, Conv2d, DepthwiseConv2d, FullyConnected, Load, Lut, LutFunction, Mean, Mul, Operator, Pad, Pool2d,
    PoolKind, Reshape, ResizeNearest, Sigmoid, Softmax, TransposeConv2d, Window,
};
use crate::quant::{Multiplier, Requantization};
use crate::tensor::{Constant, Shape, Tensor};

/// Bytes that are read from the front.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// A number of `bits` bits, 16 or 32, in groups of seven from the lowest; the last has no bit beyond.
    #[inline(never)]
    fn varint(&mut self, bits: u32) -> Option<u32> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = u32::from(self.byte()?);
            // This refuses a further group as well, so that the shift stays below `bits`.
            if shift + 7 > bits && byte >> (bits - shift) != 0 {
                return None;
            }
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }
}

/// What can be read.
trait Read: Sized {
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// The operator at the beginning of `bytes`, and what follows it.
// Once in an image: everything that walks the operators needs it.
#[inline(never)]
pub(crate) fn operator(bytes: &[u8]) -> Option<(Operator, &[u8])> {
    let mut reader = Reader { rest: bytes };
    let operator = Operator::read(&mut reader)?;
    Some((operator, reader.rest))
}

impl Read for u8 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.byte()
    }
}

impl Read for i8 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(reader.byte()?.cast_signed())
    }
}

impl Read for u16 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(reader.varint(16)? as Self)
    }
}

impl Read for u32 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.varint(32)
    }
}

/// Undoes zigzag, where the lowest bit is the sign.
fn signed(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

impl Read for i16 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(signed(reader.varint(16)?) as Self)
    }
}

impl Read for i32 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(signed(reader.varint(32)?))
    }
}

impl Read for f32 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (&bytes, rest) = reader.rest.split_first_chunk()?;
        reader.rest = rest;
        Some(Self::from_le_bytes(bytes))
    }
}

impl<const N: usize> Read for heapless::Vec<Tensor, N> {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut all = Self::new();
        for _ in 0..reader.varint(32)? {
            all.push(Read::read(reader)?).ok()?;
        }
        Some(all)
    }
}

/// Reads structs field by field.
macro_rules! structs {
    ($($(#[$attribute:meta])* $name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Read for $name {
            $(#[$attribute])*
            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $(let $field = Read::read(reader)?;)*
                Some(Self { $($field),* })
            }
        }
    )*};
}

/// Reads enums by their variants' numbers; the variants are listed in order.
macro_rules! enums {
    ($($name:ident { $($variant:ident $(($inner:ident))?),* $(,)? })*) => {$(
        impl Read for $name {
            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                #[derive(Clone, Copy)]
                enum Variant { $($variant),* }
                const ALL: &[Variant] = &[$(Variant::$variant),*];
                match *ALL.get(reader.varint(32)? as usize)? {
                    $(Variant::$variant => Some(Self::$variant $((<$inner>::read(reader)?))?),)*
                }
            }
        }
    )*};
}

structs! {
    Shape { height, width, channels }
    #[inline(never)]
    Tensor { offset, shape, scale, zero_point }
    #[inline(never)]
    Constant { offset, bytes }
    Multiplier { multiplier, shift }
    #[inline(never)]
    Requantization { bias, multiplier, shift, activation_min, activation_max }
    #[inline(never)]
    Window {
        kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width,
        padding_top, padding_left, padding_bottom, padding_right,
    }
    Conv2d { input, output, window, weights, requantization }
    DepthwiseConv2d { input, output, window, weights, requantization }
    FullyConnected { input, output, weights, requantization }
    TransposeConv2d { input, output, window, weights, requantization }
    Pool2d { kind, input, output, window, multiplier, activation_min, activation_max }
    Mean { input, output, multiplier }
    #[inline(never)]
    Add {
        input_a, input_b, output, left_shift, multiplier_a, multiplier_b, output_multiplier, activation_min, activation_max,
    }
    Concat { inputs, output, axis }
    Pad { input, output, top, bottom, left, right }
    Reshape { input, output }
    ResizeNearest { input, output, rows, columns }
    Lut { input, output, function, table }
    Softmax { input, output, multiplier, difference_min }
    Mul { input_a, input_b, output, multiplier, activation_min, activation_max }
    Load { output, values }
    Sigmoid { input, output, function, multiplier, shift, table }
}

enums! {
    PoolKind { Max, Average, Sum }
    LutFunction { Quantize, Relu, Relu6, LeakyRelu, Logistic, Tanh, HardSwish, ReluN1To1 }
    Operator {
        Conv2d(Conv2d),
        DepthwiseConv2d(DepthwiseConv2d),
        FullyConnected(FullyConnected),
        TransposeConv2d(TransposeConv2d),
        Pool2d(Pool2d),
        Mean(Mean),
        Add(Add),
        Concat(Concat),
        Pad(Pad),
        Reshape(Reshape),
        ResizeNearest(ResizeNearest),
        Lut(Lut),
        Softmax(Softmax),
        Sub(Add),
        Mul(Mul),
        Load(Load),
        Sigmoid(Sigmoid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::CONCAT_INPUTS_MAX;

    /// Numbers that repeat nowhere soon.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 33
        }
    }

    fn same(bytes: &[u8]) -> Option<&'static str> {
        let ours = operator(bytes);
        let postcards = postcard::take_from_bytes::<Operator>(bytes).ok();
        let bits = |found: &Option<(Operator, &[u8])>| {
            let mut written = [0; 512];
            found.as_ref().map(|(operator, rest)| {
                let written = postcard::to_slice(operator, &mut written).expect("room");
                (written.iter().fold(0_u64, |hash, &byte| hash.wrapping_mul(31).wrapping_add(byte.into())), rest.len())
            })
        };
        assert_eq!(bits(&ours), bits(&postcards), "{bytes:?}");
        ours.map(|(operator, _)| operator.name())
    }

    /// Bytes with short and long groups, most of which are operators.
    #[test]
    fn reads_what_postcard_reads() {
        let mut random = Random(7);
        let mut seen = [0_u32; 17];
        for case in 0..200_000_u32 {
            let mut bytes = [0; 160];
            // One in this many bytes goes on in the next: none, or so many that most cases are refused.
            let often = [u64::MAX, 40, 9, 3][(case / 17 % 4) as usize];
            for byte in &mut bytes {
                let low = random.next() as u8 & 0x7f;
                *byte = if random.next().is_multiple_of(often) { low | 0x80 } else { low };
            }
            let kind = case % 18;
            bytes[0] = kind as u8;
            // What is few: variants, and tensors of a concatenation.
            bytes[1] %= if kind == 7 { CONCAT_INPUTS_MAX as u8 + 2 } else { 128 };
            if kind == 4 {
                bytes[1] %= 4;
            }
            let length = if case.is_multiple_of(5) { random.next() as usize % 160 } else { 160 };
            if same(&bytes[..length]).is_some() {
                seen[kind as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }

    /// The largest numbers, and one bit or one group more.
    #[test]
    fn the_last_group_has_no_bit_beyond() {
        let varint = |bytes: &[u8], bits| Reader { rest: bytes }.varint(bits);
        assert_eq!(varint(&[0xff, 0xff, 0x03], 16), Some(0xffff));
        assert_eq!(varint(&[0xff, 0xff, 0x04], 16), None);
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0], 16), None);
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x0f], 32), Some(u32::MAX));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x1f], 32), None);
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0], 32), None);
        assert_eq!(varint(&[0x80], 32), None);
    }
}
