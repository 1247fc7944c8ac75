//! From a trained run to `model.neji`.
//!
//! float graph -> fold -> calibrate -> lower -> plan -> blob; then the engine itself, on the blob so far, gives what only
//! int8 can tell: each residual's deviation on normal images, and from the scores of held-out normal images the threshold.

pub mod assemble;
pub mod cost;
pub mod lower;
pub mod scheme;

use anyhow::{Context, Result, ensure};
use neji_app::frontend::image::ZERO_POINT;
use neji_app::score;
use neji_engine::{Engine, Portable};
use neji_format::{AlignedBytes, Decision, Detector, FrontEnd, Metrics, Model, Provenance};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::calibrate::calibrate;
use crate::dataset::{Dataset, Layout, Sample};
use crate::evaluate::{auroc, quantile_threshold};
use crate::experiment::{CalibrationName, DecisionSettings, Experiment, ScoreName, Task};
use crate::files::write_whole;
use crate::fold::fold;
use crate::frontend;
use crate::graph::Graph;
use crate::lowered::Lowered;
use crate::report::{ScoreRow, scores};
use crate::run::{Run, Trained, hex, split};
use assemble::{Edges, Memory, assemble, score_unit};
use cost::{LayerCost, costs};
use lower::lower;
use scheme::Scheme;

/// Most training images that ranges are calibrated on, evenly spread.
const CALIBRATION_IMAGES: usize = 256;
/// Images that float and int8 are compared on, layer by layer.
const COST_IMAGES: usize = 32;
/// Q14.
const WEIGHT_ONE: f64 = 16384.0;

/// `quantize.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A row an operator.
    pub layers: Vec<LayerCost>,
    /// How ranges were chosen.
    pub calibration: CalibrationName,
    /// Images that ranges were calibrated on.
    pub calibration_images: usize,
    /// Length of the blob.
    pub blob_bytes: usize,
    /// Memory for activations.
    pub arena_bytes: usize,
    /// The most bytes of activations alive at one time: no plan needs less.
    pub arena_lower_bound: usize,
    /// In real units.
    pub threshold: f64,
    /// Normal images that the threshold comes from.
    pub threshold_images: usize,
    /// AUROC of the float graph on the test part, where that has both kinds.
    pub auroc_float: Option<f64>,
    /// AUROC of the blob there.
    pub auroc_int8: Option<f64>,
}

/// Quantizes `run` into a blob.
///
/// # Errors
/// The run is not trained, its data have changed or are gone, or the model can't be computed in int8.
pub fn quantize(run: &Run) -> Result<(AlignedBytes, Summary)> {
    let experiment = run.experiment()?;
    let trained = run.trained()?;
    let graph = Graph::load(run.graph())?;
    let root = std::path::Path::new(&experiment.data);
    let data = Dataset::load(root, Layout::Auto).context("the data that the run was trained on")?;
    ensure!(hex(&data.hash()) == trained.data_hash, "{} has changed since the training; train again", root.display());
    Quantizer::new(&experiment, &trained, &data, &graph)?.run()
}

/// Writes the blob and `quantize.json`.
///
/// # Errors
/// A file can't be written.
pub fn write(run: &Run, out: &std::path::Path, bytes: &AlignedBytes, summary: &Summary) -> Result<()> {
    write_whole(out, bytes.as_slice())?;
    write_whole(&run.file("quantize.json"), (serde_json::to_string_pretty(summary)? + "\n").as_bytes())
}

struct Quantizer<'a> {
    experiment: &'a Experiment,
    data: &'a Dataset,
    /// The float model as the trainer left it: what the int8 one is compared with.
    graph: &'a Graph,
    folded: Graph,
    lowered: Lowered,
    /// Real input values of the images that ranges were calibrated on.
    inputs: Vec<Vec<f32>>,
    /// All normal training images as the engine's input.
    normal: Vec<Vec<i8>>,
    /// Normal images that the threshold comes from.
    held_out: Vec<&'a Sample>,
    edges: Edges<'a>,
}

