//! Reading the files.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::DynamicImage;
use indicatif::{ProgressBar, ProgressStyle};
use neji_format::Size;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::array::{Kind, decode_npy};
use super::layout::{self, File, Format, Found, Naming, is_mask};
use super::series::{self, Scale};
use super::size::{common, grey_at_size, mask_at_size};
use super::{Dataset, Form, GreyImage, Options, Sample, Signal, Sound, decode_bin, decode_wav, features};

/// Share of a long signal that is tested where nothing is said.
const TEST_SHARE: f64 = 0.3;
/// Most bytes that the windows of a data set may take: a hop of 1 asks for a thousand times its files soon.
const WINDOW_BYTES: u64 = 8 << 30;

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

fn picture(path: &Path, bytes: &[u8]) -> Result<GreyImage> {
    let image = image::load_from_memory(bytes).with_context(|| {
        format!("reading {}: not a readable PNG, JPEG or BMP; replace or remove it", path.display())
    })?;
    if image.width() > 4096 || image.height() > 4096 {
        bail!("{}: {} x {} pixels; at most 4096 x 4096", path.display(), image.width(), image.height());
    }
    Ok(grey(&image))
}

/// The mask of a picture: in `ground_truth/<class>`, or beside it.
fn find_mask(root: &Path, class: &str, file: &Path) -> Option<PathBuf> {
    let stem = file.file_stem()?.to_string_lossy();
    let folder = root.join("ground_truth").join(class);
    let names = [format!("{stem}_mask.png"), format!("{stem}.png")];
    let there = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    there.or_else(|| names.iter().map(|name| file.with_file_name(name)).find(|path| path.is_file() && is_mask(path)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// What one file gave.
#[derive(Default)]
struct Given {
    train: Vec<Sample>,
    test: Vec<Sample>,
    /// The rate that it was resampled from.
    resampled: Option<u32>,
    /// Values beyond full scale, of how many.
    beyond: (usize, usize),
}

struct Reader<'a> {
    root: &'a Path,
    options: &'a Options,
    found: &'a Found,
    bar: &'a ProgressBar,
}

impl Reader<'_> {
    /// Reads a file once: its hash, and the samples that it holds.
    fn file(&self, file: &File, test: bool) -> Result<Given> {
        let bytes = read(&file.path)?;
        let file_hash = Sha256::digest(&bytes).into();
        let mut given = Given::default();
        let named = |error: anyhow::Error| anyhow!("{}: {error:#}", file.path.display());
        let signal = match self.found.format {
            Format::Picture => self.picture(file, &bytes)?,
            _ => self.decode(&bytes, &mut given).map_err(named)?,
        };
        drop(bytes);
        let relative = file.path.strip_prefix(self.root).unwrap_or(&file.path);
        let name = relative.iter().map(|c| c.to_string_lossy()).collect::<Vec<_>>().join("/");
        let whole = Sample {
            path: file.path.clone(),
            name,
            label: file.label,
            class: self.found.classes[file.label].clone(),
            section: file.section.clone(),
            domain: file.domain,
            signal,
            window: None,
            variant: false,
            file_hash,
        };
        let (early, late) = self.samples(whole).map_err(named)?;
        match (self.found.by_time, test) {
            (true, _) => (given.train, given.test) = (early, late),
            (false, true) => given.test = early,
            (false, false) => given.train = early,
        }
        self.bar.inc(1);
        Ok(given)
    }

    fn picture(&self, file: &File, bytes: &[u8]) -> Result<Signal> {
        let image = picture(&file.path, bytes)?;
        let class = &self.found.classes[file.label];
        let mask = (self.found.masks && file.label > 0).then(|| find_mask(self.root, class, &file.path)).flatten();
        let mask = match mask {
            None => None,
            Some(path) => {
                let mask = picture(&path, &read(&path)?)?;
                if mask.size != image.size {
                    bail!("{}: {}, its image {}", path.display(), Form::Image(mask.size), Form::Image(image.size));
                }
                Some(mask)
            }
        };
        Ok(Signal::Image { image, mask })
    }

    fn decode(&self, bytes: &[u8], given: &mut Given) -> Result<Signal> {
        let options = self.options;
        let scale = Scale {
            rate: options.file_rate.or(options.rate),
            full_scale: options.full_scale,
            columns: &options.column,
        };
        let series = match self.found.format {
            Format::Wav => return self.at_rate(decode_wav(bytes, options.channel)?, given),
            Format::Bin => return Ok(Signal::Features(decode_bin(bytes, options.bands)?)),
            Format::Csv => series::from_csv(bytes, scale)?,
            Format::Npy | Format::Picture => {
                let array = decode_npy(bytes)?;
                // Rows of floats are features, unless it is said that they are a signal's channels.
                if array.shape.len() == 2 && array.kind == Kind::Float && options.full_scale.is_none() {
                    return Ok(Signal::Features(features::from_array(array, options.bands)?));
                }
                series::from_array(array, scale)?
            }
        };
        given.beyond = (series.beyond, series.sound.samples.len());
        let mut sound = series.sound;
        if let Some(channel) = options.channel {
            let channels = sound.channels;
            sound = sound
                .channel(channel)
                .with_context(|| format!("no channel {channel}: it has {channels}, counted from 0"))?;
        }
        self.at_rate(sound, given)
    }

    fn at_rate(&self, sound: Sound, given: &mut Given) -> Result<Signal> {
        Ok(Signal::Sound(match self.options.rate {
            Some(rate) if rate != sound.rate => {
                ensure!(
                    !self.options.no_resample,
                    "{} Hz, not {rate} Hz; allow resampling, or record at that rate",
                    sound.rate
                );
                given.resampled = Some(sound.rate);
                sound.resampled(rate)?
            }
            _ => sound,
        }))
    }

    /// A file's samples: itself or its windows; by time, those before and those after the split.
    fn samples(&self, whole: Sample) -> Result<(Vec<Sample>, Vec<Sample>)> {
        let Signal::Sound(sound) = &whole.signal else {
            ensure!(
                self.options.window.is_none(),
                "no sound, so there are no windows to cut it into; leave out --window"
            );
            ensure!(!self.found.by_time, "features can't be split by time; lay the files out as train/normal and test");
            return Ok((vec![whole], Vec::new()));
        };
        let frames = sound.frames();
        let share = self.options.test_share.unwrap_or(TEST_SHARE);
        let split = if self.found.by_time { (frames as f64 * (1.0 - share)).floor() as usize } else { frames };
        if self.options.window.is_none() && !self.found.by_time {
            return Ok((vec![whole], Vec::new()));
        }
        let cut = |part: Range<usize>| -> Vec<Sample> {
            let length = self.options.window.unwrap_or(part.len()).max(1);
            let hop = self.options.hop.unwrap_or(length).max(1);
            let starts = (part.start..).step_by(hop).take_while(|start| start + length <= part.end);
            let window = |start: usize| Sample {
                name: format!("{}@{start:09}", whole.name),
                signal: Signal::Sound(sound.part(start..start + length)),
                window: Some(start..start + length),
                ..whole.without_signal()
            };
            starts.map(window).collect()
        };
        let (early, late) = (cut(0..split), cut(split..frames));
        let length = self.options.window.unwrap_or(1);
        ensure!(
            !early.is_empty() && (!self.found.by_time || !late.is_empty()),
            "{frames} frames{} hold no window of {length}; lower --window, or record longer",
            if self.found.by_time {
                format!(", {split} to train and {} to test,", frames - split)
            } else {
                String::new()
            }
        );
        Ok((early, late))
    }
}

impl Sample {
    /// Everything but what was recorded.
    pub(crate) fn without_signal(&self) -> Self {
        Self {
            path: self.path.clone(),
            name: String::new(),
            label: self.label,
            class: self.class.clone(),
            section: self.section.clone(),
            domain: self.domain,
            signal: Signal::Sound(Sound { rate: 1, channels: 1, samples: Vec::new() }),
            window: None,
            variant: self.variant,
            file_hash: self.file_hash,
        }
    }
}

fn check(options: &Options) -> Result<()> {
    for (name, value) in [("rate", options.rate), ("file-rate", options.file_rate)] {
        ensure!(value != Some(0), "--{name} 0: at least 1 sample a second");
    }
    for (name, value) in [("window", options.window), ("hop", options.hop), ("bands", options.bands)] {
        ensure!(value != Some(0), "--{name} 0: it must be at least 1");
    }
    ensure!(options.hop.is_none() || options.window.is_some(), "--hop without --window: there is nothing to move on");
    let share = options.test_share.unwrap_or(TEST_SHARE);
    ensure!(share > 0.0 && share < 1.0, "--test-share {share}: it must lie between 0 and 1");
    if let Some(size) = &options.size {
        let fits = matches!(size[..], [width, height] if (1..=4096).contains(&width) && (1..=4096).contains(&height));
        ensure!(fits, "--size: a width and a height of 1 to 4096, such as --size 256 256");
    }
    Ok(())
}

/// Two files with the same bytes, if there are: what was trained on says nothing when it is tested on.
fn duplicate<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<String> {
    let mut seen: HashMap<[u8; 32], &Path> = HashMap::new();
    for sample in samples {
        let first = *seen.entry(sample.file_hash).or_insert(&sample.path);
        if first != sample.path {
            let (first, other) = (first.display(), sample.path.display());
            return Some(format!("{first} and {other} are the same file, byte by byte; remove one"));
        }
    }
    None
}

/// Brings pictures to one size, and says so where some had another.
fn to_one_size(root: &Path, train: &mut [Sample], test: &mut [Sample], options: &Options) -> Option<String> {
    let of = |sample: &Sample| match &sample.signal {
        Signal::Image { image, .. } => Some(image.size),
        _ => None,
    };
    let wanted = options.size.as_deref().and_then(|size| Some(Size { width: *size.first()?, height: *size.get(1)? }));
    let size = wanted.or_else(|| common(&train.iter().filter_map(of).collect::<Vec<_>>()))?;
    let mut all: Vec<&mut Sample> = train.iter_mut().chain(test).collect();
    let others: Vec<Size> = all.iter().filter_map(|sample| of(sample)).filter(|own| *own != size).collect();
    if others.is_empty() {
        return None;
    }
    all.par_iter_mut().for_each(|sample| {
        if let Signal::Image { image, mask } = &mut sample.signal {
            *image = grey_at_size(image, size);
            *mask = mask.as_ref().map(|mask| mask_at_size(mask, size));
        }
    });
    let side = |side: fn(&Size) -> u16| {
        let (least, most) = (others.iter().map(side).min(), others.iter().map(side).max());
        format!("{} to {}", least.unwrap_or_default(), most.unwrap_or_default())
    };
    Some(format!(
        "{}: {} of {} pictures, {} wide and {} high, are brought to {}: those of its aspect are scaled, others shrunk where they are \
         larger and mirrored at their edges to fill it",
        root.display(),
        others.len(),
        all.len(),
        side(|size| size.width),
        side(|size| size.height),
        Form::Image(size)
    ))
}

/// The form that all samples have.
fn one_form<'a>(mut samples: impl Iterator<Item = &'a Sample>, options: &Options) -> Result<Form> {
    let first = samples.next().context("no training samples")?;
    let form = first.signal.form();
    if let Some(other) = samples.find(|sample| sample.signal.form() != form) {
        let theirs = other.signal.form();
        let (what, cure) = match (form, theirs) {
            (Form::Features { .. }, _) => ("features differ in shape", "compute them alike"),
            (Form::Sound { channels, .. }, Form::Sound { channels: other, .. }) if channels != other => {
                ("sounds differ in channels", "take one (--channel 0), or record them alike")
            }
            _ if options.rate.is_none() => ("sounds differ in rate", "say the rate to resample them to (--rate HZ)"),
            _ => ("samples differ in kind", "keep one kind"),
        };
        bail!("{what}: {} is {form}, {} is {theirs}; {cure}", first.path.display(), other.path.display());
    }
    Ok(form)
}

