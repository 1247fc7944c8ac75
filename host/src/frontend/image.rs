//! The image front end: fitted to training images, run over samples.

use anyhow::{Context, Result, bail, ensure};
use neji_app::Rejection;
use neji_app::frontend::align::Pose;
use neji_app::frontend::image::{check, extract, measure, memory_bytes, output_len};
use neji_format::{
    Alignment, Heading, ImageFrontEnd, MaskThreshold, Multiplier, Photometric, PixelFormat, Polarity, Rect, Size,
    push_constant,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::FrontEndSettings;
use super::registration::{self, RegistrationSettings};
use crate::dataset::Sample;

/// `[front_end.photometric]`: scales each image so that its `percent`-th percentile becomes `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhotometricSettings {
    /// 1 to 100; 0 leaves images as they are.
    pub percent: u8,
    /// Grey level that the percentile becomes, 1 to 255.
    pub target: u8,
}

impl Default for PhotometricSettings {
    fn default() -> Self {
        Self { percent: 80, target: 200 }
    }
}

/// Part against ground.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolarityName {
    /// A dark part on a light ground.
    Dark,
    /// A light part on a dark ground.
    Light,
    /// Decided for each image by its border.
    #[default]
    Auto,
}

/// `[front_end.alignment]`: how the part is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlignmentSettings {
    /// Part against ground.
    pub polarity: PolarityName,
    /// Fixed grey level of the normalised image between part and ground; Otsu's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u8>,
    /// Turn parts so that their thicker end comes first.
    pub thick_end_first: bool,
    /// Leave parts the way that they lie, for such as are round or always lie one way.
    pub upright: bool,
    /// Share by which the strip is longer and broader than the training parts, 0 to 1.
    pub margin: f32,
    /// A part that touches the picture's border is not judged but reported as cut off.
    pub whole_only: bool,
    /// Correction of the pose by what the training parts look like.
    pub registration: RegistrationSettings,
}

impl Default for AlignmentSettings {
    fn default() -> Self {
        Self {
            polarity: PolarityName::Auto,
            threshold: None,
            thick_end_first: true,
            upright: false,
            margin: 0.08,
            whole_only: false,
            registration: RegistrationSettings::default(),
        }
    }
}

impl AlignmentSettings {
    fn heading(&self) -> Heading {
        match (self.upright, self.thick_end_first) {
            (true, _) => Heading::Upright,
            (false, true) => Heading::ThickEndFirst,
            (false, false) => Heading::Axis,
        }
    }
}

impl FrontEndSettings {
    /// The front end before it has seen data: any part passes.
    fn unfitted(&self, frame: Size) -> ImageFrontEnd {
        let resize = self.resize.map_or(frame, |[width, height]| Size { width, height });
        let alignment = self.strip.map(|[width, height]| Alignment {
            polarity: match self.alignment.polarity {
                PolarityName::Dark => Polarity::Dark,
                PolarityName::Light => Polarity::Light,
                PolarityName::Auto => Polarity::Auto,
            },
            threshold: self.alignment.threshold.map_or(MaskThreshold::Otsu, MaskThreshold::Fixed),
            area_min: 1,
            area_max: u32::from(resize.width) * u32::from(resize.height),
            whole_only: false,
            heading: self.alignment.heading(),
            length: u32::from(resize.width) * 256,
            breadth: u32::from(resize.height) * 256,
            strip: Size { width, height },
            registration: None,
        });
        ImageFrontEnd {
            sensor: frame,
            pixel_format: PixelFormat::Grey8,
            crop: Rect { x: 0, y: 0, width: frame.width, height: frame.height },
            resize,
            range_min: 16,
            saturated_max: 500,
            photometric: match self.photometric {
                PhotometricSettings { percent: 0, .. } => Photometric::None,
                PhotometricSettings { percent, target } => Photometric::Percentile { percent, target },
            },
            alignment,
            quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
        }
    }

    fn validate(&self) -> Result<()> {
        if self.photometric.percent > 100 || (self.photometric.percent > 0 && self.photometric.target == 0) {
            bail!("front_end.photometric: percent is 0 to 100 and target 1 to 255");
        }
        if !(0.0..=1.0).contains(&self.alignment.margin) {
            bail!("front_end.alignment.margin is {}; it must be 0 to 1", self.alignment.margin);
        }
        self.alignment.registration.validate()
    }
}

/// A front end that knows its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedImage {
    /// What the blob says of it, but for where the template lies.
    pub config: ImageFrontEnd,
    /// Template of the registration, grey levels; empty where there is none.
    pub template: Vec<u8>,
}

impl FittedImage {
    /// What the blob says of it; the template is appended to `constants`.
    pub fn to_format(&self, constants: &mut Vec<u8>) -> ImageFrontEnd {
        let mut config = self.config;
        if let Some(registration) = config.alignment.as_mut().and_then(|alignment| alignment.registration.as_mut()) {
            registration.template = push_constant(constants, &self.template);
        }
        config
    }

    /// What runs it.
    pub fn view(&self) -> ImageView<'_> {
        ImageView { config: self.config, template: &self.template }
    }
}

/// A front end and its template, of a training or of a blob.
#[derive(Debug, Clone, Copy)]
pub struct ImageView<'a> {
    /// The front end.
    pub config: ImageFrontEnd,
    /// Template of its registration; empty where there is none.
    pub template: &'a [u8],
}