impl<'a> Quantizer<'a> {
    fn new(experiment: &'a Experiment, trained: &'a Trained, data: &'a Dataset, graph: &'a Graph) -> Result<Self> {
        let (train, validation) = split(experiment, data)?;
        let config = &trained.front_end;
        let extracted: Vec<(Vec<i8>, usize)> = frontend::extract_all(config, &train)
            .into_iter()
            .zip(&train)
            .filter_map(|(image, sample)| Some((image.ok()?, sample.label)))
            .collect();
        ensure!(!extracted.is_empty(), "no training image passes the front end");
        let input = Scheme { scale: 1.0 / 255.0, zero_point: ZERO_POINT as i8 };
        let count = extracted.len().min(CALIBRATION_IMAGES);
        let inputs: Vec<Vec<f32>> = (0..count)
            .map(|i| &extracted[i * extracted.len() / count].0)
            .map(|image| image.iter().map(|&q| input.real(q) as f32).collect())
            .collect();
        let folded = fold(graph);
        let ranges = calibrate(&folded, &inputs, experiment.quantize.calibration);
        let lowered = lower(&folded, &ranges, input)?;
        let normal_only = |samples: Vec<&'a Sample>| -> Vec<&'a Sample> {
            samples.into_iter().filter(|sample| sample.label == 0).collect()
        };
        // Without held-out images the training ones must do; they score lower than new ones will.
        let held_out = if validation.is_empty() { normal_only(train) } else { normal_only(validation) };
        let edges = Edges {
            front_end: FrontEnd::Image(*config),
            task: Some(experiment.task),
            detector: experiment.detector,
            weights: None,
            decision: decision(
                &experiment.decision,
                0,
                0,
                score_unit(&lowered, Some(experiment.task), &experiment.detector),
            ),
            provenance: Provenance {
                neji_version: env!("CARGO_PKG_VERSION"),
                name: &experiment.name,
                classes: "",
                data_hash: data.hash(),
                config_hash: experiment.hash(),
                seed: experiment.seed,
                metrics: Metrics { auroc_float: f32::NAN, auroc_int8: f32::NAN },
            },
        };
        let normal = extracted.into_iter().filter(|(_, label)| *label == 0).map(|(image, _)| image).collect();
        Ok(Self { experiment, data, graph, folded, lowered, inputs, normal, held_out, edges })
    }

    fn run(mut self) -> Result<(AlignedBytes, Summary)> {
        let classes = self.data.classes.join("\n");
        let bare = self.assemble(&self.edges)?;
        let weights = self.residual_weights(&model(&bare)?);
        let separate = assemble(&self.lowered, Memory::Separate, &self.edges)?;
        let layers =
            costs(&self.folded, &self.lowered, model(&separate)?, &self.inputs[..self.inputs.len().min(COST_IMAGES)])?;

        let mut edges = self.edges.clone();
        if self.experiment.task == Task::Cnn {
            edges.provenance.classes = &classes;
        }
        edges.weights = weights.as_deref();
        let weighted = self.assemble(&edges)?;
        let rows = scores::int8(model(&weighted)?, &self.held_out)?;
        let unit = edges.decision.score_unit;
        let (threshold, release) = self.threshold(&rows, unit)?;
        edges.decision = decision(&self.experiment.decision, threshold, release, unit);
        let judging = self.assemble(&edges)?;
        let (auroc_float, auroc_int8) = self.auroc(model(&judging)?)?;
        let value = |auroc: Option<f64>| auroc.map_or(f32::NAN, |auroc| auroc as f32);
        edges.provenance.metrics = Metrics { auroc_float: value(auroc_float), auroc_int8: value(auroc_int8) };
        let bytes = self.assemble(&edges)?;
        let lifetimes = assemble::lifetimes(&self.lowered, self.experiment.task == Task::Autoencoder);
        let blob = model(&bytes)?;
        let summary = Summary {
            layers,
            calibration: self.experiment.quantize.calibration,
            calibration_images: self.inputs.len(),
            blob_bytes: blob.bytes().len(),
            arena_bytes: blob.arena_bytes(),
            arena_lower_bound: crate::plan::lower_bound(&lifetimes),
            threshold: f64::from(threshold) * f64::from(unit),
            threshold_images: self.held_out.len(),
            auroc_float,
            auroc_int8,
        };
        self.normal.clear();
        Ok((bytes, summary))
    }

    fn assemble(&self, edges: &Edges<'_>) -> Result<AlignedBytes> {
        assemble(&self.lowered, Memory::Planned, edges)
    }

