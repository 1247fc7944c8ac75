//! A VGG-style classifier (Simonyan and Zisserman 2015): blocks of 3x3 convolutions, each block ended by 2x2 max pooling,
//! then dense layers, or a map of logits whose largest count.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::ImageSize;
use crate::experiment::{Head, ModelSettings};

/// A convolution, batch normalisation and, by the caller, an activation.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConvNorm {
    pub conv: Conv2d,
    pub norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// A 3x3 convolution with padding 1.
    pub fn new(channels: [usize; 2], stride: usize, batch_norm: bool, device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new(channels, [3, 3])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device),
            norm: batch_norm.then(|| BatchNormConfig::new(channels[1]).init(device)),
        }
    }

    /// Without activation.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(x);
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

/// `x` through blocks of convolutions, each block ended by `pool`.
pub fn through(convs: &[ConvNorm], convs_per_block: usize, pool: &MaxPool2d, mut x: Tensor<4>) -> Tensor<4> {
    for (i, conv) in convs.iter().enumerate() {
        x = relu(conv.forward(x));
        if (i + 1) % convs_per_block == 0 {
            x = pool.forward(x);
        }
    }
    x
}

/// The classifier.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Cnn {
    pub convs: Vec<ConvNorm>,
    pub convs_per_block: usize,
    pub pool: MaxPool2d,
    pub dropout: Dropout,
    /// Empty where there is a map.
    pub dense: Vec<Linear>,
    /// 1x1, to a logit of each class but the normal one, whose own is 0 everywhere.
    pub map: Option<Conv2d>,
}

impl Cnn {
    /// Random weights.
    ///
    /// # Errors
    /// Where the image is too small for so many poolings.
    pub fn new(settings: &ModelSettings, size: ImageSize, classes: usize, device: &Device) -> anyhow::Result<Self> {
        let (mut height, mut width, mut channels_in) = (size.height, size.width, 1);
        let mut convs = Vec::new();
        for &channels in &settings.channels {
            ensure!(
                height >= 2 && width >= 2,
                "model.channels has {} blocks, too many for an input of {}x{}",
                settings.channels.len(),
                size.width,
                size.height
            );
            for _ in 0..settings.convs_per_block {
                convs.push(ConvNorm::new([channels_in, channels], 1, settings.batch_norm, device));
                channels_in = channels;
            }
            (height, width) = (height / 2, width / 2);
        }
        let mut features = height * width * channels_in;
        let (mut dense, mut map) = (Vec::new(), None);
        match settings.head {
            Head::Dense => {
                for &units in settings.dense.iter().chain([&classes]) {
                    dense.push(LinearConfig::new(features, units).init(device));
                    features = units;
                }
            }
            Head::Map => {
                let padding = PaddingConfig2d::Explicit(0, 0, 0, 0);
                map = Some(Conv2dConfig::new([channels_in, classes - 1], [1, 1]).with_padding(padding).init(device));
            }
        }
        Ok(Self {
            convs,
            convs_per_block: settings.convs_per_block,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(settings.dropout).init(),
            dense,
            map,
        })
    }

    /// `[batch, 1, height, width]` to what the last block says, `[batch, channels, rows, columns]`.
    pub fn features(&self, x: Tensor<4>) -> Tensor<4> {
        through(&self.convs, self.convs_per_block, &self.pool, x)
    }

    /// Rows and columns of the picture that each place of [`Cnn::places`] stands for.
    pub fn cell(&self) -> usize {
        1 << (self.convs.len() / self.convs_per_block)
    }

    /// `[batch, 1, height, width]` to the logits of each place, `[batch, classes - 1, rows, columns]`; none with a dense head.
    pub fn places(&self, images: Tensor<4>) -> Option<Tensor<4>> {
        Some(self.map.as_ref()?.forward(self.dropout.forward(self.features(images))))
    }

    /// The logits of each place to those of the picture, `[batch, classes]`.
    pub fn largest(places: Tensor<4>) -> Tensor<2> {
        let [batch, classes, rows, columns] = places.dims();
        let largest: Tensor<2> = places.reshape([batch, classes, rows * columns]).max_dim(2).reshape([batch, classes]);
        let normal = Tensor::zeros([batch, 1], &largest.device());
        Tensor::cat(vec![normal, largest], 1)
    }

    /// `[batch, 1, height, width]` to logits `[batch, classes]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.features(images);
        if let Some(map) = &self.map {
            return Self::largest(map.forward(self.dropout.forward(features)));
        }
        let mut x: Tensor<2> = features.flatten(1, 3);
        for (i, dense) in self.dense.iter().enumerate() {
            x = dense.forward(self.dropout.forward(x));
            if i + 1 < self.dense.len() {
                x = relu(x);
            }
        }
        x
    }
}
