//! What a sample looks like to a model: its input, what the model made of it, and where it looked wrong.

use std::ops::Range;

use anyhow::Result;
use neji_format::{Detector, FrontEnd, Model, Plan, Shape, Size, Tensor, WindowStatistics};

use super::images::{grey, heat_map};
use crate::dataset::{Sample, Signal};
use crate::element;
use crate::frontend::Extractor;
use crate::quantize::assemble::accepted;
use crate::simulate::{frame_of, on_host, without_front_end};

/// Pixels, row-major, and how many a row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture<T> {
    /// Pixels of a row.
    pub width: u32,
    /// All rows.
    pub pixels: Vec<T>,
}

/// A sample as a model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Grey levels.
    pub input: Picture<u8>,
    /// Of a model that reconstructs, grey levels of the same scale.
    pub reconstruction: Option<Picture<u8>>,
    /// In steps of the score, where the detector makes a map; it may have another shape than the input.
    pub map: Option<Picture<u32>>,
}

/// What the monitor had of a window.
struct Window {
    input: Vec<i8>,
    output: Option<Vec<i8>>,
    map: Option<(Vec<u32>, Size)>,
}

/// Looks at a sample; nothing where there is nothing to see: raw inputs, or a picture without a part.
///
/// # Errors
/// A sample that the model's sensor does not give.
pub fn look(model: Model<'_>, sample: &Sample) -> Result<Option<Look>> {
    let plan = model.plan();
    if plan.front_end == FrontEnd::Raw {
        return Ok(None);
    }
    let Ok(inputs) = Extractor::of(&model).inputs(sample)? else { return Ok(None) };
    let bare = matches!(sample.signal, Signal::Features(_)).then(|| without_front_end(&model));
    let runs = bare.as_ref().map_or(Ok(model), accepted)?;
    let reconstructs = matches!(plan.detector, Detector::Reconstruction(_));
    let (mut windows, mut inputs) = (Vec::new(), inputs.into_iter());
    on_host(runs, &[frame_of(&model, sample)?], true, |_, _, monitor| {
        // A detector that does not compare the output with it may have overwritten the arena's input.
        let Some(input) = inputs.next() else { return Ok(()) };
        let map = monitor.map().map(|(map, size)| (map.to_vec(), size));
        windows.push(Window { input, output: reconstructs.then(|| monitor.output().to_vec()), map });
        Ok(())
    })?;
    Ok(match plan.front_end {
        FrontEnd::Raw => None,
        FrontEnd::Image(_) => windows.pop().map(|window| still(plan, window)),
        FrontEnd::LogMel(config) => moving(plan, &windows, &shown(plan.input.shape, config.statistics)),
    })
}

impl Look {
    /// The pictures side by side; the map's lightest colour is `largest` and above.
    ///
    /// # Errors
    /// A picture can't be drawn.
    pub fn html(&self, largest: u32) -> Result<String> {
        let mut out = grey(self.input.width, &self.input.pixels, "input")?;
        if let Some(picture) = &self.reconstruction {
            out.push_str(&grey(picture.width, &picture.pixels, "reconstruction")?);
        }
        if let Some(picture) = &self.map {
            out.push_str(&heat_map(picture.width, &picture.pixels, largest, "anomaly map")?);
        }
        Ok(out)
    }
}

/// The value of a map that is shown in the lightest colour, so that all maps of a model have one scale and a calm one looks
/// calm: twice the threshold of the score, which is a mean of the map.
pub fn largest(plan: &Plan<'_>) -> u32 {
    u32::try_from(plan.decision.threshold).unwrap_or(0).max(1).saturating_mul(2)
}

