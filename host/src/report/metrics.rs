//! `metrics.json`: what `neji eval` measured, as `neji report` and scripts read it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::baselines::Baseline;
use crate::dataset::Options;
use crate::localize::Localization;

/// How well scores separate good from bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Area under the ROC curve, 0 to 1.
    pub auroc: f64,
    /// Average precision of finding the bad ones, 0 to 1.
    pub average_precision: f64,
    /// Area up to a share of 0.1 of false alarms, standardized: chance is 1/2, the best 1.
    pub partial_auroc: f64,
}

/// How well one defect is told from the good ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DefectFigure {
    /// The defect.
    pub defect: String,
    /// Its images.
    pub count: usize,
    /// Area under the ROC curve, 0 to 1.
    pub auroc: f64,
}

/// What the confusion matrix says of one class, each 0 to 1; a share of nothing is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// The class.
    pub class: String,
    /// Its images.
    pub count: usize,
    /// Found of those there are.
    pub recall: Option<f64>,
    /// Right of those found.
    pub precision: Option<f64>,
    /// Harmonic mean of the two.
    pub f1: Option<f64>,
}

/// Truth against verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Names of rows and columns.
    pub classes: Vec<String>,
    /// `counts[truth][verdict]`.
    pub counts: Vec<Vec<usize>>,
    /// For each class.
    pub figures: Vec<ClassFigures>,
    /// Mean recall of the classes that have images, 0 to 1.
    pub balanced_accuracy: f64,
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The data set's folder.
    pub data: PathBuf,
    /// How it was read; none where that is not known.
    #[serde(default)]
    pub options: Option<Options>,
    /// SHA-256 of it, in hexadecimal.
    #[serde(default)]
    pub data_hash: Option<String>,
    /// How many images were scored.
    pub images: usize,
    /// On how many of them no part was found; they count as the largest score.
    pub part_not_found: usize,
    /// How many of them looked like a fault of the sensor; they count as the largest score as well.
    pub sensor_faults: usize,
    /// Threshold in real units.
    pub threshold: f64,
    /// Of the blob: the device's arithmetic.
    pub quantized: Figures,
    /// Of the float graph, where there was one.
    pub float: Option<Figures>,
    /// Of the blob against normal samples held out of its training instead of the test set's (see [`crate::baselines::parts`]),
    /// where they are known.
    #[serde(default)]
    pub matched: Option<Figures>,
    /// How well anomaly maps show where the defect is; none without maps or masks.
    #[serde(default)]
    pub localization: Option<Localization>,
    /// Verdicts by truth.
    pub confusion: Confusion,
    /// AUROC of each defect against the good ones.
    pub per_defect: Vec<DefectFigure>,
    /// What is reached without the model.
    pub baselines: Vec<Baseline>,
}
