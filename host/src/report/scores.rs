//! Scores of labelled images: by the device's own monitor, and by the float graph in the same units.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use neji_app::score::{self, Elements};
use neji_app::{Aggregator, Outcome};
use neji_format::{Detector, Element, Model, Plan, Reconstruction};
use rayon::prelude::*;

use super::metrics::{ClassFigures, Confusion, DefectFigure, Figures, Metrics};
use super::run::ScoreRow;
use crate::baselines::{self, How};
use crate::dataset::{Dataset, GOOD, Sample, Signal, is_normal};
use crate::detect::LogVariance;
use crate::frontend::Extractor;
use crate::graph::Graph;
use crate::quantize::assemble::accepted;
use crate::run::hex;
use crate::simulate::{Frame, frame_of, on_host, tells_classes, without_front_end, word};
use crate::{element, evaluate, localize};

/// Samples that one monitor takes in a row: enough to pay for its memory, few enough to share out.
const CHUNK: usize = 16;

/// Scores each sample for itself with the monitor, in their order: of a recording, what stands for its windows' scores.
///
/// A sample without any score, such as one without a part or one that shows a fault of the sensor, has an infinite score: it
/// is never passed as good.
///
/// # Errors
/// A sample that the model's sensor does not give.
pub fn quantized<S: Borrow<Sample> + Sync>(model: Model<'_>, samples: &[S]) -> anyhow::Result<Vec<ScoreRow>> {
    Ok(scored(model, samples)?.into_iter().map(|sample| sample.row).collect())
}

/// A sample's score with those of its windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// What stands for all.
    pub row: ScoreRow,
    /// In steps of the score, in order; an image has one.
    pub windows: Vec<i32>,
}

/// [`quantized`] with the scores of single windows.
///
/// # Errors
/// As [`quantized`].
pub fn scored<S: Borrow<Sample> + Sync>(model: Model<'_>, samples: &[S]) -> anyhow::Result<Vec<Scored>> {
    let features = samples.first().is_some_and(|sample| matches!(sample.borrow().signal, Signal::Features(_)));
    let bare = features.then(|| without_front_end(&model));
    let runs = bare.as_ref().map_or(Ok(model), accepted)?;
    let chunk = |samples: &[S]| -> anyhow::Result<Vec<Scored>> {
        let frames: Vec<Frame> =
            samples.iter().map(|sample| frame_of(&model, sample.borrow())).collect::<anyhow::Result<_>>()?;
        let mut outcomes = vec![Vec::new(); samples.len()];
        on_host(runs, &frames, true, |index, verdict, _| {
            outcomes[index].push(verdict.outcome);
            Ok(())
        })?;
        samples.iter().zip(outcomes).map(|(sample, outcomes)| row(model.plan(), sample.borrow(), &outcomes)).collect()
    };
    let chunks = samples.par_chunks(CHUNK).map(chunk).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(chunks.into_iter().flatten().collect())
}

/// A sample's row from the outcomes of its windows.
fn row(plan: &Plan<'_>, sample: &Sample, outcomes: &[Outcome]) -> anyhow::Result<Scored> {
    let first = outcomes.first().with_context(|| format!("{}: too short for a score", sample.path.display()))?;
    let scores: Vec<i32> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Scored { score, .. } = outcome { Some(*score) } else { None })
        .collect();
    let (score, verdict) = match stands_for(plan, &scores) {
        None => (f64::INFINITY, word(plan, first)),
        Some(score) => {
            let whole = Outcome::Scored {
                score,
                smoothed: score,
                class: most(outcomes),
                abnormal: score > plan.decision.threshold,
            };
            (f64::from(score) * f64::from(plan.decision.score_unit), word(plan, &whole))
        }
    };
    let row = ScoreRow {
        file: sample.name.clone(),
        label: sample.class.clone(),
        score,
        verdict: verdict.to_owned(),
        float: None,
        other: None,
    };
    Ok(Scored { row, windows: scores })
}

/// What stands for all scores of a recording; none where there are none.
fn stands_for(plan: &Plan<'_>, scores: &[i32]) -> Option<i32> {
    let mut aggregator = Aggregator::new(plan.decision.aggregate);
    let mut ring = vec![0; scores.len()];
    scores.iter().map(|&score| aggregator.push(score, &mut ring)).last()
}

