//! Baselines of a vector a sample: how far it lies from normal ones.

use anyhow::{Context, Result};

use super::Baseline;
use super::parts::Parts;
use crate::linear::{Mahalanobis, Subspace};

/// Principal axes that a residual leaves out.
pub(super) const AXES: usize = 64;

/// Vectors, none where a sample has none: it is as far away as can be.
type Vectors = Parts<Option<Vec<f32>>>;

fn fitted(vectors: &Vectors) -> Vec<&Vec<f32>> {
    vectors.fit.iter().flatten().collect()
}

fn far(vectors: &Vectors, distance: impl Fn(&[f32]) -> f64 + Sync) -> Parts<f64> {
    vectors.map(|vector| vector.as_ref().map_or(f64::INFINITY, |vector| distance(vector)))
}

/// Distance in deviations, of each number by itself and with their correlations.
pub(super) fn mahalanobis(name: &str, vectors: &Vectors) -> Result<[Baseline; 2]> {
    let rows = fitted(vectors);
    let context = || format!("fitting {name}");
    let diagonal = Mahalanobis::diagonal(&rows).with_context(context)?;
    let full = Mahalanobis::full(&rows).with_context(context)?;
    Ok([
        Baseline::judged(format!("{name}, diagonal"), &far(vectors, |row| diagonal.squared(row)), false)?,
        Baseline::judged(format!("{name}, full"), &far(vectors, |row| full.squared(row)), false)?,
    ])
}

/// Squared distance from the normal ones' principal subspace, of at most half as many axes as there are of them.
pub(super) fn residual(name: &str, vectors: &Vectors) -> Result<Baseline> {
    let rows = fitted(vectors);
    let subspace = Subspace::fit(&rows, AXES.min(rows.len() / 2)).with_context(|| format!("fitting {name}"))?;
    Baseline::judged(name, &far(vectors, |row| subspace.residual(row)), false)
}

/// Squared distance from the nearest normal one.
pub(super) fn nearest(name: &str, vectors: &Vectors) -> Result<Baseline> {
    let rows = fitted(vectors);
    let distance = |row: &[f32]| {
        let to = |other: &&Vec<f32>| other.iter().zip(row).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        rows.iter().map(to).fold(f64::INFINITY, f64::min)
    };
    Baseline::judged(name, &far(vectors, distance), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal vectors lie on a line, their third number never varies; abnormal ones lie beside it, as far from the mean.
    fn line() -> Vectors {
        let on = |t: f32| Some(vec![t, 2.0 * t, 7.0]);
        let beside = |t: f32| Some(vec![t, -2.0 * t, 7.0]);
        Parts {
            fit: (-10..=10).map(|t| on(t as f32)).collect(),
            held_out: vec![on(2.4), on(-5.5)],
            normal: vec![on(0.5), on(3.5)],
            abnormal: vec![beside(2.0), beside(6.5), None],
        }
    }

    #[test]
    fn what_lies_beside_the_line_is_found_by_all_that_know_of_correlations() {
        let vectors = line();
        let [diagonal, full] = mahalanobis("line", &vectors).expect("fits");
        assert_eq!((full.official.auroc, full.matched.map(|m| m.auroc)), (1.0, Some(1.0)));
        // By each number alone 2 is nearer than 3.5 and than 5.5.
        assert!(diagonal.official.auroc < 1.0 && diagonal.matched.is_some_and(|m| m.auroc < 1.0), "{diagonal:?}");
        let residual = residual("line", &vectors).expect("fits");
        assert_eq!((residual.official.auroc, residual.official.partial_auroc), (1.0, 1.0));
        assert_eq!(nearest("line", &vectors).expect("fits").official.auroc, 1.0);
    }
}
