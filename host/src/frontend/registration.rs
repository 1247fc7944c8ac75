//! The template of a registration: what the training parts look like on average once they lie one on the other.

use anyhow::{Result, ensure};
use neji_app::frontend::image::output_len;
use neji_app::frontend::register::CORRELATION_BITS;
use neji_format::{
    Alignment, Constant, Heading, ImageFrontEnd, REGISTRATION_DIRECTIONS_MAX, REGISTRATION_PIXELS_MAX,
    REGISTRATION_ROUNDS_MAX, Registration, Size,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image::{FittedImage, ImageView};
use crate::dataset::Sample;

/// Templates that are made one after the other, each of the strips that were registered to the one before.
const TEMPLATES: usize = 2;

/// `[front_end.alignment.registration]`: search for the pose whose strip correlates best with the training parts' mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationSettings {
    /// Without it the pose is that of the moments.
    pub enabled: bool,
    /// Farthest turn in degrees, 0 to 45.
    pub degrees: f32,
    /// Farthest shift along and across, in pixels of the strip, 0 to 16.
    pub shift: f32,
    /// Rounds of the search, 1 to 8: steps begin with half of the farthest and are halved in each.
    pub rounds: u8,
    /// Try the part turned by 180 degrees as well.
    pub both_ends: bool,
    /// Try 64 directions of a circle, for parts without an axis.
    pub circle: bool,
    /// A part whose strip correlates less is reported as unlike, -1 to 1; half of the 5th percentile of the training parts where
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_min: Option<f32>,
}

impl Default for RegistrationSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            degrees: 4.0,
            shift: 1.5,
            rounds: 5,
            both_ends: true,
            circle: false,
            correlation_min: None,
        }
    }
}

impl RegistrationSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the key and what it may be.
    pub(super) fn validate(&self) -> Result<()> {
        let place = "front_end.alignment.registration";
        ensure!((0.0..=45.0).contains(&self.degrees), "{place}.degrees is {}; it must be 0 to 45", self.degrees);
        ensure!((0.0..=16.0).contains(&self.shift), "{place}.shift is {}; it must be 0 to 16", self.shift);
        ensure!(
            (1..=REGISTRATION_ROUNDS_MAX).contains(&self.rounds),
            "{place}.rounds is {}; it must be 1 to {REGISTRATION_ROUNDS_MAX}",
            self.rounds
        );
        if let Some(least) = self.correlation_min {
            ensure!((-1.0..=1.0).contains(&least), "{place}.correlation_min is {least}; it must be -1 to 1");
        }
        Ok(())
    }

    /// The search in the units of the blob; it lets all parts pass.
    fn of_strip(&self, alignment: &Alignment) -> Registration {
        let Size { width, height } = alignment.strip;
        let pixels = |extent: u32, count: u16| {
            (f64::from(self.shift) * f64::from(extent) / f64::from(count)).round().min(f64::from(u16::MAX)) as u16
        };
        Registration {
            template: Constant { offset: 0, bytes: u32::from(width) * u32::from(height) },
            // The tangent of 45 degrees is 1, the next below is the largest that there is.
            turn: (f64::from(self.degrees).to_radians().tan() * 65536.0).round().min(f64::from(u16::MAX)) as u16,
            along: pixels(alignment.length, width),
            across: pixels(alignment.breadth, height),
            rounds: self.rounds,
            directions: if self.circle { REGISTRATION_DIRECTIONS_MAX } else { self.both_ends.into() },
            correlation_min: -1000,
        }
    }
}

/// The mean of the strips that a front end cuts out of samples, rounded to grey levels. Samples in which it finds no part, as few
/// training samples may be, are left out.
fn mean(view: ImageView<'_>, samples: &[&Sample]) -> Result<Vec<u8>> {
    let zeros = || (vec![0u64; output_len(&view.config)], 0u64);
    let add = |(mut sums, count): (Vec<u64>, u64), strip: Vec<i8>| {
        // int8 is the grey level less 128: the quantization is the identity.
        sums.iter_mut().zip(strip).for_each(|(sum, q)| *sum += (i64::from(q) + 128).unsigned_abs());
        (sums, count + 1)
    };
    let (sums, count) = samples
        .par_iter()
        .map(|sample| view.extract(sample))
        .try_fold(zeros, |sums, strip| {
            Ok::<_, anyhow::Error>(match strip? {
                Ok(strip) => add(sums, strip),
                Err(_) => sums,
            })
        })
        .try_reduce(zeros, |(a, n), (b, m)| Ok((a.iter().zip(b).map(|(a, b)| a + b).collect(), n + m)))?;
    ensure!(count > 0, "no part is found in any training image; see [front_end.alignment]");
    Ok(sums.iter().map(|sum| ((sum + count / 2) / count) as u8).collect())
}