/// The class that most windows are of, the first of equals; none where there are no classes.
fn most(outcomes: &[Outcome]) -> Option<u16> {
    let class = |outcome: &Outcome| if let Outcome::Scored { class, .. } = outcome { *class } else { None };
    let mut counts = BTreeMap::new();
    outcomes.iter().filter_map(class).for_each(|class| *counts.entry(class).or_insert(0_usize) += 1);
    counts.into_iter().max_by_key(|&(class, count)| (count, Reverse(class))).map(|(class, _)| class)
}

/// Scores each sample with the float graph, whose output is converted to the units of the device's score.
///
/// # Errors
/// A model without a front end or a detector, a sample that it does not take, or a graph of another size.
pub fn float(model: Model<'_>, graph: &Graph, samples: &[Sample]) -> anyhow::Result<Vec<f64>> {
    let plan = model.plan();
    ensure!(plan.detector != Detector::None, "the model has no detector, so there is no score");
    let unit = f64::from(plan.decision.score_unit);
    let scores = by_graph(model, graph, samples, |steps, _, output| {
        let elements = Floats { plan, steps, output };
        score::score(&model, &elements, &mut vec![0; score::map_words(plan)]).0
    })?;
    let whole = |scores: Vec<i32>| stands_for(plan, &scores).map_or(f64::INFINITY, |score| f64::from(score) * unit);
    Ok(scores.into_iter().map(whole).collect())
}

/// Scores each sample with the whole negative logarithm of its likelihood under a variational autoencoder's float graph, the mean over
/// elements and windows: what the device's score leaves the log-variances out of.
///
/// # Errors
/// As [`float`].
pub fn likelihood(
    model: Model<'_>,
    graph: &Graph,
    variance: LogVariance,
    samples: &[Sample],
) -> anyhow::Result<Vec<f64>> {
    let costs = by_graph(model, graph, samples, |_, real, output| {
        let (means, raw) = output.split_at(real.len());
        let cost = |((x, mean), raw): ((&f32, &f32), &f32)| {
            let log_variance = variance.at(f64::from(*raw));
            log_variance + f64::from(x - mean).powi(2) * (-log_variance).exp()
        };
        real.iter().zip(means).zip(raw).map(cost).sum::<f64>() / real.len() as f64
    })?;
    let mean = |costs: Vec<f64>| match costs.len() {
        0 => f64::INFINITY,
        count => costs.iter().sum::<f64>() / count as f64,
    };
    Ok(costs.into_iter().map(mean).collect())
}

/// Scores each sample with each of `count` variants of the float model, `run` of an input gives their outputs and one more thing each,
/// which is joined over all inputs: scores by variant and sample, and those by variant.
///
/// # Errors
/// A model without a detector, or a sample that it does not take.
pub fn of_variants<E: Copy + Default + Send>(
    model: Model<'_>,
    samples: &[Sample],
    count: usize,
    run: impl Fn(&[f32]) -> (Vec<Vec<f32>>, Vec<E>) + Sync,
    join: impl Fn(E, E) -> E,
) -> anyhow::Result<(Vec<Vec<f64>>, Vec<E>)> {
    let plan = model.plan();
    ensure!(plan.detector != Detector::None, "the model has no detector, so there is no score");
    let unit = f64::from(plan.decision.score_unit);
    let judged = by_inputs(model, samples, |steps, real| {
        let (outputs, others) = run(real);
        let score = |output: &Vec<f32>| {
            score::score(&model, &Floats { plan, steps, output }, &mut vec![0; score::map_words(plan)]).0
        };
        (outputs.iter().map(score).collect::<Vec<i32>>(), others)
    })?;
    let whole = |scores: Vec<i32>| stands_for(plan, &scores).map_or(f64::INFINITY, |score| f64::from(score) * unit);
    let of = |variant: usize| {
        let windows =
            |windows: &Vec<(Vec<i32>, Vec<E>)>| whole(windows.iter().map(|(scores, _)| scores[variant]).collect());
        judged.iter().map(windows).collect()
    };
    let mut joined = vec![E::default(); count];
    for (_, others) in judged.iter().flatten() {
        joined.iter_mut().zip(others).for_each(|(sum, &other)| *sum = join(*sum, other));
    }
    Ok(((0..count).map(of).collect(), joined))
}

