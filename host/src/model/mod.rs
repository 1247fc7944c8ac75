//! Models as Burn modules, built from an experiment's settings.
//!
//! Burn computes in NCHW; [`crate::export`] turns the result into an NHWC graph.

pub mod autoencoder;
pub mod cnn;
pub mod distilled;
pub mod one_class;
pub mod rounded;
pub mod vae;

use anyhow::{bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::experiment::{ActivationName, AutoencoderKind, Experiment, Loss, ScoreName, Task};
use autoencoder::{ConvAutoencoder, DenseAutoencoder};
use cnn::Cnn;
use distilled::Distilled;
use one_class::OneClass;
use vae::Vae;

/// Size of a model's input image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ImageSize {
    pub height: usize,
    pub width: usize,
}

/// Any of the models.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "each variant is its struct")]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Network {
    Cnn(Cnn),
    Dense(DenseAutoencoder),
    Conv(ConvAutoencoder),
    Vae(Vae),
    Distilled(Distilled),
    OneClass(OneClass),
}

impl Network {
    /// Builds the model of an experiment with random weights; `device.seed` decides them.
    ///
    /// `classes` is how many outputs a cnn has, or what a teacher learns to tell apart.
    ///
    /// # Errors
    /// Where the sizes don't fit the image; names the key.
    pub fn new(experiment: &Experiment, size: ImageSize, classes: usize, device: &Device) -> anyhow::Result<Self> {
        ensure!(size.height > 0 && size.width > 0, "the model's input has no pixels");
        let settings = &experiment.model;
        Ok(match (experiment.task, settings.kind) {
            (Task::Cnn, _) => {
                ensure!(classes >= 2, "a cnn needs at least two classes; the data have {classes}");
                Self::Cnn(Cnn::new(settings, size, classes, device)?)
            }
            (Task::Distilled | Task::Student, _) => Self::Distilled(Distilled::new(experiment, size, classes, device)?),
            (Task::OneClass, _) => Self::OneClass(OneClass::new(settings, size, device)?),
            (Task::Features, _) | (Task::Autoencoder, AutoencoderKind::Pca) => {
                bail!("the model is computed outright, there is nothing to train")
            }
            (Task::Autoencoder, kind) if settings.variational => {
                Self::Vae(Vae::new(settings, kind == AutoencoderKind::Conv, size, device)?)
            }
            (Task::Autoencoder, AutoencoderKind::Dense) => Self::Dense(DenseAutoencoder::new(settings, size, device)),
            (Task::Autoencoder, AutoencoderKind::Conv) => Self::Conv(ConvAutoencoder::new(settings, size, device)?),
        })
    }

    /// `[batch, 1, height, width]` to `[batch, outputs]`: logits of a cnn, pixels of an autoencoder in row-major order
    /// (before the sigmoid where the loss is binary cross entropy), of a variational one their means and then what stands for their
    /// variances; of a distilled network, a student and one class what [`crate::detect`] looks at, channels last.
    pub fn forward(&self, images: Tensor<4>, activation: ActivationName) -> Tensor<2> {
        match self {
            Self::Cnn(model) => model.forward(images),
            Self::Distilled(model) => model.forward(images),
            Self::OneClass(model) => model.forward(images),
            Self::Dense(model) => model.forward(images, activation),
            Self::Conv(model) => model.forward(images, activation),
            Self::Vae(model) => {
                let said = model.say(images, activation, false);
                Tensor::cat(vec![said.mean, said.raw], 1)
            }
        }
    }

    /// What the exported graph gives: [`Network::forward`], then the sigmoid of an autoencoder trained by binary cross
    /// entropy, or the softmax of a classifier that is scored by probability.
    pub fn output(&self, images: Tensor<4>, experiment: &Experiment) -> Tensor<2> {
        let output = self.forward(images, experiment.model.activation);
        if sigmoid_output(experiment) {
            burn::tensor::activation::sigmoid(output)
        } else if softmax_output(experiment) {
            burn::tensor::activation::softmax(output, 1)
        } else {
            output
        }
    }
}

/// True where the model's output passes a sigmoid outside of training.
pub fn sigmoid_output(experiment: &Experiment) -> bool {
    experiment.task == Task::Autoencoder && experiment.loss() == Loss::BinaryCrossEntropy
}

/// True where the model's output passes a softmax outside of training.
pub fn softmax_output(experiment: &Experiment) -> bool {
    experiment.task == Task::Cnn && experiment.detector.score == ScoreName::Probability
}

fn activate<const D: usize>(x: Tensor<D>, activation: ActivationName) -> Tensor<D> {
    match activation {
        ActivationName::Linear => x,
        ActivationName::Relu => burn::tensor::activation::relu(x),
        ActivationName::Tanh => x.tanh(),
    }
}
