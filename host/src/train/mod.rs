//! Training: epochs of mini-batches, the best weights by validation loss, a checkpoint after every epoch.
//!
//! An epoch depends on the seed, its number and the state before it, and on nothing else: a training that was interrupted
//! and resumed ends in the same bits as one that was not. Epochs with rounding ([`aware`]) follow on those without, by the same loop and
//! with a checkpoint of their own.

pub mod aware;
pub mod batch;
pub mod cells;
pub mod checkpoint;
pub mod optimizer;

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
use crate::experiment::{Experiment, Task, TrainSettings};
use crate::export::export;
use crate::files::write_whole;
use crate::frontend::{self, real_inputs};
use crate::model::cnn::Cnn;
use crate::model::{ImageSize, Network, vae};
use crate::run::{Run, Trained, hex, split};
use batch::{Batch, Images, epoch_rng, order};
use cells::Cells;
use checkpoint::{Checkpoint, Epoch, losses_csv};
use optimizer::{Target, learning_rate, loss, optimizer};

/// Images evaluated at once.
const EVALUATION_BATCH: usize = 64;

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
    let train_images = Images { labels: labels(&train.samples), pixels: train.inputs, defects: redrawn as usize };
    let validation_images = Images { labels: labels(&validation.samples), pixels: validation.inputs, defects: 0 };
    ensure!(
        !train_images.pixels.is_empty(),
        "no training image passes the front end; see [front_end] in the experiment"
    );

    let shape = front_end.shape().context("a front end that was fitted has a shape")?;
    let size = ImageSize { height: shape.height as usize, width: shape.width as usize };
    let augmenter = Augmenter::new(&experiment.train.augment, &front_end, size.height, size.width);
    let material = Material { size, augmenter, train: train_images, validation: validation_images };
    let device = Device::default().autodiff();
    let objective = Plain { experiment, size };
    let network = objective.begin(classes, &material, &device)?;
    let empty = Checkpoint::empty(experiment.hash(), data.hash());
    let mut trainer = Trainer::new(objective, &experiment.train, experiment.seed, &material, device, network, empty);
    if !trainer.go_on(run, &run.checkpoint(), &[], stop)? {
        return Ok(Ended::Interrupted(trainer.state.epochs.len()));
    }
    let best = trainer.state.best().copied().context("a training has at least one epoch")?;
    let epochs = std::mem::take(&mut trainer.state.epochs);
    let mut graph = export(&trainer.best()?, experiment, size)?;
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
    /// What is trained on.
    pub train: Images,
    /// What epochs are compared on.
    pub validation: Images,
}

/// What is made small.
pub trait Objective {
    /// What is learned.
    type Model: Module;

    /// The mean loss of a batch; `random` says that codes of a variational autoencoder are drawn.
    fn loss(&self, model: &Self::Model, batch: Batch, random: bool) -> Tensor<1>;
}

/// The experiment's loss of a network that knows nothing of rounding.
struct Plain<'a> {
    experiment: &'a Experiment,
    size: ImageSize,
}

impl Plain<'_> {
    /// The network before the first epoch.
    fn begin(&self, classes: usize, material: &Material, device: &Device) -> Result<Network> {
        device.seed(self.experiment.seed);
        let network = Network::new(self.experiment, self.size, classes, device)?;
        Ok(match network {
            Network::Dense(model) => Network::Dense(model.centre(&material.train.mean(), device)),
            Network::Vae(model) => Network::Vae(model.centre(&material.train.mean(), device)),
            other => other,
        })
    }
}

