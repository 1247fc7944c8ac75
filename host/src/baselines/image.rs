//! Baselines of images, each with the light as it is and with it normalised: what the second does not have and the first has is
//! told by the light alone.

use anyhow::Result;
use neji_app::frontend::photometric::normalise;
use neji_format::{Element, ImageFrontEnd, Photometric, Size};

use super::parts::Parts;
use super::{Baseline, FIT_MIN, vectors};
use crate::dataset::{GreyImage, Sample};
use crate::frontend::image::{FittedImage, PhotometricSettings};
use crate::frontend::{Extractor, FrontEndSettings, image};

/// A number for an image.
type Statistic = fn(&GreyImage) -> f64;

const BINS: usize = 32;
/// Longer side of the small pictures that are compared where there is no front end.
const SMALL: u16 = 32;

/// Mean grey level.
pub fn brightness(image: &GreyImage) -> f64 {
    image.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / image.pixels.len().max(1) as f64
}

/// Deviation of the grey levels.
pub fn contrast(image: &GreyImage) -> f64 {
    let mean = brightness(image);
    let squares: f64 = image.pixels.iter().map(|&p| (f64::from(p) - mean).powi(2)).sum();
    (squares / image.pixels.len().max(1) as f64).sqrt()
}

/// Number of pixels nearer to the darkest than to the median grey level: a dark part's on a light ground.
pub fn foreground_area(image: &GreyImage) -> f64 {
    let mut counts = [0usize; 256];
    for &p in &image.pixels {
        counts[usize::from(p)] += 1;
    }
    let darkest = counts.iter().position(|&c| c > 0).unwrap_or(0);
    let mut seen = 0;
    let median = (0..256).find(|&g| {
        seen += counts[g];
        2 * seen >= image.pixels.len()
    });
    let cut = usize::midpoint(darkest, median.unwrap_or(0));
    counts[..=cut].iter().sum::<usize>() as f64
}

/// Share of pixels in each of 32 equal ranges of grey.
pub fn histogram(image: &GreyImage) -> [f64; BINS] {
    let mut bins = [0.0; BINS];
    for &p in &image.pixels {
        bins[usize::from(p) * BINS / 256] += 1.0 / image.pixels.len() as f64;
    }
    bins
}

/// The front end by whose output pictures are compared: the model's, or one that makes them small.
fn compared(settings: Option<&FrontEndSettings>, samples: &Parts<&Sample>) -> Result<FittedImage> {
    if let Some(settings) = settings {
        return image::fit(settings, &samples.fit);
    }
    let size = match samples.fit.first() {
        Some(sample) => sample.image()?.size,
        None => Size { width: SMALL, height: SMALL },
    };
    let longer = u32::from(size.width.max(size.height));
    let side = |side: u16| (u32::from(side) * u32::from(SMALL) / longer.max(SMALL.into())).max(1) as u16;
    let resize = Some([side(size.width).min(size.width), side(size.height).min(size.height)]);
    image::fit(&FrontEndSettings { resize, ..FrontEndSettings::default() }, &samples.fit)
}

pub(super) fn measure(samples: &Parts<&Sample>, settings: Option<&FrontEndSettings>) -> Result<Vec<Baseline>> {
    if samples.fit.len() < FIT_MIN {
        return numbers(&samples.try_map(|sample| Ok(sample.image()?.clone()))?, "");
    }
    let front_end = compared(settings, samples)?;
    let normalised = match front_end.config.photometric {
        Photometric::None => {
            let PhotometricSettings { percent, target } = PhotometricSettings::default();
            Photometric::Percentile { percent, target }
        }
        own => own,
    };
    let lit = |photometric| FittedImage {
        config: ImageFrontEnd { photometric, ..front_end.config },
        template: front_end.template.clone(),
    };
    let mut found = of_light(samples, &lit(Photometric::None), "")?;
    found.extend(of_light(samples, &lit(normalised), ", light normalised")?);
    Ok(found)
}