/// A picture as it is.
fn still(plan: &Plan<'_>, window: Window) -> Look {
    let Shape { width, channels, .. } = plan.input.shape;
    let to_grey = |tensor: &Tensor, values: &[i8]| {
        let real = |&q: &i32| tensor.scale * (q - i32::from(tensor.zero_point)) as f32;
        let values = element::values(plan.element, values);
        let level = |q| (255.0 * real(q)).round().clamp(0.0, 255.0) as u8;
        Picture { width, pixels: values.iter().step_by(channels as usize).map(level).collect() }
    };
    Look {
        input: to_grey(&plan.input, &window.input),
        // A variational model gives its variances behind the picture.
        reconstruction: window.output.map(|output| {
            let bytes = plan.element.bytes_of(&plan.input).min(output.len());
            to_grey(&plan.output, &output[..bytes])
        }),
        // One pixel shows nothing that the score does not say.
        map: window
            .map
            .filter(|(pixels, _)| pixels.len() > 1)
            .map(|(pixels, size)| Picture { width: size.width.into(), pixels }),
    }
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

/// A recording as time goes to the right and frequency up: of each window what is `shown` of its input, and its map. A map without
/// frequencies, as of statistics, goes from the oldest block up to the window.
fn moving(plan: &Plan<'_>, windows: &[Window], shown: &Range<usize>) -> Option<Look> {
    let bands = shown.len();
    // The ends of the input's range are black and white.
    let to_grey = |tensor: &Tensor, values: &[i8]| -> Vec<u8> {
        let (low, high) = plan.element.range();
        let span = f32::from(high) - f32::from(low);
        let values = element::values(plan.element, values);
        let row = values.get(shown.clone()).unwrap_or_default();
        let real = |&q: &i32| tensor.scale * (q - i32::from(tensor.zero_point)) as f32;
        let steps = |real: f32| real / plan.input.scale + f32::from(plan.input.zero_point);
        let level = |q| (255.0 * (steps(real(q)) - f32::from(low)) / span).round().clamp(0.0, 255.0) as u8;
        row.iter().map(level).collect()
    };
    let all = |column: &dyn Fn(&Window) -> Option<Vec<u8>>| windows.iter().map(column).collect::<Option<Vec<_>>>();
    let inputs = all(&|window| Some(to_grey(&plan.input, &window.input)))?;
    let outputs = all(&|window| window.output.as_ref().map(|output| to_grey(&plan.output, output)));
    let maps: Option<Vec<_>> =
        windows.iter().map(|window| window.map.as_ref().map(|(map, size)| column(map, *size, bands))).collect();
    Some(Look {
        input: upright(&inputs, bands)?,
        reconstruction: outputs.and_then(|columns| upright(&columns, bands)),
        map: maps.and_then(|columns| upright(&columns, bands)),
    })
}

/// A map's mean over its rows, or a map of one column as it is, stretched to as many values as the input has bands, so that it lies beside the input.
fn column(map: &[u32], size: Size, bands: usize) -> Vec<u32> {
    let (width, height) = (usize::from(size.width).max(1), u64::from(size.height).max(1));
    if width == 1 {
        return (0..bands).filter_map(|band| map.get(band * map.len() / bands).copied()).collect();
    }
    let sum = |x: usize| map.iter().skip(x).step_by(width).map(|&value| u64::from(value)).sum::<u64>();
    (0..bands).map(|band| (sum(band * width / bands) / height) as u32).collect()
}

/// Columns of values, the lowest first, as rows of a picture, the highest first; few columns are drawn broader, so that the picture
/// is at least half as wide as high. Nothing where there are none.
fn upright<T: Copy>(columns: &[Vec<T>], height: usize) -> Option<Picture<T>> {
    let times = (height / 2).div_ceil(columns.len().max(1)).max(1);
    let width = u32::try_from(columns.len() * times).ok().filter(|&width| width > 0)?;
    let row = |row: usize| {
        columns.iter().filter_map(move |column| column.get(row)).flat_map(move |&v| (0..times).map(move |_| v))
    };
    Some(Picture { width, pixels: (0..height).rev().flat_map(row).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_upright_and_few_are_broad() {
        let long = upright(&[vec![1, 2], vec![3, 4], vec![5, 6]], 2).expect("a picture");
        assert_eq!((long.width, long.pixels), (3, vec![2, 4, 6, 1, 3, 5]));
        let short = upright(&[vec![1, 2, 3, 4, 5]], 5).expect("a picture");
        assert_eq!((short.width, short.pixels), (2, vec![5, 5, 4, 4, 3, 3, 2, 2, 1, 1]));
        assert_eq!(upright::<u8>(&[], 4), None);
    }

    #[test]
    fn of_statistics_the_windows_means_are_shown_and_of_frames_the_middle_one() {
        let all = WindowStatistics::ALL;
        assert_eq!(shown(Shape::new(5, 1, 384), Some(all)), 4 * 384..4 * 384 + 128);
        let plain = WindowStatistics { differences: false, blocks: false, ..all };
        assert_eq!(shown(Shape::new(1, 1, 16), Some(plain)), 0..8);
        assert_eq!(shown(Shape::new(5, 64, 1), None), 128..192);
    }

    #[test]
    fn maps_of_other_shapes_are_stretched() {
        let size = |width, height| Size { width, height };
        assert_eq!(column(&[7], size(1, 1), 3), [7, 7, 7]);
        assert_eq!(column(&[1, 2, 3, 6], size(2, 2), 4), [2, 2, 4, 4]);
        assert_eq!(column(&[1, 5], size(1, 2), 4), [1, 1, 5, 5]);
        assert_eq!(column(&[1, 2, 3], size(3, 1), 3), [1, 2, 3]);
    }
}
