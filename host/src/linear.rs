//! Linear algebra of samples: means, covariances, principal subspaces. All in f64 and in one order, so the same bits each time.

use anyhow::{Result, ensure};
use nalgebra::{DMatrix, SymmetricEigen};

/// Mean and covariance of rows.
#[derive(Debug, Clone)]
pub struct Covariance {
    /// One an element.
    pub mean: Vec<f64>,
    /// The covariance, shrunk.
    pub matrix: DMatrix<f64>,
    /// By how much it was shrunk towards a multiple of the identity, 0 to 1.
    pub shrinkage: f64,
}

/// Mean of rows of one length.
pub fn mean<T: Copy + Into<f64>>(rows: &[Vec<T>]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value.into());
    }
    sums.into_iter().map(|sum| sum / rows.len().max(1) as f64).collect()
}

/// Rows less their mean: a matrix of a row each.
fn centred<T: Copy + Into<f64>>(rows: &[Vec<T>], mean: &[f64]) -> DMatrix<f64> {
    DMatrix::from_fn(rows.len(), mean.len(), |row, column| rows[row][column].into() - mean[column])
}

/// Covariance of rows, shrunk towards a multiple of the identity by as much as makes the expected error smallest.
///
/// O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate Analysis 88,
/// 2004, theorem 3.3 with the estimates of lemmas 3.2 to 3.5.
pub fn covariance<T: Copy + Into<f64>>(rows: &[Vec<T>]) -> Covariance {
    let mean = mean(rows);
    let (n, p) = (rows.len().max(1) as f64, mean.len());
    let x = centred(rows, &mean);
    let mut matrix = x.tr_mul(&x) / n;
    let level = matrix.trace() / p.max(1) as f64;
    // Squared norms as the paper has them, without the factor 1/p that cancels.
    let distance = matrix.iter().map(|v| v * v).sum::<f64>() - p as f64 * level * level;
    let fourth: f64 = (0..x.nrows()).map(|row| x.row(row).iter().map(|v| v * v).sum::<f64>().powi(2)).sum();
    let error = (fourth / n - matrix.iter().map(|v| v * v).sum::<f64>()) / n;
    let shrinkage = if distance > 0.0 { (error / distance).clamp(0.0, 1.0) } else { 1.0 };
    matrix *= 1.0 - shrinkage;
    for i in 0..p {
        matrix[(i, i)] += shrinkage * level;
    }
    Covariance { mean, matrix, shrinkage }
}

/// Eigenvalues and unit eigenvectors, the largest value first.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// Of a covariance, variances.
    pub values: Vec<f64>,
    /// One for each value; the largest element is positive.
    pub vectors: Vec<Vec<f64>>,
}

/// Eigenvalues and eigenvectors of a symmetric matrix.
pub fn eigen(matrix: &DMatrix<f64>) -> Eigen {
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(matrix.clone());
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    let vector = |&index: &usize| {
        let vector: Vec<f64> = eigenvectors.column(index).iter().copied().collect();
        let largest = vector.iter().copied().fold(0.0f64, |a, b| if b.abs() > a.abs() { b } else { a });
        vector.into_iter().map(|v| v * largest.signum()).collect()
    };
    Eigen {
        values: order.iter().map(|&index| eigenvalues[index]).collect(),
        vectors: order.iter().map(vector).collect(),
    }
}

/// The subspace through the mean in which rows vary most.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// One an element.
    pub mean: Vec<f64>,
    /// Orthonormal, the largest variance first.
    pub vectors: Vec<Vec<f64>>,
    /// Variances along the vectors.
    pub values: Vec<f64>,
}

impl Principal {
    /// What of a row does not lie in the subspace.
    pub fn residual<T: Copy + Into<f64>>(&self, row: &[T]) -> Vec<f64> {
        let mut left: Vec<f64> = row.iter().zip(&self.mean).map(|(&value, mean)| value.into() - mean).collect();
        for vector in &self.vectors {
            let along: f64 = left.iter().zip(vector).map(|(a, b)| a * b).sum();
            left.iter_mut().zip(vector).for_each(|(left, v)| *left -= along * v);
        }
        left
    }
}

/// The principal subspace of `count` dimensions, from the smaller of covariance and inner products.
///
/// # Errors
/// More dimensions than the rows span.
pub fn principal<T: Copy + Into<f64>>(rows: &[Vec<T>], count: usize) -> Result<Principal> {
    let mean = mean(rows);
    ensure!(
        count < rows.len() && count <= mean.len(),
        "{} rows of {} values span no {count} dimensions around their mean; take fewer",
        rows.len(),
        mean.len()
    );
    let x = centred(rows, &mean);
    let n = rows.len() as f64;
    if mean.len() <= rows.len() {
        let mut found = eigen(&(x.tr_mul(&x) / n));
        found.values.truncate(count);
        found.vectors.truncate(count);
        return Ok(Principal { mean, vectors: found.vectors, values: found.values });
    }
    let found = eigen(&(&x * x.transpose() / n));
    let vectors = found.vectors[..count].iter().map(|inner| {
        let along = x.tr_mul(&nalgebra::DVector::from_column_slice(inner));
        let length = along.norm();
        along.iter().map(|v| if length > 0.0 { v / length } else { 0.0 }).collect()
    });
    Ok(Principal { vectors: vectors.collect(), values: found.values[..count].to_vec(), mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that vary by 3 along (0.6, 0.8, 0) and by 1 along (0, 0, 1).
    fn rows(count: usize) -> Vec<Vec<f64>> {
        (0..count)
            .map(|i| {
                let (a, b) = (3.0 * (i as f64 * 0.7).sin(), (i as f64 * 1.9).cos());
                vec![5.0 + 0.6 * a, 0.8 * a - 1.0, b]
            })
            .collect()
    }

    #[test]
    fn directions_and_variances_are_found() {
        let found = principal(&rows(1000), 2).expect("three dimensions");
        for (vector, wanted) in found.vectors.iter().zip([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) {
            assert!(vector.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.02), "{vector:?}");
        }
        assert!((found.values[0] - 4.5).abs() < 0.1 && (found.values[1] - 0.5).abs() < 0.02, "{:?}", found.values);
        assert!(found.residual(&rows(3)[2]).iter().all(|r| r.abs() < 1e-9));
    }

    #[test]
    fn inner_products_give_the_subspace_of_the_covariance() {
        let wide: Vec<Vec<f64>> = rows(6).iter().map(|row| [row.clone(), vec![0.0; 9]].concat()).collect();
        let (wide, plain) = (principal(&wide, 2).expect("fewer rows"), principal(&rows(6), 2).expect("fewer values"));
        for (a, b) in wide.values.iter().zip(&plain.values) {
            assert!((a - b).abs() < 1e-9);
        }
        for (a, b) in wide.vectors.iter().zip(&plain.vectors) {
            let along: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!((along.abs() - 1.0).abs() < 1e-9);
        }
        assert!(principal(&rows(2), 2).is_err());
    }

    #[test]
    fn few_rows_are_shrunk_and_many_are_not() {
        let (few, many) = (covariance(&rows(4)), covariance(&rows(4000)));
        assert!(few.shrinkage > 10.0 * many.shrinkage && many.shrinkage < 0.01, "{} {}", few.shrinkage, many.shrinkage);
        assert!((few.matrix.trace() - 3.0 * few.matrix.trace() / 3.0).abs() < 1e-9);
        assert!((many.matrix[(0, 0)] - 4.5 * 0.36).abs() < 0.1);
    }
}