impl ImageView<'_> {
    /// The pose of a training sample's part.
    ///
    /// # Errors
    /// The part is rejected; names the file.
    pub(super) fn pose(&self, sample: &Sample) -> Result<Pose> {
        self.measured(sample)?.map_err(|rejection| anyhow::anyhow!("{}: {rejection}", sample.path.display()))
    }

    /// The pose of a sample's part, or why there is none.
    ///
    /// # Errors
    /// A sample that is no image; names the file.
    pub(super) fn measured(&self, sample: &Sample) -> Result<std::result::Result<Pose, Rejection>> {
        let grey = ImageFrontEnd { pixel_format: PixelFormat::Grey8, ..self.config };
        let mut memory = vec![0; memory_bytes(&grey)];
        Ok(measure(&grey, self.template, &sample.image()?.pixels, &mut memory))
    }

    /// Runs the device's front end over one sample.
    ///
    /// # Errors
    /// A sample that is no image, or of another size than the front end's frames; names the file.
    pub(super) fn extract(&self, sample: &Sample) -> Result<std::result::Result<Vec<i8>, Rejection>> {
        let image = sample.image()?;
        let (given, wanted) = (image.size, self.config.sensor);
        ensure!(
            given == wanted,
            "{}: {} x {} pixels, the model's sensor gives {} x {}",
            sample.path.display(),
            given.width,
            given.height,
            wanted.width,
            wanted.height
        );
        let grey = ImageFrontEnd { pixel_format: PixelFormat::Grey8, ..self.config };
        let (mut memory, mut out) = (vec![0; memory_bytes(&grey)], vec![0; output_len(&grey)]);
        let found = extract(&grey, self.template, &image.pixels, &mut memory, &mut out);
        Ok(found.map(|()| out))
    }
}

/// Fits the front end to training samples.
///
/// The strip covers the 99th percentile of the parts' extents and the margin; parts may be half as large to one and a
/// half times as large in area as the middle nine tenths of the training parts. Then the registration's template is made.
/// Training parts that touch the border count as the others do, and are rejected afterwards where whole ones are asked for.
///
/// # Errors
/// No samples, samples that are no images, settings out of range or not fitting them, or images in which no part is found:
/// the first of them is named.
pub fn fit(settings: &FrontEndSettings, samples: &[&Sample]) -> Result<FittedImage> {
    settings.validate()?;
    let Some(first) = samples.first() else { bail!("no training images to fit the front end to") };
    let mut config = settings.unfitted(first.image()?.size);
    check(&config)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("front_end: images are {} x {}", config.sensor.width, config.sensor.height))?;
    let Some(mut alignment) = config.alignment else { return Ok(FittedImage { config, template: Vec::new() }) };
    let view = ImageView { config, template: &[] };
    let poses = samples.par_iter().map(|sample| view.pose(sample)).collect::<Result<Vec<_>>>()?;
    let quantile = |value: fn(&Pose) -> u32, share: f64| {
        let mut all: Vec<u32> = poses.iter().map(value).collect();
        all.sort_unstable();
        all[(share * (all.len() - 1) as f64).round() as usize]
    };
    let margin = 1.0 + f64::from(settings.alignment.margin);
    alignment.length = (f64::from(quantile(|p| p.length, 0.99)) * margin).round() as u32;
    alignment.breadth = (f64::from(quantile(|p| p.breadth, 0.99)) * margin).round() as u32;
    alignment.area_min = quantile(|p| p.area, 0.05) / 2;
    alignment.area_max = (quantile(|p| p.area, 0.95) * 3 / 2).min(alignment.area_max);
    config.alignment = Some(alignment);
    check(&config).map_err(|error| anyhow::anyhow!("front_end: {error}"))?;
    let mut fitted = match registration::fit(&settings.alignment.registration, config, alignment, samples)? {
        Some(fitted) => fitted,
        None => FittedImage { config, template: Vec::new() },
    };
    if let Some(alignment) = &mut fitted.config.alignment {
        alignment.whole_only = settings.alignment.whole_only;
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Layout};
    use crate::render::{self, SetSettings, write_set};

    #[test]
    fn unknown_keys_are_refused_and_defaults_hold() {
        let settings: FrontEndSettings = toml::from_str("strip = [96, 32]").expect("parses");
        assert_eq!(settings.photometric.percent, 80);
        assert!(toml::from_str::<FrontEndSettings>("stripe = [96, 32]").is_err());
    }

    #[test]
    fn strips_of_rendered_screws_have_the_head_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let set =
            SetSettings { layout: render::Layout::Mvtec, train: 24, test_good: 8, test_bad: 6, size: 96, seed: 3 };
        write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let settings = FrontEndSettings { strip: Some([96, 32]), ..FrontEndSettings::default() };
        let train: Vec<&Sample> = data.train.iter().collect();
        let fitted = fit(&settings, &train).expect("fits");
        let alignment = fitted.config.alignment.expect("a strip was asked for");
        // A screw is 0.72 to 0.81 of 96 pixels long.
        assert!((70 * 256..90 * 256).contains(&alignment.length), "{}", alignment.length);
        for (sample, strip) in
            train.iter().zip(train.iter().map(|sample| fitted.view().extract(sample).expect("an image")))
        {
            let strip = strip.expect("the part is found");
            let mean = |columns: std::ops::Range<usize>| {
                let sum: i32 = (0..32).flat_map(|row| &strip[row * 96..][columns.clone()]).map(|&q| i32::from(q)).sum();
                sum / (32 * columns.len() as i32)
            };
            assert!(mean(4..16) < mean(80..92), "{}", sample.name);
        }
    }
}
