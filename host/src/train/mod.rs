//! Training: epochs of mini-batches, the best weights by validation loss, a checkpoint after every epoch.
//!
//! An epoch depends on the seed, its number and the state before it, and on nothing else: a training that was interrupted
//! and resumed ends in the same bits as one that was not. Where one network learns after another ([`stage`]), each begins with the best
//! weights of those before it and an optimizer of its own. Epochs with rounding ([`aware`]) follow on those without, by the same loop and
//! with a checkpoint of their own.

pub mod aware;
pub mod batch;
pub mod cells;
pub mod checkpoint;
pub mod optimizer;
pub mod stage;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::augment::Augmenter;
use crate::dataset::{Dataset, Kind, Sample};
use crate::experiment::{Experiment, Keep, Task, TrainSettings};
use crate::export::export;
use crate::files::write_whole;
use crate::frontend::{self, Fitted, real_inputs};
use crate::model::cnn::Cnn;
use crate::model::distilled::{Distilled, Scale};
use crate::model::{ImageSize, Network, vae};
use crate::pretext::{Changes, Form};
use crate::residual::Residual;
use crate::run::{Run, Trained, hex, split};
use crate::synthetic::Learned;
use batch::{Batch, Images, epoch_rng, order};
use cells::Cells;
use checkpoint::{Checkpoint, Epoch, losses_csv};
use optimizer::{Target, learning_rate, loss, optimizer};
use stage::{Part, Stage};

/// Images evaluated at once.
const EVALUATION_BATCH: usize = 64;
/// Most normal inputs that the scale of a teacher's features is taken of, evenly spread.
const SCALE_INPUTS: usize = 512;

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// All epochs, or no better validation loss for long enough.
    Finished(Trained),
    /// `stop` was set; the checkpoint holds this many epochs.
    Interrupted(usize),
}

/// Trains `experiment` on `data` into `run`, or goes on from its checkpoint where there is one for the same experiment and
/// data. The caller holds the run's lock and has written its `config.toml`.
///
/// # Errors
/// Data that the front end or the model can't take, a checkpoint of another experiment, a loss that is no number, or a
/// file that can't be written.
pub fn train(experiment: &Experiment, data: &Dataset, run: &Run, stop: &AtomicBool) -> Result<Ended> {
    let (mut samples, held_out) = split(experiment, data)?;
    // What a part or a sound is like, normal samples say; made defects are none of the machine's.
    let real: Vec<_> = samples.iter().copied().filter(|s| experiment.train.synthetic == 0 || s.label == 0).collect();
    let redrawn = if data.kind() == Kind::Images { experiment.train.synthetic } else { 0 };
    if redrawn > 0 {
        samples.clone_from(&real);
    }
    let front_end = frontend::fit(&experiment.front_end, &real)?;
    let (train, validation) = (real_inputs(&front_end, &samples)?, real_inputs(&front_end, &held_out)?);
    report_rejected(&[train.rejected, validation.rejected].concat());
    let (classes, class) = classes(experiment, data)?;
    let labels = |samples: &[&Sample]| samples.iter().map(|sample| class(sample)).collect();
    let train_labels: Vec<usize> = labels(&train.samples);
    let normal = |index: usize| train.samples[index].label == 0;
    let residual = match experiment.model.residual {
        Some(axes) => Some(Residual::fit(&train.inputs, normal, axes)?),
        None => None,
    };
    let seen: Vec<Vec<f32>> = match &residual {
        Some(residual) => validation.inputs.iter().map(|input| residual.of_other(input)).collect(),
        None => validation.inputs,
    };
    let validation_images = Images { labels: labels(&validation.samples), pixels: seen, ..Images::default() };
    let train_images = Images {
        labels: train_labels,
        pixels: train.inputs,
        defects: redrawn as usize,
        learned: Learned::new(&experiment.train.defects, experiment.train.defect_strength_min)?,
        residual: residual.clone(),
    };
    ensure!(
        !train_images.pixels.is_empty(),
        "no training image passes the front end; see [front_end] in the experiment"
    );

    let shape = front_end.shape().context("a front end that was fitted has a shape")?;
    let size = ImageSize { height: shape.height as usize, width: shape.width as usize };
    let augmenter = Augmenter::new(&experiment.train.augment, &front_end, size.height, size.width);
    let changes = changes(experiment, &front_end, size)?;
    let asked = changes.as_ref().map(|changes| validation_images.asked(changes, experiment.seed)).unwrap_or_default();
    let material = Material { size, augmenter, changes, train: train_images, validation: validation_images, asked };
    let device = Device::default().autodiff();
    let network = begin(experiment, classes, &material, &device)?;
    let objective = Plain { experiment, material: &material, scale: None };
    let empty = Checkpoint::empty(experiment.hash(), data.hash());
    let mut trainer = Trainer::new(objective, &experiment.train, experiment.seed, &material, device, network, empty);
    if !trainer.go_on(run, &run.checkpoint(), &[], stop)? {
        return Ok(Ended::Interrupted(trainer.state.epochs.len()));
    }
    let best = trainer.state.best().copied().context("a training has at least one epoch")?;
    let epochs = std::mem::take(&mut trainer.state.epochs);
    let mut graph = export(&trainer.best()?, experiment, size)?;
    if let Some(residual) = &residual {
        graph = residual.before(graph, experiment.seed);
    }
    let (mut best_epoch, mut best_loss) = (best.epoch, best.validation);
    if let Some(settings) = experiment.train.aware() {
        let empty = Checkpoint::empty(experiment.hash(), data.hash());
        let scheme = front_end.scheme(experiment.quantize.activations.element())?;
        let begun = aware::Begun { experiment, settings: &settings, material: &material, graph: &graph, input: scheme };
        let Some(found) = aware::train(&begun, run, &epochs, empty, stop)? else {
            return Ok(Ended::Interrupted(epochs.len()));
        };
        run.write_ranges(&found.ranges)?;
        (graph, best_epoch, best_loss) = (found.graph, found.best_epoch, found.best_loss);
    }
    let trained = Trained {
        neji_version: env!("CARGO_PKG_VERSION").to_owned(),
        data_hash: hex(&data.hash()),
        classes: data.classes.clone(),
        front_end,
        best_epoch,
        best_loss,
    };
    run.finish(&trained, &graph)?;
    Ok(Ended::Finished(trained))
}

