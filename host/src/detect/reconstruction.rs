//! Weights of residuals.

use anyhow::{Result, bail};
use neji_app::score::Elements;
use neji_format::{Detector, Element, FrontEnd, Model};

use super::runs;

/// Q14.
const WEIGHT_ONE: f64 = 16384.0;
/// Inputs whose squares are held at a time.
const ROWS_AT_ONCE: usize = 1024;

/// What residuals are weighed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Residuals {
    /// All are 1.
    One,
    /// One an element, Q14.
    Elements(Vec<u16>),
    /// 256, one for each step of what the model says.
    Predicted(Vec<u16>),
}

/// What a variational autoencoder means by an output that stands for the logarithm of a pixel's variance.
///
/// Bounded, so that no pixel is certain and none is worthless. Slope and centre are such that outputs in the range of the pixels' own
/// cover nearly all of the way between the bounds, since both have one scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogVariance {
    /// Of the logistic function.
    pub slope: f64,
    /// The output that means the middle.
    pub centre: f64,
}

impl LogVariance {
    /// Of the logarithm, in units of the input's own squared.
    pub const BOUNDS: [f64; 2] = [-9.0, 0.0];
    /// Of images, from 0 to 1.
    pub const IMAGE: Self = Self { slope: 8.0, centre: 0.5 };
    /// Of features, some deviations around 0.
    pub const FEATURES: Self = Self { slope: 1.0, centre: 0.0 };

    /// The logarithm of the variance.
    pub fn at(self, output: f64) -> f64 {
        let [low, high] = Self::BOUNDS;
        low + (high - low) / (1.0 + (-self.slope * (output - self.centre)).exp())
    }
}

/// The weight for each step of the output: one over the deviation that it means, in steps of the input.
pub(super) fn predicted_weights(model: &Model<'_>) -> Vec<u16> {
    let plan = model.plan();
    let variance = match plan.front_end {
        FrontEnd::LogMel(_) => LogVariance::FEATURES,
        FrontEnd::Raw | FrontEnd::Image(_) => LogVariance::IMAGE,
    };
    // Of int16 the upper byte counts, which has the middle of its 256 values here; residuals are in 16 x 8 steps of it.
    let (per_step, middle, input_step) = match plan.element {
        Element::I8 => (1.0, 0.0, f64::from(plan.input.scale)),
        Element::I16 => (256.0, 127.5, 128.0 * f64::from(plan.input.scale)),
    };
    let weight = |step: i32| {
        let q = f64::from(step - 128) * per_step + middle - f64::from(plan.output.zero_point);
        let deviation = (0.5 * variance.at(q * f64::from(plan.output.scale))).exp();
        (WEIGHT_ONE * input_step / deviation).round().clamp(1.0, f64::from(u16::MAX)) as u16
    };
    (0..256).map(weight).collect()
}

/// One over each residual's deviation on `normal` inputs, in steps of the input, Q14.
///
/// The square of the deviation is the mean square of the engine's residuals and half of their mean over all elements: an element
/// that hardly ever varies would else count for more than anything that is seen.
pub(super) fn weights(model: &Model<'_>, normal: &[Vec<i8>]) -> Result<Vec<u16>> {
    let plan = model.plan();
    let Detector::Reconstruction(params) = plan.detector else { bail!("the model reconstructs nothing") };
    let elements = plan.input.shape.len();
    let mut sums = vec![0u64; elements];
    for some in normal.chunks(ROWS_AT_ONCE) {
        let rows = runs(model, some, |run| -> Vec<u64> {
            (0..elements).map(|index| u64::from(run.residual(&params, index).unsigned_abs()).pow(2)).collect()
        })?;
        for row in &rows {
            // An output of another scale has residuals so large that their squares fill 64 bits.
            sums.iter_mut().zip(row).for_each(|(sum, square)| *sum = sum.saturating_add(*square));
        }
    }
    let variances: Vec<f64> = sums.iter().map(|&sum| sum as f64 / normal.len() as f64 / 256.0).collect();
    let mean = variances.iter().sum::<f64>() / elements as f64;
    let weight = |variance: &f64| {
        let deviation = (variance + 0.5 * mean).sqrt().max(1e-3);
        (WEIGHT_ONE / deviation).round().clamp(1.0, f64::from(u16::MAX)) as u16
    };
    Ok(variances.iter().map(weight).collect())
}
