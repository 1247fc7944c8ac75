//! From a trained run to `model.neji`.
//!
//! float graph -> fold -> calibrate -> lower -> plan -> blob; then the engine itself, on the blob so far, gives what only
//! integers can tell: each residual's deviation on normal images, and from the scores of held-out normal images the threshold.

pub mod assemble;
pub mod choice;
pub mod cost;
pub mod judge;
pub mod learned;
pub mod lower;
pub mod rounding;
pub mod scheme;
pub mod sensitivity;

use anyhow::{Context, Result, bail, ensure};
use neji_app::Rejection;
use neji_format::{AlignedBytes, Metrics, Model, Provenance};
use serde::{Deserialize, Serialize};

use crate::calibrate::{Range, calibrate, means};
use crate::closed;
use crate::dataset::{Dataset, Sample};
use crate::detect;
use crate::element;
use crate::evaluate::auroc;
use crate::experiment::{ActivationsName, CalibrationName, DetectorName, Experiment, MethodName};
use crate::files::write_whole;
use crate::fold::fold;
use crate::frontend::Fitted;
use crate::graph::Graph;
use crate::lowered::Lowered;
use crate::plan::bands;
use crate::report::scores::{self, Scored};
use crate::run::{Run, Trained, hex, split};
use crate::threshold::{self, Evidence};
use crate::trial::Trial;
use assemble::{Edges, Memory, accepted, assemble};
use choice::Choice;
use cost::{LayerCost, costs};
use judge::{Levels, decision};
use learned::LearnedRanges;
use lower::lower;
use sensitivity::Sensitivity;

/// Most training inputs that ranges are calibrated on, evenly spread.
pub(crate) const CALIBRATION_INPUTS: usize = 256;
/// Parts that training samples are split into where detectors are fitted to all but one of them.
const FOLDS: usize = 5;
/// Images that float and integers are compared on, layer by layer.
const COST_IMAGES: usize = 32;
/// Made defects that layers are tried on one by one.
const SENSITIVITY_DEFECTS: usize = 100;

/// `quantize.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A row an operator.
    pub layers: Vec<LayerCost>,
    /// How ranges were chosen.
    pub calibration: CalibrationName,
    /// What activations are.
    #[serde(default)]
    pub activations: ActivationsName,
    /// How int8 or int16 was chosen; none where one was asked for.
    #[serde(default)]
    pub choice: Option<Choice>,
    /// What each layer's rounding does by itself, where that was asked for.
    #[serde(default)]
    pub sensitivity: Option<Sensitivity>,
    /// Ranges were learned with the weights.
    #[serde(default)]
    pub learned_ranges: bool,
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
    /// Where it comes from and what it promises.
    pub threshold_basis: String,
    /// What that means on a stream, where it is of single recordings.
    #[serde(default)]
    pub threshold_on_a_stream: Option<String>,
    /// Average run length until normal scores are taken for a drift; none where that is not watched.
    pub drift_run_length: Option<u32>,
    /// AUROC of the float graph on the test part, where that has both kinds.
    pub auroc_float: Option<f64>,
    /// AUROC of the blob there.
    pub auroc_quantized: Option<f64>,
    /// AUROC of a variational autoencoder's whole negative log-likelihood there, in floats: what leaving out the log-variances is
    /// compared with.
    #[serde(default)]
    pub auroc_likelihood: Option<f64>,
}

/// What quantization gives.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The blob.
    pub bytes: AlignedBytes,
    /// What there is to say of it.
    pub summary: Summary,
    /// The blob with the other kind of activations, where both were asked for and the model can be computed with it.
    pub other: Option<AlignedBytes>,
}

/// Quantizes `run` into a blob.
///
/// # Errors
/// The run is not trained, its data have changed or are gone, or the model can't be computed in integers.
pub fn quantize(run: &Run) -> Result<(AlignedBytes, Summary)> {
    quantize_as(run, &Request::default())
}

/// What is asked for beside, or in place of, what the experiment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// What activations are.
    pub activations: Option<ActivationsName>,
    /// Most bytes of the arena.
    pub ram_budget: Option<usize>,
    /// New frames a run of a window of sound, which keeps the others.
    pub hop: Option<u16>,
    /// Quantize with the other kind of activations as well.
    pub both: bool,
    /// Try each layer's rounding by itself.
    pub sensitivity: bool,
}

/// Whether the test part is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestPart {
    /// Its figures stand in blob and summary.
    Scored,
    /// Nothing of it is looked at: for models among which one is still to be chosen.
    Unseen,
}