/// How many classes are told apart, and which one a sample is of: the data's, or the machine or section that its name says.
fn classes<'d>(experiment: &Experiment, data: &'d Dataset) -> Result<(usize, impl Fn(&Sample) -> usize + use<'d>)> {
    let sections = if experiment.train.sections { data.sections() } else { Vec::new() };
    ensure!(
        !experiment.train.sections || sections.len() >= 2,
        "train.sections tells machines or sections apart, but the files' names say {}; DCASE names them normal_id_00_00000000.wav \
         or section_00_source_train_normal_0000.wav",
        if sections.is_empty() { "none".to_owned() } else { format!("{} alone", sections.join(", ")) }
    );
    let count = if experiment.train.sections { sections.len() } else { data.classes.len() };
    let class = move |sample: &Sample| match &sample.section {
        Some(section) if !sections.is_empty() => sections.iter().position(|one| one == section).unwrap_or(0),
        _ => sample.label,
    };
    Ok((count, class))
}

/// The changes that are told apart, where the experiment asks for some.
fn changes(experiment: &Experiment, front_end: &Fitted, size: ImageSize) -> Result<Option<Changes>> {
    let tasks = &experiment.train.pretext;
    let form = match front_end {
        Fitted::Sound(_) => Form::Spectrogram,
        Fitted::Image(_) | Fitted::Raw => Form::Picture { aligned: experiment.front_end.strip.is_some() },
    };
    (!tasks.is_empty()).then(|| Changes::new(tasks, size.height, size.width, form)).transpose()
}

fn report_rejected(names: &[&str]) {
    if let Some(first) = names.first() {
        eprintln!("left out {} of the training images, since no part is found in them: {first} …", names.len());
    }
}

/// What is learned from.
#[derive(Debug)]
pub struct Material {
    /// Of the model's input.
    pub size: ImageSize,
    /// How training images are changed.
    pub augmenter: Augmenter,
    /// What inputs are changed by, where a network learns to tell that.
    pub changes: Option<Changes>,
    /// What is trained on.
    pub train: Images,
    /// What epochs are compared on.
    pub validation: Images,
    /// The same with changes, where those are told apart.
    pub asked: Images,
}

/// What is made small.
pub trait Objective {
    /// What is learned.
    type Model: Module;

    /// The mean loss of a batch; `training` says that weights follow, and that codes of a variational autoencoder are drawn.
    fn loss(&self, model: &Self::Model, batch: Batch, stage: Stage, training: bool) -> Tensor<1>;

