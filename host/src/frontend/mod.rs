//! Front ends fitted to training data, and the device's own code run over samples.
//!
//! No feature is computed here: parts are measured, images and spectrograms made by neji-app, so that a model is trained on
//! exactly what it will see on the device.

pub mod image;
pub mod registration;
pub mod sound;

use anyhow::{Result, bail};
use neji_app::Rejection;
use neji_app::frontend::align::Pose;
use neji_app::frontend::image::{ZERO_POINT, output_size};
use neji_app::frontend::log_mel::LogMel;
use neji_format::{Element, FrontEnd, Model, Shape};
use neji_tables::{Settings, Tables};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::Sample;
use crate::element;
use crate::quantize::scheme::Scheme;
use image::{AlignmentSettings, FittedImage, ImageView, PhotometricSettings};
use sound::{NormaliseSettings, SoundFrontEnd};

/// `[front_end]`: what is asked of the front end; what depends on the data is fitted to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct FrontEndSettings {
    /// Width and height to which frames are resized by area; the frame's own size where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<[u16; 2]>,
    /// Width and height of the strip to which parts are aligned; absent, images are used whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<[u16; 2]>,
    /// Removal of the light.
    pub photometric: PhotometricSettings,
    /// How the part is found, where there is a strip.
    pub alignment: AlignmentSettings,
    /// The spectrogram; where it is said, the data are sounds or their features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<Settings>,
    /// How decibels become the model's input.
    pub normalise: NormaliseSettings,
}

/// A front end that knows its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitted {
    /// None: samples are the input.
    Raw,
    /// Of images.
    Image(FittedImage),
    /// Of sounds, and of features like its own.
    Sound(SoundFrontEnd),
}

/// Fits the front end to training samples.
///
/// # Errors
/// No samples, settings out of range or not fitting them, or samples of another kind.
pub fn fit(settings: &FrontEndSettings, samples: &[&Sample]) -> Result<Fitted> {
    match &settings.sound {
        Some(sound) => Ok(Fitted::Sound(sound::fit(sound, &settings.normalise, samples)?)),
        None => Ok(Fitted::Image(image::fit(settings, samples)?)),
    }
}

impl Fitted {
    /// Shape of the model's input; none where the model itself says it.
    pub fn shape(&self) -> Option<Shape> {
        match self {
            Self::Raw => None,
            Self::Image(image) => {
                let size = output_size(&image.config);
                Some(Shape::new(size.height.into(), size.width.into(), 1))
            }
            Self::Sound(sound) => Some(sound.settings.input_shape()),
        }
    }

    /// Scale and zero point of an input of `element`s.
    ///
    /// # Errors
    /// Without a front end the model's own are to be asked for.
    pub fn scheme(&self, element: Element) -> Result<Scheme> {
        let fine = |scheme: Scheme, steps: f32| match element {
            Element::I8 => scheme,
            Element::I16 => Scheme { scale: scheme.scale / steps, zero_point: 0 },
        };
        match self {
            Self::Raw => bail!("samples are the input: its scale is the model's own"),
            Self::Image(_) => Ok(fine(
                Scheme { scale: 1.0 / 255.0, zero_point: ZERO_POINT as i8 },
                neji_app::frontend::image::I16_PER_LEVEL as f32,
            )),
            Self::Sound(sound) => Ok(sound.scheme(element)),
        }
    }

    /// The front end with its tables, for a model of `element`s.
    pub fn prepare(&self, element: Element) -> Prepared {
        match self {
            Self::Raw => Prepared::Raw,
            Self::Image(image) => Prepared::Image(image.clone(), element),
            Self::Sound(sound) => Prepared::Sound {
                tables: Tables::new(sound.settings),
                quantizers: sound.quantizers(element),
                element,
                zero_point: sound.scheme(element).zero_point,
            },
        }
    }

    /// What the blob says of it; tables are appended to `constants`.
    pub fn to_format(&self, element: Element, constants: &mut Vec<u8>) -> FrontEnd {
        match self {
            Self::Raw => FrontEnd::Raw,
            Self::Image(image) => FrontEnd::Image(image.to_format(constants)),
            Self::Sound(sound) => {
                FrontEnd::LogMel(Tables::new(sound.settings).push(&sound.quantizers(element), constants))
            }
        }
    }
}

