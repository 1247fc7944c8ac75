//! What the model was trained on: normal samples as it sees them, changed as training asks, and defects made of them.

use anyhow::Result;
use neji_format::Element;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::html::{escape, section};
use super::images::grey;
use super::look::of_inputs;
use super::run::RunFolder;
use crate::augment::{Augment, Augmenter};
use crate::dataset::{Dataset, Sample};
use crate::experiment::Experiment;
use crate::frontend::Fitted;
use crate::run::{Run, split};
use crate::synthetic;

/// Samples of a row.
const EACH: usize = 6;

/// The section; empty without the run's front end or its data.
///
/// # Errors
/// Data that the front end does not take, or a picture that can't be drawn.
pub fn examples(folder: &RunFolder, data: Option<&Dataset>) -> Result<String> {
    let (Some(path), Some(data)) = (&folder.path, data) else { return Ok(String::new()) };
    let run = Run::new(path);
    // Of a run that is not whole the rest is still worth reading.
    let (Ok(experiment), Ok(trained)) = (run.experiment(), run.trained()) else { return Ok(String::new()) };
    drawn(&experiment, &trained.front_end, data)
}

fn drawn(experiment: &Experiment, front_end: &Fitted, data: &Dataset) -> Result<String> {
    let (Ok((train, _)), Some(shape)) = (split(experiment, data), front_end.shape()) else { return Ok(String::new()) };
    let normal: Vec<&Sample> = train.into_iter().filter(|sample| sample.label == 0).take(EACH).collect();
    let scheme = front_end.scheme(Element::I8)?;
    let seen = normal.iter().map(|sample| inputs(front_end, sample)).collect::<Result<Vec<_>>>()?;
    let mut out = row("Normal training samples", front_end, &seen)?;
    let augment = &experiment.train.augment;
    if *augment != Augment::default() {
        let augmenter = Augmenter::new(augment, front_end, shape.height as usize, shape.width as usize);
        let mut rng = ChaCha8Rng::seed_from_u64(experiment.seed);
        let real = |input: &Vec<i8>| input.iter().map(|&q| scheme.real(q) as f32).collect::<Vec<f32>>();
        let all: Vec<Vec<Vec<f32>>> = seen.iter().map(|inputs| inputs.iter().map(real).collect()).collect();
        let others: Vec<&Vec<f32>> = all.iter().flatten().collect();
        let mut change = |input: &Vec<f32>| -> Vec<i8> {
            let changed = augmenter.change(input, &mut rng, |rng| others[rng.random_range(0..others.len())]);
            changed.iter().map(|&value| scheme.quantize(value.into())).collect()
        };
        let changed: Vec<Vec<Vec<i8>>> = all.iter().map(|inputs| inputs.iter().map(&mut change).collect()).collect();
        out.push_str(&row("The same as [train.augment] changes them", front_end, &changed)?);
    }
    let (mut made, mut names) = (Vec::new(), Vec::new());
    let kinds = normal.first().map_or_else(Vec::new, |sample| synthetic::kinds(&sample.signal));
    for (kind, sample) in kinds.into_iter().zip(normal.iter().cycle()) {
        let Some(defective) = synthetic::with(sample, kind, 1.0, experiment.seed) else { continue };
        made.push(inputs(front_end, &defective)?);
        names.push(kind);
    }
    let title = format!("Defects made of them, as plain as they are made: {}", names.join(", "));
    out.push_str(&row(&title, front_end, &made)?);
    Ok(section("Training samples as the model sees them", &out))
}

/// What the front end gives of a sample; nothing where it finds no part.
fn inputs(front_end: &Fitted, sample: &Sample) -> Result<Vec<Vec<i8>>> {
    Ok(front_end.prepare(Element::I8).extractor().inputs(sample)?.unwrap_or_default())
}

/// Samples side by side.
fn row(title: &str, front_end: &Fitted, samples: &[Vec<Vec<i8>>]) -> Result<String> {
    if samples.is_empty() {
        return Ok(String::new());
    }
    let mut out = format!("<h3>{}</h3><div class=\"case\">", escape(title));
    for picture in samples.iter().filter_map(|inputs| of_inputs(front_end, inputs)) {
        out.push_str(&grey(picture.width, &picture.pixels, title)?);
    }
    out.push_str("</div>");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Layout;
    use crate::frontend;
    use crate::render::{self, SetSettings, write_set};
    use crate::report::html::check_balance;

    #[test]
    fn screws_are_shown_changed_and_with_each_kind_of_defect() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let layout = render::Layout::Mvtec;
        let set = SetSettings { layout, train: 12, test_good: 2, test_bad: 6, size: 48, seed: 3 };
        write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let pictures = |text: &str| {
            let experiment = Experiment::from_toml(text, &[]).expect("an experiment");
            let (train, _) = split(&experiment, &data).expect("enough");
            let front_end = frontend::fit(&experiment.front_end, &train).expect("fits");
            let html = drawn(&experiment, &front_end, &data).expect("drawn");
            check_balance(&html).expect("balanced");
            html.matches("<img").count()
        };
        let kinds = synthetic::kinds(&data.train[0].signal).len();
        assert_eq!(pictures("name = \"a\""), EACH + kinds);
        assert_eq!(pictures("name = \"a\"\n[train.augment]\nrotation = 5"), 2 * EACH + kinds);
    }
}
