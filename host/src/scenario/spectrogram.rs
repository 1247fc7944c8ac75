//! What a sensor heard, as a picture of a fixed size, however long it listened.

use crate::render::machine::wave::{cos, sin};

/// Most columns.
pub const COLUMNS: u64 = 880;
/// Rows: bands equally far apart in frequency.
pub const ROWS: usize = 128;
/// Samples of a transform.
const LENGTH: usize = 512;
/// Transforms of a column at most.
const LOOKS: u64 = 4;

/// Mean powers by column and band; built from blocks of samples in order.
#[derive(Debug, Clone, Default)]
pub struct Spectrogram {
    /// Samples of a column.
    step: u64,
    /// Of each column, the lowest band first, and how many transforms are in it.
    columns: Vec<([f64; ROWS], u32)>,
    /// The transform that is begun: its first sample and what there is of it.
    begun: Option<(u64, Vec<f64>)>,
}

impl Spectrogram {
    /// Of `length` samples.
    pub fn new(length: u64) -> Self {
        let step = length.div_ceil(COLUMNS).max(LENGTH as u64 / 2);
        let columns = vec![([0.0; ROWS], 0); length.div_ceil(step.max(1)) as usize];
        Self { step, columns, begun: None }
    }

    /// Takes samples, the first of which is number `at`.
    pub fn push(&mut self, at: u64, samples: &[i16]) {
        let apart = (self.step / LOOKS).max(LENGTH as u64 / 2);
        for (index, &sample) in (at..).zip(samples) {
            match &mut self.begun {
                Some((first, buffer)) if *first + buffer.len() as u64 == index => {
                    buffer.push(f64::from(sample) / 32_768.0)
                }
                // A gap, or the time for the next one.
                _ if index % apart == 0 => self.begun = Some((index, vec![f64::from(sample) / 32_768.0])),
                _ => {}
            }
            if let Some((first, buffer)) = self.begun.take_if(|(_, buffer)| buffer.len() == LENGTH) {
                let column = ((first / self.step.max(1)) as usize).min(self.columns.len().saturating_sub(1));
                if let Some((sums, count)) = self.columns.get_mut(column) {
                    for (sum, power) in sums.iter_mut().zip(powers(&buffer)) {
                        *sum += power;
                    }
                    *count += 1;
                }
            }
        }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Levels from 0 to 1, row by row, the highest band first, and the least and largest in dB of full scale. Where nothing
    /// was heard there is no level.
    pub fn levels(&self) -> (Vec<Option<f32>>, (f64, f64)) {
        let decibels = |(sums, count): &([f64; ROWS], u32), row: usize| {
            (*count > 0).then(|| 10.0 * (sums[row] / f64::from(*count) + 1e-12).log10())
        };
        let all = || self.columns.iter().flat_map(|column| (0..ROWS).filter_map(move |row| decibels(column, row)));
        let high = all().fold(f64::MIN, f64::max);
        // 70 dB are as much as a picture shows.
        let low = all().fold(f64::MAX, f64::min).max(high - 70.0);
        let level = |value: f64| ((value - low) / (high - low).max(1e-9)).clamp(0.0, 1.0) as f32;
        let rows = (0..ROWS).rev().flat_map(|row| self.columns.iter().map(move |column| (column, row)));
        let levels = rows.map(|(column, row)| decibels(column, row).map(level)).collect();
        (levels, if high < low { (0.0, 0.0) } else { (low, high) })
    }
}

/// Power in each band of [`LENGTH`] samples under Hann's window.
fn powers(samples: &[f64]) -> [f64; ROWS] {
    let window = |n: usize| 0.5 - 0.5 * cos(n as f64 / LENGTH as f64);
    let mut data: Vec<(f64, f64)> = samples.iter().enumerate().map(|(n, s)| (s * window(n), 0.0)).collect();
    fft(&mut data);
    let mut bands = [0.0; ROWS];
    for (line, (re, im)) in data.iter().take(LENGTH / 2).enumerate() {
        bands[line * ROWS * 2 / LENGTH] += (re * re + im * im) / (LENGTH * LENGTH / 16) as f64;
    }
    bands
}

/// Fourier transform in place (Cooley and Tukey 1965); the length is a power of two.
fn fft(data: &mut [(f64, f64)]) {
    let count = data.len();
    let bits = count.trailing_zeros();
    for index in 0..count {
        let other = index.reverse_bits() >> (usize::BITS - bits);
        if index < other {
            data.swap(index, other);
        }
    }
    let mut half = 1;
    while half < count {
        for k in 0..half {
            let turn = k as f64 / (2 * half) as f64;
            let (c, s) = (cos(turn), -sin(turn));
            for even in (k..count).step_by(2 * half) {
                let (a, b) = (data[even], data[even + half]);
                let (re, im) = (c * b.0 - s * b.1, c * b.1 + s * b.0);
                data[even] = (a.0 + re, a.1 + im);
                data[even + half] = (a.0 - re, a.1 - im);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_line_and_a_gap_is_none() {
        // An eighth of the rate: a quarter of the rows from below.
        let sample = |n: u64| (20_000.0 * sin(n as f64 / 8.0)) as i16;
        let mut picture = Spectrogram::new(400_000);
        for first in (0..400_000).step_by(1000).filter(|first| !(100_000..200_000).contains(first)) {
            picture.push(first, &(first..first + 1000).map(sample).collect::<Vec<_>>());
        }
        let (levels, (low, high)) = picture.levels();
        let width = picture.width();
        assert!(width as u64 <= COLUMNS && width > 800);
        let column = |x: usize| (0..ROWS).map(|y| levels[y * width + x]).collect::<Vec<_>>();
        assert!(column(width * 3 / 8).iter().all(Option::is_none));
        let heard = column(width / 8);
        let loudest = (0..ROWS).max_by(|a, b| heard[*a].partial_cmp(&heard[*b]).expect("levels")).expect("rows");
        assert!((ROWS * 3 / 4 - 2..=ROWS * 3 / 4).contains(&loudest), "{loudest}");
        // An amplitude of 0.61, and the line beside it under the window: 1.25 times the power.
        assert!((high + 3.3).abs() < 0.1 && high - low > 60.0, "{low} {high}");
    }
}
