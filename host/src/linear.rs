//! Means, covariances and principal axes of rows of numbers.
//!
//! Sums run over the rows in their order and in blocks of a fixed size, so that the number of threads changes no bit; axes
//! have a fixed sign, since an eigenvector has none of its own. Eigenvalues are nalgebra's: Householder reflections to
//! three diagonals, then implicit QR steps (Golub and Van Loan, "Matrix Computations", 4th edition, 8.3).

use std::fmt::Debug;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use thiserror::Error;

/// Rows that one thread sums up at once.
const BLOCK: usize = 2048;

/// Why rows say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LinearError {
    /// There are too few.
    #[error("{given} rows; it takes at least {needed}")]
    Rows {
        /// How many there are.
        given: usize,
        /// How many it takes.
        needed: usize,
    },
    /// They differ in length, or are empty.
    #[error("row {index} has {given} numbers, the first has {first}")]
    Length {
        /// The first row that differs.
        index: usize,
        /// Its numbers.
        given: usize,
        /// Numbers of the first row.
        first: usize,
    },
    /// A number is infinite or none.
    #[error("row {index} holds a number that is not finite")]
    NotFinite {
        /// The first such row.
        index: usize,
    },
}

/// A number that rows may hold.
pub trait Number: Copy + Into<f64> + Send + Sync + Debug {}

impl<T: Copy + Into<f64> + Send + Sync + Debug> Number for T {}

/// The length of the rows, which all have, of finite numbers.
fn checked<T: Number, R: AsRef<[T]>>(rows: &[R], needed: usize) -> Result<usize, LinearError> {
    let Some(first) = rows.first().filter(|_| rows.len() >= needed) else {
        return Err(LinearError::Rows { given: rows.len(), needed });
    };
    let first = first.as_ref().len();
    for (index, row) in rows.iter().enumerate() {
        let given = row.as_ref().len();
        if given != first || given == 0 {
            return Err(LinearError::Length { index, given, first });
        }
        if !row.as_ref().iter().all(|&value| value.into().is_finite()) {
            return Err(LinearError::NotFinite { index });
        }
    }
    Ok(first)
}

/// The mean row.
///
/// # Errors
/// See [`LinearError`]; one row is enough.
pub fn mean<T: Number, R: AsRef<[T]> + Sync>(rows: &[R]) -> Result<Vec<f64>, LinearError> {
    let length = checked(rows, 1)?;
    let mut sums = vec![0.0; length];
    for row in rows {
        sums.iter_mut().zip(row.as_ref()).for_each(|(sum, &value)| *sum += value.into());
    }
    sums.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
    Ok(sums)
}

/// Rows less their mean as columns of a matrix `[length, rows]`.
fn centred<T: Number, R: AsRef<[T]>>(rows: &[R], mean: &[f64]) -> DMatrix<f64> {
    let values = rows.iter().flat_map(|row| row.as_ref().iter().zip(mean).map(|(&value, mean)| value.into() - mean));
    DMatrix::from_iterator(mean.len(), rows.len(), values)
}

/// Mean and covariance of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// How many rows there were.
    pub count: usize,
    /// The mean row.
    pub mean: Vec<f64>,
    /// `[length, length]`, symmetric: the mean product of deviations (over the number of rows, not one less).
    pub covariance: DMatrix<f64>,
    /// The mean fourth power of the rows' distance from their mean, which [`Moments::shrinkage`] asks for.
    fourth: f64,
}

impl Moments {
    /// Of rows.
    ///
    /// # Errors
    /// See [`LinearError`]; it takes two rows.
    pub fn of<T: Number, R: AsRef<[T]> + Sync>(rows: &[R]) -> Result<Self, LinearError> {
        let length = checked(rows, 2)?;
        let mean = mean(rows)?;
        let block = |rows: &[R]| {
            let centred = centred(rows, &mean);
            let fourth: f64 = centred.column_iter().map(|column| column.norm_squared().powi(2)).sum();
            (&centred * centred.transpose(), fourth)
        };
        let blocks: Vec<_> = rows.par_chunks(BLOCK).map(block).collect();
        let zero = (DMatrix::zeros(length, length), 0.0);
        let (sum, fourth) = blocks.into_iter().fold(zero, |sum, block| (sum.0 + block.0, sum.1 + block.1));
        let count = rows.len() as f64;
        // The product's two halves may have been summed in different orders.
        let covariance = (&sum + sum.transpose()) * (0.5 / count);
        Ok(Self { count: rows.len(), mean, covariance, fourth: fourth / count })
    }