fn notices(root: &Path, options: &Options, given: &[Given]) -> Vec<String> {
    let mut notices = Vec::new();
    let mut rates: Vec<u32> = given.iter().filter_map(|given| given.resampled).collect();
    if let Some(rate) = options.rate.filter(|_| !rates.is_empty()) {
        let count = rates.len();
        rates.sort_unstable();
        rates.dedup();
        let from = rates.iter().map(|rate| format!("{rate}")).collect::<Vec<_>>().join(", ");
        notices.push(format!(
            "{}: {count} of {} files resampled from {from} to {rate} Hz",
            root.display(),
            given.len()
        ));
    }
    let (beyond, all) = given.iter().fold((0, 0), |sum, given| (sum.0 + given.beyond.0, sum.1 + given.beyond.1));
    if beyond > 0 {
        notices.push(format!(
            "{}: {beyond} of {all} values lie beyond the full scale of {} and are cut to it",
            root.display(),
            options.full_scale.unwrap_or_default()
        ));
    }
    notices
}

/// Refuses windows that no memory holds, before they are cut: `bytes` of files, whose samples take two bytes or more.
fn fits(files: &[&File], options: &Options) -> Result<()> {
    let Some(window) = options.window else { return Ok(()) };
    let hop = options.hop.unwrap_or(window);
    let bytes: u64 = files.iter().filter_map(|file| fs::metadata(&file.path).ok()).map(|m| m.len()).sum();
    let wanted = bytes.saturating_mul(window.div_ceil(hop) as u64);
    ensure!(
        wanted <= WINDOW_BYTES,
        "windows of {window} frames every {hop} would take up to {} GB; give a longer --hop",
        wanted >> 30
    );
    Ok(())
}

