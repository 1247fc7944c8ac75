//! Metrics: AUROC, average precision, confusion matrix.
//!
//! A score is higher the more abnormal; `abnormal` is the truth. Curves follow Fawcett, "An introduction to ROC analysis"
//! (2006): samples of equal score are taken at once, so their order never matters.

use serde::Serialize;
use thiserror::Error;

/// Why a metric has no value.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum MetricError {
    /// Scores and truths are not of the same number.
    #[error("{scores} scores for {labels} labels")]
    Length {
        /// Number of scores.
        scores: usize,
        /// Number of truths.
        labels: usize,
    },
    /// A score is not a number.
    #[error("score {index} is not a number")]
    NotANumber {
        /// Index of the first such score.
        index: usize,
    },
    /// One of the two classes has no sample.
    #[error("{normal} normal and {abnormal} abnormal samples; each needs at least one")]
    OneClass {
        /// Normal samples.
        normal: usize,
        /// Abnormal samples.
        abnormal: usize,
    },
    /// A share is outside its range.
    #[error("{share} is not a share between 0 and 1")]
    Share {
        /// What was given.
        share: f64,
    },
    /// A label is not the index of a class.
    #[error("label {label} of {classes} classes")]
    Label {
        /// What was given.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
}

/// A point of the ROC curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// Share of normal samples at or above the threshold.
    pub false_alarms: f64,
    /// Share of abnormal samples at or above it.
    pub detected: f64,
    /// The lowest score that counts as abnormal; none at the first point, where nothing does.
    pub threshold: Option<f64>,
}

/// A point of the precision-recall curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrPoint {
    /// Share of abnormal samples that are found.
    pub recall: f64,
    /// Share of alarms that are right.
    pub precision: f64,
    /// The lowest score that counts as abnormal.
    pub threshold: f64,
}

/// Samples at or above one of the distinct scores.
#[derive(Debug, Clone, Copy)]
struct Step {
    score: f64,
    false_alarms: usize,
    detected: usize,
}

/// The steps, highest score first, with the totals; there is at least one sample of each class.
struct Steps {
    steps: Vec<Step>,
    normal: usize,
    abnormal: usize,
}

fn steps(scores: &[f64], truth: &[bool]) -> Result<Steps, MetricError> {
    if scores.len() != truth.len() {
        return Err(MetricError::Length { scores: scores.len(), labels: truth.len() });
    }
    if let Some(index) = scores.iter().position(|s| s.is_nan()) {
        return Err(MetricError::NotANumber { index });
    }
    let abnormal = truth.iter().filter(|a| **a).count();
    let normal = truth.len() - abnormal;
    if abnormal == 0 || normal == 0 {
        return Err(MetricError::OneClass { normal, abnormal });
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut steps: Vec<Step> = Vec::new();
    let (mut false_alarms, mut detected) = (0, 0);
    for i in order {
        if truth[i] {
            detected += 1;
        } else {
            false_alarms += 1;
        }
        let step = Step { score: scores[i], false_alarms, detected };
        match steps.last_mut() {
            Some(last) if last.score == step.score => *last = step,
            _ => steps.push(step),
        }
    }
    Ok(Steps { steps, normal, abnormal })
}

/// The ROC curve from (0, 0) to (1, 1), a point for each distinct score.
///
/// # Errors
/// See [`MetricError`].
pub fn roc(scores: &[f64], abnormal: &[bool]) -> Result<Vec<RocPoint>, MetricError> {
    let Steps { steps, normal, abnormal } = steps(scores, abnormal)?;
    let first = RocPoint { false_alarms: 0.0, detected: 0.0, threshold: None };
    let rest = steps.into_iter().map(|step| RocPoint {
        false_alarms: step.false_alarms as f64 / normal as f64,
        detected: step.detected as f64 / abnormal as f64,
        threshold: Some(step.score),
    });
    Ok(std::iter::once(first).chain(rest).collect())
}

/// Area under the ROC curve: the share of pairs in which the abnormal sample has the higher score, ties counting half.
///
/// # Errors
/// See [`MetricError`].
pub fn auroc(scores: &[f64], abnormal: &[bool]) -> Result<f64, MetricError> {
    let Steps { steps, normal, abnormal } = steps(scores, abnormal)?;
    // Twice the number of pairs won, as integers: exact.
    let (mut twice, mut false_alarms, mut detected) = (0u64, 0usize, 0usize);
    for step in steps {
        twice += (step.false_alarms - false_alarms) as u64 * (step.detected + detected) as u64;
        (false_alarms, detected) = (step.false_alarms, step.detected);
    }
    Ok(twice as f64 / (2.0 * normal as f64 * abnormal as f64))
}

/// Area under the ROC curve up to the false-alarm share `limit`, divided by `limit`.
///
/// # Errors
/// See [`MetricError`]; `limit` must be in `(0, 1]`.
pub fn partial_auroc(scores: &[f64], abnormal: &[bool], limit: f64) -> Result<f64, MetricError> {
    if !(limit > 0.0 && limit <= 1.0) {
        return Err(MetricError::Share { share: limit });
    }
    let curve = roc(scores, abnormal)?;
    let mut area = 0.0;
    for pair in curve.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let right = b.false_alarms.min(limit);
        if right > a.false_alarms {
            let slope = (b.detected - a.detected) / (b.false_alarms - a.false_alarms);
            let width = right - a.false_alarms;
            area += width * (a.detected + 0.5 * slope * width);
        }
    }
    Ok(area / limit)
}