/// [`quantize`] other than the experiment says.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_as(run: &Run, request: &Request) -> Result<(AlignedBytes, Summary)> {
    quantize_all(run, request).map(|found| (found.bytes, found.summary))
}

/// [`quantize_as`] with all that was made.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_all(run: &Run, request: &Request) -> Result<Quantized> {
    let mut experiment = run.experiment()?;
    experiment.quantize.activations = request.activations.unwrap_or(experiment.quantize.activations);
    experiment.quantize.ram_budget = request.ram_budget.or(experiment.quantize.ram_budget);
    let trained = run.trained()?;
    let root = std::path::Path::new(&experiment.data);
    let data = Dataset::load(root, experiment.data_options()).context("the data that the run was trained on")?;
    ensure!(hex(&data.hash()) == trained.data_hash, "{} has changed since the training; train again", root.display());
    let seen = experiment.seen(&data)?;
    Source::of(run, trained)?.quantize(&experiment, &seen, request, TestPart::Scored)
}

/// [`quantize`] with `data` at hand, as the run's experiment has them seen.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_on(run: &Run, data: &Dataset, test: TestPart) -> Result<(AlignedBytes, Summary)> {
    let found = Source::of(run, run.trained()?)?.quantize(&run.experiment()?, data, &Request::default(), test)?;
    Ok((found.bytes, found.summary))
}

/// A blob, what there is to say of it, and the scores that it gives a trial's samples.
type Attempt = ((AlignedBytes, Summary), Vec<f64>);

/// What a run has for quantization.
struct Source {
    trained: Trained,
    graph: Graph,
    learned: Option<LearnedRanges>,
}

impl Source {
    fn of(run: &Run, trained: Trained) -> Result<Self> {
        Ok(Self { trained, graph: run.observed_graph()?, learned: run.learned_ranges()? })
    }

    fn quantize(
        &self,
        experiment: &Experiment,
        data: &Dataset,
        request: &Request,
        test: TestPart,
    ) -> Result<Quantized> {
        let chosen = experiment.quantize.activations;
        if chosen == ActivationsName::Auto {
            return self.choose(experiment, data, request, test);
        }
        let (bytes, summary) = Quantizer::new(experiment, self, data)?.run(request, test)?;
        let other = match (request.both, chosen) {
            (false, _) => None,
            (true, ActivationsName::Int16) => Some(ActivationsName::Int8),
            (true, _) => Some(ActivationsName::Int16),
        };
        let other = match other {
            Some(other) => {
                let experiment = with(experiment, other);
                let request = Request { sensitivity: false, ..*request };
                Some(Quantizer::new(&experiment, self, data)?.run(&request, TestPart::Unseen)?.0)
            }
            None => None,
        };
        Ok(Quantized { bytes, summary, other })
    }

    /// Quantizes with either kind of activations and keeps one, by what they do to made defects and held-out normal samples.
    fn choose(&self, experiment: &Experiment, data: &Dataset, request: &Request, test: TestPart) -> Result<Quantized> {
        let trial = Trial::new(experiment, data, choice::DEFECTS_MIN)?;
        let attempt = |activations| {
            let experiment = with(experiment, activations);
            let made = Quantizer::new(&experiment, self, data)?.run(request, test)?;
            let rows = scores::quantized(accepted(&made.0)?, &trial.samples)?;
            let scores: Vec<f64> = rows.into_iter().map(|row| row.score).collect();
            Ok::<Attempt, anyhow::Error>((made, scores))
        };
        let (int8, int16) = (attempt(ActivationsName::Int8), attempt(ActivationsName::Int16));
        let made = |attempt: &Result<Attempt>| match attempt {
            Ok(((bytes, _), scores)) => {
                Ok(choice::Made { model: accepted(bytes)?, scores }.figures(&experiment.auto, &trial)?)
            }
            Err(error) => Ok::<_, anyhow::Error>(choice::Tried::failed(error)),
        };
        let scores = int8.as_ref().ok().zip(int16.as_ref().ok()).map(|(a, b)| [&a.1[..], &b.1[..]]);
        let choice = choice::decide([made(&int8)?, made(&int16)?], scores, &trial)?;
        let (taken, left) = match choice.chosen {
            ActivationsName::Int16 => (int16, int8),
            _ => (int8, int16),
        };
        let ((bytes, summary), _) = taken?;
        let summary = Summary { choice: Some(choice), ..summary };
        Ok(Quantized { bytes, summary, other: left.ok().map(|((bytes, _), _)| bytes) })
    }
}

