//! What one wants to know first of a data set.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use super::{Dataset, Form, Kind, Sample, Signal};

/// The least, the middle and the most of a number that each sample has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// Half of the samples have at most this.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Range {
    /// Nothing where there are no numbers.
    fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied();
        Some(Self { min: at(0)?, median: at(numbers.len() / 2)?, max: at(numbers.len() - 1)? })
    }
}

/// Samples of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Name of the class.
    pub class: String,
    /// Training samples.
    pub train: usize,
    /// Test samples.
    pub test: usize,
}

/// What is common to images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Images {
    /// Mean grey level, 0 to 255.
    pub brightness: Option<Range>,
    /// Test images whose defect is marked.
    pub masks: usize,
}

/// What is common to sounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sounds {
    /// Samples a second.
    pub rate: u32,
    /// Channels, or axes.
    pub channels: u16,
    /// Durations in seconds.
    pub seconds: Option<Range>,
    /// All durations together.
    pub seconds_sum: f64,
    /// Root mean square below full scale, in decibels, of those that are not silent.
    pub rms_dbfs: Option<Range>,
    /// Sounds without any.
    pub silent: usize,
    /// Sounds with samples at either end of the range.
    pub clipped: usize,
    /// The largest share of such samples in a sound.
    pub clipped_share_max: f64,
}

/// What is common to features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rows {
    /// Moments.
    pub frames: usize,
    /// Values of each.
    pub bands: usize,
    /// Mean values.
    pub mean: Option<Range>,
    /// The least and the largest of all values.
    pub values: (f32, f32),
}

/// What depends on the kind of data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Detail {
    Images(Images),
    Sounds(Sounds),
    Features(Rows),
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// Images, sounds or features.
    pub kind: Kind,
    /// Size, rate or shape.
    pub form: String,
    /// A row a class.
    pub classes: Vec<Count>,
    /// Machines or sections that the names say.
    pub sections: Vec<String>,
    /// What depends on the kind.
    pub detail: Detail,
    /// What was done to the data.
    pub notices: Vec<String>,
}

/// Looks at all samples.
pub fn info(data: &Dataset) -> Info {
    let all: Vec<&Sample> = data.train.iter().chain(&data.test).collect();
    let count = |part: &[Sample], label: usize| part.iter().filter(|sample| sample.label == label).count();
    let class = |(label, class): (usize, &String)| Count {
        class: class.clone(),
        train: count(&data.train, label),
        test: count(&data.test, label),
    };
    Info {
        kind: data.kind(),
        form: data.form.to_string(),
        classes: data.classes.iter().enumerate().map(class).collect(),
        sections: data.sections().into_iter().map(str::to_owned).collect(),
        detail: match data.form {
            Form::Image(_) => Detail::Images(images(&all)),
            Form::Sound { rate, channels } => Detail::Sounds(sounds(&all, rate, channels)),
            Form::Features { frames, bands } => Detail::Features(rows(&all, frames, bands)),
        },
        notices: data.notices.clone(),
    }
}

fn images(all: &[&Sample]) -> Images {
    let brightness = |sample: &&Sample| match &sample.signal {
        Signal::Image { image, .. } => Some(crate::baselines::brightness(image)),
        _ => None,
    };
    Images {
        brightness: Range::of(all.par_iter().filter_map(brightness).collect()),
        masks: all.iter().filter(|sample| sample.mask().is_some()).count(),
    }
}

fn sounds(all: &[&Sample], rate: u32, channels: u16) -> Sounds {
    let measured: Vec<(f64, f64, f64)> = (all.par_iter())
        .filter_map(|sample| match &sample.signal {
            Signal::Sound(sound) => {
                let share = sound.clipped() as f64 / sound.samples.len().max(1) as f64;
                Some((sound.seconds(), sound.rms_dbfs(), share))
            }
            _ => None,
        })
        .collect();
    let levels: Vec<f64> = measured.iter().map(|m| m.1).filter(|level| level.is_finite()).collect();
    Sounds {
        rate,
        channels,
        seconds: Range::of(measured.iter().map(|m| m.0).collect()),
        seconds_sum: measured.iter().map(|m| m.0).sum(),
        silent: measured.len() - levels.len(),
        rms_dbfs: Range::of(levels),
        clipped: measured.iter().filter(|m| m.2 > 0.0).count(),
        clipped_share_max: measured.iter().map(|m| m.2).fold(0.0, f64::max),
    }
}

