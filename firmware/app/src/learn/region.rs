//! Where tables and sums of a distance lie in the caller's memory.

use neji_format::{Distance, Mahalanobis, Model};

use crate::score::Part;
use crate::score::distance::{Covariance, Statistics};

/// Lengths of what is kept of a distance. In this order: means of half a word, or by how much components have moved; weights and
/// shares of half a word each, up to a whole word; sums of a word; squares of two words, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) means: usize,
    pub(super) weights: usize,
    pub(super) shares: usize,
    pub(super) squares: usize,
}

/// A region's words by what they are.
pub(super) struct Split<'w> {
    pub(super) means: &'w mut [i16],
    pub(super) weights: &'w mut [u16],
    pub(super) shares: &'w mut [u16],
    pub(super) sums: &'w mut [i32],
    pub(super) squares: &'w mut [[u32; 2]],
}

impl Region {
    /// Of nothing.
    pub(super) const NONE: Self = Self { means: 0, weights: 0, shares: 0, squares: 0 };

    /// Of `part`.
    pub(super) fn of(part: &Part) -> Self {
        match &part.distance {
            Distance::Mahalanobis(params) => {
                let (means, shares) = (params.means.bytes as usize / 2, params.shares.bytes as usize / 2);
                // Without a basis of each element, else of all together and along each vector.
                let squares = if shares == 0 { means } else { shares.saturating_add(1) };
                Self { means, weights: means, shares, squares }
            }
            Distance::Mixture(_) => Self { means: part.shape.channels as usize, ..Self::NONE },
        }
    }

    fn table_words(self) -> usize {
        self.means.saturating_add(self.weights).saturating_add(self.shares).div_ceil(2)
    }

    /// All of it.
    pub(super) fn words(self) -> usize {
        self.table_words().saturating_add(self.means).saturating_add(self.squares.saturating_mul(2))
    }

    /// The parts of `words`, of which there are as many as [`Region::words`] says, or all are empty.
    pub(super) fn split(self, words: &mut [u32]) -> Split<'_> {
        let (tables, rest) = words.split_at_mut_checked(self.table_words()).unwrap_or_default();
        let (sums, squares) = rest.split_at_mut_checked(self.means).unwrap_or_default();
        let halves: &mut [u16] = bytemuck::cast_slice_mut(tables);
        let (means, halves) = halves.split_at_mut_checked(self.means).unwrap_or_default();
        let (weights, halves) = halves.split_at_mut_checked(self.weights).unwrap_or_default();
        let (squares, _) = squares.as_chunks_mut::<2>();
        Split {
            means: bytemuck::cast_slice_mut(means),
            weights,
            shares: halves.get_mut(..self.shares).unwrap_or_default(),
            sums: bytemuck::cast_slice_mut(sums),
            squares,
        }
    }

    /// The tables in `words`, beside the blob's basis.
    pub(super) fn covariance<'t>(
        self,
        model: &Model<'t>,
        params: &Mahalanobis,
        words: &'t [u32],
        shift: u8,
    ) -> Covariance<'t> {
        let halves: &[u16] = bytemuck::cast_slice(words.get(..self.table_words()).unwrap_or(&[]));
        let (means, halves) = halves.split_at_checked(self.means).unwrap_or((&[], &[]));
        let (weights, halves) = halves.split_at_checked(self.weights).unwrap_or((&[], &[]));
        Covariance {
            statistics: Statistics { means: bytemuck::cast_slice(means), weights, shift },
            basis: model.constant_i16(params.basis),
            shares: halves.get(..self.shares).unwrap_or(&[]),
        }
    }

    /// By how much the components of a mixture have moved.
    pub(super) fn moved(self, words: &[u32]) -> &[i16] {
        let halves: &[i16] = bytemuck::cast_slice(words.get(..self.table_words()).unwrap_or(&[]));
        halves.get(..self.means).unwrap_or(&[])
    }
}
