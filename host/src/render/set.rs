//! A whole data set of rendered screws, written at once or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rayon::prelude::*;

use super::defect::DefectKind;
use super::screw::render;
use super::{item_seed, progress};
use crate::files;

/// Folders that a data set is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/<name>_mask.png`.
    Mvtec,
    /// `train/<class>` and `test/<class>` for `good` and each defect.
    Classes,
}

/// How much of what is rendered.
#[derive(Debug, Clone, Copy)]
pub struct SetSettings {
    /// Folders to write.
    pub layout: Layout,
    /// Training images: all of them good in the MVTec layout, of each class in the other.
    pub train: u32,
    /// Good test images.
    pub test_good: u32,
    /// Defective test images, spread over the kinds.
    pub test_bad: u32,
    /// Width and height in pixels.
    pub size: u32,
    /// Decides everything.
    pub seed: u64,
}

/// A picture to be rendered.
struct Job {
    file: PathBuf,
    mask: Option<PathBuf>,
    kind: Option<DefectKind>,
}

fn jobs(settings: &SetSettings) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut add = |folder: &str, kind: Option<DefectKind>, count: u32, masks: bool| {
        let name = kind.map_or("good", DefectKind::name);
        for i in 0..count {
            jobs.push(Job {
                file: [folder, name, &format!("{i:03}.png")].iter().collect(),
                mask: (masks && kind.is_some())
                    .then(|| ["ground_truth", name, &format!("{i:03}_mask.png")].iter().collect()),
                kind,
            });
        }
    };
    let kinds = DefectKind::ALL.len() as u32;
    let masks = settings.layout == Layout::Mvtec;
    add("train", None, settings.train, false);
    if settings.layout == Layout::Classes {
        for kind in DefectKind::ALL {
            add("train", Some(kind), settings.train, false);
        }
    }
    add("test", None, settings.test_good, false);
    for (i, kind) in DefectKind::ALL.into_iter().enumerate() {
        // The first kinds take what does not divide.
        let count = settings.test_bad / kinds + u32::from((i as u32) < settings.test_bad % kinds);
        add("test", Some(kind), count, masks);
    }
    jobs
}

/// Renders a data set into the folder `out`; returns the number of pictures.
///
/// # Errors
/// `out` is not empty and `force` is not set, a count or the size is out of range, or writing fails; `out` is then as it
/// was before.
pub fn write_set(out: &Path, settings: &SetSettings, force: bool) -> anyhow::Result<usize> {
    if !(32..=1024).contains(&settings.size) {
        bail!("--size {}: pictures are 32 to 1024 pixels wide", settings.size);
    }
    if settings.train == 0 || settings.test_good == 0 {
        bail!("--train and --test-good must be at least 1");
    }
    let jobs = jobs(settings);
    files::write_folder(out, force, |content| {
        for job in &jobs {
            for file in std::iter::once(&job.file).chain(&job.mask) {
                if let Some(folder) = content.join(file).parent() {
                    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
                }
            }
        }
        let bar = progress(jobs.len());
        jobs.par_iter().enumerate().try_for_each(|(index, job)| -> anyhow::Result<()> {
            let picture = render(item_seed(settings.seed, index as u64), settings.size, job.kind);
            let save = |image: &image::GrayImage, file: &Path| {
                let path = content.join(file);
                image.save(&path).with_context(|| format!("writing {}", path.display()))
            };
            save(&picture.image, &job.file)?;
            if let (Some(mask), Some(file)) = (&picture.mask, &job.mask) {
                save(mask, file)?;
            }
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    })?;
    Ok(jobs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(layout: Layout) -> SetSettings {
        SetSettings { layout, train: 3, test_good: 2, test_bad: 7, size: 32, seed: 7 }
    }

    #[test]
    fn does_not_overwrite_and_is_deterministic() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(write_set(&a, &settings(Layout::Mvtec), false).expect("written"), 12);
        write_set(&b, &settings(Layout::Mvtec), false).expect("written");
        for file in ["train/good/002.png", "test/rust/000.png", "ground_truth/manipulated_front/001_mask.png"] {
            let read = |root: &Path| fs::read(root.join(file)).expect(file);
            assert_eq!(read(&a), read(&b));
        }
        let refusal = write_set(&a, &settings(Layout::Classes), false).expect_err("not empty");
        assert!(refusal.to_string().contains("--force"), "{refusal}");
        assert_eq!(write_set(&a, &settings(Layout::Classes), true).expect("replaced"), 7 * 3 + 9);
        assert!(a.join("train/rust/002.png").exists() && !a.join("ground_truth").exists());
    }
}
