//! Reading the folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::DynamicImage;
use neji_format::Size;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Dataset, GOOD, GreyImage, Layout, Sample};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];

/// Entries of a folder, sorted; hidden ones are left out.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading folder {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading folder {}", folder.display()))?.path();
        if !file_name(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Subfolders of a folder, sorted.
fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|p| p.is_dir()).collect())
}

fn images(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_image = |p: &PathBuf| {
        let extension = p.extension().map(|e| e.to_string_lossy().to_lowercase());
        p.is_file() && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
    };
    let found: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_image).collect();
    if found.is_empty() {
        bail!("{}: no PNG, JPEG or BMP images; put some there or remove the folder", folder.display());
    }
    Ok(found)
}

/// Luma of an image of at most 65,535 pixels a side, as the device computes it from RGB.
pub fn grey(image: &DynamicImage) -> GreyImage {
    let size = Size { width: image.width() as u16, height: image.height() as u16 };
    let pixels = match image {
        DynamicImage::ImageLuma8(g) => g.as_raw().clone(),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_) => {
            image.to_luma8().into_raw()
        }
        _ => (image.to_rgb8().pixels())
            .map(|p| ((77 * u32::from(p.0[0]) + 150 * u32::from(p.0[1]) + 29 * u32::from(p.0[2]) + 128) >> 8) as u8)
            .collect(),
    };
    GreyImage { size, pixels }
}

fn read(path: &Path) -> anyhow::Result<(GreyImage, [u8; 32])> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let image = image::load_from_memory(&bytes).with_context(|| {
        format!("reading {}: not a readable PNG, JPEG or BMP; replace or remove it", path.display())
    })?;
    if image.width() > 4096 || image.height() > 4096 {
        bail!("{}: {} x {} pixels; at most 4096 x 4096", path.display(), image.width(), image.height());
    }
    Ok((grey(&image), Sha256::digest(&bytes).into()))
}

fn find_mask(root: &Path, class: &str, file: &Path) -> Option<PathBuf> {
    let stem = file.file_stem()?.to_string_lossy();
    let folder = root.join("ground_truth").join(class);
    [format!("{stem}_mask.png"), format!("{stem}.png")].iter().map(|n| folder.join(n)).find(|p| p.is_file())
}

/// Reads the samples of one part; `found` are pairs of class folder and label.
fn part(root: &Path, found: &[(PathBuf, usize)], classes: &[String], masks: bool) -> anyhow::Result<Vec<Sample>> {
    let mut files = Vec::new();
    for (folder, label) in found {
        files.extend(images(folder)?.into_iter().map(|file| (file, *label)));
    }
    (files.into_par_iter())
        .map(|(path, label)| {
            let (image, file_hash) = read(&path)?;
            let class = classes[label].clone();
            let mask = if masks && label > 0 { find_mask(root, &class, &path) } else { None };
            let mask = match mask {
                None => None,
                Some(file) => {
                    let (mask, _) = read(&file)?;
                    if mask.size != image.size {
                        bail!("{}: {}, its image {}", file.display(), show(mask.size), show(image.size));
                    }
                    Some(mask)
                }
            };
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let name = relative.iter().map(|c| c.to_string_lossy()).collect::<Vec<_>>().join("/");
            Ok(Sample { name, label, class, image, mask, file_hash, path })
        })
        .collect()
}

fn show(size: Size) -> String {
    format!("{} x {}", size.width, size.height)
}