    /// What is learned one after the other.
    fn parts(&self, settings: &TrainSettings) -> Vec<Part> {
        vec![Part { stage: Stage::Whole, first: 0, epochs: settings.epochs }]
    }

    /// Makes ready what a stage needs to know of the model that its epochs go on with: before each one, by what a checkpoint holds and
    /// nothing else.
    fn prepare(&mut self, _stage: Stage, _model: &Self::Model) {}
}

/// The network before the first epoch. `classes` are the data's; where changes are told apart, those count.
fn begin(experiment: &Experiment, classes: usize, material: &Material, device: &Device) -> Result<Network> {
    device.seed(experiment.seed);
    let Material { size, changes, train, .. } = material;
    let classes = changes.as_ref().map_or(classes, Changes::classes);
    Ok(match Network::new(experiment, *size, classes, device)? {
        Network::Dense(model) => Network::Dense(model.centre(&train.mean(), device)),
        Network::Vae(model) => Network::Vae(model.centre(&train.mean(), device)),
        Network::OneClass(model) => {
            let all: Vec<usize> = (0..train.pixels.len()).collect();
            let batches = all.chunks(EVALUATION_BATCH).map(|batch| train.plain(batch, *size, device).images);
            Network::OneClass(model.centred(batches, device)?)
        }
        other => other,
    })
}

/// The experiment's loss of a network that knows nothing of rounding.
struct Plain<'a> {
    experiment: &'a Experiment,
    material: &'a Material,
    /// Of the teacher's features, once it has learned.
    scale: Option<Scale>,
}

impl Plain<'_> {
    /// Whether the small network learns the mean of the teacher's features: where nothing else is looked at.
    fn pooled(&self) -> bool {
        self.experiment.task == Task::Distilled && self.experiment.detector.pooled
    }

    /// The scale of the features of normal inputs as they are.
    fn scale(&self, model: &Distilled) -> Scale {
        let (model, device) = (model.valid(), Device::default());
        let Material { size, train, .. } = self.material;
        let count = train.pixels.len().min(SCALE_INPUTS);
        let indices: Vec<usize> = (0..count).map(|i| i * train.pixels.len() / count).collect();
        let features = |batch: &[usize]| model.taught(train.plain(batch, *size, &device).images, self.pooled());
        Scale::of(indices.chunks(EVALUATION_BATCH).map(features).collect())
    }

    /// The loss of a stage of a teacher, a small network and a student.
    fn taught(
        &self,
        model: &Distilled,
        images: Tensor<4>,
        labels: &[usize],
        stage: Stage,
        training: bool,
    ) -> Tensor<1> {
        if stage == Stage::Student
            && let Some(loss) = model.student_loss(images.clone())
        {
            return loss;
        }
        match self.scale.clone().filter(|_| stage == Stage::Match) {
            Some(scale) => {
                let scale = if training { scale.autodiff() } else { scale };
                model.match_loss(images, &scale, self.pooled())
            }
            None => loss(self.experiment.loss(), model.teacher.forward(images), Target::Classes(labels)),
        }
    }
}

impl Objective for Plain<'_> {
    type Model = Network;

    fn loss(&self, network: &Network, batch: Batch, stage: Stage, training: bool) -> Tensor<1> {
        let Batch { images, labels, marks } = batch;
        match network {
            Network::OneClass(model) => return model.loss(images),
            Network::Distilled(model) => return self.taught(model, images, &labels, stage, training),
            _ => {}
        }
        let activation = self.experiment.model.activation;
        if let Network::Vae(model) = network {
            let said = model.say(images.clone(), activation, training);
            return vae::loss(said, images.flatten(1, 3), self.experiment.log_variance());
        }
        if let (Network::Cnn(model), Some(marks)) = (network, &marks)
            && let Some(places) = model.places(images.clone())
        {
            let whole = loss(self.experiment.loss(), Cnn::largest(places.clone()), Target::Classes(&labels));
            return whole + Cells::new(marks, self.material.size, model.cell()).loss(places);
        }
        let output = network.forward(images.clone(), activation);
        match self.experiment.task {
            Task::Autoencoder | Task::Features | Task::Distilled | Task::Student | Task::OneClass => {
                loss(self.experiment.loss(), output, Target::Images(&images.flatten(1, 3)))
            }
            Task::Cnn => loss(self.experiment.loss(), output, Target::Classes(&labels)),
        }
    }

    fn parts(&self, _: &TrainSettings) -> Vec<Part> {
        stage::parts(self.experiment)
    }

    fn prepare(&mut self, stage: Stage, network: &Network) {
        if stage == Stage::Match
            && self.scale.is_none()
            && let Network::Distilled(model) = network
        {
            self.scale = Some(self.scale(model));
        }
    }
}

