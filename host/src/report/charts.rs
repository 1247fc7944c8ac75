//! Charts as inline SVG, drawn by plotters on a transparent ground in the page's own text colour.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

const SIZE: (u32, u32) = (460, 320);
const LARGE: (u32, u32) = (760, 480);
const BLUE: RGBColor = RGBColor(42, 111, 176);
const ORANGE: RGBColor = RGBColor(214, 106, 29);
const GREEN: RGBColor = RGBColor(58, 148, 92);
const VIOLET: RGBColor = RGBColor(136, 87, 168);
const RED: RGBColor = RGBColor(196, 54, 74);
const TEAL: RGBColor = RGBColor(32, 150, 158);
const OLIVE: RGBColor = RGBColor(150, 136, 36);
const GREY: RGBColor = RGBColor(128, 128, 128);

/// Colour of the n-th series.
pub fn colour(index: usize) -> RGBColor {
    [BLUE, ORANGE, GREEN, VIOLET, RED, TEAL, OLIVE, GREY][index % 8]
}

/// Points of a curve, `(x, y)`.
pub type Points = Vec<(f64, f64)>;

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// `(x, y)`, in the order in which they are joined.
    pub points: Points,
}

/// Lines over shared axes; the ranges are those of the points unless `unit` asks for `0..=1` on both.
///
/// # Errors
/// When plotters fails.
pub fn lines(title: &str, labels: (&str, &str), series: &[Series], unit: bool) -> anyhow::Result<String> {
    let finite = || series.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let (x, y) = match unit {
        true => ((0.0, 1.0), (0.0, 1.0)),
        false => (range(finite().map(|point| point.0)), range(finite().map(|point| point.1).chain([0.0]))),
    };
    draw(|area| {
        let mut chart = axes(area, title, labels, (x, x.1), y)?;
        for (index, line) in series.iter().enumerate() {
            let style = colour(index).stroke_width(2);
            let points = line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            chart
                .draw_series(LineSeries::new(points, style))
                .map_err(|error| anyhow!("{error}"))?
                .label(line.name.clone())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(if unit { SeriesLabelPosition::LowerMiddle } else { SeriesLabelPosition::UpperRight })
            .label_font(("sans-serif", 12))
            .draw()
            .map_err(|error| anyhow!("{error}"))?;
        Ok(())
    })
}

/// Points over shared axes; the first series in small ones, as what the others are compared with.
///
/// # Errors
/// When plotters fails.
pub fn scatter(title: &str, labels: (&str, &str), series: &[Series]) -> anyhow::Result<String> {
    let finite = |line: &Series| -> Points {
        line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let all: Vec<(f64, f64)> = series.iter().flat_map(finite).collect();
    // Room for the points at the edge.
    let wide = |(low, high): (f64, f64)| (low - 0.05 * (high - low), high + 0.05 * (high - low));
    let x = wide(range(all.iter().map(|point| point.0)));
    let y = wide(range(all.iter().map(|point| point.1)));
    draw_on(LARGE, |area| {
        // Beyond the last point the names have room.
        let mut chart = axes(area, title, labels, (x, x.1 + 0.4 * (x.1 - x.0)), y)?;
        for (index, line) in series.iter().enumerate() {
            let (size, style) = match index {
                0 => (2, GREY.mix(0.6).filled()),
                _ => (4, colour(index - 1).mix(0.8).filled()),
            };
            chart
                .draw_series(finite(line).into_iter().map(|point| Circle::new(point, size, style)))
                .map_err(|error| anyhow!("{error}"))?
                .label(line.name.clone())
                .legend(move |(x, y)| Circle::new((x + 8, y), size, style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 12))
            .draw()
            .map_err(|error| anyhow!("{error}"))?;
        Ok(())
    })
}

/// Histograms of scores by class as step lines, with the threshold as an upright line.
///
/// # Errors
/// When plotters fails.
pub fn histogram(
    title: &str,
    samples: &str,
    classes: &[(String, Vec<f64>)],
    threshold: Option<f64>,
) -> anyhow::Result<String> {
    const BINS: usize = 30;
    let values = classes.iter().flat_map(|(_, scores)| scores.iter().copied());
    let (low, high) = range(values.chain(threshold).filter(|value| value.is_finite()));
    let width = (high - low) / BINS as f64;
    let mut series: Vec<Series> = classes
        .iter()
        .map(|(name, scores)| {
            let mut counts = [0_u32; BINS];
            for score in scores.iter().filter(|score| score.is_finite()) {
                counts[(((score - low) / width) as usize).min(BINS - 1)] += 1;
            }
            let mut points = vec![(low, 0.0)];
            for (bin, count) in counts.iter().enumerate() {
                let left = low + bin as f64 * width;
                points.extend([(left, f64::from(*count)), (left + width, f64::from(*count))]);
            }
            points.push((high, 0.0));
            Series { name: name.clone(), points }
        })
        .collect();
    if let Some(threshold) = threshold {
        let top = series.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
        series.push(Series { name: "threshold".into(), points: vec![(threshold, 0.0), (threshold, top)] });
    }
    lines(title, ("score", samples), &series, false)
}

/// A figure on an axis of this length: digits enough to tell the marks apart, and none that say nothing.
fn figure(value: f64, length: f64) -> String {
    let digits = (3.0 - length.log10()).clamp(1.0, 9.0) as usize;
    let text = format!("{value:.digits$}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// Smallest and largest value, drawn apart where they are one.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    match low < high {
        true => (low, high),
        false if low == high => (low - 0.5, high + 0.5),
        false => (0.0, 1.0),
    }
}

/// A chart with named axes; `x` is the range that is labelled and where the axis ends.
fn axes<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    title: &str,
    labels: (&str, &str),
    (x, end): ((f64, f64), f64),
    y: (f64, f64),
) -> anyhow::Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .margin_right(20)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d(x.0..end, y.0..y.1)
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc(labels.0)
        .y_desc(labels.1)
        .x_label_formatter(&|value| figure(*value, x.1 - x.0))
        .y_label_formatter(&|value| figure(*value, y.1 - y.0))
        .label_style(("sans-serif", 12))
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    Ok(chart)
}

fn draw(paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    draw_on(SIZE, paint)
}

fn draw_on(
    size: (u32, u32),
    paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&area)?;
        area.present().map_err(|error| anyhow!("{error}"))?;
    }
    // Inline SVG needs no name space, and black text would be lost on a dark ground.
    Ok(svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "").replace("#000000", "currentColor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_ask_for_nothing_and_escape_names() {
        let series = Series { name: "<b> & co".into(), points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.5)] };
        let svg = lines("a < b", ("x", "y"), &[series], false).expect("drawn");
        assert!(!svg.contains("http") && !svg.contains("<b>"), "{svg}");
        crate::report::html::check_balance(&svg).expect("balanced");
    }

    #[test]
    fn figures_have_the_digits_they_need() {
        assert_eq!(figure(50.0, 400.0), "50");
        assert_eq!(figure(0.30000000000000004, 1.0), "0.3");
        assert_eq!(figure(-1e-17, 1.0), "0");
        assert_eq!(figure(-2.5, 3.0), "-2.5");
        assert_eq!(figure(0.00015, 0.001), "0.00015");
        assert_eq!(figure(400.0, 0.0), "400");
    }

    #[test]
    fn a_histogram_of_equal_scores_is_drawn() {
        assert!(histogram("", "images", &[("good".into(), vec![1.0; 3])], Some(1.0)).is_ok());
        assert!(histogram("", "images", &[("good".into(), vec![])], None).is_ok());
    }
}
