//! A small network that says what a larger one says, and a student of the small one.
//!
//! The larger network, the teacher, has learned something of its own and stays on the PC. The small one learns to say the teacher's last
//! features of any input, changed ones too (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015), and can then feed
//! a detector of distances. A student, which begins where the small network's first blocks end, learns to say the same of normal inputs alone:
//! where the two differ, something was not normal (Bergmann et al., "Uninformed students", CVPR 2020; Batzner, Heckler and König,
//! "EfficientAD", WACV 2024, whose scale of each channel the teacher's features have here).

use anyhow::ensure;
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::{Device, Tensor};

use super::ImageSize;
use super::cnn::{Cnn, ConvNorm, through};
use crate::experiment::{Experiment, Head, ModelSettings, Task};

/// Some blocks of a network.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Blocks {
    pub convs: Vec<ConvNorm>,
    pub convs_per_block: usize,
    pub pool: MaxPool2d,
}

impl Blocks {
    fn new(mut channels_in: usize, channels: &[usize], settings: &ModelSettings, device: &Device) -> Self {
        let mut convs = Vec::new();
        for &channels in channels {
            for _ in 0..settings.convs_per_block {
                convs.push(ConvNorm::new([channels_in, channels], 1, settings.batch_norm, device));
                channels_in = channels;
            }
        }
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Self { convs, convs_per_block: settings.convs_per_block, pool }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        through(&self.convs, self.convs_per_block, &self.pool, x)
    }
}

/// Blocks, and what they say of the teacher's features: 1x1 to as many channels as those have.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Branch {
    pub blocks: Blocks,
    pub said: Conv2d,
}

impl Branch {
    fn new(from: usize, channels: &[usize], to: usize, settings: &ModelSettings, device: &Device) -> Self {
        let last = channels.last().copied().unwrap_or(from);
        let padding = PaddingConfig2d::Explicit(0, 0, 0, 0);
        Self {
            blocks: Blocks::new(from, channels, settings, device),
            said: Conv2dConfig::new([last, to], [1, 1]).with_padding(padding).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.said.forward(self.blocks.forward(x))
    }
}

/// Teacher, small network and student.
#[derive(Module, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Distilled {
    pub teacher: Cnn,
    /// Blocks that both branches read.
    pub trunk: Blocks,
    pub small: Branch,
    /// None where the small network is all that is asked for.
    pub student: Option<Branch>,
}

/// Mean and deviation of each channel of the teacher's features of normal inputs, `[1, channels, 1, 1]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Scale {
    pub mean: Tensor<4>,
    pub deviation: Tensor<4>,
}

/// Least deviation of a channel of the teacher as a share of the mean of all: one that hardly varies is hardly asked for.
const DEVIATION_MIN: f64 = 0.05;

impl Distilled {
    /// Random weights; `classes` are those of what the teacher learns.
    ///
    /// # Errors
    /// Where the sizes don't fit the image; names the key.
    pub fn new(experiment: &Experiment, size: ImageSize, classes: usize, device: &Device) -> anyhow::Result<Self> {
        let Experiment { model, teacher, .. } = experiment;
        let blocks = model.channels.len();
        ensure!(
            size.height >> blocks > 0 && size.width >> blocks > 0,
            "model.channels has {blocks} blocks, too many for an input of {}x{}",
            size.width,
            size.height
        );
        let larger = ModelSettings {
            channels: teacher.channels.clone(),
            convs_per_block: teacher.convs_per_block,
            head: Head::Dense,
            ..model.clone()
        };
        // Without a student no block is anyone's but the small network's.
        let shared = if experiment.task == Task::Student { teacher.shared } else { 0 };
        let (trunk, own) = model.channels.split_at(shared);
        let from = trunk.last().copied().unwrap_or(1);
        let features = teacher.channels.last().copied().unwrap_or(1);
        let branch = || Branch::new(from, own, features, model, device);
        Ok(Self {
            teacher: Cnn::new(&larger, size, classes, device)?,
            trunk: Blocks::new(1, trunk, model, device),
            small: branch(),
            student: (experiment.task == Task::Student).then(branch),
        })
    }

    /// `[batch, 1, height, width]` to the teacher's features, `[batch, channels, rows, columns]`, none of its weights learning anything;
    /// their mean over rows and columns where `pooled`.
    pub fn taught(&self, images: Tensor<4>, pooled: bool) -> Tensor<4> {
        mean_where(pooled, self.teacher.clone().freeze().features(images).detach())
    }

    /// How far the small network is from the teacher: the mean square over all features, in units of `scale`.
    pub fn match_loss(&self, images: Tensor<4>, scale: &Scale, pooled: bool) -> Tensor<1> {
        let target = (self.taught(images.clone(), pooled) - scale.mean.clone()) / scale.deviation.clone();
        let said = mean_where(pooled, self.small.forward(self.trunk.forward(images)));
        (said - target).powi_scalar(2).mean()
    }

    /// How far the student is from the small network, which learns nothing of it; none where there is no student.
    pub fn student_loss(&self, images: Tensor<4>) -> Option<Tensor<1>> {
        let student = self.student.as_ref()?;
        let trunk = self.trunk.clone().freeze().forward(images).detach();
        let target = self.small.clone().freeze().forward(trunk.clone()).detach();
        Some((student.forward(trunk) - target).powi_scalar(2).mean())
    }

