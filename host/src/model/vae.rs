//! Variational autoencoders whose decoder says a variance for each pixel (Kingma and Welling, Auto-encoding variational Bayes, 2014).
//!
//! Trained is the evidence's lower bound: the divergence of codes from a standard normal distribution, and the negative logarithm of a
//! pixel's density, `1/2 (log s^2 + (x - mu)^2 / s^2)`. Scored is the last term alone, the "unregularised score" (Matsubara, Tachibana
//! and Uehara, Anomaly machine component detection by deep generative model with unregularized score, arXiv 1807.05800): the others say
//! how involved a normal sample is, not how abnormal.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::autoencoder::{ConvAutoencoder, Up};
use super::{ImageSize, activate};
use crate::detect::LogVariance;
use crate::experiment::{ActivationName, ModelSettings};

/// Bound of the logarithm of a code's variance.
const CODE_LOG_VARIANCE_MAX: f64 = 10.0;

/// Either kind.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "each variant is its struct")]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Vae {
    Dense(DenseVae),
    Conv(ConvVae),
}

/// Fully connected.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DenseVae {
    pub encoder: Vec<Hidden>,
    pub code: Linear,
    pub code_spread: Linear,
    pub decoder: Vec<Hidden>,
    pub pixels: Linear,
    pub spread: Linear,
}

/// A dense layer, batch normalisation and, by the caller, an activation.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Hidden {
    pub layer: Linear,
    pub norm: Option<BatchNorm>,
}

/// Convolutional.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConvVae {
    pub mean: ConvAutoencoder,
    pub code_spread: Linear,
    pub spread: Up,
}

/// What a variational autoencoder says of a batch, `[batch, …]` each.
#[derive(Debug, Clone)]
pub struct Said {
    /// Of each pixel.
    pub mean: Tensor<2>,
    /// What stands for the logarithm of each pixel's variance; [`LogVariance`].
    pub raw: Tensor<2>,
    /// Mean of the code.
    pub code: Tensor<2>,
    /// Logarithm of the code's variance.
    pub code_log_variance: Tensor<2>,
}

fn stack(layers: &[Hidden], mut x: Tensor<2>, activation: ActivationName) -> Tensor<2> {
    for Hidden { layer, norm } in layers {
        x = layer.forward(x);
        if let Some(norm) = norm {
            x = norm.forward(x.unsqueeze_dim::<3>(2)).squeeze_dim::<2>(2);
        }
        x = activate(x, activation);
    }
    x
}

/// A code drawn around `mean` where it is to be random.
fn drawn(mean: &Tensor<2>, log_variance: &Tensor<2>, random: bool) -> Tensor<2> {
    if !random {
        return mean.clone();
    }
    let noise = Tensor::random(mean.dims(), Distribution::Normal(0.0, 1.0), &mean.device());
    mean.clone() + log_variance.clone().mul_scalar(0.5).exp() * noise
}

impl DenseVae {
    fn new(settings: &ModelSettings, size: ImageSize, device: &Device) -> Self {
        let pixels = size.height * size.width;
        let layers = |from: usize, units: &mut dyn Iterator<Item = usize>| {
            let mut features = from;
            let layers = units.map(|units| {
                let layer = LinearConfig::new(features, units).init(device);
                features = units;
                Hidden { layer, norm: settings.batch_norm.then(|| BatchNormConfig::new(units).init(device)) }
            });
            (layers.collect(), features)
        };
        let (encoder, wide) = layers(pixels, &mut settings.hidden.iter().copied());
        let (decoder, last) = layers(settings.bottleneck, &mut settings.hidden.iter().rev().copied());
        Self {
            encoder,
            code: LinearConfig::new(wide, settings.bottleneck).init(device),
            code_spread: LinearConfig::new(wide, settings.bottleneck).init(device),
            decoder,
            pixels: LinearConfig::new(last, pixels).init(device),
            spread: LinearConfig::new(last, pixels).init(device),
        }
    }

    /// Begins at the mean image, as [`super::autoencoder::DenseAutoencoder::centre`] does.
    fn centre(mut self, mean: &[f32], device: &Device) -> Self {
        let image = Tensor::<2>::from_data(TensorData::new(mean.to_vec(), [1, mean.len()]), device);
        if let Some(bias) = self.pixels.bias.take() {
            self.pixels.bias = Some(Param::initialized(bias.id, image.clone().flatten::<1>(0, 1).require_grad()));
        }
        let first = self.encoder.first_mut().map_or(&mut self.code, |hidden| &mut hidden.layer);
        if let Some(bias) = first.bias.take() {
            let seen = image.matmul(first.weight.val().detach()).neg().flatten::<1>(0, 1);
            first.bias = Some(Param::initialized(bias.id, seen.detach().require_grad()));
        }
        self
    }