/// Makes the template, and decides how little a part may correlate with it; `None` where it is not asked for.
///
/// The first template is the mean of the strips that the moments give. Where either end may come first these show parts both
/// ways round, so the first sample's strip is the template that the others are turned to.
///
/// # Errors
/// A strip that is too large to register, or no training part at all.
pub(super) fn fit(
    settings: &RegistrationSettings,
    mut config: ImageFrontEnd,
    mut alignment: Alignment,
    samples: &[&Sample],
) -> Result<Option<FittedImage>> {
    if !settings.enabled {
        return Ok(None);
    }
    let Size { width, height } = alignment.strip;
    ensure!(
        u32::from(width) * u32::from(height) <= REGISTRATION_PIXELS_MAX,
        "front_end.strip: {width} x {height} pixels are more than the {REGISTRATION_PIXELS_MAX} that can be registered; make the \
         strip smaller, or set front_end.alignment.registration.enabled = false"
    );
    let undecided = settings.circle || (settings.both_ends && alignment.heading != Heading::ThickEndFirst);
    let first = if undecided { samples.get(..1).unwrap_or(samples) } else { samples };
    let mut template = mean(ImageView { config, template: &[] }, first)?;
    let mut registration = settings.of_strip(&alignment);
    alignment.registration = Some(registration);
    config.alignment = Some(alignment);
    for _ in 1..TEMPLATES + usize::from(undecided) {
        template = mean(ImageView { config, template: &template }, samples)?;
    }
    registration.correlation_min = match settings.correlation_min {
        Some(least) => (f64::from(least) * 1000.0).round() as i16,
        None => {
            let view = ImageView { config, template: &template };
            let mut all: Vec<i32> =
                samples.par_iter().filter_map(|sample| Some(view.pose(sample).ok()?.correlation)).collect();
            all.sort_unstable();
            let low = all.get((all.len().saturating_sub(1)) / 20).copied().unwrap_or(0);
            ((i64::from(low.max(0)) * 500) >> CORRELATION_BITS) as i16
        }
    };
    alignment.registration = Some(registration);
    config.alignment = Some(alignment);
    Ok(Some(FittedImage { config, template }))
}

#[cfg(test)]
mod tests {
    use super::super::{FrontEndSettings, image};
    use super::*;
    use crate::dataset::{Dataset, Layout};
    use crate::render::{self, SetSettings, write_set};

    #[test]
    fn settings_are_on_by_default_and_wrong_ones_are_named() {
        let settings: FrontEndSettings = toml::from_str("[alignment.registration]\ndegrees = 2.5").expect("parses");
        assert!(settings.alignment.registration.enabled && settings.alignment.registration.both_ends);
        assert!(toml::from_str::<FrontEndSettings>("[alignment.registration]\nangle = 2.5").is_err());
        let fault = |change: fn(&mut RegistrationSettings)| {
            let mut settings = RegistrationSettings::default();
            change(&mut settings);
            settings.validate().expect_err("out of range").to_string()
        };
        assert!(fault(|s| s.degrees = f32::NAN).contains("registration.degrees"));
        assert!(fault(|s| s.shift = 17.0).contains("registration.shift"));
        assert!(fault(|s| s.rounds = 9).contains("registration.rounds"));
        assert!(fault(|s| s.correlation_min = Some(1.5)).contains("registration.correlation_min"));
    }

    #[test]
    fn rendered_screws_lie_closer_together_registered_and_twice_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let set =
            SetSettings { layout: render::Layout::Mvtec, train: 24, test_good: 8, test_bad: 6, size: 96, seed: 5 };
        write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let train: Vec<&Sample> = data.train.iter().collect();
        let fit = |registration: &str| {
            let text = format!("strip = [48, 16]\n[alignment.registration]\n{registration}");
            image::fit(&toml::from_str(&text).expect("settings"), &train).expect("fits")
        };
        // Mean square of the strips about their mean.
        let spread = |fitted: &FittedImage| {
            let strips: Vec<Vec<i8>> =
                train.iter().map(|sample| fitted.view().extract(sample).expect("an image").expect("a part")).collect();
            let variance = |index: usize| {
                let values: Vec<f64> = strips.iter().map(|strip| strip[index].into()).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
            };
            (0..48 * 16).map(variance).sum::<f64>() / (48.0 * 16.0)
        };
        let (moments, registered) = (fit("enabled = false"), fit(""));
        assert!(moments.template.is_empty() && moments.config.alignment.is_some_and(|a| a.registration.is_none()));
        assert_eq!(registered.template.len(), 48 * 16);
        assert_eq!(registered, fit(""));
        let (before, after) = (spread(&moments), spread(&registered));
        assert!(after < before, "{after} registered, {before} by moments");
        // Without the moments' word on the thicker end, parts are still laid one way round.
        let either = image::fit(
            &toml::from_str("strip = [48, 16]\n[alignment]\nthick_end_first = false").expect("settings"),
            &train,
        )
        .expect("fits");
        assert!(spread(&either) < 1.2 * after, "{} either end first, {after} the thicker", spread(&either));
        let mut constants = vec![0; 5];
        let config = registered.to_format(&mut constants);
        let template = config.alignment.and_then(|alignment| alignment.registration).expect("registered").template;
        assert_eq!(constants[template.offset as usize..][..template.bytes as usize], registered.template);
    }
}
