//! Which sensor a model wants: its front end says it, so a new model is all that it takes to listen instead of to feel.

use core::fmt;

use neji_format::{FrontEnd, Model, PixelFormat, Size};

/// The least rate of what is taken for sound: accelerometers are slower.
const SOUND_HZ: u32 = 6000;

/// What a model's front end takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A microphone of so many samples a second.
    Sound {
        /// Samples a second.
        rate: u32,
    },
    /// An accelerometer.
    Vibration {
        /// Samples a second and axis.
        rate: u32,
        /// Axes.
        axes: u8,
    },
    /// A camera.
    Picture {
        /// Pixels.
        size: Size,
        /// Three bytes a pixel, or one.
        rgb: bool,
    },
    /// The model's own input, which no sensor gives.
    Raw,
}

impl Wanted {
    /// What `model` wants.
    pub fn of(model: &Model<'_>) -> Self {
        match model.plan().front_end {
            FrontEnd::Raw => Self::Raw,
            FrontEnd::Image(image) => {
                Self::Picture { size: image.sensor, rgb: image.pixel_format == PixelFormat::Rgb888 }
            }
            FrontEnd::LogMel(sound) if sound.axes == 1 && sound.sample_rate >= SOUND_HZ => {
                Self::Sound { rate: sound.sample_rate }
            }
            FrontEnd::LogMel(sound) => Self::Vibration { rate: sound.sample_rate, axes: sound.axes },
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound { rate } => write!(f, "the model wants sound of {rate} Hz"),
            Self::Vibration { rate, axes } => write!(f, "the model wants vibration of {axes} axes at {rate} Hz"),
            Self::Picture { size, rgb } => {
                let colour = if *rgb { "RGB" } else { "grey" };
                write!(f, "the model wants {colour} pictures of {} by {}", size.width, size.height)
            }
            Self::Raw => f.write_str("the model takes its input as it is, which no sensor gives"),
        }
    }
}

/// What a model wants and the board does not have; to be refused with.
#[derive(Debug, Clone, Copy)]
pub struct Unmet {
    /// What the model wants.
    pub wanted: Wanted,
    /// What the board has.
    pub has: &'static str,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; this board has {}", self.wanted, self.has)
    }
}
