//! The best and the worst cases.

use std::fmt::Write as _;

use anyhow::Result;
use neji_format::{AlignedBytes, Detector, FrontEnd, Model, Plan};

use super::html::{escape, section};
use super::look::{Look, largest, look};
use super::run::{RunFolder, ScoreRow};
use crate::dataset::{Dataset, is_normal};

/// Cases of each kind.
const EACH: usize = 3;

/// Rows with a score, normal or abnormal ones, by score.
pub fn ordered(scores: &[ScoreRow], normal: bool, highest_first: bool) -> Vec<&ScoreRow> {
    let wanted = |row: &&ScoreRow| is_normal(&row.label) == normal && row.score.is_finite();
    let mut rows: Vec<&ScoreRow> = scores.iter().filter(wanted).collect();
    rows.sort_by(|a, b| a.score.total_cmp(&b.score));
    if highest_first {
        rows.reverse();
    }
    rows
}

/// Rows worth a look, by kind: right with most room, wrong or nearly so.
fn chosen(scores: &[ScoreRow]) -> Vec<(&'static str, Vec<&ScoreRow>)> {
    let part = |normal, highest_first| ordered(scores, normal, highest_first).into_iter().take(EACH).collect();
    let kinds: [(_, Vec<&ScoreRow>); 4] = [
        ("Clearest defects", part(false, true)),
        ("Hardest defects: the lowest scores among the bad", part(false, false)),
        ("Most suspicious good ones: the highest scores among the good", part(true, true)),
        ("Plainest good ones", part(true, false)),
    ];
    kinds.into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
}

/// The section; empty where there is no blob that runs, nothing scored, or `data` lack what was scored.
///
/// # Errors
/// A sample that the model does not take, or a picture that can't be drawn.
pub fn cases(folder: &RunFolder, data: Option<&Dataset>) -> Result<String> {
    let (Some(bytes), Some(data)) = (&folder.blob, data) else { return Ok(String::new()) };
    let aligned = AlignedBytes::new(bytes);
    let Ok(model) = Model::parse(aligned.as_slice()) else { return Ok(String::new()) };
    let mut out = String::new();
    for (title, rows) in chosen(&folder.scores) {
        let _ = write!(out, "<h3>{}</h3>", escape(title));
        for row in rows {
            // A report outlives its data: without the picture the rest is still worth reading.
            let Some(seen) = looked(model, data, row)? else { return Ok(String::new()) };
            out.push_str(&case(&seen, row, largest(model.plan()))?);
        }
    }
    if out.is_empty() {
        return Ok(out);
    }
    Ok(section("Best and worst cases", &format!("<p class=\"note\">{}</p>{out}", note(model.plan()))))
}

/// What the sample of a row looks like; nothing where it is gone.
///
/// # Errors
/// As [`look`].
pub fn looked(model: Model<'_>, data: &Dataset, row: &ScoreRow) -> Result<Option<Look>> {
    let sample = data.test.iter().find(|sample| sample.name == row.file);
    sample.map_or(Ok(None), |sample| look(model, sample))
}

/// What the pictures of a model show.
pub fn note(plan: &Plan<'_>) -> String {
    let what = match plan.detector {
        Detector::Reconstruction(_) => "Input, reconstruction and anomaly map as the device has them",
        Detector::Distance(_) | Detector::Fusion(_) => "Input and distances from normal as the device has them",
        Detector::None | Detector::Classifier(_) => "Input as the device has it",
    };
    let scale = match neji_app::score::map_shape(plan) {
        Some(_) => "; the lightest colour is twice the threshold and above.",
        None => ".",
    };
    let sound = match plan.front_end {
        FrontEnd::LogMel(_) => " Time goes to the right, a window a column, and frequency up.",
        _ => "",
    };
    format!("{what}{scale}{sound}")
}

fn case(seen: &Look, row: &ScoreRow, largest: u32) -> Result<String> {
    let (file, verdict) = (escape(&row.file), escape(&row.verdict));
    let pictures = seen.html(largest)?;
    Ok(format!("<div class=\"case\">{pictures}<span>{file}<br>score {:.3}, verdict {verdict}</span></div>", row.score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_chosen_and_frames_without_a_score_are_not() {
        let row = |label: &str, score| ScoreRow {
            file: String::new(),
            label: label.into(),
            score,
            verdict: "x".into(),
            float: None,
            other: None,
        };
        let scores = [row("good", 1.0), row("good", 5.0), row("dent", 3.0), row("dent", f64::INFINITY)];
        let found = chosen(&scores);
        let first = |index: usize| found[index].1[0].score;
        assert_eq!((first(0), first(1), first(2), first(3)), (3.0, 3.0, 5.0, 1.0));
        assert!(chosen(&[]).is_empty());
    }
}