/// [`by_inputs`] with the float graph's output beside.
fn by_graph<T: Send>(
    model: Model<'_>,
    graph: &Graph,
    samples: &[Sample],
    judge: impl Fn(&[i32], &[f32], &[f32]) -> T + Sync,
) -> anyhow::Result<Vec<Vec<T>>> {
    let plan = model.plan();
    let shape = |index: Option<&crate::graph::Node>| index.map(|node| node.shape.len());
    let (first, last) = (shape(graph.nodes.first()), shape(graph.nodes.last()));
    let fits = (first, last) == (Some(plan.input.shape.len()), Some(plan.output.shape.len()));
    ensure!(fits, "graph {} is not the blob's: run `neji quantize` again", graph.name);
    by_inputs(model, samples, |steps, real| judge(steps, real, &graph.run(real)))
}

/// What `judge` says of each sample's windows, none of a sample without any: it is given the input in steps less its zero point and
/// in real values.
fn by_inputs<T: Send>(
    model: Model<'_>,
    samples: &[Sample],
    judge: impl Fn(&[i32], &[f32]) -> T + Sync,
) -> anyhow::Result<Vec<Vec<T>>> {
    let plan = model.plan();
    let extractor = Extractor::of(&model);
    let zero_point = i32::from(plan.input.zero_point);
    let one = |sample: &Sample| -> anyhow::Result<Vec<T>> {
        let Ok(inputs) = extractor.inputs(sample)? else { return Ok(Vec::new()) };
        let judged = inputs.iter().map(|input| {
            let steps: Vec<i32> = element::values(plan.element, input).into_iter().map(|q| q - zero_point).collect();
            let real: Vec<f32> = steps.iter().map(|&step| step as f32 * plan.input.scale).collect();
            judge(&steps, &real)
        });
        Ok(judged.collect())
    };
    samples.par_iter().map(one).collect()
}

/// A float model's run in the units of the device's detectors.
struct Floats<'a> {
    plan: &'a Plan<'a>,
    /// The input less its zero point.
    steps: &'a [i32],
    output: &'a [f32],
}

impl Elements for Floats<'_> {
    fn residual(&self, _: &Reconstruction, index: usize) -> i32 {
        // Residuals are in 1/16 of a step of int8, in 8 of int16.
        let per_step = match self.plan.element {
            Element::I8 => 16.0,
            Element::I16 => 1.0 / 8.0,
        };
        let reconstruction = f64::from(self.output[index]) / f64::from(self.plan.input.scale);
        ((f64::from(self.steps[index]) - reconstruction) * per_step).round() as i32
    }

    fn output(&self, index: usize, per_step: i32) -> i32 {
        (per_step as f32 * self.output[index] / self.plan.output.scale).round() as i32
    }

    fn step(&self, index: usize) -> u8 {
        let (low, high) = self.plan.element.range();
        let q = self.output(index, 1) + i32::from(self.plan.output.zero_point);
        let q = q.clamp(low.into(), high.into());
        match self.plan.element {
            Element::I8 => (q + 128) as u8,
            Element::I16 => ((q >> 8) + 128) as u8,
        }
    }
}

fn figures(scores: &[f64], abnormal: &[bool]) -> anyhow::Result<Figures> {
    Ok(Figures {
        auroc: evaluate::auroc(scores, abnormal)?,
        partial_auroc: evaluate::standardized_partial_auroc(scores, abnormal, 0.1)?,
        average_precision: evaluate::average_precision(scores, abnormal)?,
    })
}

/// What was scored.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The test part, in its order.
    pub rows: &'a [ScoreRow],
    /// The same by the float graph.
    pub float: Option<&'a [f64]>,
    /// Normal samples held out of training.
    pub held_out: &'a [ScoreRow],
}

