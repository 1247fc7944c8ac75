//! The best and the worst cases: what the model saw, what it made of it, and where it looked wrong.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use neji_format::{AlignedBytes, Detector, Model, Shape};

use super::html::{escape, section};
use super::images::{grey, heat_map};
use super::run::{RunFolder, ScoreRow};
use crate::dataset::is_normal;
use crate::element;
use crate::simulate::{on_host, read_frame};

/// Cases of each kind.
const EACH: usize = 3;

/// A case and what it looks like.
struct Picture {
    row: ScoreRow,
    input: Vec<u8>,
    /// Of an autoencoder.
    reconstruction: Option<Vec<u8>>,
    map: Option<Vec<u32>>,
}

/// Rows worth a look, by kind: right with most room, wrong or nearly so.
fn chosen(scores: &[ScoreRow]) -> Vec<(&'static str, Vec<ScoreRow>)> {
    let part = |good: bool, highest_first: bool| {
        let mut rows: Vec<ScoreRow> =
            scores.iter().filter(|row| is_normal(&row.label) == good && row.score.is_finite()).cloned().collect();
        rows.sort_by(|a, b| a.score.total_cmp(&b.score));
        if highest_first {
            rows.reverse();
        }
        rows.truncate(EACH);
        rows
    };
    let kinds = [
        ("Clearest defects", part(false, true)),
        ("Hardest defects: the lowest scores among the bad", part(false, false)),
        ("Most suspicious good ones: the highest scores among the good", part(true, true)),
        ("Plainest good ones", part(true, false)),
    ];
    kinds.into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
}

/// The section; empty where there is no blob that runs, nothing scored, or the data are not where they were.
///
/// # Errors
/// An image can't be drawn.
pub fn cases(folder: &RunFolder) -> Result<String> {
    let (Some(bytes), Some(metrics)) = (&folder.blob, &folder.metrics) else { return Ok(String::new()) };
    let aligned = AlignedBytes::new(bytes);
    let Ok(model) = Model::parse(aligned.as_slice()) else { return Ok(String::new()) };
    let kinds = chosen(&folder.scores);
    let mut groups = Vec::new();
    for (title, rows) in kinds {
        let mut pictures = Vec::new();
        for row in rows {
            // A report outlives its data: without the picture the rest is still worth reading.
            let Some(picture) = picture(model, metrics.data.join(&row.file), row)? else { return Ok(String::new()) };
            pictures.push(picture);
        }
        groups.push((title, pictures));
    }
    if groups.is_empty() {
        return Ok(String::new());
    }
    // All heat maps share one scale, so that a calm one looks calm: from nothing to twice the threshold of the score,
    // which is a mean of the map.
    let largest = u32::try_from(model.plan().decision.threshold).unwrap_or(0).max(1).saturating_mul(2);
    let width = model.plan().input.shape.width;
    let mut out = String::new();
    for (title, pictures) in &groups {
        let _ = write!(out, "<h3>{}</h3>", escape(title));
        for picture in pictures {
            out.push_str(&case(picture, width, largest)?);
        }
    }
    let note = match model.plan().detector {
        Detector::Reconstruction(_) => {
            "Input, reconstruction and anomaly map as the device has them; the lightest colour is twice the threshold and above."
        }
        _ => "Input as the device has it.",
    };
    Ok(section("Best and worst cases", &format!("<p class=\"note\">{note}</p>{out}")))
}

fn case(picture: &Picture, width: u32, largest: u32) -> Result<String> {
    let mut out = String::from("<div class=\"case\">");
    out.push_str(&grey(width, &picture.input, "input")?);
    if let Some(pixels) = &picture.reconstruction {
        out.push_str(&grey(width, pixels, "reconstruction")?);
    }
    if let Some(map) = &picture.map {
        out.push_str(&heat_map(width, map, largest, "anomaly map")?);
    }
    let row = &picture.row;
    let _ = write!(
        out,
        "<span>{}<br>score {:.3}, verdict {}</span></div>",
        escape(&row.file),
        row.score,
        escape(&row.verdict)
    );
    Ok(out)
}

/// Runs one image; nothing where its file is gone or no longer fits.
fn picture(model: Model<'_>, path: PathBuf, row: ScoreRow) -> Result<Option<Picture>> {
    let plan = *model.plan();
    let Ok(frame) = read_frame(&plan, &path) else { return Ok(None) };
    let mut found = None;
    on_host(model, &[frame], true, |_, _, monitor| {
        let map = monitor.map().map(|(map, _)| map.to_vec());
        let keeps_input = map.is_some();
        // A classifier's arena has forgotten its input: it is shown from the front end once more.
        let input = if keeps_input { monitor.input().to_vec() } else { Vec::new() };
        let output = keeps_input.then(|| monitor.output().to_vec());
        found = Some((input, output, map));
        Ok(())
    })?;
    let (mut input, output, map) = found.context("one frame gives one verdict")?;
    if input.is_empty() {
        let neji_format::FrontEnd::Image(config) = &plan.front_end else { return Ok(None) };
        let frame = read_frame(&plan, &path)?;
        input = vec![0; neji_app::frontend::image::output_len(config)];
        let mut memory = vec![0; neji_app::frontend::image::memory_bytes(config)];
        if neji_app::frontend::image::extract(config, &frame.samples, &mut memory, &mut input).is_err() {
            return Ok(None);
        }
        input = element::of_image(plan.element, &input);
    }
    let Shape { channels, .. } = plan.input.shape;
    let to_grey = |tensor: &neji_format::Tensor, values: &[i8]| -> Vec<u8> {
        let real = |&q: &i32| tensor.scale * (q - i32::from(tensor.zero_point)) as f32;
        element::values(plan.element, values)
            .iter()
            .step_by(channels as usize)
            .map(|q| (255.0 * real(q)).round().clamp(0.0, 255.0) as u8)
            .collect()
    };
    Ok(Some(Picture {
        row,
        input: to_grey(&plan.input, &input),
        reconstruction: output.map(|values| to_grey(&plan.output, &values)),
        map,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_chosen_and_frames_without_a_score_are_not() {
        let row =
            |label: &str, score| ScoreRow { file: String::new(), label: label.into(), score, verdict: "x".into() };
        let scores = [row("good", 1.0), row("good", 5.0), row("dent", 3.0), row("dent", f64::INFINITY)];
        let found = chosen(&scores);
        let first = |index: usize| found[index].1[0].score;
        assert_eq!((first(0), first(1), first(2), first(3)), (3.0, 3.0, 5.0, 1.0));
        assert!(chosen(&[]).is_empty());
    }
}