/// The loop's state.
pub struct Trainer<'a, O: Objective> {
    objective: O,
    settings: &'a TrainSettings,
    seed: u64,
    material: &'a Material,
    parts: Vec<Part>,
    device: Device,
    model: Option<O::Model>,
    optimizer: ModuleOptimizer,
    state: Checkpoint,
    /// Epochs of an earlier training that this one goes on from: its own are counted from there.
    before: usize,
    /// The best validation loss so far; that of the beginning counts where epochs went before.
    best: f64,
}

impl<'a, O: Objective> Trainer<'a, O> {
    /// A training that begins with `model`; `empty` is a checkpoint of no epochs.
    pub fn new(
        objective: O,
        settings: &'a TrainSettings,
        seed: u64,
        material: &'a Material,
        device: Device,
        model: O::Model,
        empty: Checkpoint,
    ) -> Self {
        let (optimizer, model) = (optimizer(settings), Some(model));
        let parts = objective.parts(settings);
        let best = f64::INFINITY;
        Self { objective, settings, seed, material, parts, device, model, optimizer, state: empty, before: 0, best }
    }

    /// Goes on from the checkpoint at `path`, where there is one, to the last epoch; false where `stop` was set before. `earlier` are the
    /// epochs of the training before this one, whose end is the first that counts.
    ///
    /// # Errors
    /// A checkpoint of another experiment, a loss that is no number, or a file that can't be written.
    pub fn go_on(&mut self, run: &Run, path: &Path, earlier: &[Epoch], stop: &AtomicBool) -> Result<bool> {
        self.before = earlier.len();
        if self.before > 0 {
            let model = self.model.as_ref().context("a model")?;
            self.state.best = save(model)?;
            self.state.best_epoch = self.before;
            self.best = self.validate(model, self.parts[0].stage).unwrap_or(f64::INFINITY);
        }
        if path.exists() {
            self.resume(Checkpoint::load(path)?).with_context(|| format!("resuming {}", run.folder().display()))?;
        }
        let bar = self.progress_bar();
        while !self.ended() {
            let Some(epoch) = self.epoch(&bar, stop)? else {
                bar.abandon();
                return Ok(false);
            };
            self.state.save(path)?;
            write_whole(&run.file("losses.csv"), &losses_csv(&[earlier, &self.state.epochs].concat())?)?;
            let text = format!(
                "{}epoch {:>4}  loss {:.6}  validation {:.6}  best {}",
                stage::at(&self.parts, self.state.epochs.len() - 1).stage.name(),
                epoch.epoch,
                epoch.train,
                epoch.validation,
                self.state.best_epoch
            );
            // Where nobody watches a bar, a line now and then.
            if bar.is_hidden() && (epoch.epoch.is_multiple_of(50) || self.ended()) {
                eprintln!("{text}");
            }
            bar.set_message(text);
        }
        bar.finish();
        Ok(true)
    }

    fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        ensure!(checkpoint.config_hash == self.state.config_hash, "its settings were others; train anew with --force");
        ensure!(checkpoint.data_hash == self.state.data_hash, "its data were others; train anew with --force");
        let model = self.model.take().context("a model")?;
        self.model = Some(load(model, &checkpoint.model)?);
        self.optimizer =
            self.optimizer.clone().from_bytes(Bytes::from_bytes_vec(checkpoint.optimizer.clone())).map_err(
                |error| anyhow::anyhow!("its optimizer state does not load ({error}); train anew with --force"),
            )?;
        if let Some(best) = checkpoint.best() {
            self.best = best.validation;
        }
        self.state = checkpoint;
        Ok(())
    }

    fn batches(&self) -> usize {
        self.material.train.count().div_ceil(self.settings.batch_size)
    }

    /// All epochs of all stages.
    fn epochs(&self) -> usize {
        self.parts.last().map_or(0, Part::end)
    }

    fn progress_bar(&self) -> ProgressBar {
        let batches = self.batches() as u64;
        let bar = ProgressBar::with_draw_target(Some(batches * self.epochs() as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{elapsed:>4} [{bar:32}] {eta:>4} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        // A resumed bar begins where it was: what is left is estimated from what this process did.
        bar.set_position(batches * self.state.epochs.len() as u64);
        bar.reset_eta();
        bar
    }

    /// True after the last epoch, or after `patience` epochs of the last stage without a better validation loss.
    fn ended(&self) -> bool {
        let (patience, done) = (self.settings.patience, self.state.epochs.len());
        let last = stage::at(&self.parts, self.epochs());
        let since = (self.before + done).saturating_sub(self.state.best_epoch);
        done >= self.epochs() || (patience > 0 && done > last.first && since >= patience)
    }

    /// Makes an epoch ready: a stage's first one begins with the best weights so far.
    fn begin(&mut self, part: Part) -> Result<()> {
        if part.first > 0 && self.state.epochs.len() == part.first {
            self.model = Some(self.best()?);
            self.optimizer = optimizer(self.settings);
            self.best = f64::INFINITY;
        }
        self.objective.prepare(part.stage, self.model.as_ref().context("a model")?);
        Ok(())
    }

    /// One epoch; `None` where `stop` was set in its midst, which leaves the state as it was before.
    fn epoch(&mut self, bar: &ProgressBar, stop: &AtomicBool) -> Result<Option<Epoch>> {
        let settings = self.settings;
        let own = self.state.epochs.len();
        let number = self.before + own;
        let part = stage::at(&self.parts, own);
        self.begin(part)?;
        let rate = learning_rate(&TrainSettings { epochs: part.epochs, ..settings.clone() }, own - part.first);
        let mut rng = epoch_rng(self.seed, number);
        // Dropout draws from the device.
        self.device.seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64 + 1));
        let Material { size, augmenter, changes, train: images, .. } = self.material;
        let changes = changes.as_ref().filter(|_| part.stage != Stage::Student);
        let indices = order(images.count(), &mut rng);
        let mut model = self.model.take().context("a model")?;
        let mut sum = 0.0;
        for batch in indices.chunks(settings.batch_size) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seen = images.changed(batch, *size, augmenter, changes, &mut rng, &self.device);
            let loss = self.objective.loss(&model, seen, part.stage, true);
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                bail!("the loss is {value} in epoch {}; lower train.learning_rate ({rate:e})", number + 1);
            }
            sum += value * batch.len() as f64;
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = self.optimizer.step(rate, model, gradients);
            bar.inc(1);
        }
        let train = sum / images.count() as f64;
        let validation = self.validate(&model, part.stage).unwrap_or(train);
        let epoch = Epoch { epoch: number + 1, train, validation, learning_rate: rate };
        self.state.model = save(&model)?;
        let bytes = self.optimizer.into_bytes().map_err(|error| anyhow::anyhow!("saving the optimizer: {error}"))?;
        self.state.optimizer = bytes.to_vec();
        if validation < self.best || settings.keep == Keep::Last || self.material.validation.pixels.is_empty() {
            self.best = validation;
            self.state.best_epoch = epoch.epoch;
            self.state.best = self.state.model.clone();
        }
        self.state.epochs.push(epoch);
        self.model = Some(model);
        Ok(Some(epoch))
    }

    /// Mean loss over the validation images; none where there are none.
    fn validate(&self, model: &O::Model, stage: Stage) -> Option<f64> {
        let Material { size, changes, validation, asked, .. } = self.material;
        let validation = if changes.is_some() && stage != Stage::Student { asked } else { validation };
        let count = validation.pixels.len();
        if count == 0 {
            return None;
        }
        let model = model.valid();
        let device = Device::default();
        let indices: Vec<usize> = (0..count).collect();
        let sum: f64 = indices
            .chunks(EVALUATION_BATCH)
            .map(|batch| {
                let seen = validation.plain(batch, *size, &device);
                f64::from(self.objective.loss(&model, seen, stage, false).into_scalar::<f32>()) * batch.len() as f64
            })
            .sum();
        Some(sum / count as f64)
    }

    /// The model with its best weights.
    fn best(&mut self) -> Result<O::Model> {
        load(self.model.take().context("a model")?, &self.state.best)
    }
}

fn save<M: Module>(model: &M) -> Result<Vec<u8>> {
    let bytes = model.clone().into_record().into_bytes();
    Ok(bytes.map_err(|error| anyhow::anyhow!("saving the weights: {error}"))?.to_vec())
}

fn load<M: Module>(model: M, bytes: &[u8]) -> Result<M> {
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()));
    record
        .and_then(|record| model.try_load_record(record))
        .map_err(|error| anyhow::anyhow!("its weights do not load ({error}); train anew with --force"))
}
