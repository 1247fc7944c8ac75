//! Trivial baselines of sound: what a number a clip can tell without a model.
//!
//! Level must tell nothing. Kurtosis may: impacts are what bearings were watched by before there were models.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rayon::prelude::*;

use crate::baselines::Baseline;
use crate::evaluate::auroc;

use super::wave::{cos, rms, sin};

/// Samples of a window of the spectrum.
const WINDOW: usize = 1024;

/// The fourth moment over the square of the second: 3 for Gaussian noise, more where there are impacts.
pub fn kurtosis(samples: &[f64]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let moment = |power: i32| samples.iter().map(|s| (s - mean).powi(power)).sum::<f64>() / count;
    moment(4) / moment(2).powi(2).max(f64::MIN_POSITIVE)
}

/// The mean frequency in cycles a sample, weighted by amplitude, over windows of 1024 samples (Hann).
pub fn centroid(samples: &[f64]) -> f64 {
    let mut sums = [0.0; WINDOW / 2];
    for part in samples.chunks_exact(WINDOW) {
        let mut spectrum: Vec<(f64, f64)> =
            (part.iter().enumerate()).map(|(i, s)| (s * (0.5 - 0.5 * cos(i as f64 / WINDOW as f64)), 0.0)).collect();
        fft(&mut spectrum);
        for (sum, (re, im)) in sums.iter_mut().zip(&spectrum) {
            *sum += (re * re + im * im).sqrt();
        }
    }
    let weighted: f64 = sums.iter().enumerate().map(|(i, a)| i as f64 / WINDOW as f64 * a).sum();
    weighted / sums.iter().sum::<f64>().max(f64::MIN_POSITIVE)
}

/// Fourier transform in place (Cooley and Tukey 1965); the length is a power of two.
fn fft(data: &mut [(f64, f64)]) {
    let count = data.len();
    if count < 2 {
        return;
    }
    let mut even: Vec<_> = data.iter().step_by(2).copied().collect();
    let mut odd: Vec<_> = data.iter().skip(1).step_by(2).copied().collect();
    fft(&mut even);
    fft(&mut odd);
    for k in 0..count / 2 {
        let turn = k as f64 / count as f64;
        let (c, s) = (cos(turn), -sin(turn));
        let (re, im) = (c * odd[k].0 - s * odd[k].1, c * odd[k].1 + s * odd[k].0);
        data[k] = (even[k].0 + re, even[k].1 + im);
        data[k + count / 2] = (even[k].0 - re, even[k].1 - im);
    }
}

/// AUROC of each baseline on `test/*.wav` of a set in the DCASE layout, anomalies against normal clips.
///
/// # Errors
/// A file can't be read, or there are no normal or no anomalous clips.
pub fn measure(root: &Path) -> anyhow::Result<Vec<Baseline>> {
    let folder = root.join("test");
    let what = || format!("reading folder {}", folder.display());
    let mut files: Vec<PathBuf> = (std::fs::read_dir(&folder).with_context(what)?)
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(what)?;
    files.retain(|path| path.extension().is_some_and(|e| e == "wav"));
    files.sort();
    let name = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("anomaly"));
    let abnormal: Vec<bool> = files.iter().map(name).collect();
    let found = (files.par_iter())
        .map(|path| {
            let read = || -> Result<Vec<f64>, hound::Error> {
                hound::WavReader::open(path)?.samples::<i16>().map(|s| s.map(f64::from)).collect()
            };
            let samples = read().with_context(|| format!("reading {}", path.display()))?;
            Ok([rms(&samples), centroid(&samples), kurtosis(&samples)])
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    (["level", "spectral centroid", "kurtosis"].into_iter().enumerate())
        .map(|(i, name)| {
            let scores: Vec<f64> = found.iter().map(|f| f[i]).collect();
            let auroc = auroc(&scores, &abnormal)?;
            Ok(Baseline { name, auroc, folded: auroc.max(1.0 - auroc) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_tone() {
        let tone: Vec<f64> = (0..8192).map(|i| sin(f64::from(i) * 0.125)).collect();
        assert!((centroid(&tone) - 0.125).abs() < 1e-3, "{}", centroid(&tone));
        // The mean of sin^4 is 3/8, of sin^2 1/2.
        assert!((kurtosis(&tone) - 1.5).abs() < 1e-6, "{}", kurtosis(&tone));
    }
}