/// The experiment with these activations.
fn with(experiment: &Experiment, activations: ActivationsName) -> Experiment {
    let mut experiment = experiment.clone();
    experiment.quantize.activations = activations;
    experiment
}

/// Writes the blob and `quantize.json`.
///
/// # Errors
/// A file can't be written.
pub fn write(run: &Run, out: &std::path::Path, bytes: &AlignedBytes, summary: &Summary) -> Result<()> {
    write_whole(out, bytes.as_slice())?;
    write_whole(&run.file("quantize.json"), (serde_json::to_string_pretty(summary)? + "\n").as_bytes())
}

/// Writes the blob with the other kind of activations, or removes an earlier one.
///
/// # Errors
/// The file can't be written or removed.
pub fn write_other(run: &Run, other: Option<&AlignedBytes>) -> Result<()> {
    let path = run.other_blob();
    match other {
        Some(bytes) => write_whole(&path, bytes.as_slice()),
        None if path.exists() => std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display())),
        None => Ok(()),
    }
}

/// Windows of half of the recordings or more, at most what an aggregate can have; 1 of images.
pub(crate) fn typical_windows(found: &[std::result::Result<Vec<Vec<i8>>, Rejection>]) -> u16 {
    let mut counts: Vec<usize> = found.iter().flatten().map(Vec::len).collect();
    counts.sort_unstable();
    counts.get(counts.len() / 2).map_or(1, |&count| count.clamp(1, 4096) as u16)
}

struct Quantizer<'a> {
    experiment: &'a Experiment,
    data: &'a Dataset,
    /// The float model as the trainer left it: what the quantized one is compared with.
    graph: &'a Graph,
    folded: Graph,
    /// Ranges of its nodes.
    ranges: Vec<Range>,
    /// Mean outputs of its nodes, where biases are corrected.
    means: Vec<Vec<f64>>,
    learned: bool,
    lowered: Lowered,
    /// `lowered` within the memory there is.
    banded: Lowered,
    /// Real input values of the images that ranges were calibrated on.
    inputs: Vec<Vec<f32>>,
    /// All normal training inputs as the engine takes them.
    normal: Vec<Vec<i8>>,
    /// The sample that each of them is of.
    normal_of: Vec<&'a Sample>,
    /// Normal samples that the threshold comes from.
    normal_samples: Vec<&'a Sample>,
    /// The model was not trained on them.
    held_out: bool,
    /// Validation samples with a fault.
    faults: Vec<&'a Sample>,
    edges: Edges<'a>,
}

impl<'a> Quantizer<'a> {
    fn new(experiment: &'a Experiment, source: &'a Source, data: &'a Dataset) -> Result<Self> {
        let Source { trained, graph, learned } = source;
        let (train, validation) = split(experiment, data)?;
        let front_end = &trained.front_end;
        let element = experiment.quantize.activations.element();
        let input = front_end.scheme(element)?;
        let found = front_end.prepare(element).extractor().all(&train)?;
        let windows = typical_windows(&found);
        let extracted: Vec<(Vec<i8>, &Sample)> = found
            .into_iter()
            .zip(&train)
            .filter_map(|(inputs, &sample)| Some((inputs.ok()?, sample)))
            .flat_map(|(inputs, sample)| inputs.into_iter().map(move |input| (input, sample)))
            .collect();
        ensure!(!extracted.is_empty(), "no training sample passes the front end");
        let count = extracted.len().min(CALIBRATION_INPUTS);
        let inputs: Vec<Vec<f32>> = (0..count)
            .map(|i| &extracted[i * extracted.len() / count].0)
            .map(|bytes| element::values(element, bytes).into_iter().map(|q| input.real(q) as f32).collect())
            .collect();
        let folded = fold(graph);
        let unfitted =
            detect::Fitted::unfitted(&experiment.detector, experiment.detector(), experiment.model.variational);
        let mut ranges = calibrate(&folded, &inputs, experiment.quantize.calibration);
        if detect::needs_headroom(experiment.detector())
            && let Some(last) = ranges.last_mut()
        {
            *last = last.widened(detect::HEADROOM);
        }
        let learned_as = learned.as_ref().filter(|learned| learned.activations.element() == element);
        if let Some(learned) = learned_as {
            learned.put(&folded, &mut ranges);
        }
        // Weights that were trained rounded need no correction for being so.
        let corrects = experiment.quantize.bias_correction && learned.is_none();
        let means = if corrects { means(&folded, &inputs) } else { Vec::new() };
        let lowered = lower(&folded, &ranges, &means, element, input)?;
        let keep_input = unfitted.keeps_input();
        let banded = bands::within(lowered.clone(), experiment.quantize.ram_budget, keep_input)?;
        // Without held-out samples the training ones must do; they score lower than new ones will.
        let held_out = !validation.is_empty();
        let (normal_samples, faults) = if held_out { validation } else { train }
            .into_iter()
            .filter(|sample| !sample.variant)
            .partition(|sample| sample.label == 0);
        let edges = Edges {
            front_end: front_end.clone(),
            detector: unfitted.clone(),
            decision: decision(
                &experiment.decision,
                experiment.decision.scores.unwrap_or(windows),
                Levels::default(),
                unfitted.score_unit(&lowered),
            ),
            provenance: Provenance {
                neji_version: env!("CARGO_PKG_VERSION"),
                name: &experiment.name,
                classes: "",
                data_hash: data.hash(),
                config_hash: experiment.hash(),
                seed: experiment.seed,
                metrics: Metrics { auroc_float: f32::NAN, auroc_quantized: f32::NAN },
            },
        };
        let (normal, normal_of) = extracted.into_iter().filter(|(_, sample)| sample.label == 0).unzip();
        Ok(Self {
            experiment,
            data,
            graph,
            folded,
            ranges,
            means,
            learned: learned_as.is_some(),
            lowered,
            banded,
            inputs,
            normal,
            normal_of,
            normal_samples,
            held_out,
            faults,
            edges,
        })
    }

