//! A scenario as one picture: what each sensor heard, its score against the threshold, alarm, faults and events.

use std::io::Cursor;

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbaImage};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::config::Event;
use super::judge::Track;
use super::run::Record;
use super::spectrogram::{ROWS, Spectrogram};
use crate::report::charts::colour;
use crate::report::images::heat;

const WIDTH: u32 = 1000;
/// Heights of a sensor's spectrogram, scores and states.
const HEIGHTS: [u32; 3] = [190, 230, 110];
const LEFT: u32 = 70;
const RIGHT: u32 = 20;
/// Most points of a line: as many as there are columns to draw them in.
const POINTS: usize = (WIDTH - LEFT - RIGHT) as usize;
const SHADE: RGBColor = RGBColor(200, 40, 40);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A sensor to be drawn.
#[derive(Debug)]
pub struct Lane<'a> {
    /// What was judged.
    pub track: &'a Track,
    /// What was heard.
    pub heard: &'a Spectrogram,
    /// What happened to the sensor.
    pub events: &'a [Event],
}

/// Draws an SVG file.
///
/// # Errors
/// When plotters or PNG fails.
pub fn draw(title: &str, lanes: &[Lane<'_>]) -> anyhow::Result<String> {
    let lane_height: u32 = HEIGHTS.iter().sum();
    let height = 30 + lane_height * lanes.len() as u32;
    let mut svg = String::new();
    let mut pictures = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.titled(title, ("sans-serif", 17)).map_err(|error| anyhow!("{error}"))?;
        let (_, mut rest) = root.split_vertically(30);
        for lane in lanes {
            for (index, lane_height) in HEIGHTS.into_iter().enumerate() {
                let (area, below) = rest.split_vertically(lane_height);
                match index {
                    0 => pictures.push_str(&spectrogram(&area, lane)?),
                    1 => scores(&area, lane)?,
                    _ => states(&area, lane)?,
                }
                rest = below;
            }
        }
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    // White paper and the pictures below what is drawn.
    let begin = svg.find('>').map_or(0, |end| end + 1);
    let begin = if svg.starts_with("<svg") {
        begin
    } else {
        svg.find("<svg").map_or(begin, |at| svg[at..].find('>').map_or(begin, |end| at + end + 1))
    };
    svg.insert_str(begin, &format!("\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{pictures}"));
    Ok(svg)
}

fn builder<'a, 'b>(area: &'a Area<'b>, bottom: u32) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin_right(RIGHT).margin_top(8).x_label_area_size(bottom).y_label_area_size(LEFT);
    builder
}

fn seconds(lane: &Lane<'_>, samples: u64) -> f64 {
    samples as f64 / f64::from(lane.track.rate)
}

fn end(lane: &Lane<'_>) -> f64 {
    seconds(lane, lane.track.length).max(1e-3)
}

/// Axes around a picture, which is returned as an element of its own.
fn spectrogram(area: &Area<'_>, lane: &Lane<'_>) -> anyhow::Result<String> {
    let half = f64::from(lane.track.rate) / 2000.0;
    let (levels, (low, high)) = lane.heard.levels();
    let title = format!("{}: what it heard, {low:.0} to {high:.0} dB", lane.track.sensor);
    let mut chart = (builder(area, 4).caption(title, ("sans-serif", 14)))
        .build_cartesian_2d(0.0..end(lane), 0.0..half)
        .map_err(|error| anyhow!("{error}"))?;
    (chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(0)
        .y_labels(5)
        .y_desc("kHz")
        .label_style(("sans-serif", 12))
        .draw())
    .map_err(|error| anyhow!("{error}"))?;
    let (x, y) = chart.plotting_area().get_pixel_range();
    let width = lane.heard.width() as u32;
    if width == 0 {
        return Ok(String::new());
    }
    let pixels = levels.iter().flat_map(|level| match level {
        Some(level) => {
            let [red, green, blue] = heat(*level);
            [red, green, blue, 255]
        }
        None => [0; 4],
    });
    let picture = RgbaImage::from_raw(width, ROWS as u32, pixels.collect()).context("pixels of a picture")?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(format!(
        "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" href=\"data:image/png;base64,{}\"/>\n",
        x.start,
        y.start,
        x.end - x.start,
        y.end - y.start,
        STANDARD.encode(png.into_inner())
    ))
}