    /// The share of the identity, times the mean variance, that makes the covariance of so few rows the best estimate of
    /// that of all: 0 where they are plenty, 1 where they say nothing (Ledoit and Wolf, "A well-conditioned estimator for
    /// large-dimensional covariance matrices", Journal of Multivariate Analysis 88(2), 2004, lemma 3.2 to 3.4).
    pub fn shrinkage(&self) -> f64 {
        let length = self.mean.len() as f64;
        let level = self.covariance.trace() / length;
        let squares = self.covariance.norm_squared();
        // Distances as the paper has them, times the length: of the sample's covariance from the multiple of the
        // identity, and of each row's product from the sample's covariance.
        let spread = squares - length * level * level;
        let error = (self.fourth - squares).max(0.0) / self.count as f64;
        if spread > 0.0 { (error / spread).min(1.0) } else { 1.0 }
    }

    /// The covariance with a share of it, 0 to 1, replaced by the identity times the mean variance.
    pub fn shrunk(&self, share: f64) -> DMatrix<f64> {
        let level = self.covariance.trace() / self.mean.len() as f64;
        let mut shrunk = &self.covariance * (1.0 - share);
        for i in 0..self.mean.len() {
            shrunk[(i, i)] += share * level;
        }
        shrunk
    }
}

/// Eigenvalues, the largest first, and their vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// In falling order.
    pub values: Vec<f64>,
    /// `[length, count]`: a column of length 1 for each; its component that is largest in magnitude is positive.
    pub vectors: DMatrix<f64>,
}

impl Eigen {
    /// Of a symmetric matrix; what lies above its diagonal is not read.
    ///
    /// # Panics
    /// The matrix is not square.
    pub fn of(symmetric: DMatrix<f64>) -> Self {
        let found = symmetric.symmetric_eigen();
        let mut order: Vec<usize> = (0..found.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| found.eigenvalues[b].total_cmp(&found.eigenvalues[a]));
        let columns: Vec<_> = order.iter().map(|&i| upright(found.eigenvectors.column(i).into_owned())).collect();
        let vectors = match columns.is_empty() {
            true => DMatrix::zeros(0, 0),
            false => DMatrix::from_columns(&columns),
        };
        Self { values: order.iter().map(|&i| found.eigenvalues[i]).collect(), vectors }
    }
}

/// The vector or its opposite, whichever has a positive largest component.
fn upright(vector: DVector<f64>) -> DVector<f64> {
    if vector.is_empty() || vector[vector.icamax()] >= 0.0 { vector } else { -vector }
}

/// The flat through the mean row that rows lie nearest to: their first principal axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Subspace {
    /// The mean row.
    pub mean: Vec<f64>,
    /// `[length, axes]`: orthonormal columns, the one along which rows vary most first.
    pub axes: DMatrix<f64>,
    /// Variance along each axis.
    pub variances: Vec<f64>,
    /// The mean variance along the axes that were left out.
    pub rest: f64,
}

