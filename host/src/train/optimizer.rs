//! Optimizers, learning rates and losses by their names.

use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdaGradConfig, AdamConfig, AdamWConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor, TensorData};

use crate::experiment::{Loss, OptimizerName, Schedule, TrainSettings};

/// Share of the initial learning rate at the end of a falling schedule.
const LAST: f64 = 0.01;

/// The optimizer of an experiment.
///
/// Momentum is 0.9 without dampening. A penalty of 0 is none.
pub fn optimizer(settings: &TrainSettings) -> ModuleOptimizer {
    let decay = (settings.weight_decay > 0.0).then(|| WeightDecayConfig::new(settings.weight_decay));
    let momentum = |nesterov| MomentumConfig::new().with_dampening(0.0).with_nesterov(nesterov);
    match settings.optimizer {
        OptimizerName::Sgd => SgdConfig::new().with_weight_decay(decay).init(),
        OptimizerName::Momentum => {
            SgdConfig::new().with_weight_decay(decay).with_momentum(Some(momentum(false))).init()
        }
        OptimizerName::Nesterov => SgdConfig::new().with_weight_decay(decay).with_momentum(Some(momentum(true))).init(),
        OptimizerName::AdaGrad => AdaGradConfig::new().with_weight_decay(decay).init(),
        OptimizerName::RmsProp => RmsPropConfig::new().with_weight_decay(decay).init(),
        OptimizerName::Adam => AdamConfig::new().with_weight_decay(decay).init(),
        OptimizerName::AdamW => AdamWConfig::new().with_weight_decay(settings.weight_decay).init(),
    }
}

/// The learning rate of an epoch, from 0.
pub fn learning_rate(settings: &TrainSettings, epoch: usize) -> f64 {
    let done = epoch as f64 / settings.epochs.max(2).saturating_sub(1) as f64;
    let share = match settings.schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => LAST + (1.0 - LAST) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        Schedule::Step => 0.1_f64.powi((3 * epoch / settings.epochs) as i32),
        Schedule::Exponential => LAST.powf(done),
    };
    settings.learning_rate * share
}

/// What a batch should have come out as.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The images themselves, `[batch, pixels]`.
    Images(&'a Tensor<2>),
    /// Classes, one an image.
    Classes(&'a [usize]),
}

/// The mean loss of a batch; `output` is `[batch, outputs]`, logits where the loss takes logits.
pub fn loss(loss: Loss, output: Tensor<2>, target: Target<'_>) -> Tensor<1> {
    let device = output.device();
    let classes = |labels: &[usize]| {
        let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
        let count = labels.len();
        Tensor::<1, Int>::from_data(TensorData::new(labels, [count]), &device)
    };
    match (loss, target) {
        (Loss::Mse, Target::Images(images)) => MseLoss::new().forward(output, images.clone(), Reduction::Mean),
        (Loss::Mse, Target::Classes(labels)) => {
            let one_hot = one_hot(labels, output.dims()[1], &device);
            MseLoss::new().forward(output, one_hot, Reduction::Mean)
        }
        (Loss::CrossEntropy, Target::Classes(labels)) => {
            CrossEntropyLossConfig::new().init(&device).forward(output, classes(labels))
        }
        (Loss::BinaryCrossEntropy, Target::Images(images)) => binary_cross_entropy(output, images.clone()),
        (Loss::BinaryCrossEntropy, Target::Classes(labels)) => {
            let one_hot = one_hot(labels, output.dims()[1], &device);
            binary_cross_entropy(output, one_hot)
        }
        (Loss::CrossEntropy, Target::Images(_)) => unreachable!("experiments are checked: images have no classes"),
    }
}

fn one_hot(labels: &[usize], classes: usize, device: &burn::tensor::Device) -> Tensor<2> {
    let mut values = vec![0.0_f32; labels.len() * classes];
    labels.iter().enumerate().for_each(|(row, &label)| values[row * classes + label] = 1.0);
    Tensor::from_data(TensorData::new(values, [labels.len(), classes]), device)
}

/// `-(t log s(x) + (1 - t) log(1 - s(x)))` as `(1 - t) x - log s(x)`, which does not overflow.
fn binary_cross_entropy(logits: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    ((target.neg() + 1.0) * logits.clone() - log_sigmoid(logits)).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn value(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    #[test]
    fn losses_by_hand() {
        let device = Device::default();
        let logits = Tensor::<2>::from_data(TensorData::new(vec![0.0_f32, 2.0], [1, 2]), &device);
        let softplus = |x: f32| x.exp().ln_1p();
        // Class 1: log(e^0 + e^2) - 2.
        let expected = (1.0 + 2.0_f32.exp()).ln() - 2.0;
        assert!((value(loss(Loss::CrossEntropy, logits.clone(), Target::Classes(&[1]))) - expected).abs() < 1e-5);
        // Not class 0: softplus(0); class 1: softplus(-2).
        let expected = (softplus(0.0) + softplus(-2.0)) / 2.0;
        let got = value(loss(Loss::BinaryCrossEntropy, logits.clone(), Target::Classes(&[1])));
        assert!((got - expected).abs() < 1e-5);
        let images = Tensor::<2>::from_data(TensorData::new(vec![1.0_f32, 0.0], [1, 2]), &device);
        assert!((value(loss(Loss::Mse, logits, Target::Images(&images))) - 2.5).abs() < 1e-6);
    }

    #[test]
    fn rates_fall_as_their_schedule_says() {
        let at = |schedule, epoch| {
            let settings = TrainSettings { epochs: 9, learning_rate: 1.0, schedule, ..TrainSettings::default() };
            learning_rate(&settings, epoch)
        };
        assert_eq!(at(Schedule::Constant, 8), 1.0);
        assert!((at(Schedule::Cosine, 4) - 0.505).abs() < 1e-12 && (at(Schedule::Cosine, 8) - 0.01).abs() < 1e-12);
        assert!((at(Schedule::Step, 3) - 0.1).abs() < 1e-12 && (at(Schedule::Step, 8) - 0.01).abs() < 1e-12);
        assert!((at(Schedule::Exponential, 4) - 0.1).abs() < 1e-12);
    }
}