/// Everything there is to say about scores of `data`'s test part, and what is reached without the model.
///
/// # Errors
/// No good or no abnormal samples, or, for a classifier, a class that the model does not know.
pub fn measure(
    model: &Model<'_>,
    root: &Path,
    data: &Dataset,
    scored: &Judged<'_>,
    how: &How,
) -> anyhow::Result<Metrics> {
    let Judged { rows, float, held_out } = *scored;
    let plan = model.plan();
    let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
    let abnormal: Vec<bool> = rows.iter().map(|row| !is_normal(&row.label)).collect();
    let labels: Vec<usize> = data.test.iter().map(|sample| sample.label).collect();
    let context = || format!("{}: its test part", root.display());
    let confusion = confusion(model, rows)?;
    Ok(Metrics {
        data: root.to_owned(),
        options: None,
        data_hash: Some(hex(&data.hash())),
        images: rows.len(),
        part_not_found: rows.iter().filter(|row| row.verdict == "part_not_found").count(),
        sensor_faults: rows.iter().filter(|row| row.verdict.starts_with("sensor_")).count(),
        threshold: f64::from(plan.decision.threshold) * f64::from(plan.decision.score_unit),
        quantized: figures(&scores, &abnormal).with_context(context)?,
        float: float.map(|scores| figures(scores, &abnormal)).transpose()?,
        matched: matched(rows, held_out).with_context(context)?,
        localization: localize::measure(*model, &data.test)?,
        confusion,
        per_defect: evaluate::per_defect_auroc(&data.classes, &scores, &labels)?
            .into_iter()
            .map(|row| DefectFigure { defect: row.defect, count: row.count, auroc: row.auroc })
            .collect(),
        baselines: baselines::measure(data, how)?,
    })
}

/// The test part's abnormal samples against normal ones held out of training; none where none are.
fn matched(rows: &[ScoreRow], held_out: &[ScoreRow]) -> anyhow::Result<Option<Figures>> {
    if held_out.is_empty() {
        return Ok(None);
    }
    let abnormal = rows.iter().filter(|row| !is_normal(&row.label));
    let both = held_out.iter().map(|row| (row.score, false)).chain(abnormal.map(|row| (row.score, true)));
    let (scores, truth): (Vec<f64>, Vec<bool>) = both.unzip();
    Ok(Some(figures(&scores, &truth)?))
}

/// A classifier's verdicts by class; a detector's as good or bad at the threshold.
fn confusion(model: &Model<'_>, rows: &[ScoreRow]) -> anyhow::Result<Confusion> {
    const UNSCORED: &str = "no score";
    let classifier = tells_classes(model.plan());
    let mut classes: Vec<String> = match classifier {
        true => model.plan().provenance.classes.lines().map(str::to_owned).collect(),
        false => vec![GOOD.to_owned(), "bad".to_owned()],
    };
    let scored = |row: &ScoreRow| row.score.is_finite();
    if classifier && !rows.iter().all(scored) {
        classes.push(UNSCORED.to_owned());
    }
    let index = |name: &str| classes.iter().position(|class| class == name);
    let mut truth = Vec::with_capacity(rows.len());
    let mut verdict = Vec::with_capacity(rows.len());
    for row in rows {
        let (label, said) = match classifier {
            true => (row.label.as_str(), if scored(row) { row.verdict.as_str() } else { UNSCORED }),
            false => (if is_normal(&row.label) { GOOD } else { "bad" }, if row.verdict == GOOD { GOOD } else { "bad" }),
        };
        let unknown = || format!("{}: class `{label}`; the model knows {}", row.file, classes.join(", "));
        truth.push(index(label).with_context(unknown)?);
        verdict.push(index(said).with_context(unknown)?);
    }
    let found = evaluate::confusion(&classes, &truth, &verdict)?;
    let figures = found.figures.into_iter().map(|row| ClassFigures {
        class: row.class,
        count: row.count,
        recall: row.recall,
        precision: row.precision,
        f1: row.f1,
    });
    Ok(Confusion {
        classes: found.classes,
        counts: found.counts,
        figures: figures.collect(),
        balanced_accuracy: found.balanced_accuracy,
    })
}
