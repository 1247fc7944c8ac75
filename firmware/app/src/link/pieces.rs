//! Maps and features in pieces that fit frames.

use neji_format::Size;
use neji_link::{Map, PIECE_BYTES_MAX, Spectrum};

/// An anomaly map with each cell the largest of `factor` by `factor` of the monitor's.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallMap<'m> {
    cells: &'m [u32],
    size: Size,
    factor: u16,
    width: u16,
    height: u16,
    full: u32,
}

impl<'m> SmallMap<'m> {
    /// The largest map of at most `cells_max` cells; `None` where not even one is allowed.
    pub(super) fn new(cells: &'m [u32], size: Size, cells_max: usize) -> Option<Self> {
        let cells_max = cells_max.min(u16::MAX.into());
        let full = cells.iter().copied().max().unwrap_or(0);
        let mut map = Self { cells, size, factor: 0, width: 0, height: 0, full };
        while map.factor < size.width.max(size.height).max(1) {
            map.factor = map.factor.saturating_add(1);
            let smaller = |length: u16| {
                let whole = u32::from(length).saturating_add(u32::from(map.factor)).saturating_sub(1);
                whole.checked_div(map.factor.into()).unwrap_or(0) as u16
            };
            (map.width, map.height) = (smaller(size.width), smaller(size.height));
            if map.len() <= cells_max {
                return (map.len() > 0).then_some(map);
            }
        }
        None
    }

    /// Cells.
    pub(super) fn len(&self) -> usize {
        usize::from(self.width).saturating_mul(self.height.into())
    }

    /// The piece behind `offset` cells, laid out in `buffer`.
    pub(super) fn piece<'b>(&self, verdict: u32, offset: u16, buffer: &'b mut [u8; PIECE_BYTES_MAX]) -> Map<'b> {
        let count = self.len().saturating_sub(offset.into()).min(PIECE_BYTES_MAX);
        for (index, to) in buffer.iter_mut().enumerate().take(count) {
            *to = self.cell(usize::from(offset).saturating_add(index));
        }
        let Self { width, height, full, .. } = *self;
        Map { verdict, width, height, offset, full, cells: buffer.get(..count).unwrap_or(&[]) }
    }

    fn cell(&self, index: usize) -> u8 {
        let width = usize::from(self.width).max(1);
        let factor = usize::from(self.factor);
        let (row, column) = (index / width * factor, index % width * factor);
        let length = usize::from(self.size.width);
        let rows = row..row.saturating_add(factor).min(self.size.height.into());
        let largest = rows.flat_map(|row| {
            let line = self.cells.get(row.saturating_mul(length)..).unwrap_or(&[]);
            let line = line.get(..length).unwrap_or(line);
            line.get(column..).unwrap_or(&[]).iter().take(factor).copied()
        });
        let largest = u64::from(largest.max().unwrap_or(0));
        largest.saturating_mul(255).checked_div(self.full.into()).unwrap_or(0) as u8
    }
}

/// Features of a piece.
const FEATURES: usize = PIECE_BYTES_MAX / 2;

/// The piece behind `offset` features of `decibels`, which are in 1/65536 dB, laid out in `buffer`.
pub(super) fn spectrum<'b>(
    verdict: u32,
    decibels: &[i32],
    offset: u16,
    buffer: &'b mut [u8; PIECE_BYTES_MAX],
) -> Spectrum<'b> {
    let features = decibels.get(offset.into()..).unwrap_or(&[]);
    let count = features.len().min(FEATURES);
    for (to, &feature) in buffer.as_chunks_mut::<2>().0.iter_mut().zip(features) {
        let feature = (feature >> 9).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        *to = feature.to_le_bytes();
    }
    let total = u16::try_from(decibels.len()).unwrap_or(u16::MAX);
    Spectrum { verdict, total, offset, features: buffer.get(..count.saturating_mul(2)).unwrap_or(&[]) }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// All pieces of a map.
    fn whole(map: &SmallMap<'_>) -> Vec<u8> {
        let mut cells = Vec::new();
        while cells.len() < map.len() {
            let mut buffer = [0; PIECE_BYTES_MAX];
            let piece = map.piece(7, cells.len() as u16, &mut buffer);
            assert!(!piece.cells.is_empty());
            cells.extend_from_slice(piece.cells);
        }
        cells
    }

    #[test]
    fn a_map_with_room_is_sent_as_it_is() {
        let cells: Vec<u32> = (0..300).map(|i| i * 1000).collect();
        let map = SmallMap::new(&cells, Size { width: 20, height: 15 }, 300).unwrap();
        assert_eq!((map.width, map.height, map.full), (20, 15, 299_000));
        assert_eq!(whole(&map), cells.iter().map(|cell| (cell * 255 / 299_000) as u8).collect::<Vec<_>>());
    }

    #[test]
    fn a_smaller_one_keeps_the_largest_cells() {
        let mut cells = [0; 35];
        // Of 7 by 5, the last cell and one in the middle.
        (cells[34], cells[2 * 7 + 3]) = (510, 255);
        let map = SmallMap::new(&cells, Size { width: 7, height: 5 }, 12).unwrap();
        assert_eq!((map.width, map.height, map.factor), (4, 3, 2));
        assert_eq!(whole(&map), [0, 0, 0, 0, 0, 127, 0, 0, 0, 0, 0, 255]);
        let one = SmallMap::new(&cells, Size { width: 7, height: 5 }, 1).unwrap();
        assert_eq!(whole(&one), [255]);
        assert!(SmallMap::new(&cells, Size { width: 7, height: 5 }, 0).is_none());
        let dark = SmallMap::new(&[0; 35], Size { width: 7, height: 5 }, 35).unwrap();
        assert_eq!(whole(&dark), [0; 35]);
    }

    #[test]
    fn features_are_cut_to_their_unit_and_type() {
        let decibels = [0, 65_536, -65_536 / 2, i32::MAX, i32::MIN];
        let mut buffer = [0; PIECE_BYTES_MAX];
        let piece = spectrum(3, &decibels, 1, &mut buffer);
        let features: Vec<i16> = piece.features.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes)).collect();
        assert_eq!((piece.total, piece.offset), (5, 1));
        assert_eq!(features, [128, -64, i16::MAX, i16::MIN]);
    }
}
