//! How well anomaly maps show where a defect is, where the data have masks: AUROC of pixels, and the per-region overlap.
//!
//! Maps are laid back onto the picture and masks stay as they are: pixels count as the picture's own, as in published figures,
//! and what of a defect lies outside an aligned strip counts as missed. A map's pixel stands for the picture's pixels that lie
//! nearest to it; nothing is interpolated. Pixels that no map looks at, and all of a picture without a part, have the lowest value.

use std::collections::BTreeMap;

use anyhow::Result;
use neji_app::frontend::align::Pose;
use neji_format::{FrontEnd, ImageFrontEnd, Model, Size};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::{GreyImage, Sample};
use crate::frontend::Extractor;
use crate::simulate::{frame_of, on_host};

/// False-positive rate up to which the per-region overlap is averaged, as in the paper.
const FALSE_POSITIVES_MAX: f64 = 0.3;

/// How well maps show where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Localization {
    /// Pictures that were looked at: normal ones, and abnormal ones with a mask.
    pub images: usize,
    /// Connected regions of the masks.
    pub regions: usize,
    /// Area under the ROC curve of single pixels, 0 to 1; large defects count more.
    pub pixel_auroc: f64,
    /// Mean share of each region that is marked, over rates of false positives up to 0.3, 0 to 1 (PRO; Bergmann et al., "The
    /// MVTec Anomaly Detection Dataset", IJCV 129, 2021, section 5.3); every region counts the same.
    pub per_region_overlap: f64,
}

/// Pixels of pictures that have one value of a map.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pixels {
    /// Outside of all masks.
    normal: u64,
    /// Within one.
    abnormal: u64,
    /// Sum of the shares of regions that they are.
    overlap: f64,
}

impl Pixels {
    fn add(&mut self, other: Self) {
        self.normal += other.normal;
        self.abnormal += other.abnormal;
        self.overlap += other.overlap;
    }
}

/// Pixels by the value of the map there.
type Values = BTreeMap<u32, Pixels>;

/// Looks at all of `samples` that are normal or have a mask; none where there are no masks, or maps of one pixel at most.
///
/// # Errors
/// A sample that the model's sensor does not give.
pub fn measure(model: Model<'_>, samples: &[Sample]) -> Result<Option<Localization>> {
    let FrontEnd::Image(config) = model.plan().front_end else { return Ok(None) };
    let several = |shape: neji_format::Shape| shape.height * shape.width > 1;
    if !neji_app::score::map_shape(model.plan()).is_some_and(several) {
        return Ok(None);
    }
    let known: Vec<&Sample> = samples.iter().filter(|sample| sample.label == 0 || sample.mask().is_some()).collect();
    let found = known.par_iter().map(|sample| seen(model, &config, sample)).collect::<Result<Vec<_>>>()?;
    let (mut values, mut regions) = (Values::new(), 0);
    for (own, count) in found {
        regions += count;
        own.into_iter().for_each(|(value, pixels)| values.entry(value).or_default().add(pixels));
    }
    Ok(areas(&values, regions).map(|(pixel_auroc, per_region_overlap)| Localization {
        images: known.len(),
        regions,
        pixel_auroc,
        per_region_overlap,
    }))
}

/// A picture's pixels by value, and the number of its mask's regions.
fn seen(model: Model<'_>, config: &ImageFrontEnd, sample: &Sample) -> Result<(Values, usize)> {
    let mut map = None;
    on_host(model, &[frame_of(&model, sample)?], true, |_, _, monitor| {
        map = monitor.map().map(|(map, size)| (map.to_vec(), size));
        Ok(())
    })?;
    let pose = Extractor::of(&model).pose(sample)?;
    let size = sample.image()?.size;
    let (labels, areas) = sample.mask().map_or_else(|| (Vec::new(), Vec::new()), regions);
    let mut values = Values::new();
    for y in 0..size.height {
        for x in 0..size.width {
            let value = map.as_ref().and_then(|(map, of)| {
                let (column, row) = place(config, pose.as_ref(), *of, x, y)?;
                map.get(row * usize::from(of.width) + column).copied()
            });
            let label = labels.get(usize::from(y) * usize::from(size.width) + usize::from(x)).copied().unwrap_or(0);
            let pixel = match label.checked_sub(1) {
                None => Pixels { normal: 1, ..Pixels::default() },
                Some(region) => Pixels { abnormal: 1, overlap: 1.0 / areas[region] as f64, ..Pixels::default() },
            };
            values.entry(value.unwrap_or(0)).or_default().add(pixel);
        }
    }
    Ok((values, areas.len()))
}