    /// `[batch, 1, height, width]` to what leaves the network, `[batch, rows * columns * channels]`: what the small network says, less
    /// what the student says where there is one; channels last, as the graph has them.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let trunk = self.trunk.forward(images);
        let said = self.small.forward(trunk.clone());
        let said = match &self.student {
            Some(student) => said - student.forward(trunk),
            None => said,
        };
        said.permute([0, 2, 3, 1]).flatten(1, 3)
    }
}

fn mean_where(pooled: bool, x: Tensor<4>) -> Tensor<4> {
    if pooled { x.mean_dim(3).mean_dim(2) } else { x }
}

impl Scale {
    /// Where weights follow.
    pub fn autodiff(self) -> Self {
        Self { mean: self.mean.autodiff(), deviation: self.deviation.autodiff() }
    }

    /// Of features of normal inputs, `[batch, channels, rows, columns]` each.
    pub fn of(features: Vec<Tensor<4>>) -> Self {
        let features = Tensor::cat(features, 0);
        let [batch, channels, rows, columns] = features.dims();
        let each: Tensor<2> = features.permute([1, 0, 2, 3]).reshape([channels, batch * rows * columns]);
        let mean = each.clone().mean_dim(1);
        let deviation = (each - mean.clone()).powi_scalar(2).mean_dim(1).sqrt();
        let least = deviation.clone().mean().mul_scalar(DEVIATION_MIN).add_scalar(1e-6).unsqueeze::<2>();
        let deviation = deviation.clone().max_pair(least.expand(deviation.dims()));
        Self { mean: mean.reshape([1, channels, 1, 1]), deviation: deviation.reshape([1, channels, 1, 1]) }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, TensorData};

    use super::*;

    const SIZE: ImageSize = ImageSize { height: 8, width: 12 };

    fn network(device: &Device) -> Distilled {
        let toml = "name = \"s\"\ntask = \"student\"\n[model]\nchannels = [3, 4]\n[teacher]\nchannels = [5, 6]\n\
                    [train]\npretext = [\"rotation\"]";
        Distilled::new(&Experiment::from_toml(toml, &[]).unwrap(), SIZE, 4, device).unwrap()
    }

    fn images(device: &Device) -> Tensor<4> {
        Tensor::random([5, 1, SIZE.height, SIZE.width], Distribution::Uniform(0.0, 1.0), device)
    }

    #[test]
    fn scaled_features_have_a_deviation_of_one() {
        let device = Device::default();
        let values: Vec<f32> =
            (0..2 * 3 * 4).map(|i| if (4..8).contains(&(i % 12)) { 7.0 } else { (i * i % 17) as f32 }).collect();
        let features = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 2, 2]), &device);
        let scale = Scale::of(vec![features.clone().narrow(0, 0, 1), features.clone().narrow(0, 1, 1)]);
        let scaled = (features - scale.mean) / scale.deviation;
        let squares = |channel: usize| -> f32 {
            scaled.clone().slice([0..2, channel..channel + 1]).powi_scalar(2).mean().into_scalar()
        };
        assert!((squares(0) - 1.0).abs() < 1e-4 && (squares(2) - 1.0).abs() < 1e-4);
        // The second channel never varies, and is not divided by nothing.
        assert_eq!(squares(1), 0.0);
    }

    #[test]
    fn each_stage_moves_its_own_weights_alone() {
        let device = Device::default().autodiff();
        device.seed(4);
        let network = network(&device);
        let images = images(&device);
        let moved = |loss: Tensor<1>| {
            let gradients = loss.backward();
            let moves = |conv: &Conv2d| conv.weight.val().grad(&gradients).is_some();
            let student = network.student.as_ref().unwrap();
            [
                moves(&network.teacher.convs[0].conv),
                moves(&network.trunk.convs[0].conv),
                moves(&network.small.said),
                moves(&student.said),
            ]
        };
        let scale = Scale::of(vec![network.taught(images.clone(), false)]);
        assert_eq!(moved(network.match_loss(images.clone(), &scale, false)), [false, true, true, false]);
        assert_eq!(moved(network.student_loss(images).unwrap()), [false, false, false, true]);
    }

    #[test]
    fn what_is_frozen_keeps_its_batch_statistics() {
        let device = Device::default().autodiff();
        device.seed(4);
        let network = network(&device);
        let mean = |layer: &ConvNorm| layer.norm.as_ref().unwrap().running_mean.value_sync().into_data();
        let before =
            (mean(&network.teacher.convs[0]), mean(&network.trunk.convs[0]), mean(&network.small.blocks.convs[0]));
        let student = mean(&network.student.as_ref().unwrap().blocks.convs[0]);
        network.student_loss(images(&device)).unwrap().into_data();
        let after =
            (mean(&network.teacher.convs[0]), mean(&network.trunk.convs[0]), mean(&network.small.blocks.convs[0]));
        assert_eq!(before, after);
        assert_ne!(student, mean(&network.student.as_ref().unwrap().blocks.convs[0]));
    }
}