    fn say(&self, x: Tensor<4>, activation: ActivationName, random: bool) -> Said {
        let x = stack(&self.encoder, x.flatten(1, 3), activation);
        let (code, spread) = (self.code.forward(x.clone()), bounded(self.code_spread.forward(x)));
        let x = stack(&self.decoder, drawn(&code, &spread, random), activation);
        Said { mean: self.pixels.forward(x.clone()), raw: self.spread.forward(x), code, code_log_variance: spread }
    }
}

fn bounded(log_variance: Tensor<2>) -> Tensor<2> {
    log_variance.clamp(-CODE_LOG_VARIANCE_MAX, CODE_LOG_VARIANCE_MAX)
}

impl ConvVae {
    fn new(settings: &ModelSettings, size: ImageSize, device: &Device) -> anyhow::Result<Self> {
        let mean = ConvAutoencoder::new(settings, size, device)?;
        let spread = ConvAutoencoder::new(settings, size, device)?.decoder.pop();
        let features = mean.inner.iter().product();
        Ok(Self {
            code_spread: LinearConfig::new(features, settings.bottleneck).init(device),
            spread: spread.ok_or_else(|| anyhow::anyhow!("model.channels is empty"))?,
            mean,
        })
    }

    fn say(&self, x: Tensor<4>, activation: ActivationName, random: bool) -> Said {
        let x = self.mean.features(x, activation);
        let (code, spread) = (self.mean.squeeze.forward(x.clone()), bounded(self.code_spread.forward(x)));
        let x = self.mean.expanded(drawn(&code, &spread, random), activation);
        let mean = match self.mean.decoder.last() {
            Some(up) => up.forward(x.clone()),
            None => x.clone(),
        };
        Said { mean: mean.flatten(1, 3), raw: self.spread.forward(x).flatten(1, 3), code, code_log_variance: spread }
    }
}

impl Vae {
    /// Random weights.
    ///
    /// # Errors
    /// Where the sizes don't fit the image; names the key.
    pub fn new(settings: &ModelSettings, conv: bool, size: ImageSize, device: &Device) -> anyhow::Result<Self> {
        Ok(match conv {
            true => Self::Conv(ConvVae::new(settings, size, device)?),
            false => Self::Dense(DenseVae::new(settings, size, device)),
        })
    }

    /// Begins at the mean image where that is a bias.
    pub fn centre(self, mean: &[f32], device: &Device) -> Self {
        match self {
            Self::Dense(model) => Self::Dense(model.centre(mean, device)),
            Self::Conv(model) => Self::Conv(model),
        }
    }

    /// `[batch, 1, height, width]` to what is said of it; the code is drawn where `random`.
    pub fn say(&self, x: Tensor<4>, activation: ActivationName, random: bool) -> Said {
        match self {
            Self::Dense(model) => model.say(x, activation, random),
            Self::Conv(model) => model.say(x, activation, random),
        }
    }
}

/// The negative lower bound of a batch's evidence, by pixel, without constants.
pub fn loss(said: Said, images: Tensor<2>, variance: LogVariance) -> Tensor<1> {
    let Said { mean, raw, code, code_log_variance } = said;
    let [batch, pixels] = mean.dims();
    let [low, high] = LogVariance::BOUNDS;
    let share = sigmoid(raw.sub_scalar(variance.centre).mul_scalar(variance.slope));
    let log_variance = share.mul_scalar(high - low).add_scalar(low);
    let squares = (images - mean).powi_scalar(2) * log_variance.clone().neg().exp();
    let density = (log_variance + squares).sum();
    let divergence = (code_log_variance.clone().exp() + code.powi_scalar(2) - code_log_variance).sub_scalar(1.0).sum();
    (density + divergence).mul_scalar(0.5 / (batch * pixels) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_by_hand() {
        let device = Device::default();
        let row = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &device);
        let variance = LogVariance::IMAGE;
        let said =
            Said { mean: row(&[0.5, 0.25]), raw: row(&[0.5, 1.0]), code: row(&[0.5]), code_log_variance: row(&[-1.0]) };
        let got = f64::from(loss(said, row(&[0.75, 0.25]), variance).into_scalar::<f32>());
        let (a, b) = (variance.at(0.5), variance.at(1.0));
        let density = a + 0.0625 * (-a).exp() + b;
        let divergence = (-1.0f64).exp() + 0.25 + 1.0 - 1.0;
        assert!((got - (density + divergence) / 4.0).abs() < 1e-3, "{got}");
    }

    #[test]
    fn codes_are_drawn_in_training_alone() {
        let device = Device::default();
        device.seed(3);
        let settings = ModelSettings { hidden: vec![6], bottleneck: 3, batch_norm: false, ..ModelSettings::default() };
        let size = ImageSize { height: 2, width: 4 };
        let vae = Vae::new(&settings, false, size, &device).unwrap();
        let images = Tensor::<4>::ones([2, 1, 2, 4], &device);
        let mean = |random| vae.say(images.clone(), ActivationName::Relu, random).mean.into_data();
        assert_eq!(mean(false), mean(false));
        assert_ne!(mean(true), mean(true));
    }
}