impl Subspace {
    /// The first `axes` of rows, or as many as they have.
    ///
    /// # Errors
    /// See [`LinearError`]; it takes two rows.
    pub fn fit<T: Number, R: AsRef<[T]> + Sync>(rows: &[R], axes: usize) -> Result<Self, LinearError> {
        let length = checked(rows, 2)?;
        if rows.len() >= length {
            let moments = Moments::of(rows)?;
            let variance = moments.covariance.trace();
            return Ok(Self::new(moments.mean, Eigen::of(moments.covariance), variance, axes));
        }
        // Fewer rows than numbers: their products with each other have the same eigenvalues, and the axes are the rows'
        // sums with the eigenvectors as weights (Turk and Pentland, "Eigenfaces for recognition", 1991).
        let mean = mean(rows)?;
        let centred = centred(rows, &mean);
        let products = (centred.transpose() * &centred) / rows.len() as f64;
        let variance = products.trace();
        let small = Eigen::of(products);
        let mut vectors = &centred * small.vectors;
        for mut column in vectors.column_iter_mut() {
            let norm = column.norm();
            if norm > 0.0 {
                column /= norm;
            }
        }
        let columns: Vec<_> = vectors.column_iter().map(|column| upright(column.into_owned())).collect();
        let eigen = Eigen { values: small.values, vectors: DMatrix::from_columns(&columns) };
        Ok(Self::new(mean, eigen, variance, axes))
    }

    /// The first `axes` of `eigen` along which anything varies; `variance` is the sum along all axes.
    fn new(mean: Vec<f64>, eigen: Eigen, variance: f64, axes: usize) -> Self {
        // What is smaller than rounding is no direction of the rows'.
        let least = eigen.values.first().copied().unwrap_or(0.0).max(0.0) * mean.len() as f64 * f64::EPSILON;
        let varying = eigen.values.iter().take_while(|&&value| value > least).count();
        let count = axes.min(varying);
        let variances: Vec<f64> = eigen.values[..count].to_vec();
        let left = (mean.len() - count).max(1) as f64;
        let rest = (variance - variances.iter().sum::<f64>()).max(0.0) / left;
        Self { axes: eigen.vectors.columns(0, count).into_owned(), mean, variances, rest }
    }

    /// Coordinates of a row on each axis.
    ///
    /// # Panics
    /// The row has another length than those it was fitted to.
    pub fn project<T: Number>(&self, row: &[T]) -> Vec<f64> {
        let centred = self.centred(row);
        self.axes.tr_mul(&centred).as_slice().to_vec()
    }

    /// The row of the flat that has these coordinates.
    ///
    /// # Panics
    /// There are not as many as axes.
    pub fn reconstruct(&self, coordinates: &[f64]) -> Vec<f64> {
        let along = &self.axes * DVector::from_column_slice(coordinates);
        along.iter().zip(&self.mean).map(|(value, mean)| value + mean).collect()
    }

    /// Squared distance of a row from the flat.
    ///
    /// # Panics
    /// As [`Subspace::project`].
    pub fn residual<T: Number>(&self, row: &[T]) -> f64 {
        let centred = self.centred(row);
        let along = &self.axes * self.axes.tr_mul(&centred);
        (centred - along).norm_squared()
    }

    fn centred<T: Number>(&self, row: &[T]) -> DVector<f64> {
        assert_eq!(row.len(), self.mean.len(), "a row of the length that was fitted");
        DVector::from_iterator(row.len(), row.iter().zip(&self.mean).map(|(&value, mean)| value.into() - mean))
    }
}

/// Distance from the mean in units of the deviation in that direction (Mahalanobis 1936).
///
/// Numbers may be of any units: each is divided by its own deviation first, and the correlation is shrunk
/// ([`Moments::shrinkage`]). A number that never varies counts as one that does by a millionth of its mean, or by 1 where that
/// is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Mahalanobis {
    mean: Vec<f64>,
    /// What each deviation is multiplied by; for the diagonal distance this is all.
    scale: Vec<f64>,
    /// `[length, length]`: turns standardised rows so that their covariance is the identity.
    whitening: Option<DMatrix<f64>>,
}

impl Mahalanobis {
    /// With the deviation of each number by itself: as if they did not depend on one another.
    ///
    /// # Errors
    /// See [`LinearError`]; it takes two rows.
    pub fn diagonal<T: Number, R: AsRef<[T]> + Sync>(rows: &[R]) -> Result<Self, LinearError> {
        checked(rows, 2)?;
        let mean = mean(rows)?;
        let mut squares = vec![0.0; mean.len()];
        for row in rows {
            for ((sum, &value), mean) in squares.iter_mut().zip(row.as_ref()).zip(&mean) {
                *sum += (value.into() - mean).powi(2);
            }
        }
        let deviations: Vec<f64> = squares.iter().map(|sum| (sum / rows.len() as f64).sqrt()).collect();
        let scale = deviations.iter().zip(&mean).map(|(&deviation, mean)| {
            let least = 1e-6 * mean.abs();
            if deviation.max(least) > 0.0 { 1.0 / deviation.max(least) } else { 1.0 }
        });
        let scale = scale.collect();
        Ok(Self { mean, scale, whitening: None })
    }