/// [`partial_auroc`] moved and scaled so that chance is 1/2 and the best 1 (McClish, Medical Decision Making 9(3), 1989), as
/// the DCASE challenge reports it with a limit of 0.1.
///
/// # Errors
/// See [`partial_auroc`].
pub fn standardized_partial_auroc(scores: &[f64], abnormal: &[bool], limit: f64) -> Result<f64, MetricError> {
    let chance = limit / 2.0;
    Ok(0.5 * (1.0 + (partial_auroc(scores, abnormal, limit)? - chance) / (1.0 - chance)))
}

/// The precision-recall curve, a point for each distinct score, highest first.
///
/// # Errors
/// See [`MetricError`].
pub fn precision_recall(scores: &[f64], abnormal: &[bool]) -> Result<Vec<PrPoint>, MetricError> {
    let Steps { steps, abnormal, .. } = steps(scores, abnormal)?;
    let point = |step: Step| PrPoint {
        recall: step.detected as f64 / abnormal as f64,
        precision: step.detected as f64 / (step.detected + step.false_alarms) as f64,
        threshold: step.score,
    };
    Ok(steps.into_iter().map(point).collect())
}

/// Average precision: precision at each step, weighted by the recall that the step adds.
///
/// # Errors
/// See [`MetricError`].
pub fn average_precision(scores: &[f64], abnormal: &[bool]) -> Result<f64, MetricError> {
    let mut before = 0.0;
    let mut sum = 0.0;
    for p in precision_recall(scores, abnormal)? {
        sum += (p.recall - before) * p.precision;
        before = p.recall;
    }
    Ok(sum)
}

/// The threshold with the best F1 of the abnormal class and that F1; a score above the threshold is abnormal.
///
/// It looks at the labels it is judged by.
///
/// # Errors
/// See [`MetricError`].
pub fn best_f1_threshold(scores: &[f64], abnormal: &[bool]) -> Result<(f64, f64), MetricError> {
    let Steps { steps, abnormal, .. } = steps(scores, abnormal)?;
    let f1 = |step: &Step| 2.0 * step.detected as f64 / (step.detected + step.false_alarms + abnormal) as f64;
    let mut best = 0;
    for i in 1..steps.len() {
        if f1(&steps[i]) > f1(&steps[best]) {
            best = i;
        }
    }
    // Half way to the next lower score; below the lowest, one less than it.
    let score = steps[best].score;
    let threshold = steps.get(best + 1).map_or(score - 1.0, |next| f64::midpoint(score, next.score));
    Ok((threshold, f1(&steps[best])))
}

/// Figures of one class. A share of nothing is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Name of the class.
    pub class: String,
    /// Samples of the class.
    pub count: usize,
    /// Share of the class's samples that are called so.
    pub recall: Option<f64>,
    /// Share of samples called so that are of the class.
    pub precision: Option<f64>,
    /// Harmonic mean of both.
    pub f1: Option<f64>,
}

/// Truth against verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// `counts[truth][verdict]`.
    pub counts: Vec<Vec<usize>>,
    /// A line a class.
    pub figures: Vec<ClassFigures>,
    /// Share of right verdicts.
    pub accuracy: f64,
    /// Mean recall over the classes that have samples.
    pub balanced_accuracy: f64,
}

/// Counts verdicts by truth.
///
/// # Errors
/// Lengths differ, nothing to count, or a label that is no class.
pub fn confusion(classes: &[String], truth: &[usize], verdict: &[usize]) -> Result<Confusion, MetricError> {
    if truth.len() != verdict.len() {
        return Err(MetricError::Length { scores: verdict.len(), labels: truth.len() });
    }
    if truth.is_empty() {
        return Err(MetricError::OneClass { normal: 0, abnormal: 0 });
    }
    let n = classes.len();
    if let Some(&label) = truth.iter().chain(verdict).find(|l| **l >= n) {
        return Err(MetricError::Label { label, classes: n });
    }
    let mut counts = vec![vec![0usize; n]; n];
    for (&t, &v) in truth.iter().zip(verdict) {
        counts[t][v] += 1;
    }
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let figures: Vec<ClassFigures> = (0..n)
        .map(|c| {
            let (count, called) = (counts[c].iter().sum(), counts.iter().map(|row| row[c]).sum());
            ClassFigures {
                class: classes[c].clone(),
                count,
                recall: share(counts[c][c], count),
                precision: share(counts[c][c], called),
                f1: share(2 * counts[c][c], count + called),
            }
        })
        .collect();
    let recalls: Vec<f64> = figures.iter().filter_map(|f| f.recall).collect();
    let right: usize = (0..n).map(|c| counts[c][c]).sum();
    Ok(Confusion {
        classes: classes.to_vec(),
        counts,
        accuracy: right as f64 / truth.len() as f64,
        balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len() as f64,
        figures,
    })
}