    fn run(self, request: &Request, test: TestPart) -> Result<(AlignedBytes, Summary)> {
        let classes = self.data.classes.join("\n");
        let bare = self.assemble(&self.edges)?;
        let experiment = self.experiment;
        let name = experiment.detector();
        let detector = self.detector(accepted(&bare)?, &self.normal)?;
        let separate = assemble(&self.lowered, Memory::Separate, &self.edges)?;
        let layers = costs(
            &self.folded,
            &self.lowered,
            accepted(&separate)?,
            &self.inputs[..self.inputs.len().min(COST_IMAGES)],
        )?;

        let mut edges = self.edges.clone();
        if name == DetectorName::Classifier {
            edges.provenance.classes = &classes;
        }
        self.fit(&mut edges, accepted(&bare)?, detector)?;
        let fitted = self.assemble(&edges)?;
        let fitted = accepted(&fitted)?;
        let evidence = self.evidence(fitted)?;
        edges.decision = threshold::decide(fitted.plan(), experiment, &evidence)?;
        let judging = self.assemble(&edges)?;
        let judged = accepted(&judging)?;
        let (auroc_float, auroc_quantized, auroc_likelihood) = match test {
            TestPart::Scored => self.auroc(judged)?,
            TestPart::Unseen => (None, None, None),
        };
        let sensitivity = request.sensitivity.then(|| self.sensitivity(judged)).transpose()?;
        let value = |auroc: Option<f64>| auroc.map_or(f32::NAN, |auroc| auroc as f32);
        edges.provenance.metrics = Metrics { auroc_float: value(auroc_float), auroc_quantized: value(auroc_quantized) };
        let bytes = match request.hop {
            None => self.assemble(&edges)?,
            Some(hop) => self.streaming(&edges, hop)?,
        };
        let lifetimes = assemble::lifetimes(&self.banded, edges.detector.keeps_input());
        let blob = accepted(&bytes)?;
        let summary = Summary {
            layers,
            calibration: self.experiment.quantize.calibration,
            activations: self.experiment.quantize.activations,
            choice: None,
            sensitivity,
            learned_ranges: self.learned,
            calibration_images: self.inputs.len(),
            blob_bytes: blob.bytes().len(),
            arena_bytes: blob.arena_bytes(),
            arena_lower_bound: crate::plan::lower_bound(&lifetimes),
            threshold: f64::from(edges.decision.threshold) * f64::from(edges.decision.score_unit),
            threshold_basis: threshold::words(&edges.decision.basis),
            threshold_on_a_stream: threshold::on_a_stream(blob.plan()),
            drift_run_length: edges.decision.drift.map(|_| self.experiment.drift.average_run_length),
            auroc_float,
            auroc_quantized,
            auroc_likelihood,
        };
        Ok((bytes, summary))
    }