    /// With the shrunk correlation of the numbers.
    ///
    /// # Errors
    /// See [`LinearError`]; it takes two rows.
    pub fn full<T: Number, R: AsRef<[T]> + Sync>(rows: &[R]) -> Result<Self, LinearError> {
        let diagonal = Self::diagonal(rows)?;
        let standard: Vec<Vec<f64>> = rows.iter().map(|row| diagonal.standardise(row.as_ref())).collect();
        let moments = Moments::of(&standard)?;
        let eigen = Eigen::of(moments.shrunk(moments.shrinkage()));
        // Nothing varies at all where the largest is 0.
        let largest = eigen.values.first().copied().unwrap_or(0.0);
        let least = if largest > 0.0 { 1e-9 * largest } else { 1.0 };
        let mut whitening = eigen.vectors.transpose();
        for (mut row, value) in whitening.row_iter_mut().zip(&eigen.values) {
            row /= value.max(least).sqrt();
        }
        Ok(Self { whitening: Some(whitening), ..diagonal })
    }

    /// The squared distance of a row.
    ///
    /// # Panics
    /// The row has another length than those it was fitted to.
    pub fn squared<T: Number>(&self, row: &[T]) -> f64 {
        let standard = DVector::from_vec(self.standardise(row));
        match &self.whitening {
            None => standard.norm_squared(),
            Some(whitening) => (whitening * standard).norm_squared(),
        }
    }

    /// A row less the mean, each number over its deviation.
    ///
    /// # Panics
    /// As [`Mahalanobis::squared`].
    pub fn standardise<T: Number>(&self, row: &[T]) -> Vec<f64> {
        assert_eq!(row.len(), self.mean.len(), "a row of the length that was fitted");
        let parts = row.iter().zip(&self.mean).zip(&self.scale);
        parts.map(|((&value, mean), scale)| (value.into() - mean) * scale).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Mean (0, 0), variances 4 and 1 along the diagonals.
    const CROSS: [[f64; 2]; 4] = [[2.0, 2.0], [-2.0, -2.0], [1.0, -1.0], [-1.0, 1.0]];

    fn random(rows: usize, length: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..rows).map(|_| (0..length).map(|i| (i + 1) as f64 * rng.random_range(-1.0..1.0)).collect()).collect()
    }

