//! What a sample holds, whatever its sensor.

use std::fmt;

use neji_format::Size;
use serde::{Deserialize, Serialize};

use super::{Features, Sound};

/// An 8-bit grey image, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreyImage {
    /// Width and height.
    pub size: Size,
    /// `width * height` grey levels.
    pub pixels: Vec<u8>,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// A picture.
    Image {
        /// The picture.
        image: GreyImage,
        /// Non-zero where the defect is, where the data say so; of the picture's size.
        mask: Option<GreyImage>,
    },
    /// A sound, or another signal sampled in time.
    Sound(Sound),
    /// Features that a front end made elsewhere.
    Features(Features),
}

/// Kinds of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Signal::Image`].
    Images,
    /// [`Signal::Sound`].
    Sounds,
    /// [`Signal::Features`].
    Features,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Sounds => "sounds",
            Self::Features => "features",
        })
    }
}

/// What all samples of a data set have in common; sounds may differ in duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Width and height.
    Image(Size),
    /// Sounds or signals.
    Sound {
        /// Samples a second.
        rate: u32,
        /// Channels, or axes.
        channels: u16,
    },
    /// Features.
    Features {
        /// Moments.
        frames: usize,
        /// Values of each.
        bands: usize,
    },
}

impl Form {
    /// Images, sounds or features.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Image(_) => Kind::Images,
            Self::Sound { .. } => Kind::Sounds,
            Self::Features { .. } => Kind::Features,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(size) => write!(f, "{} x {}", size.width, size.height),
            Self::Sound { rate, channels: 1 } => write!(f, "{rate} Hz"),
            Self::Sound { rate, channels } => write!(f, "{rate} Hz, {channels} channels"),
            Self::Features { frames, bands } => write!(f, "{frames} frames of {bands} bands"),
        }
    }
}

impl Signal {
    /// Its form.
    pub fn form(&self) -> Form {
        match self {
            Self::Image { image, .. } => Form::Image(image.size),
            Self::Sound(sound) => Form::Sound { rate: sound.rate, channels: sound.channels },
            Self::Features(features) => Form::Features { frames: features.frames, bands: features.bands },
        }
    }
}