/// A front end with its tables.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "as Fitted, with what a model's elements decide")]
pub enum Prepared {
    Raw,
    Image(FittedImage, Element),
    Sound { tables: Tables, quantizers: Vec<[i32; 3]>, element: Element, zero_point: i8 },
}

impl Prepared {
    /// What makes samples inputs.
    pub fn extractor(&self) -> Extractor<'_> {
        match self {
            Self::Raw => Extractor::Raw,
            Self::Image(image, element) => Extractor::Image(image.view(), *element),
            Self::Sound { tables, quantizers, element, zero_point } => {
                Extractor::Sound(tables.log_mel(quantizers, *element, *zero_point))
            }
        }
    }
}

/// The device's front end for samples of a data set.
#[derive(Debug, Clone, Copy)]
pub enum Extractor<'a> {
    /// None.
    Raw,
    /// Of images, for elements.
    Image(ImageView<'a>, Element),
    /// Of sounds and features.
    Sound(LogMel<'a>),
}

impl<'a> Extractor<'a> {
    /// The front end of a blob.
    pub fn of(model: &Model<'a>) -> Self {
        match &model.plan().front_end {
            FrontEnd::Raw => Self::Raw,
            FrontEnd::Image(config) => {
                let template = neji_app::frontend::image::template(model, config);
                Self::Image(ImageView { config: *config, template }, model.plan().element)
            }
            FrontEnd::LogMel(config) => Self::Sound(LogMel::of(model, config)),
        }
    }

    /// A sample's inputs, bytes of the model's elements: one of an image, one of each window of a recording; or why the sample
    /// has none.
    ///
    /// # Errors
    /// A sample of another kind than the front end's, or too short for a window; names the file.
    pub fn inputs(&self, sample: &Sample) -> Result<std::result::Result<Vec<Vec<i8>>, Rejection>> {
        match self {
            Self::Raw => bail!("{}: the model takes raw inputs, no recordings", sample.path.display()),
            Self::Image(view, element) => {
                let image = view.extract(sample)?;
                Ok(image.map(|image| vec![element::of_image(*element, &image)]))
            }
            Self::Sound(config) => sound::of_recording(config, sample).map(Ok),
        }
    }

    /// Where the part lies in the resized picture, in pixels; none without a part, or of what is not aligned.
    ///
    /// # Errors
    /// A sample of another kind than the front end's; names the file.
    pub fn pose(&self, sample: &Sample) -> Result<Option<Pose>> {
        match self {
            Self::Image(view, _) if view.config.alignment.is_some() => {
                view.measured(sample).map(std::result::Result::ok)
            }
            _ => Ok(None),
        }
    }

    /// [`Extractor::inputs`] of each sample, in their order.
    ///
    /// # Errors
    /// As [`Extractor::inputs`].
    pub fn all(&self, samples: &[&Sample]) -> Result<Vec<std::result::Result<Vec<Vec<i8>>, Rejection>>> {
        samples.par_iter().map(|sample| self.inputs(sample)).collect()
    }
}

/// What a model takes, as real values.
#[derive(Debug, Clone, Default)]
pub struct RealInputs<'d> {
    /// One of an image, one of each window of a recording.
    pub inputs: Vec<Vec<f32>>,
    /// The sample of each input.
    pub samples: Vec<&'d Sample>,
    /// Samples in which no part is found; they have no input.
    pub rejected: Vec<&'d str>,
}

/// The front end's output for samples.
///
/// # Errors
/// A sample that the front end does not take.
pub fn real_inputs<'d>(front_end: &Fitted, samples: &[&'d Sample]) -> Result<RealInputs<'d>> {
    let (prepared, scheme) = (front_end.prepare(Element::I8), front_end.scheme(Element::I8)?);
    let mut found = RealInputs::default();
    for (&sample, extracted) in samples.iter().zip(prepared.extractor().all(samples)?) {
        match extracted {
            Ok(inputs) => {
                for input in inputs {
                    found.inputs.push(input.iter().map(|&q| scheme.real(q) as f32).collect());
                    found.samples.push(sample);
                }
            }
            Err(_) => found.rejected.push(sample.name.as_str()),
        }
    }
    Ok(found)
}