/// Column and row of the map of size `of` that stands for the sensor's pixel (x, y); none where no map looks.
///
/// It undoes what the device does: crop, resize by area, and where there is a pose [`neji_app::frontend::align::strip`].
pub fn place(config: &ImageFrontEnd, pose: Option<&Pose>, of: Size, x: u16, y: u16) -> Option<(usize, usize)> {
    let share = |at: u16, start: u16, length: u16| (f64::from(at) + 0.5 - f64::from(start)) / f64::from(length);
    let (crop, resize) = (config.crop, config.resize);
    let (mut u, mut v) = (share(x, crop.x, crop.width), share(y, crop.y, crop.height));
    let inside = |share: f64| (0.0..1.0).contains(&share);
    if !inside(u) || !inside(v) {
        return None;
    }
    if let Some(alignment) = config.alignment {
        let pose = pose?;
        let (q8, q30) = (|n: i32| f64::from(n) / 256.0, |n: i32| f64::from(n) / f64::from(1 << 30));
        // Centres of pixels are at whole numbers there.
        let dx = u * f64::from(resize.width) - 0.5 - q8(pose.center.0);
        let dy = v * f64::from(resize.height) - 0.5 - q8(pose.center.1);
        let (ax, ay) = (q30(pose.axis.0), q30(pose.axis.1));
        u = (dx * ax + dy * ay) / (f64::from(alignment.length) / 256.0) + 0.5;
        v = (dy * ax - dx * ay) / (f64::from(alignment.breadth) / 256.0) + 0.5;
        if !inside(u) || !inside(v) {
            return None;
        }
    }
    Some(((u * f64::from(of.width)) as usize, (v * f64::from(of.height)) as usize))
}

/// Number of the region of each pixel, from 1, and the area of each; pixels belong together along edges and corners.
fn regions(mask: &GreyImage) -> (Vec<usize>, Vec<usize>) {
    let (width, height) = (usize::from(mask.size.width), usize::from(mask.size.height));
    let mut labels = vec![0; width * height];
    let mut areas = Vec::new();
    for first in 0..labels.len() {
        if mask.pixels[first] == 0 || labels[first] != 0 {
            continue;
        }
        let label = areas.len() + 1;
        let (mut open, mut area) = (vec![first], 0);
        labels[first] = label;
        while let Some(index) = open.pop() {
            area += 1;
            let (x, y) = (index % width, index / width);
            for row in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for column in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let next = row * width + column;
                    if mask.pixels[next] != 0 && labels[next] == 0 {
                        labels[next] = label;
                        open.push(next);
                    }
                }
            }
        }
        areas.push(area);
    }
    (labels, areas)
}

/// AUROC of pixels, and mean overlap of `regions` up to [`FALSE_POSITIVES_MAX`]; none without pixels of either kind.
///
/// Both curves take all pixels of one value at once and are straight between.
fn areas(values: &Values, regions: usize) -> Option<(f64, f64)> {
    let mut all = Pixels::default();
    values.values().for_each(|&pixels| all.add(pixels));
    if all.normal == 0 || all.abnormal == 0 {
        return None;
    }
    let mut at = Pixels::default();
    let (mut auroc, mut overlap) = (0.0, 0.0);
    for &pixels in values.values().rev() {
        let share = |count: u64, of: u64| count as f64 / of as f64;
        let (from, step) = (share(at.normal, all.normal), share(pixels.normal, all.normal));
        auroc += step * share(2 * at.abnormal + pixels.abnormal, 2 * all.abnormal);
        let width = step.min(FALSE_POSITIVES_MAX - from);
        if width > 0.0 {
            // At the end of the part of the step that counts.
            let end = at.overlap + pixels.overlap * width / step;
            overlap += width * f64::midpoint(at.overlap, end) / regions as f64;
        }
        at.add(pixels);
    }
    Some((auroc, overlap / FALSE_POSITIVES_MAX))
}

#[cfg(test)]
mod tests {
    use neji_app::frontend::align;
    use neji_format::{Alignment, MaskThreshold, Multiplier, Photometric, PixelFormat, Polarity, Rect};

    use super::*;

