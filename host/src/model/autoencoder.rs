//! Autoencoders: what they were not shown, they can't reconstruct.
//!
//! Dense ones mirror their hidden layers around the bottleneck; with linear activations they learn the principal subspace
//! (Baldi and Hornik 1989). Convolutional ones halve the image by strided convolutions, pass a dense bottleneck and double
//! it back.

use anyhow::ensure;
use burn::module::{Module, Param};
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};

use super::cnn::ConvNorm;
use super::{ImageSize, activate};
use crate::experiment::{ActivationName, Decoder, ModelSettings};

/// Fully connected.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DenseAutoencoder {
    pub layers: Vec<Linear>,
    /// One after each layer but the last, or none.
    pub norms: Vec<BatchNorm>,
}

impl DenseAutoencoder {
    /// Random weights.
    pub fn new(settings: &ModelSettings, size: ImageSize, device: &Device) -> Self {
        let pixels = size.height * size.width;
        let mut units = vec![pixels];
        units.extend(&settings.hidden);
        units.push(settings.bottleneck);
        units.extend(settings.hidden.iter().rev());
        units.push(pixels);
        let layers: Vec<Linear> =
            units.windows(2).map(|pair| LinearConfig::new(pair[0], pair[1]).init(device)).collect();
        let norms = if settings.batch_norm {
            units[1..units.len() - 1].iter().map(|&n| BatchNormConfig::new(n).init(device)).collect()
        } else {
            Vec::new()
        };
        Self { layers, norms }
    }

    /// Begins at the mean image: the first layer sees differences to it and the last one adds it again, so that training
    /// spends its steps on what varies.
    pub fn centre(mut self, mean: &[f32], device: &Device) -> Self {
        let image = Tensor::<2>::from_data(TensorData::new(mean.to_vec(), [1, mean.len()]), device);
        let last = self.layers.len() - 1;
        if let Some(bias) = self.layers[last].bias.take() {
            self.layers[last].bias = Some(Param::initialized(bias.id, image.clone().flatten::<1>(0, 1).require_grad()));
        }
        if let Some(bias) = self.layers[0].bias.take() {
            let seen = image.matmul(self.layers[0].weight.val().detach()).neg().flatten::<1>(0, 1);
            self.layers[0].bias = Some(Param::initialized(bias.id, seen.detach().require_grad()));
        }
        self
    }

    /// `[batch, 1, height, width]` to `[batch, height * width]`.
    pub fn forward(&self, x: Tensor<4>, activation: ActivationName) -> Tensor<2> {
        let mut x: Tensor<2> = x.flatten(1, 3);
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if i < last {
                if let Some(norm) = self.norms.get(i) {
                    x = norm.forward(x.unsqueeze_dim::<3>(2)).squeeze_dim::<2>(2);
                }
                x = activate(x, activation);
            }
        }
        x
    }
}

/// One step up of the decoder, to twice the size (less one where the encoder's size was odd).
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "each variant is its layers")]
pub enum Up {
    Transpose(UpTranspose),
    Upsample(UpSample),
}

/// Transposed convolution: kernel 3, stride 2, padding 1.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct UpTranspose {
    pub conv: ConvTranspose2d,
    pub norm: Option<BatchNorm>,
}

/// Nearest neighbour upsampling, then a 3x3 convolution.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct UpSample {
    pub resize: Interpolate2d,
    pub conv: ConvNorm,
}

impl Up {
    /// One step up.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Transpose(up) => {
                let x = up.conv.forward(x);
                match &up.norm {
                    Some(norm) => norm.forward(x),
                    None => x,
                }
            }
            Self::Upsample(up) => up.conv.forward(up.resize.forward(x)),
        }
    }
}

/// Convolutional.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConvAutoencoder {
    pub encoder: Vec<ConvNorm>,
    pub squeeze: Linear,
    pub expand: Linear,
    pub decoder: Vec<Up>,
    /// Channels, height and width between the dense layers and the decoder.
    pub inner: [usize; 3],
}