/// All baselines, of pictures whose light the front end normalises or not.
fn of_light(samples: &Parts<&Sample>, front_end: &FittedImage, light: &str) -> Result<Vec<Baseline>> {
    let images = samples.try_map(|sample| {
        let mut image = sample.image()?.clone();
        normalise(front_end.config.photometric, &mut image.pixels);
        Ok(image)
    })?;
    let mut mean = [0.0; BINS];
    for image in &images.fit {
        mean.iter_mut().zip(histogram(image)).for_each(|(mean, share)| *mean += share / images.fit.len() as f64);
    }
    let distance = |image: &GreyImage| mean.iter().zip(histogram(image)).map(|(m, h)| (m - h).abs()).sum::<f64>();
    let extractor = Extractor::Image(front_end.view(), Element::I8);
    let strips = samples.try_map(|sample| {
        let inputs = extractor.inputs(sample)?.ok().and_then(|inputs| inputs.into_iter().next());
        Ok(inputs.map(|input| input.into_iter().map(f32::from).collect::<Vec<f32>>()))
    })?;
    let mut found = numbers(&images, light)?;
    found.push(Baseline::judged(format!("histogram{light}"), &images.map(distance), false)?);
    found.push(vectors::residual(&format!("PCA residual{light}"), &strips)?);
    found.push(vectors::nearest(&format!("nearest image{light}"), &strips)?);
    Ok(found)
}

/// Numbers of each picture, by themselves.
fn numbers(images: &Parts<GreyImage>, light: &str) -> Result<Vec<Baseline>> {
    let statistics: [(&str, Statistic); 3] =
        [("brightness", brightness), ("contrast", contrast), ("foreground area", foreground_area)];
    let one = |(name, statistic)| Baseline::judged(format!("{name}{light}"), &images.map(statistic), true);
    statistics.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Signal;

    #[test]
    fn statistics_of_four_pixels() {
        let image = GreyImage { size: Size { width: 2, height: 2 }, pixels: vec![10, 200, 200, 250] };
        assert_eq!(brightness(&image), 165.0);
        // Squares 155^2, twice 35^2, 85^2.
        assert!((contrast(&image) - 8425.0_f64.sqrt()).abs() < 1e-9);
        // Median 200, darkest 10, cut 105.
        assert_eq!(foreground_area(&image), 1.0);
        let bins = histogram(&image);
        assert_eq!((bins[1], bins[25], bins[31]), (0.25, 0.5, 0.25));
    }

    /// A gradient at a brightness, with a stain or without.
    fn picture(bright: usize, stain: bool) -> Sample {
        let grey = |i: usize| (i % 40 + bright) as u8 + if stain && i / 40 == 20 && i % 40 < 6 { 60 } else { 0 };
        let image = GreyImage { size: Size { width: 40, height: 40 }, pixels: (0..1600).map(grey).collect() };
        Sample {
            path: "p".into(),
            name: "p".into(),
            label: 0,
            class: "good".into(),
            section: None,
            domain: None,
            signal: Signal::Image { image, mask: None },
            window: None,
            variant: false,
            file_hash: [0; 32],
        }
    }

    #[test]
    fn a_darker_test_set_is_told_by_light_alone_and_the_protocols_part() {
        let many = |bright: std::ops::Range<usize>, stain| bright.map(|b| picture(b, stain)).collect::<Vec<_>>();
        // The test set's normal pictures are darker than all others.
        let (fit, held_out) = (many(90..120, false), many(91..119, false));
        let (normal, abnormal) = (many(60..80, false), many(91..117, true));
        let samples = Parts {
            fit: fit.iter().collect(),
            held_out: held_out.iter().collect(),
            normal: normal.iter().collect(),
            abnormal: abnormal.iter().collect(),
        };
        let found = measure(&samples, None).expect("measured");
        let one = |name: &str| found.iter().find(|b| b.name == name).cloned().expect(name);
        let light = one("brightness");
        assert_eq!(light.official.folded, 1.0);
        let matched = light.matched.expect("held out");
        assert!(matched.folded < 0.6, "{matched:?}");
        // What is stained lies beside the others whatever its light.
        let residual = one("PCA residual, light normalised");
        assert!(residual.matched.is_some_and(|m| m.auroc > 0.95), "{residual:?}");
        assert_eq!(measure(&samples, None).expect("measured"), found);
    }
}