/// The least and the largest of each column, so that a peak is seen however long the scenario is.
fn thinned(points: Vec<(f64, f64)>, end: f64) -> Vec<(f64, f64)> {
    if points.len() <= 2 * POINTS {
        return points;
    }
    let mut columns: Vec<Option<[(f64, f64); 2]>> = vec![None; POINTS];
    for point in points {
        let column = &mut columns[((point.0 / end * POINTS as f64) as usize).min(POINTS - 1)];
        let [low, high] = column.get_or_insert([point; 2]);
        if point.1 < low.1 {
            *low = point;
        }
        if point.1 > high.1 {
            *high = point;
        }
    }
    let ordered = |[a, b]: [(f64, f64); 2]| if a.0 <= b.0 { [a, b] } else { [b, a] };
    columns.into_iter().flatten().flat_map(ordered).collect()
}

fn scores(area: &Area<'_>, lane: &Lane<'_>) -> anyhow::Result<()> {
    let (track, end) = (lane.track, end(lane));
    let points = |of: &dyn Fn(&Record) -> Option<f64>| -> Vec<(f64, f64)> {
        let found = track.records.iter().filter_map(|record| Some((seconds(lane, record.at), of(record)?)));
        thinned(found.collect(), end)
    };
    let (each, smoothed) = (points(&|record| track.score(record)), points(&|record| track.smoothed(record)));
    let top =
        each.iter().chain(&smoothed).map(|point| point.1).chain([track.threshold]).fold(f64::MIN_POSITIVE, f64::max);
    let bottom = each.iter().chain(&smoothed).map(|point| point.1).chain([0.0]).fold(0.0, f64::min);
    let mut chart =
        (builder(area, 4).build_cartesian_2d(0.0..end, bottom..top * 1.05)).map_err(|error| anyhow!("{error}"))?;
    (chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(0)
        .y_labels(6)
        .y_desc("score")
        .label_style(("sans-serif", 12))
        .draw())
    .map_err(|error| anyhow!("{error}"))?;
    let shades = track.faults.iter().map(|&(from, to)| {
        Rectangle::new([(seconds(lane, from), bottom), (seconds(lane, to), top * 1.05)], SHADE.mix(0.15).filled())
    });
    chart.draw_series(shades).map_err(|error| anyhow!("{error}"))?;
    // From when it was known.
    let known = seconds(lane, track.learned_at.unwrap_or(0));
    let level = |value: f64| vec![(known, value), (end, value)];
    let lines = [
        ("score", each, colour(0).mix(0.45).stroke_width(1)),
        ("smoothed", smoothed, colour(0).stroke_width(2)),
        ("threshold", level(track.threshold), colour(1).stroke_width(2)),
        ("release", level(track.release), colour(2).stroke_width(1)),
    ];
    for (name, points, style) in lines {
        (chart.draw_series(LineSeries::new(points, style)).map_err(|error| anyhow!("{error}"))?)
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
    }
    (chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).label_font(("sans-serif", 12)).draw())
        .map_err(|error| anyhow!("{error}"))
}