impl ConvAutoencoder {
    /// Random weights.
    ///
    /// # Errors
    /// Where the image is too small, or odd under an upsampling decoder.
    pub fn new(settings: &ModelSettings, size: ImageSize, device: &Device) -> anyhow::Result<Self> {
        let mut sizes = vec![[size.height, size.width]];
        let mut channels = vec![1];
        let mut encoder = Vec::new();
        for &out in &settings.channels {
            let [height, width] = sizes[sizes.len() - 1];
            ensure!(
                height >= 2 && width >= 2,
                "model.channels has {} entries, too many for an input of {}x{}",
                settings.channels.len(),
                size.width,
                size.height
            );
            ensure!(
                settings.decoder == Decoder::Transpose || (height % 2 == 0 && width % 2 == 0),
                "model.decoder = \"upsample\" doubles sizes, but the encoder meets {width}x{height}; choose \"transpose\", \
                 fewer model.channels or another input size"
            );
            encoder.push(ConvNorm::new([channels[channels.len() - 1], out], 2, settings.batch_norm, device));
            channels.push(out);
            sizes.push([height.div_ceil(2), width.div_ceil(2)]);
        }
        let [height, width] = sizes[sizes.len() - 1];
        let inner = [channels[channels.len() - 1], height, width];
        let features = inner.iter().product();
        let squeeze = LinearConfig::new(features, settings.bottleneck).init(device);
        let expand = LinearConfig::new(settings.bottleneck, features).init(device);
        let mut decoder = Vec::new();
        for i in (0..settings.channels.len()).rev() {
            let pair = [channels[i + 1], channels[i]];
            let batch_norm = settings.batch_norm && i > 0;
            let [height, width] = sizes[i];
            decoder.push(match settings.decoder {
                Decoder::Transpose => Up::Transpose(UpTranspose {
                    conv: ConvTranspose2dConfig::new(pair, [3, 3])
                        .with_stride([2, 2])
                        .with_padding([1, 1])
                        .with_padding_out([1 - height % 2, 1 - width % 2])
                        .init(device),
                    norm: batch_norm.then(|| BatchNormConfig::new(pair[1]).init(device)),
                }),
                Decoder::Upsample => Up::Upsample(UpSample {
                    resize: Interpolate2dConfig::new()
                        .with_output_size(Some([height, width]))
                        .with_mode(InterpolateMode::Nearest)
                        .init(),
                    conv: ConvNorm::new(pair, 1, batch_norm, device),
                }),
            });
        }
        Ok(Self { encoder, squeeze, expand, decoder, inner })
    }

    /// `[batch, 1, height, width]` to what the bottleneck reads.
    pub fn features(&self, mut x: Tensor<4>, activation: ActivationName) -> Tensor<2> {
        for conv in &self.encoder {
            x = activate(conv.forward(x), activation);
        }
        x.flatten(1, 3)
    }

    /// `[batch, bottleneck]` to what the last step up reads.
    pub fn expanded(&self, code: Tensor<2>, activation: ActivationName) -> Tensor<4> {
        let batch = code.dims()[0];
        let [channels, height, width] = self.inner;
        let mut x = activate(self.expand.forward(code), activation).reshape([batch, channels, height, width]);
        for up in self.decoder.iter().rev().skip(1).rev() {
            x = activate(up.forward(x), activation);
        }
        x
    }

    /// `[batch, 1, height, width]` to `[batch, height * width]`.
    pub fn forward(&self, x: Tensor<4>, activation: ActivationName) -> Tensor<2> {
        let code = self.squeeze.forward(self.features(x, activation));
        let x = self.expanded(code, activation);
        match self.decoder.last() {
            Some(up) => up.forward(x),
            None => x,
        }
        .flatten(1, 3)
    }
}