    /// Puts a detector into `edges`.
    fn fit(&self, edges: &mut Edges<'_>, bare: Model<'_>, detector: detect::Fitted) -> Result<()> {
        edges.decision.score_unit = detector.score_unit(&self.lowered);
        edges.detector = self.balanced(edges, bare, detector)?;
        Ok(())
    }

    /// What each normal sample scores under a model that was fitted to other parts of the samples, in steps of `unit`.
    fn crossed(&self, unit: f32) -> Result<Vec<Scored>> {
        let (experiment, samples) = (self.experiment, &self.normal_samples);
        ensure!(
            closed::is_closed(experiment),
            "threshold.method = \"cross_conformal\" fits the model anew for each part of the samples, so it must be one that is \
             computed outright: task = \"features\", or model.kind = \"pca\"; choose \"conformal\""
        );
        ensure!(
            !self.held_out,
            "threshold.method = \"cross_conformal\" needs nothing to be held out: set train.validation = 0 and train again, so that \
             the model has all samples"
        );
        let folds = usize::from(experiment.threshold.folds.unwrap_or(threshold::cross::FOLDS));
        threshold::cross::check(samples.len(), folds)?;
        let parts = threshold::cross::parts_of(samples, folds, experiment.seed);
        let mut all: Vec<Option<Scored>> = samples.iter().map(|_| None).collect();
        for fold in 0..folds {
            let judged: Vec<usize> = (0..samples.len()).filter(|&index| parts[index] == fold).collect();
            let touches =
                |sample: &Sample| judged.iter().any(|&index| threshold::cross::overlap(sample, samples[index]));
            let normal = self.data.train.iter().filter(|sample| sample.label == 0);
            let data = Dataset {
                // With their variants.
                train: normal.filter(|sample| !touches(sample)).cloned().collect(),
                test: Vec::new(),
                classes: self.data.classes.clone(),
                form: self.data.form,
                origin: self.data.origin,
                notices: Vec::new(),
            };
            let (trained, graph) = closed::fit(experiment, &data)?;
            let source = Source { trained, graph: detect::observed(experiment, &graph)?, learned: None };
            let part = Quantizer::new(experiment, &source, &data)?;
            let bare = part.assemble(&part.edges)?;
            let mut edges = part.edges.clone();
            part.fit(&mut edges, accepted(&bare)?, part.detector(accepted(&bare)?, &part.normal)?)?;
            let blob = part.assemble(&edges)?;
            let own: Vec<&Sample> = judged.iter().map(|&index| samples[index]).collect();
            let steps = f64::from(edges.decision.score_unit) / f64::from(unit);
            for (index, mut scored) in judged.into_iter().zip(scores::scored(accepted(&blob)?, &own)?) {
                scored.windows.iter_mut().for_each(|score| *score = (f64::from(*score) * steps).round() as i32);
                all[index] = Some(scored);
            }
        }
        Ok(all.into_iter().flatten().collect())
    }

    /// The detector as normal inputs to `bare`, which has none, have it.
    fn detector(&self, bare: Model<'_>, normal: &[Vec<i8>]) -> Result<detect::Fitted> {
        let Experiment { detector, model, seed, .. } = self.experiment;
        detect::fit(&bare, detector, self.experiment.detector(), model.variational, *seed, normal)
    }

    /// The detector, its parts in units of how their scores of normal samples deviate where it has two: scores of training samples by
    /// detectors that were fitted to the others, since a detector's own samples lie too near.
    fn balanced(&self, edges: &Edges<'_>, bare: Model<'_>, detector: detect::Fitted) -> Result<detect::Fitted> {
        let detect::Fitted::Fusion(fusion) = &detector else { return Ok(detector) };
        let mut samples = self.normal_of.clone();
        samples.dedup_by_key(|sample| std::ptr::from_ref(*sample));
        samples.retain(|sample| !sample.variant);
        let folds = FOLDS.min(samples.len());
        let mut alone = [Vec::new(), Vec::new()];
        for fold in 0..folds {
            let judged: Vec<&Sample> = samples.iter().copied().skip(fold).step_by(folds).collect();
            let others = |sample: &Sample| !judged.iter().any(|judged| sample.is_of(judged));
            let inputs: Vec<Vec<i8>> = (self.normal.iter().zip(&self.normal_of))
                .filter(|(_, sample)| others(sample))
                .map(|(input, _)| input.clone())
                .collect();
            // Of a single sample there are no others.
            let detector = if inputs.is_empty() { detector.clone() } else { self.detector(bare, &inputs)? };
            let detect::Fitted::Fusion(own) = &detector else { continue };
            for (scores, second) in alone.iter_mut().zip([false, true]) {
                let edges = Edges { detector: own.alone(second), ..edges.clone() };
                let rows = scores::quantized(accepted(&self.assemble(&edges)?)?, &judged)?;
                scores.extend(rows.into_iter().map(|row| row.score));
            }
        }
        Ok(fusion.balanced([&alone[0], &alone[1]]))
    }

