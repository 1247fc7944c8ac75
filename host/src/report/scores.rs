//! Scores of labelled images: by the device's own monitor, and by the float graph in the same units.

use std::borrow::Borrow;
use std::path::Path;

use anyhow::{Context, ensure};
use neji_app::frontend::image::{I16_PER_LEVEL, ZERO_POINT, extract, memory_bytes, output_len};
use neji_app::score;
use neji_format::{Detector, Element, FrontEnd, Model, Plan, Shape};
use rayon::prelude::*;

use super::metrics::{BaselineFigure, ClassFigures, Confusion, DefectFigure, Figures, Metrics};
use super::run::ScoreRow;
use crate::baselines;
use crate::dataset::{Dataset, GOOD, Sample, is_normal};
use crate::evaluate;
use crate::graph::Graph;
use crate::simulate::{on_host, read_frame, real_score, word};

/// Images that one monitor takes in a row: enough to pay for its memory, few enough to share out.
const CHUNK: usize = 16;

/// Scores each sample for itself with the monitor, in their order.
///
/// A frame without a part, or one that shows a fault of the sensor, has an infinite score: it is never passed as good.
///
/// # Errors
/// A file that cannot be read or has another size than the model's sensor.
pub fn quantized<S: Borrow<Sample> + Sync>(model: Model<'_>, samples: &[S]) -> anyhow::Result<Vec<ScoreRow>> {
    let plan = *model.plan();
    let chunk = |samples: &[S]| -> anyhow::Result<Vec<ScoreRow>> {
        let read = |sample: &S| read_frame(&plan, &sample.borrow().path);
        let frames = samples.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let mut rows = Vec::with_capacity(samples.len());
        on_host(model, &frames, true, |_, verdict, _| {
            let sample: &Sample = samples[rows.len()].borrow();
            rows.push(ScoreRow {
                file: sample.name.clone(),
                label: sample.class.clone(),
                score: real_score(&plan, &verdict.outcome).unwrap_or(f64::INFINITY),
                verdict: word(&plan, &verdict.outcome).to_owned(),
            });
            Ok(())
        })?;
        Ok(rows)
    };
    let chunks = samples.par_chunks(CHUNK).map(chunk).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(chunks.into_iter().flatten().collect())
}

/// Scores each sample with the float graph, whose output is converted to the units of the device's score.
///
/// # Errors
/// A model without an image front end or a detector, an unreadable file, or a graph of another size.
pub fn float(model: Model<'_>, graph: &Graph, samples: &[Sample]) -> anyhow::Result<Vec<f64>> {
    let plan = *model.plan();
    let FrontEnd::Image(config) = &plan.front_end else {
        anyhow::bail!("the float graph can only be scored behind an image front end");
    };
    let unit = f64::from(plan.decision.score_unit);
    let shape = |index: Option<&crate::graph::Node>| index.map(|node| node.shape.len());
    let (first, last) = (shape(graph.nodes.first()), shape(graph.nodes.last()));
    let fits = (first, last) == (Some(plan.input.shape.len()), Some(plan.output.shape.len()));
    ensure!(fits, "graph {} is not the blob's: run `neji quantize` again", graph.name);
    let one = |sample: &Sample| -> anyhow::Result<f64> {
        let frame = read_frame(&plan, &sample.path)?;
        let mut input = vec![0_i8; output_len(config)];
        if extract(config, &frame.samples, &mut vec![0; memory_bytes(config)], &mut input).is_err() {
            return Ok(f64::INFINITY);
        }
        let levels: Vec<i32> = input.iter().map(|&q| i32::from(q) - ZERO_POINT).collect();
        let real: Vec<f32> = levels.iter().map(|&level| level as f32 * level_scale(&plan)).collect();
        let output = graph.run(&real);
        Ok(f64::from(float_score(&model, &levels, &output)?) * unit)
    };
    samples.par_iter().map(one).collect()
}

/// The real size of a grey level of the input.
fn level_scale(plan: &Plan<'_>) -> f32 {
    match plan.element {
        Element::I8 => plan.input.scale,
        Element::I16 => plan.input.scale * I16_PER_LEVEL as f32,
    }
}

/// The device's score of a float output; `levels` are the input's grey levels.
fn float_score(model: &Model<'_>, levels: &[i32], output: &[f32]) -> anyhow::Result<i32> {
    let plan = model.plan();
    Ok(match &plan.detector {
        Detector::None => anyhow::bail!("the model has no detector, so there is no score"),
        Detector::Reconstruction(params) => {
            let shape: Shape = plan.input.shape;
            let weights = params.weights.map_or(&[][..], |constant| model.constant_u16(constant));
            let scale = level_scale(plan);
            let residual = |i: usize| 16 * levels[i] - (16.0 * output[i] / scale).round() as i32;
            score::reconstruction(params, shape, weights, residual, &mut vec![0; score::map_len(params, shape)])
        }
        Detector::Classifier(params) => {
            let value = |i: usize| (256.0 * output[i] / plan.output.scale).round() as i32;
            score::classify(params, output.len(), value).score
        }
    })
}

fn figures(scores: &[f64], abnormal: &[bool]) -> anyhow::Result<Figures> {
    Ok(Figures {
        auroc: evaluate::auroc(scores, abnormal)?,
        average_precision: evaluate::average_precision(scores, abnormal)?,
    })
}

/// Everything there is to say about scores of `data`'s test part, in its order.
///
/// # Errors
/// No good or no abnormal samples, or, for a classifier, a class that the model does not know.
pub fn measure(
    model: &Model<'_>,
    root: &Path,
    data: &Dataset,
    rows: &[ScoreRow],
    float: Option<&[f64]>,
) -> anyhow::Result<Metrics> {
    let plan = model.plan();
    let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
    let abnormal: Vec<bool> = rows.iter().map(|row| !is_normal(&row.label)).collect();
    let labels: Vec<usize> = data.test.iter().map(|sample| sample.label).collect();
    let context = || format!("{}: its test part", root.display());
    let confusion = confusion(model, rows)?;
    Ok(Metrics {
        data: root.to_owned(),
        images: rows.len(),
        part_not_found: rows.iter().filter(|row| row.verdict == "part_not_found").count(),
        sensor_faults: rows.iter().filter(|row| row.verdict.starts_with("sensor_")).count(),
        threshold: f64::from(plan.decision.threshold) * f64::from(plan.decision.score_unit),
        quantized: figures(&scores, &abnormal).with_context(context)?,
        float: float.map(|scores| figures(scores, &abnormal)).transpose()?,
        confusion,
        per_defect: evaluate::per_defect_auroc(&data.classes, &scores, &labels)?
            .into_iter()
            .map(|row| DefectFigure { defect: row.defect, count: row.count, auroc: row.auroc })
            .collect(),
        baselines: baselines::measure(data)?
            .into_iter()
            .map(|row| BaselineFigure { name: row.name.to_owned(), auroc: row.auroc, folded: row.folded })
            .collect(),
    })
}

/// A classifier's verdicts by class; a detector's as good or bad at the threshold.
fn confusion(model: &Model<'_>, rows: &[ScoreRow]) -> anyhow::Result<Confusion> {
    const UNSCORED: &str = "no score";
    let classifier = matches!(model.plan().detector, Detector::Classifier(_));
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
