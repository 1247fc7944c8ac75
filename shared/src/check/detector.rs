//! The detector against input and output.

use super::{constant, is_normal, sum};
use crate::decode::Model;
use crate::detector::{Classifier, Detector, Distance, Fusion, Mahalanobis, Mixture, Pooling, Reconstruction, Weights};
use crate::error::{DecodeError, DetectorFault, Place};
use crate::plan::Plan;
use crate::tensor::{Constant, Shape};

/// Most vectors of a basis.
const RANK_MAX: u32 = 256;
/// Most components of a mixture.
const COMPONENTS_MAX: u64 = 1024;

/// Checks the detector.
pub(super) fn detector(model: &Model<'_>) -> Result<(), DecodeError> {
    match &model.plan().detector {
        Detector::None => Ok(()),
        Detector::Reconstruction(params) => reconstruction(model, params),
        Detector::Classifier(params) => classifier(model.plan(), params).map_err(DecodeError::Detector),
        Detector::Distance(params) => distance(model, params, model.plan().output.shape),
        Detector::Fusion(params) => fusion(model, params),
    }
}

fn table(model: &Model<'_>, table: Constant, needed: u64) -> Result<(), DecodeError> {
    constant(model, Place::Detector, table, Some(needed))
}

fn pooling(params: Pooling) -> Result<(), DetectorFault> {
    match params {
        Pooling { smooth_radius: 3.., .. } => Err(DetectorFault::SmoothRadius),
        Pooling { top_k: 65.., .. } => Err(DetectorFault::TopK),
        _ => Ok(()),
    }
}

fn reconstruction(model: &Model<'_>, params: &Reconstruction) -> Result<(), DecodeError> {
    let plan = model.plan();
    let shape = plan.input.shape;
    let rows = if matches!(params.weights, Weights::Predicted(_)) { 2 } else { 1 };
    if shape.height.checked_mul(rows).map(|height| Shape { height, ..shape }) != Some(plan.output.shape) {
        return Err(DecodeError::Detector(DetectorFault::Shape));
    }
    let factor = params.output_to_residual;
    if !is_normal(factor) || !sum::fits(sum::reach(plan.element, &plan.output), factor) {
        return Err(DecodeError::Detector(DetectorFault::Multiplier));
    }
    pooling(params.pooling).map_err(DecodeError::Detector)?;
    match params.weights {
        Weights::One => Ok(()),
        Weights::Elements(weights) => table(model, weights, shape.len() as u64 * 2),
        Weights::Predicted(weights) => table(model, weights, 256 * 2),
    }
}

fn classifier(plan: &Plan<'_>, params: &Classifier) -> Result<(), DetectorFault> {
    let shape = plan.output.shape;
    let classes = shape.channels;
    if shape.height != 1 || shape.width != 1 || !(2..=u32::from(u16::MAX)).contains(&classes) {
        return Err(DetectorFault::Classes);
    }
    if u32::from(params.normal_class) >= classes {
        return Err(DetectorFault::NormalClass);
    }
    let names = plan.provenance.classes;
    let given = names.bytes().fold(1, |count: u32, byte| count + u32::from(byte == b'\n'));
    if names.is_empty() || given == classes {
        Ok(())
    } else {
        Err(DetectorFault::ClassNames { needed: classes, given })
    }
}

fn fusion(model: &Model<'_>, params: &Fusion) -> Result<(), DecodeError> {
    let shape = model.plan().output.shape;
    let rows = u32::from(params.rows);
    let Some(others) = shape.height.checked_sub(rows).filter(|&others| others > 0 && rows > 0) else {
        return Err(DecodeError::Detector(DetectorFault::Rows));
    };
    distance(model, &params.first, Shape { height: rows, ..shape })?;
    distance(model, &params.second, Shape { height: others, ..shape })
}

/// Checks a distance of `shape`, all of the output or some of its rows.
fn distance(model: &Model<'_>, params: &Distance, shape: Shape) -> Result<(), DecodeError> {
    pooling(params.pooling()).map_err(DecodeError::Detector)?;
    match params {
        Distance::Mahalanobis(params) => mahalanobis(model, params, shape),
        Distance::Mixture(params) => mixture(model, params, shape),
    }
}

fn mahalanobis(model: &Model<'_>, params: &Mahalanobis, shape: Shape) -> Result<(), DecodeError> {
    if params.shift > 30 {
        return Err(DecodeError::Detector(DetectorFault::Shift));
    }
    let rank = params.shares.bytes / 2;
    if rank > RANK_MAX || !params.shares.bytes.is_multiple_of(2) {
        return Err(DecodeError::Detector(DetectorFault::Rank));
    }
    let elements = if params.shared { u64::from(shape.channels) } else { shape.len() as u64 };
    table(model, params.means, elements * 2)?;
    table(model, params.weights, elements * 2)?;
    table(model, params.shares, u64::from(rank) * 2)?;
    // A shape has at most 2^32 elements, which leaves room for the rank.
    table(model, params.basis, elements * u64::from(rank) * 2)
}

fn mixture(model: &Model<'_>, params: &Mixture, shape: Shape) -> Result<(), DecodeError> {
    let row = u64::from(shape.channels) * 2;
    if params.shift > 30 {
        return Err(DecodeError::Detector(DetectorFault::Shift));
    }
    let components = u64::from(params.means.bytes).checked_div(row).unwrap_or(0);
    if !(1..=COMPONENTS_MAX).contains(&components) {
        return Err(DecodeError::Detector(DetectorFault::Components));
    }
    table(model, params.means, components * row)?;
    table(model, params.biases, components * 4)?;
    table(model, params.weights, if u64::from(params.weights.bytes) == row { row } else { components * row })
}