    /// What the threshold is chosen by. Faults are looked at only where that is asked for: those that were held out, or, where
    /// there are none, those of the test part.
    fn evidence(&self, model: Model<'_>) -> Result<Evidence> {
        let crossed = self.experiment.threshold.method == MethodName::CrossConformal;
        let normal = match crossed {
            true => self.crossed(model.plan().decision.score_unit)?,
            false => scores::scored(model, &self.normal_samples)?,
        };
        let mut faults = Vec::new();
        if threshold::needs_faults(self.experiment) {
            let test = self.data.test.iter().filter(|sample| sample.label > 0);
            let samples = if self.faults.is_empty() { test.collect() } else { self.faults.clone() };
            faults = scores::quantized(model, &samples)?.into_iter().map(|row| row.score).collect();
        }
        Ok(Evidence { normal, held_out: self.held_out || crossed, faults })
    }

    fn assemble(&self, edges: &Edges<'_>) -> Result<AlignedBytes> {
        assemble(&self.banded, Memory::Planned, edges)
    }

    /// The blob whose window of sound moves on by `hop` frames a run, of which it takes no others.
    fn streaming(&self, edges: &Edges<'_>, hop: u16) -> Result<AlignedBytes> {
        let Fitted::Sound(sound) = &edges.front_end else {
            bail!("a picture is no window over time: streaming needs [front_end.sound]")
        };
        ensure!(
            !edges.detector.keeps_input(),
            "a reconstruction's error is that of the whole window, so there is nothing to keep: streaming needs another detector"
        );
        ensure!(
            self.experiment.quantize.ram_budget.is_none(),
            "a window that streams keeps its rows, it can't have a budget of RAM as well"
        );
        let mut sound = sound.clone();
        ensure!(sound.settings.statistics.is_none(), "statistics are of the whole window: nothing of them can be kept");
        ensure!(
            (1..=sound.settings.context).contains(&hop),
            "the window has {} frames; it can't move on by {hop}",
            sound.settings.context
        );
        (sound.settings.context, sound.settings.stride) = (hop, hop);
        let edges = Edges { front_end: Fitted::Sound(sound), ..edges.clone() };
        assemble(&self.lowered, Memory::Streaming { hop: hop.into() }, &edges)
    }

    /// Which test samples are abnormal; none where there are not both kinds.
    fn abnormal(&self) -> Option<Vec<bool>> {
        let abnormal: Vec<bool> = self.data.test.iter().map(|sample| sample.label > 0).collect();
        (abnormal.contains(&true) && abnormal.contains(&false)).then_some(abnormal)
    }

    /// AUROC of the float graph and the blob on the test part, and of a variational autoencoder's likelihood.
    fn auroc(&self, model: Model<'_>) -> Result<(Option<f64>, Option<f64>, Option<f64>)> {
        let test = &self.data.test;
        let Some(abnormal) = self.abnormal() else { return Ok((None, None, None)) };
        let quantized: Vec<f64> = scores::quantized(model, test)?.iter().map(|row| row.score).collect();
        let float = scores::float(model, self.graph, test)?;
        Ok((
            Some(auroc(&float, &abnormal)?),
            Some(auroc(&quantized, &abnormal)?),
            self.auroc_likelihood(model, &abnormal)?,
        ))
    }

    /// What each layer's rounding does by itself.
    fn sensitivity(&self, model: Model<'_>) -> Result<Sensitivity> {
        let trial = Trial::new(self.experiment, self.data, SENSITIVITY_DEFECTS)?;
        let layers = sensitivity::Layers::new(&self.folded, &self.ranges, &self.means, model.plan());
        sensitivity::measure(model, &layers, &trial)
    }

    /// AUROC of the float graph's whole negative log-likelihood on the test part, of a variational autoencoder.
    fn auroc_likelihood(&self, model: Model<'_>, abnormal: &[bool]) -> Result<Option<f64>> {
        if !self.experiment.model.variational {
            return Ok(None);
        }
        let costs = scores::likelihood(model, self.graph, self.experiment.log_variance(), &self.data.test)?;
        Ok(Some(auroc(&costs, abnormal)?))
    }
}
