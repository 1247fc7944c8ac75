//! The best and the worst cases: what the model saw, what it made of it, and where it looked wrong.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result};
use neji_app::frontend::image;
use neji_app::score::map_shape;
use neji_format::{AlignedBytes, Detector, FrontEnd, ImageFrontEnd, Model, Plan, Shape, Tensor, WindowStatistics};

use super::html::{escape, section};
use super::images::{grey, heat_map};
use super::run::{RunFolder, ScoreRow};
use crate::dataset::is_normal;
use crate::element;
use crate::simulate::{Frame, on_host, read_frame};

/// Cases of each kind.
const EACH: usize = 3;

/// A case and what it looks like.
struct Picture {
    row: ScoreRow,
    width: u32,
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
    let mut out = String::new();
    for (title, pictures) in &groups {
        let _ = write!(out, "<h3>{}</h3>", escape(title));
        for picture in pictures {
            out.push_str(&case(picture, largest)?);
        }
    }
    let note = match model.plan().detector {
        Detector::Reconstruction(_) => {
            "Input, reconstruction and anomaly map as the device has them; the lightest colour is twice the threshold and above. \
             Of sound, time goes to the right and frequency up."
        }
        _ => "Input as the device has it.",
    };
    Ok(section("Best and worst cases", &format!("<p class=\"note\">{note}</p>{out}")))
}

fn case(picture: &Picture, largest: u32) -> Result<String> {
    let width = picture.width;
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

/// Runs one file; nothing where it is gone or no longer fits.
fn picture(model: Model<'_>, path: PathBuf, row: ScoreRow) -> Result<Option<Picture>> {
    let plan = *model.plan();
    let Ok(frame) = read_frame(&plan, &path) else { return Ok(None) };
    let mut windows = Vec::new();
    on_host(model, std::slice::from_ref(&frame), true, |_, _, monitor| {
        windows.push(match monitor.map() {
            Some((map, _)) => (monitor.input().to_vec(), Some((monitor.output().to_vec(), map.to_vec()))),
            // A classifier's arena has forgotten its input: it is shown from the front end once more.
            None => (Vec::new(), None),
        });
        Ok(())
    })?;
    Ok(match &plan.front_end {
        FrontEnd::Raw => None,
        FrontEnd::Image(config) => {
            still(&model, config, &frame, windows.pop().context("one frame gives one verdict")?, row)
        }
        FrontEnd::LogMel(config) => moving(&plan, &windows, row, &shown(plan.input.shape, config.statistics)),
    })
}

/// What the monitor had of a window: its input, and of a reconstruction the output and the map.
type Looked = (Vec<i8>, Option<(Vec<i8>, Vec<u32>)>);

/// A picture as it is.
fn still(model: &Model<'_>, config: &ImageFrontEnd, frame: &Frame, looked: Looked, row: ScoreRow) -> Option<Picture> {
    let plan = model.plan();
    let (mut input, seen) = looked;
    if seen.is_none() {
        input = vec![0; image::output_len(config)];
        let (template, mut memory) = (image::template(model, config), vec![0; image::memory_bytes(config)]);
        image::extract(config, template, &frame.samples, &mut memory, &mut input).ok()?;
        input = element::of_image(plan.element, &input);
    }
    let Shape { width, channels, .. } = plan.input.shape;
    let to_grey = |tensor: &Tensor, values: &[i8]| -> Vec<u8> {
        let real = |&q: &i32| tensor.scale * (q - i32::from(tensor.zero_point)) as f32;
        element::values(plan.element, values)
            .iter()
            .step_by(channels as usize)
            .map(|q| (255.0 * real(q)).round().clamp(0.0, 255.0) as u8)
            .collect()
    };
    let input = to_grey(&plan.input, &input);
    let (reconstruction, map) = seen.map(|(output, map)| (to_grey(&plan.output, &output), map)).unzip();
    Some(Picture { row, width, input, reconstruction, map })
}

/// The elements of an input that are a column of a picture: of frames the one in the middle, of statistics the window's means.
fn shown(shape: Shape, statistics: Option<WindowStatistics>) -> Range<usize> {
    let Shape { height, width, channels } = shape;
    let (begin, len) = match statistics {
        Some(statistics) => (height.saturating_sub(1) * channels, channels / statistics.groups()),
        None => (height / 2 * width, width),
    };
    begin as usize..(begin + len) as usize
}

/// A recording as time goes to the right and frequency up: of each window what is `shown` of its input, and the map's mean over
/// all frames. A map without frequencies, as of statistics, is shown whole: from the oldest block up to the window.
fn moving(plan: &Plan<'_>, windows: &[Looked], row: ScoreRow, shown: &Range<usize>) -> Option<Picture> {
    let bands = shown.len();
    let seen: Vec<(&Vec<i8>, &Vec<i8>, &Vec<u32>)> =
        windows.iter().filter_map(|(input, seen)| seen.as_ref().map(|(output, map)| (input, output, map))).collect();
    let width = u32::try_from(seen.len()).ok().filter(|&width| width > 0)?;
    // The ends of the input's range are black and white.
    let to_grey = |tensor: &Tensor, values: &[i8]| -> Vec<u8> {
        let (low, high) = plan.element.range();
        let span = f32::from(high) - f32::from(low);
        let values = element::values(plan.element, values);
        let column = values.get(shown.clone()).unwrap_or_default();
        let real = |&q: &i32| tensor.scale * (q - i32::from(tensor.zero_point)) as f32;
        let steps = |real: f32| real / plan.input.scale + f32::from(plan.input.zero_point);
        let grey = |q| (255.0 * (steps(real(q)) - f32::from(low)) / span).round().clamp(0.0, 255.0) as u8;
        column.iter().map(grey).collect()
    };
    let of_map = map_shape(plan)?;
    let mean = |map: &Vec<u32>| -> Vec<u32> {
        if of_map.width == 1 {
            return map.clone();
        }
        let band =
            |band| map.iter().skip(band).step_by(of_map.width as usize).map(|&value| u64::from(value)).sum::<u64>();
        (0..of_map.width as usize).map(|index| (band(index) / u64::from(of_map.height.max(1))) as u32).collect()
    };
    let inputs: Vec<_> = seen.iter().map(|(input, _, _)| to_grey(&plan.input, input)).collect();
    let outputs: Vec<_> = seen.iter().map(|(_, output, _)| to_grey(&plan.output, output)).collect();
    let maps: Vec<_> = seen.iter().map(|(_, _, map)| mean(map)).collect();
    let map_height = maps.first().map_or(0, Vec::len);
    Some(Picture {
        row,
        width,
        input: upright(&inputs, bands),
        reconstruction: (plan.output.shape == plan.input.shape).then(|| upright(&outputs, bands)),
        map: Some(upright(&maps, map_height)),
    })
}

/// Columns of values, the lowest first, as rows of a picture, the highest first.
fn upright<T: Copy>(columns: &[Vec<T>], height: usize) -> Vec<T> {
    (0..height).rev().flat_map(|row| columns.iter().filter_map(move |column| column.get(row).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_statistics_the_windows_means_are_shown_and_of_frames_the_middle_one() {
        let all = WindowStatistics::ALL;
        assert_eq!(shown(Shape::new(5, 1, 384), Some(all)), 4 * 384..4 * 384 + 128);
        let plain = WindowStatistics { differences: false, blocks: false, ..all };
        assert_eq!(shown(Shape::new(1, 1, 16), Some(plain)), 0..8);
        assert_eq!(shown(Shape::new(5, 64, 1), None), 128..192);
    }

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
