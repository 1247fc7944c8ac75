//! Numbers that a sound can be told by without a model.
//!
//! Level should tell nothing. Kurtosis may: impacts are what bearings were watched by before there were models.

use crate::render::machine::wave::{cos, sin};

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
