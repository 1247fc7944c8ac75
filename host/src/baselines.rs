//! Trivial baselines: what brightness, or level, alone can tell.
//!
//! A detector is only worth its flash if it beats these; a data set on which one of them does well measures light, or
//! how far the microphone was.

pub mod sound;

use std::fmt::Write;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::{Dataset, GreyImage, Kind, Sample};
use crate::evaluate::auroc;
use crate::render::machine::wave::rms;
use sound::{centroid, kurtosis};

/// What a trivial statistic reaches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// Name of the statistic.
    pub name: &'static str,
    /// AUROC of the statistic as it is.
    pub auroc: f64,
    /// The same or one minus it, whichever is larger: a statistic may be used either way round.
    pub folded: f64,
}

/// A number for an image.
type Statistic<'a> = &'a dyn Fn(&GreyImage) -> f64;

const BINS: usize = 32;

/// Mean grey level.
pub fn brightness(image: &GreyImage) -> f64 {
    image.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / image.pixels.len().max(1) as f64
}

/// Number of pixels nearer to the darkest than to the median grey level: a dark part's on a light ground.
pub fn foreground_area(image: &GreyImage) -> f64 {
    let mut counts = [0usize; 256];
    for &p in &image.pixels {
        counts[usize::from(p)] += 1;
    }
    let darkest = counts.iter().position(|&c| c > 0).unwrap_or(0);
    let mut seen = 0;
    let median = (0..256).find(|&g| {
        seen += counts[g];
        2 * seen >= image.pixels.len()
    });
    let cut = usize::midpoint(darkest, median.unwrap_or(0));
    counts[..=cut].iter().sum::<usize>() as f64
}

/// Share of pixels in each of 32 equal ranges of grey.
pub fn histogram(image: &GreyImage) -> [f64; BINS] {
    let mut bins = [0.0; BINS];
    for &p in &image.pixels {
        bins[usize::from(p) * BINS / 256] += 1.0 / image.pixels.len() as f64;
    }
    bins
}

/// AUROC of each baseline on the test part, abnormal against normal.
///
/// # Errors
/// There are no normal or no abnormal test samples.
pub fn measure(data: &Dataset) -> Result<Vec<Baseline>> {
    match data.kind() {
        Kind::Images => of_images(data),
        Kind::Sounds => {
            let numbers = |sample: &Sample| -> Result<[f64; 3]> {
                let samples: Vec<f64> = sample.sound()?.samples.iter().map(|&s| s.into()).collect();
                Ok([rms(&samples), centroid(&samples), kurtosis(&samples)])
            };
            of_numbers(data, ["level", "spectral centroid", "kurtosis"], numbers)
        }
        Kind::Features => {
            let numbers = |sample: &Sample| -> Result<[f64; 2]> {
                let values = &sample.features()?.values;
                let count = values.len().max(1) as f64;
                let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
                let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
                Ok([mean, square.sqrt()])
            };
            of_numbers(data, ["mean", "deviation"], numbers)
        }
    }
}

fn baseline(name: &'static str, scores: &[f64], data: &Dataset) -> Result<Baseline> {
    let abnormal: Vec<bool> = data.test.iter().map(|s| s.label > 0).collect();
    let auroc = auroc(scores, &abnormal)?;
    Ok(Baseline { name, auroc, folded: auroc.max(1.0 - auroc) })
}

/// Of a few numbers a sample, each by itself.
fn of_numbers<const N: usize>(
    data: &Dataset,
    names: [&'static str; N],
    numbers: impl Fn(&Sample) -> Result<[f64; N]> + Send + Sync,
) -> Result<Vec<Baseline>> {
    let found = data.test.par_iter().map(numbers).collect::<Result<Vec<_>>>()?;
    (names.into_iter().enumerate())
        .map(|(i, name)| baseline(name, &found.iter().map(|numbers| numbers[i]).collect::<Vec<_>>(), data))
        .collect()
}

fn of_images(data: &Dataset) -> Result<Vec<Baseline>> {
    let mut mean = [0.0; BINS];
    let good: Vec<_> = data.train.iter().filter(|s| s.label == 0).collect();
    for sample in &good {
        for (m, h) in mean.iter_mut().zip(histogram(sample.image()?)) {
            *m += h / good.len() as f64;
        }
    }
    let distance = |image: &GreyImage| mean.iter().zip(histogram(image)).map(|(m, h)| (m - h).abs()).sum::<f64>();
    let statistics: [(&'static str, Statistic<'_>); 3] =
        [("mean brightness", &brightness), ("foreground area", &foreground_area), ("histogram distance", &distance)];
    (statistics.iter())
        .map(|(name, statistic)| {
            let scores = data.test.iter().map(|s| Ok(statistic(s.image()?))).collect::<Result<Vec<f64>>>()?;
            baseline(name, &scores, data)
        })
        .collect()
}

/// The baselines as a table for a terminal.
pub fn table(baselines: &[Baseline]) -> String {
    let mut text = String::from("trivial baseline      AUROC  folded");
    for b in baselines {
        let _ = write!(text, "\n{:<20}  {:.3}  {:.3}", b.name, b.auroc, b.folded);
    }
    text
}

#[cfg(test)]
mod tests {
    use neji_format::Size;

    use super::*;
    use crate::dataset::Layout;
    use crate::render::{SetSettings, write_set};

    #[test]
    fn statistics_of_four_pixels() {
        let image = GreyImage { size: Size { width: 2, height: 2 }, pixels: vec![10, 200, 200, 250] };
        assert_eq!(brightness(&image), 165.0);
        // Median 200, darkest 10, cut 105.
        assert_eq!(foreground_area(&image), 1.0);
        let bins = histogram(&image);
        assert_eq!((bins[1], bins[25], bins[31]), (0.25, 0.5, 0.25));
    }

    #[test]
    fn rendered_screws_are_not_trivial() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings =
            SetSettings { layout: render_layout(), train: 60, test_good: 60, test_bad: 60, size: 96, seed: 7 };
        let root = folder.path().join("screws");
        write_set(&root, &settings, false).expect("rendered");
        for baseline in measure(&Dataset::load(&root, Layout::Auto).expect("loads")).expect("both classes") {
            assert!(baseline.folded < 0.65, "{baseline:?}");
        }
    }

    fn render_layout() -> crate::render::Layout {
        crate::render::Layout::Mvtec
    }
}
