//! Figures with what chance does to them: intervals by the bootstrap over the scores of the test part.

use super::html::{section, table};
use super::metrics::DefectFigure;
use super::run::{RunFolder, ScoreRow};
use super::sections::number;
use crate::bootstrap::{self, Interval};
use crate::dataset::is_normal;
use crate::evaluate::{auroc, standardized_partial_auroc};

/// Seed of the draws: a report that is written twice says the same.
const SEED: u64 = 1;

/// What 95 % means, for people.
pub const NOTE: &str = "In brackets: 95 % of 1,000 draws of as many samples from the test set, good and bad ones apart (bootstrap). \
    They tell how far the figure depends on which samples are in it, and nothing of other trainings.";

/// `0.975 [0.941, 0.998]`.
pub fn words(found: &Interval) -> String {
    format!("{} [{}, {}]", number(found.value), number(found.low), number(found.high))
}

/// Scores of a run and whether each is of an abnormal sample.
fn truth(rows: &[ScoreRow]) -> (Vec<f64>, Vec<bool>) {
    rows.iter().map(|row| (row.score, !is_normal(&row.label))).unzip()
}

/// Scores of the float graph, where all rows have one.
fn float(rows: &[ScoreRow]) -> Option<Vec<f64>> {
    rows.iter().map(|row| row.float).collect()
}

/// AUROC of the blob; none without scores of both kinds.
pub fn quantized(rows: &[ScoreRow]) -> Option<Interval> {
    let (scores, abnormal) = truth(rows);
    bootstrap::of_scores(&scores, &abnormal, SEED, auroc).ok()
}

/// AUROC of the float graph; none without its scores.
pub fn of_float(rows: &[ScoreRow]) -> Option<Interval> {
    bootstrap::of_scores(&float(rows)?, &truth(rows).1, SEED, auroc).ok()
}

/// Partial AUROC of the blob up to a share of 0.1 of false alarms, standardized.
pub fn partial(rows: &[ScoreRow]) -> Option<Interval> {
    let (scores, abnormal) = truth(rows);
    bootstrap::of_scores(&scores, &abnormal, SEED, |s, t| standardized_partial_auroc(s, t, 0.1)).ok()
}

/// AUROC of one defect against the good ones.
pub fn of_defect(rows: &[ScoreRow], defect: &str) -> Option<Interval> {
    let own: Vec<ScoreRow> = rows.iter().filter(|row| is_normal(&row.label) || row.label == defect).cloned().collect();
    quantized(&own)
}

/// AUROC of each defect, with its interval.
pub fn defects(folder: &RunFolder) -> String {
    let Some(metrics) = &folder.metrics else { return String::new() };
    let row = |defect: &DefectFigure| {
        let found = of_defect(&folder.scores, &defect.defect);
        let figure = found.map_or_else(|| number(defect.auroc), |found| words(&found));
        vec![defect.defect.clone(), defect.count.to_string(), figure]
    };
    let rows: Vec<_> = metrics.per_defect.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = table(&["defect", folder.samples(), "AUROC"], &rows);
    section("Each defect against the good ones", &format!("<p class=\"note\">{NOTE}</p>{table}"))
}

/// How well maps show where; empty where that was not measured.
pub fn places(folder: &RunFolder) -> String {
    let Some(found) = folder.metrics.as_ref().and_then(|metrics| metrics.localization) else { return String::new() };
    let note = format!(
        "<p class=\"note\">Anomaly maps laid back onto {} pictures and compared with their masks, {} regions; pixels that no map \
         looks at count as normal. The overlap is the share of each region that is marked, averaged over regions and over rates of false \
         positives up to 0.3 (Bergmann et al. 2021): chance is 0.15.</p>",
        found.images, found.regions
    );
    let rows = [
        vec!["pixel AUROC".to_owned(), number(found.pixel_auroc)],
        vec!["per-region overlap (PRO)".to_owned(), number(found.per_region_overlap)],
    ];
    section("Where the defect is", &format!("{note}{}", table(&["", ""], &rows)))
}