impl Objective for Plain<'_> {
    type Model = Network;

    fn loss(&self, network: &Network, batch: Batch, random: bool) -> Tensor<1> {
        let Batch { images, labels, marks } = batch;
        let activation = self.experiment.model.activation;
        if let Network::Vae(model) = network {
            let said = model.say(images.clone(), activation, random);
            return vae::loss(said, images.flatten(1, 3), self.experiment.log_variance());
        }
        if let (Network::Cnn(model), Some(marks)) = (network, &marks)
            && let Some(places) = model.places(images.clone())
        {
            let whole = loss(self.experiment.loss(), Cnn::largest(places.clone()), Target::Classes(&labels));
            return whole + Cells::new(marks, self.size, model.cell()).loss(places);
        }
        let output = network.forward(images.clone(), activation);
        match self.experiment.task {
            Task::Autoencoder | Task::Features => {
                loss(self.experiment.loss(), output, Target::Images(&images.flatten(1, 3)))
            }
            Task::Cnn => loss(self.experiment.loss(), output, Target::Classes(&labels)),
        }
    }
}

/// The loop's state.
pub struct Trainer<'a, O: Objective> {
    objective: O,
    settings: &'a TrainSettings,
    seed: u64,
    material: &'a Material,
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
        let best = f64::INFINITY;
        Self { objective, settings, seed, material, device, model, optimizer, state: empty, before: 0, best }
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
            self.best = self.validate(model).unwrap_or(f64::INFINITY);
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
                "epoch {:>4}  loss {:.6}  validation {:.6}  best {}",
                epoch.epoch, epoch.train, epoch.validation, self.state.best_epoch
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

    fn progress_bar(&self) -> ProgressBar {
        let batches = self.batches() as u64;
        let bar =
            ProgressBar::with_draw_target(Some(batches * self.settings.epochs as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{elapsed:>4} [{bar:32}] {eta:>4} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        // A resumed bar begins where it was: what is left is estimated from what this process did.
        bar.set_position(batches * self.state.epochs.len() as u64);
        bar.reset_eta();
        bar
    }

    /// True after the last epoch, or after `patience` epochs without a better validation loss.
    fn ended(&self) -> bool {
        let (settings, done) = (self.settings, self.state.epochs.len());
        let since = (self.before + done).saturating_sub(self.state.best_epoch);
        done >= settings.epochs || (settings.patience > 0 && since >= settings.patience)
    }

    /// One epoch; `None` where `stop` was set in its midst, which leaves the state as it was before.
    fn epoch(&mut self, bar: &ProgressBar, stop: &AtomicBool) -> Result<Option<Epoch>> {
        let settings = self.settings;
        let own = self.state.epochs.len();
        let number = self.before + own;
        let rate = learning_rate(settings, own);
        let mut rng = epoch_rng(self.seed, number);
        // Dropout draws from the device.
        self.device.seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64 + 1));
        let Material { size, augmenter, train: images, .. } = self.material;
        let indices = order(images.count(), &mut rng);
        let mut model = self.model.take().context("a model")?;
        let mut sum = 0.0;
        for batch in indices.chunks(settings.batch_size) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seen = images.changed(batch, *size, augmenter, &mut rng, &self.device);
            let loss = self.objective.loss(&model, seen, true);
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
        let validation = self.validate(&model).unwrap_or(train);
        let epoch = Epoch { epoch: number + 1, train, validation, learning_rate: rate };
        self.state.model = save(&model)?;
        let bytes = self.optimizer.into_bytes().map_err(|error| anyhow::anyhow!("saving the optimizer: {error}"))?;
        self.state.optimizer = bytes.to_vec();
        if validation < self.best || self.material.validation.pixels.is_empty() {
            self.best = validation;
            self.state.best_epoch = epoch.epoch;
            self.state.best = self.state.model.clone();
        }
        self.state.epochs.push(epoch);
        self.model = Some(model);
        Ok(Some(epoch))
    }

    /// Mean loss over the validation images; none where there are none.
    fn validate(&self, model: &O::Model) -> Option<f64> {
        let Material { size, validation, .. } = self.material;
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
                f64::from(self.objective.loss(&model, seen, false).into_scalar::<f32>()) * batch.len() as f64
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