fn states(area: &Area<'_>, lane: &Lane<'_>) -> anyhow::Result<()> {
    let (track, end) = (lane.track, end(lane));
    let mut chart = (builder(area, 34).build_cartesian_2d(0.0..end, 0.0..4.0)).map_err(|error| anyhow!("{error}"))?;
    (chart.configure_mesh().disable_mesh().y_labels(0).x_desc("seconds").label_style(("sans-serif", 12)).draw())
        .map_err(|error| anyhow!("{error}"))?;
    // Each as wide as can be seen.
    let bar = |row: f64, from: u64, to: u64, colour: RGBColor| {
        let from = seconds(lane, from);
        let to = seconds(lane, to).max(from + end / POINTS as f64);
        Rectangle::new([(from, row + 0.15), (to.min(end), row + 0.85)], colour.filled())
    };
    let fault = |record: &&Record| matches!(record.verdict.outcome, neji_app::Outcome::SensorFault(_));
    let rows = [
        ("fault", track.faults.iter().map(|&(from, to)| bar(3.0, from, to, SHADE)).collect::<Vec<_>>()),
        ("alarm", track.alarms().iter().map(|&(from, to)| bar(2.0, from, to, colour(1))).collect()),
        (
            "sensor",
            track.records.iter().filter(fault).map(|record| bar(1.0, record.at, record.at, colour(3))).collect(),
        ),
        ("event", lane.events.iter().map(|event| bar(0.0, event.from, event.from + event.length, colour(2))).collect()),
    ];
    // While it learns there is no alarm, and the row is free.
    let learning = |record: &&Record| matches!(record.verdict.outcome, neji_app::Outcome::Calibrating { .. });
    let begun = track.records.iter().find(learning).map(|record| record.at);
    if let Some((from, to)) = begun.zip(track.records.iter().rfind(learning).map(|record| record.at)) {
        chart.draw_series([bar(2.0, from, to, colour(4))]).map_err(|error| anyhow!("{error}"))?;
        let text = Text::new("calibrating", (seconds(lane, from), 2.75), ("sans-serif", 11));
        chart.draw_series([text]).map_err(|error| anyhow!("{error}"))?;
    }
    for (row, (name, bars)) in (0..4).rev().zip(rows) {
        chart.draw_series(bars).map_err(|error| anyhow!("{error}"))?;
        let (x, y) = chart.backend_coord(&(0.0, f64::from(row) + 0.7));
        let (base_x, base_y) = area.get_base_pixel();
        area.draw(&Text::new(name, (x - 46 - base_x, y - base_y), ("sans-serif", 12)))
            .map_err(|error| anyhow!("{error}"))?;
    }
    let names = lane
        .events
        .iter()
        .map(|event| Text::new(event.what.name(), (seconds(lane, event.from), 0.75), ("sans-serif", 11)));
    chart.draw_series(names).map_err(|error| anyhow!("{error}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::config::Happening;
    use super::Record;
    use super::*;

    #[test]
    fn a_picture_asks_for_nothing_and_has_everything() {
        let verdict = |alarm, score| neji_app::Verdict {
            sequence: 0,
            outcome: neji_app::Outcome::Scored { score, smoothed: score, class: None, abnormal: alarm },
            alarm,
            drift: neji_app::Trend::Steady,
        };
        let records = (1..5000).map(|n| Record { at: n * 100, verdict: verdict(n > 3000, (n % 7) as i32) }).collect();
        let track = Track {
            sensor: "left & right".to_owned(),
            rate: 8000,
            length: 500_000,
            faults: vec![(300_000, 400_000)],
            cuts: vec![],
            records,
            unit: 1.0,
            threshold: 5.0,
            release: 4.0,
            learned_at: None,
            grace: 0,
            overruns: None,
            clock_share: None,
        };
        let mut heard = Spectrogram::new(500_000);
        heard.push(0, &vec![100; 200_000]);
        let events = [Event { what: Happening::Clip(100.0), from: 200_000, length: 50_000 }];
        let lane = Lane { track: &track, heard: &heard, events: &events };
        let svg = draw("a < b", &[lane]).expect("drawn");
        assert_eq!(svg.matches("http").count(), svg.matches("http://www.w3.org/").count());
        assert!(svg.contains("data:image/png;base64,") && svg.contains("threshold") && svg.contains("clip"), "{svg}");
        assert!(svg.contains("left &amp; right") && svg.len() < 1_000_000, "{}", svg.len());
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let points: Vec<(f64, f64)> =
            (0..100_000).map(|n| (f64::from(n), if n == 54_321 { 9.0 } else { 1.0 })).collect();
        let few = thinned(points, 100_000.0);
        assert!(few.len() <= 2 * POINTS && few.contains(&(54_321.0, 9.0)));
        assert!(few.is_sorted_by(|a, b| a.0 <= b.0));
    }
}