    #[test]
    fn a_cross_by_hand() {
        let moments = Moments::of(&CROSS).expect("rows");
        assert_eq!(moments.mean, [0.0, 0.0]);
        assert_eq!(moments.covariance.as_slice(), [2.5, 1.5, 1.5, 2.5]);
        let eigen = Eigen::of(moments.covariance.clone());
        assert!((eigen.values[0] - 4.0).abs() < 1e-12 && (eigen.values[1] - 1.0).abs() < 1e-12);
        let half = 0.5_f64.sqrt();
        assert!((eigen.vectors[(0, 0)] - half).abs() < 1e-12 && (eigen.vectors[(1, 0)] - half).abs() < 1e-12);
        let line = Subspace::fit(&CROSS, 1).expect("rows");
        assert!((line.project(&[1.0, 1.0])[0] - 2.0 * half).abs() < 1e-12);
        assert!((line.residual(&[1.0, -1.0]) - 2.0).abs() < 1e-12 && line.residual(&[3.0, 3.0]) < 1e-12);
        assert!((line.rest - 1.0).abs() < 1e-12 && (line.variances[0] - 4.0).abs() < 1e-12);
        let back = line.reconstruct(&[2.0 * half]);
        assert!((back[0] - 1.0).abs() < 1e-12 && (back[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn few_rows_and_many_give_the_same_axes() {
        // As rows of more numbers than rows: zeros change nothing.
        let long: Vec<Vec<f64>> = CROSS.iter().map(|row| [&row[..], &[0.0; 6]].concat()).collect();
        let (short, long) = (Subspace::fit(&CROSS, 9).expect("rows"), Subspace::fit(&long, 9).expect("rows"));
        assert_eq!((short.axes.ncols(), long.axes.ncols()), (2, 2));
        for axis in 0..2 {
            for i in 0..2 {
                assert!((short.axes[(i, axis)] - long.axes[(i, axis)]).abs() < 1e-12);
            }
        }
        assert!(long.rest < 1e-12);
    }

    #[test]
    fn blocks_and_threads_change_no_bit() {
        let rows = random(2 * BLOCK + 77, 5, 3);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let fit = || (Moments::of(&rows).expect("rows"), Subspace::fit(&rows, 3).expect("rows"));
        assert_eq!(pool(1).install(fit), pool(4).install(fit));
        // The variance of a uniform number from -k to k is k^2 / 3.
        let (moments, _) = fit();
        for i in 0..5 {
            let wanted = ((i + 1) * (i + 1)) as f64 / 3.0;
            assert!((moments.covariance[(i, i)] / wanted - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn few_rows_are_shrunk_and_many_are_not() {
        let share = |rows: usize| Moments::of(&random(rows, 8, 5)).expect("rows").shrinkage();
        assert!(share(10) > share(100) && share(100) > share(10_000), "{} {}", share(10), share(100));
        assert!(share(10_000) < 0.01 && (0.0..=1.0).contains(&share(2)));
        let moments = Moments::of(&CROSS).expect("rows");
        assert_eq!(moments.shrunk(1.0).as_slice(), [2.5, 0.0, 0.0, 2.5]);
        assert_eq!(moments.shrunk(0.0), moments.covariance);
    }

    #[test]
    fn distances_do_not_depend_on_units() {
        let rows = random(4000, 3, 9);
        let scaled: Vec<Vec<f64>> = rows.iter().map(|row| vec![1e4 * row[0], row[1], 1e-4 * row[2]]).collect();
        let full = |rows: &[Vec<f64>], row: [f64; 3]| Mahalanobis::full(rows).expect("rows").squared(&row);
        let (a, b) = (full(&rows, [1.0, 2.0, 3.0]), full(&scaled, [1e4, 2.0, 3e-4]));
        assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
        // Independent numbers: three squared distances of 1 / (1/3) each.
        assert!((a - 9.0).abs() < 0.7, "{a}");
        let diagonal = Mahalanobis::diagonal(&CROSS).expect("rows");
        assert!((diagonal.squared(&[2.5_f64.sqrt(), 0.0]) - 1.0).abs() < 1e-12);
        // Against the correlation a row is farther than along it.
        let full = Mahalanobis::full(&CROSS).expect("rows");
        assert!(full.squared(&[1.0, -1.0]) > full.squared(&[1.0, 1.0]));
    }

    #[test]
    fn what_says_nothing_is_refused_and_what_never_varies_is_not() {
        assert_eq!(Moments::of(&[[1.0]]), Err(LinearError::Rows { given: 1, needed: 2 }));
        let uneven = [vec![1.0, 2.0], vec![1.0]];
        assert_eq!(mean(&uneven), Err(LinearError::Length { index: 1, given: 1, first: 2 }));
        assert_eq!(mean(&[[f64::NAN]]), Err(LinearError::NotFinite { index: 0 }));
        let same = [[1.0_f32, 5.0], [1.0, 5.0], [1.0, 5.0]];
        assert_eq!(Subspace::fit(&same, 2).expect("rows").axes.ncols(), 0);
        assert_eq!(Mahalanobis::full(&same).expect("rows").squared(&[1.0_f32, 5.0]), 0.0);
        assert!(Mahalanobis::full(&same).expect("rows").squared(&[1.0_f32, 6.0]).is_finite());
    }
}