fn rows(all: &[&Sample], frames: usize, bands: usize) -> Rows {
    let values = || all.iter().filter_map(|sample| sample.features().ok()).map(|features| features.values.as_slice());
    let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64;
    let least = values().flatten().fold(f32::INFINITY, |least, &value| least.min(value));
    let largest = values().flatten().fold(f32::NEG_INFINITY, |largest, &value| largest.max(value));
    Rows { frames, bands, mean: Range::of(values().map(mean).collect()), values: (least, largest) }
}

/// A range with decimals and a unit.
struct Shown(Option<Range>, usize, &'static str);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range, decimals, unit) = self;
        match range {
            None => f.write_str("-"),
            Some(Range { min, max, .. }) if min == max => write!(f, "{min:.decimals$} {unit}"),
            Some(Range { min, median, max }) => {
                write!(f, "{min:.decimals$} to {max:.decimals$} {unit}, median {median:.decimals$}")
            }
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}", self.kind, self.form)?;
        writeln!(f, "\n{:<24} {:>7} {:>7}", "class", "train", "test")?;
        for row in &self.classes {
            writeln!(f, "{:<24} {:>7} {:>7}", row.class, row.train, row.test)?;
        }
        writeln!(f)?;
        if !self.sections.is_empty() {
            writeln!(f, "sections    {}", self.sections.join(", "))?;
        }
        match &self.detail {
            Detail::Images(images) => {
                writeln!(f, "brightness  {}", Shown(images.brightness, 1, "of 255"))?;
                write!(f, "masks       {}", images.masks)
            }
            Detail::Sounds(sounds) => {
                writeln!(f, "duration    {}; {:.0} s in all", Shown(sounds.seconds, 3, "s"), sounds.seconds_sum)?;
                write!(f, "level       {}", Shown(sounds.rms_dbfs, 1, "dBFS"))?;
                if sounds.silent > 0 {
                    write!(f, "; {} silent", sounds.silent)?;
                }
                match sounds.clipped {
                    0 => write!(f, "\nclipping    none"),
                    count => {
                        let percent = 100.0 * sounds.clipped_share_max;
                        write!(
                            f,
                            "\nclipping    {count} reach full scale, with at most {percent:.3} % of their samples"
                        )
                    }
                }
            }
            Detail::Features(rows) => {
                writeln!(f, "values      {:.3} to {:.3}", rows.values.0, rows.values.1)?;
                write!(f, "means       {}", Shown(rows.mean, 3, "a recording"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sound::tests::wav;
    use super::*;
    use crate::dataset::Layout;

    #[test]
    fn counts_durations_levels_and_clipping() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |file: &str, samples: &[i16]| {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, wav(8000, 1, samples)).expect("written");
        };
        put("train/normal_id_01_0.wav", &[16_384, -16_384].repeat(4000));
        put("train/normal_id_01_1.wav", &[0; 4000]);
        put("test/normal_id_01_0.wav", &[8192, -8192].repeat(4000));
        put("test/anomaly_id_01_0.wav", &[1024, -1024, i16::MAX, 1024].repeat(2000));
        let data = Dataset::load(folder.path(), Layout::Auto).expect("loads");
        let found = info(&data);
        assert_eq!(found.classes[0], Count { class: "normal".into(), train: 2, test: 1 });
        assert_eq!(found.classes[1], Count { class: "anomaly".into(), train: 0, test: 1 });
        let Detail::Sounds(sounds) = &found.detail else { panic!("sounds") };
        assert_eq!(sounds.seconds, Some(Range { min: 0.5, median: 1.0, max: 1.0 }));
        assert_eq!((sounds.silent, sounds.clipped, sounds.clipped_share_max), (1, 1, 0.25));
        let level = sounds.rms_dbfs.expect("levels");
        assert!((level.min + 12.041).abs() < 1e-3 && (level.median + 6.02).abs() < 1e-2, "{level:?}");
        let text = found.to_string();
        for part in ["sounds, 8000 Hz", "id_01", "0.500 to 1.000 s", "1 silent", "1 reach full scale", "25.000 %"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(serde_json::to_string(&found).expect("JSON").contains("\"rate\":8000"));
    }
}