pub(super) fn load(root: &Path, layout: Layout) -> anyhow::Result<Dataset> {
    if !root.is_dir() {
        bail!("{}: no such folder; `neji data screws --out DIR` renders one to try", root.display());
    }
    let (train_root, test_root) = (root.join("train"), root.join("test"));
    if !train_root.is_dir() {
        bail!("{}: no folder `train`; training images go to train/{GOOD}", root.display());
    }
    let mut train = folders(&train_root)?;
    let test = if test_root.is_dir() { folders(&test_root)? } else { Vec::new() };
    let is_good = |p: &PathBuf| file_name(p) == GOOD;
    if !train.iter().any(is_good) {
        bail!("{}: no folder `{GOOD}`; images of the normal class go to train/{GOOD}", train_root.display());
    }
    if !test.is_empty() && !test.iter().any(is_good) {
        bail!("{}: no folder `{GOOD}`; normal test images go to test/{GOOD}", test_root.display());
    }
    let mvtec = match layout {
        Layout::Auto => train.len() == 1,
        Layout::Mvtec => true,
        Layout::Classes => false,
    };
    if mvtec {
        train.retain(is_good);
    }
    let mut classes: Vec<String> = train.iter().chain(&test).map(|p| file_name(p)).filter(|n| n != GOOD).collect();
    classes.sort();
    classes.dedup();
    if !mvtec {
        if classes.is_empty() {
            bail!("{}: one class only; a classifier needs a folder for each class", train_root.display());
        }
        let known = |n: &String| train.iter().any(|p| file_name(p) == **n);
        if let Some(stranger) = classes.iter().find(|n| !known(n)) {
            bail!("{}: class `{stranger}` is not in {}", test_root.display(), train_root.display());
        }
    }
    classes.insert(0, GOOD.to_owned());
    let label = |p: PathBuf| {
        let index = classes.iter().position(|c| *c == file_name(&p)).unwrap_or(0);
        (p, index)
    };
    let train: Vec<_> = train.into_iter().map(label).collect();
    let test: Vec<_> = test.into_iter().map(label).collect();
    let train = part(root, &train, &classes, false)?;
    let test = part(root, &test, &classes, mvtec)?;
    let first = &train[0];
    if let Some(other) = train.iter().chain(&test).find(|s| s.image.size != first.image.size) {
        bail!(
            "images differ in size: {} is {}, {} is {}; make them equal",
            first.path.display(),
            show(first.image.size),
            other.path.display(),
            show(other.image.size)
        );
    }
    let size = first.image.size;
    Ok(Dataset { classes, train, test, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, size: u32, grey: u8) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        image::GrayImage::from_pixel(size, size, image::Luma([grey])).save(path).expect("saved");
    }

    fn refused(root: &Path) -> String {
        format!("{:#}", load(root, Layout::Auto).expect_err("refused"))
    }

    #[test]
    fn loads_mvtec_with_masks_and_a_stable_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for file in ["train/good/b.png", "train/good/a.bmp", "test/good/0.png", "test/dent/0.jpg"] {
            put(root, file, 8, 100);
        }
        put(root, "ground_truth/dent/0_mask.png", 8, 255);
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["good", "dent"]);
        assert_eq!(
            data.train.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["train/good/a.bmp", "train/good/b.png"]
        );
        assert_eq!(data.test[0].label, 1);
        assert_eq!(data.test[0].mask.as_ref().map(|m| m.pixels[5]), Some(255));
        assert_eq!(data.hash(), load(root, Layout::Mvtec).expect("loads").hash());
        let (train, validation) = data.split_validation(1, 0.1).expect("splits");
        assert_eq!((train.len(), validation.len()), (1, 1));
        put(root, "train/good/b.png", 8, 101);
        assert_ne!(data.hash(), load(root, Layout::Auto).expect("loads").hash());
    }

    #[test]
    fn rgb_becomes_the_devices_luma() {
        let image = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(1, 1, image::Rgb([200, 100, 50])));
        // (77 * 200 + 150 * 100 + 29 * 50 + 128) >> 8 = 31978 >> 8.
        assert_eq!(grey(&image).pixels, [124]);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert!(refused(&root.join("nowhere")).contains("no such folder"));
        assert!(refused(root).contains("no folder `train`"));
        fs::create_dir_all(root.join("train/bad")).expect("created");
        assert!(refused(root).contains("no folder `good`"));
        fs::remove_dir(root.join("train/bad")).expect("removed");
        fs::create_dir_all(root.join("train/good")).expect("created");
        assert!(refused(root).contains("no PNG, JPEG or BMP images"));
        put(root, "train/good/a.png", 8, 100);
        put(root, "train/good/b.png", 9, 100);
        let message = refused(root);
        assert!(message.contains("a.png is 8 x 8") && message.contains("b.png is 9 x 9"), "{message}");
        fs::write(root.join("train/good/b.png"), b"not an image").expect("written");
        assert!(refused(root).contains("b.png: not a readable"));
    }
}