/// A bar for the reading of `count` files.
fn progress(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("reading {bar:40} {pos}/{len} {elapsed} (left {eta})");
    ProgressBar::new(count as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn load(root: &Path, options: &Options) -> Result<Dataset> {
    check(options)?;
    let naming = Naming { good: options.good.as_deref() };
    let found = layout::find(root, options.layout, naming, options.test_share.unwrap_or(TEST_SHARE))?;
    let files: Vec<(&File, bool)> =
        found.train.iter().map(|file| (file, false)).chain(found.test.iter().map(|file| (file, true))).collect();
    fits(&files.iter().map(|(file, _)| *file).collect::<Vec<_>>(), options)?;
    let bar = progress(files.len());
    let reader = Reader { root, options, found: &found, bar: &bar };
    let given = files.par_iter().map(|(file, test)| reader.file(file, *test)).collect::<Result<Vec<Given>>>();
    bar.finish_and_clear();
    let mut given = given?;
    let mut notices = notices(root, options, &given);
    let mut train: Vec<Sample> = given.iter_mut().flat_map(|given| std::mem::take(&mut given.train)).collect();
    let mut test: Vec<Sample> = given.into_iter().flat_map(|given| given.test).collect();
    notices.extend(to_one_size(root, &mut train, &mut test, options));
    match duplicate(train.iter().chain(&test)) {
        // Two pictures of a plain ground may well be alike.
        Some(twice) if found.format == Format::Picture => notices.push(twice),
        Some(twice) => bail!(twice),
        None => {}
    }
    let form = one_form(train.iter().chain(&test), options)?;
    Ok(Dataset { classes: found.classes, train, test, form, origin: None, notices })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Layout;
    use crate::dataset::array::tests::npy;
    use crate::dataset::sound::tests::wav;

    fn load(root: &Path, layout: Layout) -> Result<Dataset> {
        super::load(root, &layout.into())
    }

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
        // Alike by chance, which is said and not refused.
        assert!(data.notices[0].contains("good/0.png are the same file"), "{:?}", data.notices);
        assert_eq!(data.test[0].mask().map(|m| m.pixels[5]), Some(255));
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
        fs::write(root.join("train/good/b.png"), b"not an image").expect("written");
        assert!(refused(root).contains("b.png: not a readable"));
    }

    fn put_sized(root: &Path, file: &str, (width, height): (u32, u32), grey: u8) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        image::GrayImage::from_pixel(width, height, image::Luma([grey])).save(path).expect("saved");
    }

    #[test]
    fn pictures_of_other_sizes_are_brought_to_one_which_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        put_sized(root, "train/good/a.png", (30, 20), 100);
        put_sized(root, "train/good/b.png", (20, 30), 101);
        put_sized(root, "train/good/c.png", (25, 20), 102);
        put_sized(root, "test/good/a.png", (60, 60), 103);
        put_sized(root, "test/dent/a.png", (30, 20), 104);
        put_sized(root, "ground_truth/dent/a_mask.png", (30, 20), 1);
        let data = load(root, Layout::Auto).expect("loads");
        // As wide as the widest, as high as the highest to train on, but at most half again the median.
        assert_eq!(data.form, Form::Image(Size { width: 30, height: 30 }));
        for sample in data.train.iter().chain(&data.test) {
            let image = sample.image().expect("a picture");
            assert!(
                image.size == Size { width: 30, height: 30 }
                    && image.pixels.iter().all(|grey| *grey == image.pixels[0])
            );
        }
        let dent = data.test.iter().find(|sample| sample.label == 1).and_then(Sample::mask).expect("a mask");
        assert!(dent.size == Size { width: 30, height: 30 } && dent.pixels.iter().all(|grey| *grey == 255));
        assert!(data.notices[0].contains("5 of 5 pictures, 20 to 60 wide and 20 to 60 high"), "{:?}", data.notices);
        let wanted = Options { size: Some(vec![40, 50]), ..Options::default() };
        assert_eq!(with(root, wanted).expect("loads").form, Form::Image(Size { width: 40, height: 50 }));
        assert!(refused_with(root, Options { size: Some(vec![0, 50]), ..Options::default() }).contains("--size"));
    }

    #[test]
    fn class_folders_alone_are_parted_and_masks_lie_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for index in 0..10 {
            put(root, &format!("pack/MT_Free/Imgs/{index}.jpg"), 8, 100 + index);
            put(root, &format!("pack/MT_Free/Imgs/{index}.png"), 8, 0);
        }
        put(root, "pack/MT_Crack/Imgs/a.jpg", 8, 90);
        put(root, "pack/MT_Crack/Imgs/a.png", 8, 255);
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["good", "MT_Crack"]);
        let names = |samples: &[Sample]| samples.iter().map(|sample| sample.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&data.test).len(), 4);
        assert!(data.train.len() == 7 && data.train.iter().all(|sample| sample.label == 0 && sample.class == "good"));
        assert!(names(&data.train).iter().all(|name| name.ends_with(".jpg")));
        let crack = data.test.iter().find(|sample| sample.label == 1).expect("a crack");
        assert_eq!(crack.mask().map(|mask| mask.pixels[5]), Some(255));
        let half = with(root, Options { test_share: Some(0.5), ..Options::default() }).expect("loads");
        assert_eq!(half.train.len(), 5);
        // What no name says is asked for, with the folders that there are.
        fs::rename(root.join("pack/MT_Free"), root.join("pack/MT_Plain")).expect("renamed");
        let message = refused(root);
        assert!(message.contains("MT_Crack, MT_Plain") && message.contains("--good"), "{message}");
        let said = with(root, Options { good: Some("mt_plain".into()), ..Options::default() }).expect("loads");
        assert_eq!((said.classes[0].as_str(), said.train.len()), ("good", 7));
    }

    #[test]
    fn folders_of_parts_have_other_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for file in ["Train/ok_front/a.png", "Train/def_front/b.png", "Test/ok_front/c.png", "Test/def_front/d.png"] {
            put(root, file, 8, 100 + file.len() as u8);
        }
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["good", "def_front"]);
        assert_eq!(data.test.iter().map(|sample| sample.label).collect::<Vec<_>>(), [1, 0]);
        // A defect that nothing is known of in training leaves what is normal to learn.
        put(root, "Test/burr/e.png", 8, 99);
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["good", "burr", "def_front"]);
        assert!(data.train.iter().all(|sample| sample.label == 0) && data.test.len() == 3);
        put(root, "Train/normal/f.png", 8, 98);
        assert!(refused(root).contains("--good NAME"), "{}", refused(root));
    }

    fn sound(root: &Path, file: &str, bytes: &[u8]) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, bytes).expect("written");
    }

    /// A clip that differs by `seed` from all others.
    fn clip(seed: i16) -> Vec<u8> {
        wav(16_000, 1, &(0..400).map(|i| (i * 31 % 97 + seed) * 8).collect::<Vec<i16>>())
    }

    fn with(root: &Path, options: Options) -> Result<Dataset> {
        super::load(root, &options)
    }

    fn refused_with(root: &Path, options: Options) -> String {
        format!("{:#}", with(root, options).expect_err("refused"))
    }

    #[test]
    fn dcase_is_detected_and_its_names_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let names = [
            "train/section_00_source_train_normal_0000_vel_6.wav",
            "train/section_01_target_train_normal_0001.wav",
            "test/normal_id_02_00000000.wav",
            "test/anomaly_id_02_00000000.wav",
        ];
        for (seed, name) in (0..).zip(names) {
            sound(root, name, &clip(seed));
        }
        // Lists beside the sounds are no sounds.
        sound(root, "faults.csv", b"file,kind\n");
        sound(root, "test/attributes.csv", b"file,kind\n");
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["normal", "anomaly"]);
        assert_eq!(data.form, Form::Sound { rate: 16_000, channels: 1 });
        assert_eq!(data.sections(), ["id_02", "section_00", "section_01"]);
        assert_eq!(data.train[1].domain, Some(crate::dataset::Domain::Target));
        assert_eq!(
            data.test.iter().map(|s| (s.label, s.class.as_str())).collect::<Vec<_>>(),
            [(1, "anomaly"), (0, "normal")]
        );
        assert_eq!(data.test[1].sound().expect("a sound").samples[1], (31 + 2) * 8);
        let message = format!("{:#}", data.train[0].image().expect_err("no image"));
        assert!(message.contains("vel_6.wav: the data are sounds, the model takes images"), "{message}");
        assert!(data.size().is_err());
        assert_eq!(data.hash(), load(root, Layout::Dcase).expect("loads").hash());
        sound(root, "test/clip_7.wav", &clip(9));
        assert!(refused(root).contains("clip_7.wav: its name says neither normal nor anomaly"));
        fs::remove_file(root.join("test/clip_7.wav")).expect("removed");
        // The folder of several machines is no data set, but its error says where one is.
        let above = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(above.path().join("fan/train")).expect("created");
        fs::create_dir_all(above.path().join("pump/train")).expect("created");
        assert!(refused(above.path()).contains("fan has one, give that"), "{}", refused(above.path()));
    }

    #[test]
    fn sounds_lie_in_class_folders_as_images_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for (seed, file) in (0..).zip(["train/normal/a.wav", "test/good/a.wav", "test/knock/a.wav"]) {
            sound(root, file, &clip(seed));
        }
        let data = load(root, Layout::Auto).expect("loads");
        assert_eq!(data.classes, ["normal", "knock"]);
        assert_eq!(data.test.iter().map(|s| s.label).collect::<Vec<_>>(), [0, 1]);
        sound(root, "train/knock/b.wav", &clip(5));
        assert_eq!(load(root, Layout::Auto).expect("class folders").train.len(), 2);
        sound(root, "train/good/b.wav", &clip(6));
        assert!(refused(root).contains("one normal class"), "{}", refused(root));
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (a, b) = ("train/normal_a.wav", "train/normal_b.wav");
        sound(root, a, &clip(0));
        sound(root, b, &clip(0));
        let message = refused(root);
        assert!(message.contains("normal_a.wav") && message.contains("normal_b.wav are the same file"), "{message}");
        sound(root, b, &wav(8000, 1, &[1, 2, 3, 4]));
        let message = refused(root);
        assert!(
            message.contains("a.wav is 16000 Hz") && message.contains("b.wav is 8000 Hz; say the rate"),
            "{message}"
        );
        let rate = Options { rate: Some(16_000), ..Options::default() };
        let data = with(root, rate.clone()).expect("resampled");
        assert_eq!(data.train[1].sound().expect("a sound").frames(), 8);
        assert!(data.notices[0].contains("1 of 2 files resampled from 8000 to 16000 Hz"), "{:?}", data.notices);
        let message = refused_with(root, Options { no_resample: true, ..rate });
        assert!(message.contains("normal_b.wav: 8000 Hz, not 16000 Hz"), "{message}");
        sound(root, b, &wav(16_000, 2, &[1, 2, 3, 4]));
        assert!(refused(root).contains("b.wav is 16000 Hz, 2 channels; take one (--channel 0)"), "{}", refused(root));
        let one = with(root, Options { channel: Some(0), ..Options::default() }).expect("one channel");
        assert_eq!(one.train[1].sound().expect("a sound").samples, [1, 3]);
        let message = refused_with(root, Options { channel: Some(1), ..Options::default() });
        assert!(message.contains("normal_a.wav: no channel 1: it has 1"), "{message}");
        fs::write(root.join(b), &clip(3)[..300]).expect("written");
        assert!(
            refused(root).contains("normal_b.wav: its header says 400 frames, but there are 128"),
            "{}",
            refused(root)
        );
        fs::rename(root.join(b), root.join("train/normal_b.npy")).expect("renamed");
        let message = refused(root);
        assert!(message.contains("a.wav is a WAV sound") && message.contains("b.npy is an array"), "{message}");
        fs::rename(root.join("train/normal_b.npy"), root.join("train/0.png")).expect("renamed");
        assert!(refused(root).contains("0.png is an image"), "{}", refused(root));
        fs::remove_file(root.join("train/0.png")).expect("removed");
        fs::create_dir(root.join("test")).expect("created");
        assert!(refused(root).contains("test: no PNG"), "{}", refused(root));
    }

    #[test]
    fn features_have_one_shape() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let bytes = |seed: f32| (0..12).flat_map(|i| (seed + i as f32).to_le_bytes()).collect::<Vec<u8>>();
        sound(root, "train/normal_0.bin", &bytes(0.0));
        sound(root, "test/anomaly_0.bin", &bytes(1.0));
        let bands = Options { bands: Some(4), ..Options::default() };
        let data = with(root, bands.clone()).expect("loads");
        assert_eq!(data.form, Form::Features { frames: 3, bands: 4 });
        assert_eq!(data.test[0].features().expect("features").values[11], 12.0);
        let message = refused(root);
        assert!(message.contains("12 float32 values") && message.contains("--bands"), "{message}");
        sound(root, "test/normal_0.bin", &bytes(2.0)[..32]);
        let message = refused_with(root, bands.clone());
        assert!(message.contains("3 frames of 4 bands") && message.contains("2 frames of 4 bands"), "{message}");
        let mut bad = bytes(3.0);
        bad[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
        sound(root, "test/normal_0.bin", &bad);
        assert!(refused_with(root, bands).contains("normal_0.bin: frame 1, band 1 is NaN"));
        // The same as arrays, which say their shape.
        for (file, seed) in [("train/normal_0", 0.0), ("test/anomaly_0", 1.0), ("test/normal_0", 2.0)] {
            fs::remove_file(root.join(file).with_extension("bin")).expect("removed");
            let values: Vec<f64> = (0..12).map(|i| seed + f64::from(i)).collect();
            sound(root, &format!("{file}.npy"), &npy(&[3, 4], &values));
        }
        let arrays = load(root, Layout::Auto).expect("loads");
        assert_eq!(arrays.form, Form::Features { frames: 3, bands: 4 });
        assert_eq!(
            arrays.test[0].features().expect("features").values,
            data.test[0].features().expect("features").values
        );
        assert!(
            refused_with(root, Options { bands: Some(5), ..Options::default() }).contains("4 bands a frame, not 5")
        );
    }

    #[test]
    fn a_long_signal_is_split_by_time_without_overlap() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let values = |from: f32| (0..1000).map(|i| from + i as f32 / 1000.0).collect::<Vec<f32>>();
        sound(root, "normal_1797.npy", &npy(&[1000], &values(0.0)));
        sound(root, "inner_race.npy", &npy(&[1000], &values(-1.0)));
        let options = Options {
            file_rate: Some(48_000),
            full_scale: Some(1.0),
            window: Some(100),
            hop: Some(50),
            ..Options::default()
        };
        let data = with(root, options.clone()).expect("loads");
        assert_eq!(data.classes, ["normal", "inner_race"]);
        assert_eq!(data.form, Form::Sound { rate: 48_000, channels: 1 });
        // 700 frames hold 13 windows of 100, 50 apart; 300 hold 5.
        assert_eq!((data.train.len(), data.test.len()), (26, 10));
        let windows = |samples: &[Sample], label| -> Vec<Range<usize>> {
            samples.iter().filter(|s| s.label == label).filter_map(|s| s.window.clone()).collect()
        };
        for label in [0, 1] {
            let last = windows(&data.train, label).iter().map(|window| window.end).max();
            let first = windows(&data.test, label).iter().map(|window| window.start).min();
            assert_eq!((last, first), (Some(700), Some(700)));
        }
        let second = data.train.iter().find(|s| s.name == "normal_1797.npy@000000050").expect("the second window");
        assert_eq!(second.sound().expect("a sound").samples[0], 1638);
        let mut names: Vec<&str> = data.train.iter().map(|s| s.name.as_str()).collect();
        let given = names.clone();
        names.sort_unstable();
        assert_eq!(names, given);
        // Validation is the end, and what overlaps with it is left out.
        let (train, validation) = data.split_validation(1, 0.25).expect("splits");
        assert_eq!((train.len(), validation.len()), (18, 6));
        for label in [0, 1] {
            let ends = train.iter().filter(|s| s.label == label).filter_map(|s| Some(s.window.as_ref()?.end));
            let starts = validation.iter().filter(|s| s.label == label).filter_map(|s| Some(s.window.as_ref()?.start));
            assert!(ends.max() <= starts.min());
        }
        let whole = with(root, Options { window: None, hop: None, ..options.clone() }).expect("loads");
        assert_eq!((whole.train.len(), whole.test.len()), (2, 2));
        assert_eq!(whole.test[0].sound().expect("a sound").frames(), 300);
        let message = refused_with(root, Options { window: Some(400), ..options.clone() });
        assert!(
            message.contains(".npy: 1000 frames, 700 to train and 300 to test, hold no window of 400"),
            "{message}"
        );
        let message = refused_with(root, Options { full_scale: None, ..options.clone() });
        assert!(message.contains("say which value is full scale"), "{message}");
        let cut = with(root, Options { full_scale: Some(0.5), ..options.clone() }).expect("loads");
        assert!(cut.notices[0].contains("values lie beyond the full scale of 0.5"), "{:?}", cut.notices);
        fs::rename(root.join("normal_1797.npy"), root.join("reference.npy")).expect("renamed");
        assert!(refused_with(root, options.clone()).contains("none is normal"));
        let named = with(root, Options { good: Some("reference".into()), ..options }).expect("it is said which is");
        assert_eq!((named.classes[0].as_str(), named.train.len()), ("normal", 26));
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        sound(root, "train/normal_0.wav", &clip(1));
        let none = Options::default();
        for (options, named) in [
            (Options { rate: Some(0), ..none.clone() }, "--rate 0"),
            (Options { window: Some(0), ..none.clone() }, "--window 0"),
            (Options { hop: Some(5), ..none.clone() }, "--hop without --window"),
            (Options { test_share: Some(1.0), ..none.clone() }, "--test-share 1"),
            (Options { window: Some(500), ..none.clone() }, "400 frames hold no window of 500"),
            (Options { window: Some(200_000_000), hop: Some(1), ..none.clone() }, "give a longer --hop"),
        ] {
            let message = refused_with(root, options);
            assert!(message.contains(named), "{message}");
        }
        let windows = with(root, Options { window: Some(150), ..none.clone() }).expect("loads");
        assert_eq!(windows.train.iter().map(|s| s.window.clone()).collect::<Vec<_>>(), [Some(0..150), Some(150..300)]);
        // Of several files validation takes one as a whole, and half of another.
        sound(root, "train/normal_1.wav", &clip(2));
        sound(root, "train/normal_2.wav", &clip(3));
        let windows = with(root, Options { window: Some(100), ..none }).expect("loads");
        let parts = |seed| {
            let (train, validation) = windows.split_validation(seed, 0.5).expect("splits");
            assert_eq!((train.len(), validation.len()), (6, 6));
            let per_file = |n: usize| {
                let own = validation.iter().filter(|s| s.name.contains(&format!("normal_{n}")));
                own.filter_map(|s| Some(s.window.as_ref()?.start)).collect::<Vec<_>>()
            };
            [0, 1, 2].map(per_file)
        };
        for seed in 0..4 {
            let mut found = parts(seed);
            found.sort_by_key(Vec::len);
            assert_eq!(found, [vec![], vec![200, 300], vec![0, 100, 200, 300]]);
        }
        assert!((1..8).any(|seed| parts(seed) != parts(0)));
    }

    /// A folder of real data, where it is: in `../shared/data` beside the repository, or in NEJI_DATA.
    fn real(name: &str) -> Option<PathBuf> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let folder = std::env::var_os("NEJI_DATA").map_or_else(beside, PathBuf::from).join(name);
        if !folder.is_dir() {
            println!("skipped: no {}", folder.display());
            return None;
        }
        Some(folder)
    }

    #[test]
    fn real_slide_rails_are_ten_seconds_each() {
        let Some(root) = real("slider") else { return };
        let data = load(&root, Layout::Auto).expect("loads");
        assert_eq!((data.train.len(), data.test.len(), data.sections()), (75, 50, vec!["id_00"]));
        assert_eq!(data.form, Form::Sound { rate: 16_000, channels: 1 });
        assert_eq!(data.test.iter().filter(|s| s.label == 1).count(), 25);
        assert!(data.train.iter().all(|s| s.sound().is_ok_and(|s| s.frames() == 160_000)));
    }

    #[test]
    fn real_toy_cars_are_spectrograms() {
        let Some(root) = real("toycar") else { return };
        let data = with(&root, Options { bands: Some(128), ..Options::default() }).expect("loads");
        assert_eq!((data.train.len(), data.test.len()), (200, 100));
        assert_eq!(data.form, Form::Features { frames: 200, bands: 128 });
    }

    #[test]
    fn real_bearings_are_windows_of_four_classes() {
        let Some(root) = real("bearing") else { return };
        let options =
            Options { file_rate: Some(48_000), full_scale: Some(10.0), window: Some(2048), ..Options::default() };
        let data = with(&root, options).expect("loads");
        assert_eq!(data.classes[0], "normal");
        assert_eq!(data.classes.len(), 4);
        // 121,969 frames: 85,378 to train, 36,591 to test.
        assert_eq!((data.train.len(), data.test.len()), (4 * 41, 4 * 17));
    }

    #[test]
    fn real_temperatures_are_a_column() {
        let Some(root) = real("temperature") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let from = root.join("melbourne_daily_min_1981_1990.csv");
        fs::copy(&from, folder.path().join("normal.csv")).expect("copied");
        let options = Options {
            file_rate: Some(1),
            full_scale: Some(50.0),
            column: vec!["Temp".into()],
            window: Some(365),
            ..Options::default()
        };
        let data = with(folder.path(), options).expect("loads");
        assert_eq!(data.train[0].sound().expect("a signal").samples[0], (20.7 / 50.0 * 32_768.0f64).round() as i16);
    }
}