    fn pixels(normal: u64, abnormal: u64, overlap: f64) -> Pixels {
        Pixels { normal, abnormal, overlap }
    }

    #[test]
    fn areas_by_hand() {
        // All of one region first, then normal pixels, then the other region of twice the size.
        let values = Values::from([(9, pixels(0, 1, 1.0)), (5, pixels(10, 0, 0.0)), (1, pixels(0, 2, 1.0))]);
        let (auroc, overlap) = areas(&values, 2).expect("both kinds");
        assert!((auroc - 1.0 / 3.0).abs() < 1e-12 && (overlap - 0.5).abs() < 1e-12, "{auroc} {overlap}");
        // One value says nothing: half of the pairs, and overlap rises with the rate, by 0.15 on the mean.
        let (auroc, overlap) = areas(&Values::from([(3, pixels(10, 3, 2.0))]), 2).expect("both kinds");
        assert!((auroc - 0.5).abs() < 1e-12 && (overlap - 0.15).abs() < 1e-12, "{auroc} {overlap}");
        // What is found beyond the limit does not count.
        let late = Values::from([(9, pixels(4, 0, 0.0)), (5, pixels(0, 3, 2.0)), (1, pixels(6, 0, 0.0))]);
        let (auroc, overlap) = areas(&late, 2).expect("both kinds");
        assert!((auroc - 0.6).abs() < 1e-12 && overlap == 0.0, "{auroc} {overlap}");
        assert_eq!(areas(&Values::from([(3, pixels(10, 0, 0.0))]), 0), None);
    }

    #[test]
    fn regions_touch_at_corners() {
        let pixels = vec![1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7];
        let (labels, areas) = regions(&GreyImage { size: Size { width: 4, height: 3 }, pixels });
        assert_eq!(areas, [2, 1]);
        assert_eq!((labels[0], labels[5], labels[11], labels[1]), (1, 1, 2, 0));
    }

    #[test]
    fn the_way_back_is_the_strips_own() {
        let (resize, strip) = (Size { width: 64, height: 48 }, Size { width: 20, height: 8 });
        let alignment = Alignment {
            polarity: Polarity::Dark,
            threshold: MaskThreshold::Otsu,
            area_min: 1,
            area_max: 999,
            whole_only: false,
            heading: neji_format::Heading::Axis,
            length: 40 * 256,
            breadth: 12 * 256,
            strip,
            registration: None,
        };
        let config = ImageFrontEnd {
            sensor: Size { width: 138, height: 100 },
            pixel_format: PixelFormat::Grey8,
            crop: Rect { x: 10, y: 4, width: 128, height: 96 },
            resize,
            range_min: 0,
            saturated_max: 1000,
            photometric: Photometric::None,
            alignment: Some(alignment),
            quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
        };
        // A turn whose sine is 3/5.
        let part = |n: i64| (n * (1 << 30) / 5) as i32;
        let pose = Pose {
            center: (30 * 256, 25 * 256),
            axis: (part(4), part(3)),
            length: 1,
            breadth: 1,
            area: 1,
            correlation: 0,
        };
        // Each blot of the resized picture lights up the strip's pixel that `place` says.
        let mut found = 0;
        for (x, y) in (4..60u16).flat_map(|x| (4..44u16).map(move |y| (x, y))) {
            let mut image = vec![0; 64 * 48];
            for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                image[usize::from(y + j - 1) * 64 + usize::from(x + i - 1)] = if (i, j) == (1, 1) { 255 } else { 120 };
            }
            let mut cut = [0; 160];
            align::strip(&image, resize, &pose, &alignment, |index, grey| cut[index] = grey);
            let Some((column, row)) = place(&config, Some(&pose), strip, 10 + 2 * x, 4 + 2 * y) else { continue };
            found += 1;
            let brightest = cut.iter().copied().max().unwrap_or(0);
            assert!(cut[row * 20 + column] > brightest / 3, "{x} {y}: {column} {row}");
        }
        // Nearly all of 40 x 12 pixels.
        assert!((400..520).contains(&found), "{found}");
        assert_eq!(place(&config, Some(&pose), strip, 0, 0), None);
        let whole = ImageFrontEnd { alignment: None, ..config };
        assert_eq!(place(&whole, None, Size { width: 64, height: 48 }, 10, 99), Some((0, 47)));
        assert_eq!(place(&whole, None, Size { width: 16, height: 12 }, 137, 4), Some((15, 0)));
    }
}
