//! How the weights of a layer lie in flash.
//!
//! Bits are the same with every packing; it decides how many instructions an instruction set needs to get at the weights.

use serde::{Deserialize, Serialize};

/// The order of a layer's weights: rows of as many weights as meet one output, a row an output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Packing {
    /// Row by row, int8. Every instruction set reads it.
    #[default]
    Rows,
    /// Two rows in each halfword, which is `even + 256 * odd`: for instruction sets that multiply halfwords.
    ///
    /// Four rows make a block; the last is filled up with zeros, as is each row to a multiple of four weights. Four weights of
    /// each row of a block are eight halfwords: rows 0 and 1 with weights 0, 2, 1, 3, then rows 2 and 3 with the same.
    ///
    /// A product of a halfword with an input is that of the even row and 256 times that of the odd one; the low byte alone
    /// gives the even one. So what is left of the sum, divided by 256, is the odd row's, as long as it keeps within 24 bits:
    /// `|bias| + reach * sum |weight|` of a row is below 2^23. Shifts are -22 to 0.
    Pairs,
}

/// Magnitude that the sum of a row in [`Packing::Pairs`] stays below, its bias included.
pub const PAIRS_SUM_LIMIT: u64 = 1 << 23;
/// The least shift of a row in [`Packing::Pairs`]; the largest is 0.
pub const PAIRS_SHIFT_MIN: i8 = -22;

impl Packing {
    /// Bytes of the weights of `rows` rows of `depth` each; `None` beyond 64 bits.
    pub fn bytes(self, rows: u64, depth: u64) -> Option<u64> {
        match self {
            Self::Rows => rows.checked_mul(depth),
            Self::Pairs => rows.checked_next_multiple_of(4)?.checked_mul(depth.checked_next_multiple_of(4)?),
        }
    }
}

/// Weights in [`Packing::Pairs`].
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    halfwords: &'a [i16],
    depth: usize,
}

impl<'a> Pairs<'a> {
    /// Of rows of `depth` weights each.
    pub fn new(halfwords: &'a [i16], depth: usize) -> Self {
        Self { halfwords, depth }
    }

    /// The weight of a row at an index; 0 where there is none. What [`Model::parse`](crate::Model::parse) has accepted is
    /// -128 to 127, anything else may be 128 in an odd row.
    #[inline(always)]
    pub fn weight(&self, row: usize, index: usize) -> i16 {
        let at = pair_index(self.depth, row, index);
        let [even, odd] = rows_of(self.halfwords.get(at).copied().unwrap_or(0));
        if row & 1 == 0 { even } else { odd }
    }
}

/// Which halfword holds the weight of a row of `depth` at an index.
#[inline(always)]
pub fn pair_index(depth: usize, row: usize, index: usize) -> usize {
    let place = (index & 1) << 1 | index >> 1 & 1;
    let quad = (row >> 2).wrapping_mul(depth.div_ceil(4)).wrapping_add(index >> 2);
    quad.wrapping_mul(8).wrapping_add((row & 2) << 1).wrapping_add(place)
}

/// The weights of the even and the odd row in a halfword.
#[inline(always)]
pub(crate) fn rows_of(halfword: i16) -> [i16; 2] {
    let even = i16::from(halfword as i8);
    [even, (halfword >> 8).wrapping_add(even >> 15 & 1)]
}

/// The bytes of `rows` of `depth` weights each in [`Packing::Pairs`]; none where an odd row's -128 meets a weight below 0,
/// which no halfword holds.
#[cfg(feature = "alloc")]
pub fn pairs(rows: &[i8], depth: usize) -> Option<alloc::vec::Vec<u8>> {
    let depth = depth.max(1);
    let count = rows.len() / depth;
    let bytes = Packing::Pairs.bytes(count as u64, depth as u64)?;
    let mut halfwords = alloc::vec![0_i16; bytes as usize / 2];
    for row in (0..count).step_by(2) {
        for index in 0..depth {
            let even = rows[row * depth + index];
            let odd = rows.get((row + 1) * depth + index).copied().unwrap_or(0);
            let value = i32::from(even) + 256 * i32::from(odd);
            halfwords[pair_index(depth, row, index)] = i16::try_from(value).ok()?;
        }
    }
    Some(halfwords.into_iter().flat_map(i16::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_halfword_is_its_rows() {
        for halfword in i16::MIN..=i16::MAX {
            let [even, odd] = rows_of(halfword).map(i32::from);
            assert_eq!(even + 256 * odd, halfword.into());
            assert!((-128..=127).contains(&even) && (-128..=128).contains(&odd));
        }
    }

    #[test]
    fn blocks_of_four_rows_and_four_weights() {
        assert_eq!(Packing::Rows.bytes(5, 3), Some(15));
        assert_eq!(Packing::Pairs.bytes(5, 3), Some(8 * 4));
        assert_eq!(Packing::Pairs.bytes(u64::MAX - 1, 1), None);
        // Rows of five: two quads of eight halfwords each.
        let place = |row, index| pair_index(5, row, index);
        assert_eq!([0, 1, 2, 3, 4].map(|index| place(0, index)), [0, 2, 1, 3, 8]);
        assert_eq!([place(1, 2), place(2, 0), place(3, 3), place(4, 0)], [1, 4, 7, 16]);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn what_is_packed_is_read() {
        let rows: alloc::vec::Vec<i8> = (0..5 * 7).map(|i| (i * 37 % 255 - 127) as i8).collect();
        let bytes = pairs(&rows, 7).expect("packed");
        assert_eq!(Some(bytes.len() as u64), Packing::Pairs.bytes(5, 7));
        let halfwords: alloc::vec::Vec<i16> =
            bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let packed = Pairs::new(&halfwords, 7);
        for row in 0..8 {
            for index in 0..8 {
                let wanted = if row < 5 && index < 7 { rows[row * 7 + index].into() } else { 0 };
                assert_eq!(packed.weight(row, index), wanted, "{row} {index}");
            }
        }
        assert!(pairs(&[-1, -128], 1).is_none() && pairs(&[0, -128], 1).is_some());
    }
}
