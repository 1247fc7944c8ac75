//! One class: outputs of normal inputs are drawn to one place (Ruff et al., "Deep one-class classification", ICML 2018).
//!
//! What is trained is equation 4 there, the mean squared distance from a centre that does not move, with weight decay. Nothing in the
//! network may give the same whatever the input, or it would learn just that: so no layer has a bias or batch normalisation, and none a
//! bounded activation (propositions 2 and 3).

use anyhow::ensure;
use burn::module::{Module, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};

use super::ImageSize;
use super::cnn::{ConvNorm, through};
use crate::experiment::ModelSettings;

/// Least size of an element of the centre, as the authors' own code has it: near 0 weights of 0 would be an answer.
const CENTRE_MIN: f32 = 0.1;

/// Blocks of convolutions with ReLU and a dense layer, all without biases.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct OneClass {
    pub convs: Vec<ConvNorm>,
    pub convs_per_block: usize,
    pub pool: MaxPool2d,
    pub dense: Linear,
    /// The place, `[model.bottleneck]`; no weight that learns.
    pub centre: Param<Tensor<1>>,
}

impl OneClass {
    /// Random weights; the centre is still at 0.
    ///
    /// # Errors
    /// Where the image is too small for so many poolings.
    pub fn new(settings: &ModelSettings, size: ImageSize, device: &Device) -> anyhow::Result<Self> {
        let blocks = settings.channels.len();
        let (height, width) = (size.height >> blocks, size.width >> blocks);
        ensure!(
            height > 0 && width > 0,
            "model.channels has {blocks} blocks, too many for an input of {}x{}",
            size.width,
            size.height
        );
        let mut convs = Vec::new();
        let mut channels_in = 1;
        for &channels in &settings.channels {
            for _ in 0..settings.convs_per_block {
                let conv = Conv2dConfig::new([channels_in, channels], [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .with_bias(false)
                    .init(device);
                convs.push(ConvNorm { conv, norm: None });
                channels_in = channels;
            }
        }
        let dense = LinearConfig::new(height * width * channels_in, settings.bottleneck).with_bias(false).init(device);
        Ok(Self {
            convs,
            convs_per_block: settings.convs_per_block,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dense,
            centre: still(Tensor::zeros([settings.bottleneck], device)),
        })
    }

    /// With the centre at the mean output of random weights for `batches` of normal inputs, its elements moved away from 0.
    ///
    /// # Errors
    /// Outputs that can't be read.
    pub fn centred(mut self, batches: impl Iterator<Item = Tensor<4>>, device: &Device) -> anyhow::Result<Self> {
        let mut sums = vec![0.0_f64; self.dense.weight.dims()[1]];
        let mut count = 0_usize;
        for images in batches {
            count += images.dims()[0];
            let sum = self.embedding(images).sum_dim(0).into_data();
            let sum = sum.try_into_vec_as::<f32>().map_err(|error| anyhow::anyhow!("reading outputs: {error:?}"))?;
            sums.iter_mut().zip(sum).for_each(|(all, own)| *all += f64::from(own));
        }
        let away = |sum: f64| {
            let mean = (sum / count.max(1) as f64) as f32;
            if mean < 0.0 { mean.min(-CENTRE_MIN) } else { mean.max(CENTRE_MIN) }
        };
        let centre: Vec<f32> = sums.into_iter().map(away).collect();
        let count = centre.len();
        self.centre = still(Tensor::from_data(TensorData::new(centre, [count]), device));
        Ok(self)
    }

    fn embedding(&self, images: Tensor<4>) -> Tensor<2> {
        self.dense.forward(through(&self.convs, self.convs_per_block, &self.pool, images).flatten(1, 3))
    }

    /// `[batch, 1, height, width]` to differences from the centre, `[batch, model.bottleneck]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.embedding(images) - self.centre.val().detach().unsqueeze()
    }

    /// The mean square of the differences' elements.
    pub fn loss(&self, images: Tensor<4>) -> Tensor<1> {
        self.forward(images).powi_scalar(2).mean()
    }
}

fn still(centre: Tensor<1>) -> Param<Tensor<1>> {
    Param::from_tensor(centre).set_require_grad(false)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn the_centre_is_the_mean_output_away_from_0_and_learns_nothing() {
        let device = Device::default().autodiff();
        device.seed(6);
        let settings =
            ModelSettings { channels: vec![3], convs_per_block: 1, bottleneck: 5, ..ModelSettings::default() };
        let size = ImageSize { height: 4, width: 6 };
        let images = Tensor::<4>::random([8, 1, 4, 6], Distribution::Uniform(0.0, 1.0), &device);
        let network = OneClass::new(&settings, size, &device).unwrap();
        let mean = network.forward(images.clone()).mean_dim(0).into_data().try_into_vec_as::<f32>().unwrap();
        let halves = [images.clone().narrow(0, 0, 3), images.clone().narrow(0, 3, 5)];
        let network = network.centred(halves.into_iter(), &device).unwrap();
        let centre = network.centre.val().into_data().try_into_vec_as::<f32>().unwrap();
        for (mean, centre) in mean.iter().zip(&centre) {
            let expected = if mean.abs() < 0.1 { 0.1_f32.copysign(*mean) } else { *mean };
            assert!((centre - expected).abs() < 1e-5, "{centre} for {mean}");
        }
        let gradients = network.loss(images).backward();
        assert!(network.dense.weight.val().grad(&gradients).is_some());
        assert!(network.centre.val().grad(&gradients).is_none());
        assert!(network.dense.bias.is_none() && network.convs.iter().all(|layer| layer.conv.bias.is_none()));
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        let device = Device::default();
        let settings = ModelSettings { channels: vec![3, 4], bottleneck: 2, ..ModelSettings::default() };
        let network = OneClass::new(&settings, ImageSize { height: 8, width: 8 }, &device).unwrap();
        let output = network.forward(Tensor::zeros([1, 1, 8, 8], &device)).into_data();
        assert_eq!(output.try_into_vec_as::<f32>().unwrap(), [0.0, 0.0]);
    }
}