    /// One over each residual's deviation on normal images, in steps of the input, Q14; none for a classifier.
    ///
    /// The square of the deviation is the mean square of the int8 engine's residuals and half of their mean over all
    /// elements: an element that hardly ever varies would else count for more than anything that is seen.
    fn residual_weights(&self, model: &Model<'_>) -> Option<Vec<u16>> {
        let Detector::Reconstruction(params) = model.plan().detector else { return None };
        if !self.experiment.detector.normalise {
            return None;
        }
        let plan = model.plan();
        let engine = Engine::<Portable>::new(*model);
        let squares = |image: &Vec<i8>| -> Vec<u64> {
            let mut arena = vec![0_i8; model.arena_bytes()];
            engine.input_mut(&mut arena).copy_from_slice(image);
            // The arena is as long as the model asks, which is the only thing that could fail.
            let _ = engine.run(&mut arena);
            let pairs = engine.input(&arena).iter().zip(engine.output(&arena));
            let residual = |(&x, &y)| score::residual_i8(&params, &plan.input, &plan.output, x, y);
            pairs.map(|pair| u64::from(residual(pair).unsigned_abs()).pow(2)).collect()
        };
        let elements = plan.input.shape.len();
        let sums = self
            .normal
            .par_iter()
            .map(squares)
            .reduce(|| vec![0; elements], |a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
        let variances: Vec<f64> = sums.iter().map(|&sum| sum as f64 / self.normal.len() as f64 / 256.0).collect();
        let mean = variances.iter().sum::<f64>() / elements as f64;
        let weight = |variance: &f64| {
            let deviation = (variance + 0.5 * mean).sqrt().max(1e-3);
            (WEIGHT_ONE / deviation).round().clamp(1.0, f64::from(u16::MAX)) as u16
        };
        Some(variances.iter().map(weight).collect())
    }

    /// Threshold and release level in steps of the score, from the scores of held-out normal images.
    fn threshold(&self, rows: &[ScoreRow], unit: f32) -> Result<(i32, i32)> {
        let found: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let mut threshold = quantile_threshold(&found, self.experiment.detector.false_alarms)?;
        if self.experiment.task == Task::Cnn && self.experiment.detector.score == ScoreName::Margin {
            // Below a margin of 0 the normal class is still the most likely one.
            threshold = threshold.max(0.0);
        }
        ensure!(
            threshold.is_finite(),
            "more than the share detector.false_alarms = {} of the held-out normal images show no part; look at them with \
             `neji simulate`, or widen [front_end.alignment]",
            self.experiment.detector.false_alarms
        );
        let mut sorted: Vec<f64> = found.into_iter().filter(|score| score.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(threshold);
        let release = threshold - f64::from(self.experiment.decision.hysteresis) * (threshold - median).max(0.0);
        // Scores are whole steps; rounding gives back the step that the score was.
        let steps = |real: f64| (real / f64::from(unit)).round().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32;
        Ok((steps(threshold), steps(release)))
    }

    /// AUROC of float and int8 on the test part; none where it has not both kinds.
    fn auroc(&self, model: Model<'_>) -> Result<(Option<f64>, Option<f64>)> {
        let test = &self.data.test;
        let abnormal: Vec<bool> = test.iter().map(|sample| sample.label > 0).collect();
        if abnormal.iter().all(|&a| a) || abnormal.iter().all(|&a| !a) {
            return Ok((None, None));
        }
        let int8: Vec<f64> = scores::int8(model, test)?.iter().map(|row| row.score).collect();
        let float = scores::float(model, self.graph, test)?;
        Ok((Some(auroc(&float, &abnormal)?), Some(auroc(&int8, &abnormal)?)))
    }
}

fn model(bytes: &AlignedBytes) -> Result<Model<'_>> {
    Model::parse(bytes.as_slice()).map_err(|error| anyhow::anyhow!("the device would refuse this model: {error}"))
}

fn decision(settings: &DecisionSettings, threshold: i32, release: i32, score_unit: f32) -> Decision {
    let smoothing = (settings.smoothing * 32768.0).round().clamp(1.0, 32768.0) as u16;
    Decision { threshold, release, smoothing, required: settings.required, window: settings.window, score_unit }
}