/// AUROC of one kind of defect against all good samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefectAuroc {
    /// Name of the defect.
    pub defect: String,
    /// Samples of it.
    pub count: usize,
    /// AUROC against the good ones.
    pub auroc: f64,
}

/// AUROC of each abnormal class that has samples; class 0 is the good one.
///
/// # Errors
/// See [`MetricError`].
pub fn per_defect_auroc(classes: &[String], scores: &[f64], labels: &[usize]) -> Result<Vec<DefectAuroc>, MetricError> {
    if scores.len() != labels.len() {
        return Err(MetricError::Length { scores: scores.len(), labels: labels.len() });
    }
    let mut all = Vec::new();
    for (c, class) in classes.iter().enumerate().skip(1) {
        let (own, truth): (Vec<f64>, Vec<bool>) =
            (scores.iter().zip(labels)).filter(|(_, l)| **l == 0 || **l == c).map(|(s, l)| (*s, *l == c)).unzip();
        let count = truth.iter().filter(|t| **t).count();
        if count > 0 {
            all.push(DefectAuroc { defect: class.clone(), count, auroc: auroc(&own, &truth)? });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 5] = [1.0, 2.0, 2.0, 3.0, 4.0];
    const TRUTH: [bool; 5] = [false, false, true, false, true];

    #[test]
    fn areas_by_hand() {
        // Pairs: 2 against 1, 2, 3 wins 1 + 1/2 + 0; 4 wins 3; 4.5 of 6.
        assert_eq!(auroc(&SCORES, &TRUTH), Ok(0.75));
        assert_eq!(auroc(&[5.0, 5.0], &[true, false]), Ok(0.5));
        // Up to 1/3 of false alarms half of the abnormal ones are found.
        assert!((partial_auroc(&SCORES, &TRUTH, 1.0 / 3.0).expect("a value") - 0.5).abs() < 1e-12);
        assert!((partial_auroc(&SCORES, &TRUTH, 1.0).expect("a value") - 0.75).abs() < 1e-12);
        // With a limit of 1 it is the AUROC; chance is 1/2 with any.
        assert!((standardized_partial_auroc(&SCORES, &TRUTH, 1.0).expect("a value") - 0.75).abs() < 1e-12);
        let chance = standardized_partial_auroc(&[5.0, 5.0], &[true, false], 0.1).expect("a value");
        assert!((chance - 0.5).abs() < 1e-12);
        // Precision 1 at recall 1/2, then 2 of 4 at recall 1.
        assert_eq!(average_precision(&SCORES, &TRUTH), Ok(0.75));
        let curve = roc(&SCORES, &TRUTH).expect("a curve");
        assert_eq!((curve[0].detected, curve[1].detected, curve[4].false_alarms), (0.0, 0.5, 1.0));
    }

    #[test]
    fn thresholds_by_hand() {
        // F1 by lowest abnormal score: 4: 2/3, 3: 1/2, 2: 4/6, 1: 4/7; the first of equals.
        assert_eq!(best_f1_threshold(&SCORES, &TRUTH), Ok((3.5, 2.0 / 3.0)));
    }

    #[test]
    fn confusion_by_hand() {
        let classes = ["good", "a", "b"].map(String::from);
        let c = confusion(&classes, &[0, 0, 0, 1, 1], &[0, 0, 1, 1, 0]).expect("counts");
        assert_eq!(c.counts, [[2, 1, 0], [1, 1, 0], [0, 0, 0]]);
        assert_eq!(c.accuracy, 0.6);
        assert!((c.balanced_accuracy - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
        assert_eq!((c.figures[1].recall, c.figures[1].precision), (Some(0.5), Some(0.5)));
        assert_eq!((c.figures[2].recall, c.figures[2].precision, c.figures[2].f1), (None, None, None));
        let each = per_defect_auroc(&classes, &[1.0, 2.0, 0.0], &[0, 1, 2]).expect("values");
        assert_eq!((each[0].auroc, each[1].auroc), (1.0, 0.0));
    }

    #[test]
    fn refuses_what_has_no_value() {
        assert_eq!(auroc(&[], &[]), Err(MetricError::OneClass { normal: 0, abnormal: 0 }));
        assert_eq!(auroc(&[1.0, f64::NAN], &[true, false]), Err(MetricError::NotANumber { index: 1 }));
        assert_eq!(auroc(&[1.0], &[true, false]), Err(MetricError::Length { scores: 1, labels: 2 }));
        assert_eq!(partial_auroc(&[1.0, 2.0], &[true, false], 0.0), Err(MetricError::Share { share: 0.0 }));
        assert!(confusion(&[], &[0], &[0]).is_err());
    }
}
