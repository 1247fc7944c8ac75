//! The first two principal axes of what the detector looks at.

use anyhow::Result;
use rayon::prelude::*;

use super::charts::{self, Series};
use super::html::section;
use super::run::RunFolder;
use crate::dataset::{Dataset, Sample, is_normal};
use crate::detect;
use crate::experiment::Experiment;
use crate::frontend::real_inputs;
use crate::graph::Graph;
use crate::linear::Subspace;
use crate::run::{Run, Trained, split};

/// Most samples of the training part, evenly spread.
const SAMPLES_MAX: usize = 400;

/// The section; empty without the run's float model, its data, or two directions in which normal samples differ.
///
/// Axes are those of the normal training samples. Recordings are means over their windows.
///
/// # Errors
/// Data that the front end does not take, or a chart that can't be drawn.
pub fn latent(folder: &RunFolder, data: Option<&Dataset>) -> Result<String> {
    let (Some(path), Some(data)) = (&folder.path, data) else { return Ok(String::new()) };
    let run = Run::new(path);
    // Of a run that is not whole the rest is still worth reading.
    let (Ok(experiment), Ok(trained), Ok(graph)) = (run.experiment(), run.trained(), Graph::load(run.graph())) else {
        return Ok(String::new());
    };
    let Ok(graph) = detect::looked_at(&experiment, &graph) else { return Ok(String::new()) };
    points(&experiment, &trained, &graph, data)?.map_or(Ok(String::new()), |picture| picture.draw())
}

struct Picture {
    series: Vec<Series>,
    /// Share of the variance along either axis, of `length` numbers.
    shares: [f64; 2],
    length: usize,
}

impl Picture {
    fn draw(&self) -> Result<String> {
        let [x, y] = self.shares.map(|share| format!("{:.0} % of the variance", 100.0 * share));
        let chart = charts::scatter("Latent space", (&x, &y), &self.series)?;
        let note = format!(
            "<p class=\"note\">The {} numbers that the detector looks at, on the first two principal axes of the normal training samples. Where \
             test good lies apart from train good, the test set was recorded in another way. Defects that lie among the good ones here may still \
             be told by what the two axes don't show.</p>",
            self.length
        );
        Ok(section("Latent space", &format!("{note}<div class=\"charts\">{chart}</div>")))
    }
}

fn points(experiment: &Experiment, trained: &Trained, graph: &Graph, data: &Dataset) -> Result<Option<Picture>> {
    // A data set may be too small for the split by now; then there is no picture.
    let Ok((train, _)) = split(experiment, data) else { return Ok(None) };
    let normal: Vec<&Sample> = train.into_iter().filter(|sample| sample.label == 0).collect();
    let normal: Vec<&Sample> = normal.iter().copied().step_by(normal.len().div_ceil(SAMPLES_MAX).max(1)).collect();
    let code = |sample: &&Sample| -> Result<Option<Vec<f64>>> {
        let inputs = real_inputs(&trained.front_end, &[*sample])?.inputs;
        let codes: Vec<Vec<f32>> = inputs.iter().map(|input| graph.run(input)).collect();
        Ok(crate::linear::mean(&codes).ok())
    };
    let codes = |samples: &[&Sample]| -> Result<Vec<Vec<f64>>> {
        Ok(samples.par_iter().map(code).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    let known = codes(&normal)?;
    let Ok(subspace) = Subspace::fit(&known, 2) else { return Ok(None) };
    let [first, second] = subspace.variances[..] else { return Ok(None) };
    let length = subspace.mean.len();
    let whole = first + second + subspace.rest * length.saturating_sub(2) as f64;
    let series = |name: String, codes: &[Vec<f64>]| {
        let point = |code: &Vec<f64>| {
            let at = subspace.project(code);
            (at[0], at[1])
        };
        Series { name, points: codes.iter().map(point).collect() }
    };
    let mut all = vec![series("train: good".into(), &known)];
    for (label, class) in data.classes.iter().enumerate() {
        let own: Vec<&Sample> = data.test.iter().filter(|sample| sample.label == label).collect();
        if !own.is_empty() {
            let name = if is_normal(class) { "test: good".to_owned() } else { class.clone() };
            all.push(series(name, &codes(&own)?));
        }
    }
    Ok(Some(Picture { series: all, shares: [first / whole, second / whole], length }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closed;
    use crate::dataset::Layout;
    use crate::render::{self, SetSettings, write_set};

    #[test]
    fn screws_have_a_picture_with_all_classes() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let layout = render::Layout::Mvtec;
        let set = SetSettings { layout, train: 16, test_good: 4, test_bad: 6, size: 48, seed: 3 };
        write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let text = "name = \"a\"\n[front_end]\nstrip = [24, 8]\n[model]\nkind = \"pca\"\nbottleneck = 4";
        let experiment = Experiment::from_toml(text, &[]).expect("an experiment");
        let (trained, graph) = closed::fit(&experiment, &data).expect("fits");
        let graph = detect::looked_at(&experiment, &graph).expect("a bottleneck");
        assert_eq!(graph.output_shape().len(), 4);
        let picture = points(&experiment, &trained, &graph, &data).expect("inputs").expect("two axes");
        assert_eq!(picture.length, 4);
        assert_eq!((picture.series[0].name.as_str(), picture.series[1].name.as_str()), ("train: good", "test: good"));
        let tested: usize = picture.series[1..].iter().map(|series| series.points.len()).sum();
        assert_eq!(tested, data.test.len());
        assert!(picture.shares[0] >= picture.shares[1] && picture.shares.iter().sum::<f64>() <= 1.0);
        // Axes are of the training samples, so their mean is the origin.
        let mean = picture.series[0].points.iter().map(|point| point.0).sum::<f64>();
        assert!(mean.abs() < 1e-6, "{mean}");
        assert!(picture.draw().expect("drawn").contains("<svg"));
    }
}
