//! Training that knows of rounding: the trained model, batch normalisation folded, goes on learning as the device will compute it.
//!
//! What begins is what quantization would make of it by itself: calibrated ranges, corrected biases. Batch statistics stay as they are folded
//! (Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342, section 3.2.2, which freezes them
//! in the end), there is no dropout, and the code of a variational autoencoder is its mean, as on the device: of its loss what the score
//! is made of is left. Where no epoch is better on the validation images, the beginning is kept.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};

use super::batch::{Batch, epoch_rng, order};
use super::cells::Cells;
use super::checkpoint::{Checkpoint, Epoch};
use super::optimizer::{Target, loss};
use super::stage::Stage;
use super::{Material, Objective, Trainer};
use crate::calibrate::{calibrate, means};
use crate::experiment::{Experiment, Task, TrainSettings};
use crate::fold::fold;
use crate::graph::Graph;
use crate::model::rounded::{Learned, RoundedGraph};
use crate::model::vae::{self, Said};
use crate::quantize::CALIBRATION_INPUTS;
use crate::quantize::learned::LearnedRanges;
use crate::quantize::lower::with_corrected_biases;
use crate::quantize::scheme::Scheme;
use crate::run::Run;

/// What a training with rounding begins with.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its settings of these epochs.
    pub settings: &'a TrainSettings,
    /// What is learned from.
    pub material: &'a Material,
    /// The trained model.
    pub graph: &'a Graph,
    /// Steps of its input.
    pub input: Scheme,
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// The float model whose rounding was learned.
    pub graph: Graph,
    /// Its ranges.
    pub ranges: LearnedRanges,
    /// The epoch whose weights were kept, counted with those before; the last of those where none was better.
    pub best_epoch: usize,
    /// Its validation loss.
    pub best_loss: f64,
}

/// Trains on, or goes on from a checkpoint; none where `stop` was set before the end.
///
/// # Errors
/// A model that is not trained with rounding, or as the trainer.
pub fn train(
    begun: &Begun<'_>,
    run: &Run,
    earlier: &[Epoch],
    empty: Checkpoint,
    stop: &AtomicBool,
) -> Result<Option<Found>> {
    let Begun { experiment, settings, material, graph, input } = *begun;
    let device = Device::default().autodiff();
    let activations = experiment.quantize.activations;
    let folded = fold(graph);
    let inputs = inputs(experiment, material)?;
    let ranges = calibrate(&folded, &inputs, experiment.quantize.calibration);
    let corrected = match experiment.quantize.bias_correction {
        true => with_corrected_biases(&folded, &means(&folded, &inputs)),
        false => folded,
    };
    let (rounded, learned) = RoundedGraph::new(&corrected, &ranges, activations, input, &device)?;
    let objective = Rounded { experiment, material, graph: &rounded };
    let mut trainer = Trainer::new(objective, settings, experiment.seed, material, device, learned, empty);
    if !trainer.go_on(run, &run.aware_checkpoint(), earlier, stop)? {
        return Ok(None);
    }
    let (best_epoch, best_loss) = (trainer.state.best_epoch, trainer.best);
    let (graph, ranges) = rounded.export(&trainer.best()?, activations)?;
    Ok(Some(Found { graph, ranges, best_epoch, best_loss }))
}

/// Inputs that ranges are calibrated on: of what training sees, with its defects and its changes.
fn inputs(experiment: &Experiment, material: &Material) -> Result<Vec<Vec<f32>>> {
    let Material { size, augmenter, changes, train, .. } = material;
    let mut rng = epoch_rng(experiment.seed, 0);
    let mut indices = order(train.count(), &mut rng);
    indices.truncate(CALIBRATION_INPUTS);
    let seen = train.changed(&indices, *size, augmenter, changes.as_ref(), &mut rng, &Device::default()).images;
    let pixels = seen.into_data().try_into_vec_as::<f32>();
    let pixels = pixels.map_err(|error| anyhow::anyhow!("{error:?}")).context("reading training images")?;
    Ok(pixels.chunks_exact(size.height * size.width).map(<[f32]>::to_vec).collect())
}

/// The experiment's loss of a graph that is rounded.
struct Rounded<'a> {
    experiment: &'a Experiment,
    material: &'a Material,
    graph: &'a RoundedGraph,
}

impl Objective for Rounded<'_> {
    type Model = Learned;

    fn loss(&self, learned: &Learned, batch: Batch, _: Stage, _: bool) -> Tensor<1> {
        let Batch { images, labels, marks } = batch;
        let name = self.experiment.loss();
        if self.experiment.task == Task::Cnn {
            let (Some(marks), Some((places, whole))) = (marks, self.graph.forward_places(learned, images.clone()))
            else {
                return loss(name, self.graph.forward(learned, images), Target::Classes(&labels));
            };
            // The first class is the normal one, whose logit is 0 everywhere.
            let [batch, classes, rows, columns] = places.dims();
            let places = places.slice([0..batch, 1..classes, 0..rows, 0..columns]);
            let cell = 1 << self.experiment.model.channels.len();
            return loss(name, whole, Target::Classes(&labels))
                + Cells::new(&marks, self.material.size, cell).loss(places);
        }
        let output = self.graph.forward(learned, images.clone());
        let images: Tensor<2> = images.flatten(1, 3);
        if !self.experiment.model.variational {
            return loss(name, output, Target::Images(&images));
        }
        let [batch, both] = output.dims();
        // A code that is certain costs nothing: what is left is the density of the pixels.
        let none = Tensor::<2>::zeros([batch, 1], &output.device());
        let said = Said {
            mean: output.clone().slice([0..batch, 0..both / 2]),
            raw: output.slice([0..batch, both / 2..both]),
            code: none.clone(),
            code_log_variance: none,
        };
        vae::loss(said, images, self.experiment.log_variance())
    }
}
