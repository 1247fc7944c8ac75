//! Which files a data set has, and what their folders and names say of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::names::says_normal;
use super::{ANOMALY, GOOD, NORMAL, is_normal};

/// How a data set's folders are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// MVTec where `train` holds the normal folder alone or lacks a class of `test`, class folders where it holds others, DCASE where
    /// it holds files; without `train` flat where there are folders, signals where there are files.
    #[default]
    Auto,
    /// `train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/<name>_mask.png`.
    Mvtec,
    /// `train/<class>` and, if there is one, `test/<class>`.
    Classes,
    /// `train/normal_*`, `test/normal_*`, `test/anomaly_*`, or as later years have it `section_00_source_train_normal_*`.
    Dcase,
    /// `normal*` and others, each file one long signal of one class, of which the end is tested.
    Signals,
    /// `<class>` and no `train`: of the normal class a share that is evenly spread over the sorted files is tested, of others all.
    Flat,
}

/// Where a recording of DCASE comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The conditions of most training recordings.
    Source,
    /// Others.
    Target,
}

/// What a file is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Picture,
    Wav,
    Bin,
    Npy,
    Csv,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_lowercase();
        Some(match extension.as_str() {
            "png" | "jpg" | "jpeg" | "bmp" => Self::Picture,
            "wav" | "wave" => Self::Wav,
            "bin" => Self::Bin,
            "npy" => Self::Npy,
            "csv" => Self::Csv,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Picture => "an image",
            Self::Wav => "a WAV sound",
            Self::Bin => "a file of features (.bin)",
            Self::Npy => "an array (.npy)",
            Self::Csv => "a table (.csv)",
        }
    }
}

const READABLE: &str = "no PNG, JPEG or BMP images, WAV sounds, .bin features, .npy arrays or CSV tables";

/// A file of a data set.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) label: usize,
    pub(super) section: Option<String>,
    pub(super) domain: Option<Domain>,
}

/// All files of a data set.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) format: Format,
    pub(super) classes: Vec<String>,
    pub(super) train: Vec<File>,
    pub(super) test: Vec<File>,
    /// There may be masks.
    pub(super) masks: bool,
    /// `train` holds signals of which the end is tested; `test` is empty.
    pub(super) by_time: bool,
}

/// Entries of a folder, sorted; hidden ones are left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
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
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|p| p.is_dir()).collect())
}

/// Files of a folder that are read, sorted. A table beside other files is a list of them and left out.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        entries(folder)?.into_iter().filter(|p| p.is_file() && Format::of(p).is_some()).collect();
    if found.iter().any(|p| Format::of(p) != Some(Format::Csv)) {
        found.retain(|p| Format::of(p) != Some(Format::Csv));
    }
    found.retain(|p| !is_mask(p));
    Ok(found)
}

/// Pictures that a mask may lie beside.
const MASKED: [&str; 4] = ["jpg", "jpeg", "bmp", "png"];

/// Whether a picture is the mask of one beside it: `X.png` beside `X.jpg` or `X.bmp`, `X_mask.png` beside `X`.
pub fn is_mask(path: &Path) -> bool {
    let png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let beside = |stem: &str, extensions: &[&str]| {
        png && extensions.iter().any(|extension| path.with_file_name(format!("{stem}.{extension}")).is_file())
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    beside(&stem, &MASKED[..3]) || stem.strip_suffix("_mask").is_some_and(|stem| beside(stem, &MASKED))
}

/// Folders within a class's that are looked into.
const DEPTH_MAX: usize = 4;

/// As [`files`]; of a folder without any those of its folders.
fn files_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let own = files(folder)?;
    if !own.is_empty() || depth == 0 {
        return Ok(own);
    }
    let below: Vec<Vec<PathBuf>> =
        folders(folder)?.iter().map(|folder| files_below(folder, depth - 1)).collect::<Result<_>>()?;
    Ok(below.concat())
}

/// As [`files_below`], of a folder that must have some.
fn some_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = files_below(folder, DEPTH_MAX)?;
    ensure!(!found.is_empty(), "{}: {READABLE}; put some there or remove the folder", folder.display());
    Ok(found)
}

/// How folders and files are taken for normal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Naming<'a> {
    /// The name that is, where one is given; otherwise names say it.
    pub(super) good: Option<&'a str>,
}

impl Naming<'_> {
    fn normal(self, name: &str) -> bool {
        self.good.map_or_else(|| says_normal(name), |good| name.eq_ignore_ascii_case(good))
    }
}

/// The first of `names` that is a folder of `root`, whatever its capitals; `root/name` of the first where none is.
fn part_of(root: &Path, names: &[&str]) -> Result<PathBuf> {
    let found = folders(root)?;
    let named = |name: &&str| found.iter().find(|folder| file_name(folder).eq_ignore_ascii_case(name)).cloned();
    Ok(names.iter().find_map(named).unwrap_or_else(|| root.join(names[0])))
}

fn train_of(root: &Path) -> Result<PathBuf> {
    part_of(root, &["train", "training"])
}

fn test_of(root: &Path) -> Result<PathBuf> {
    part_of(root, &["test", "testing", "validation", "valid", "val"])
}

/// The folder within `root` that holds all, where archives have packed it into folders with nothing else.
fn unpacked(root: &Path) -> Result<PathBuf> {
    let mut root = root.to_owned();
    for _ in 0..DEPTH_MAX {
        match &folders(&root)?[..] {
            [only] if !train_of(&root)?.is_dir() && files(&root)?.is_empty() && !folders(only)?.is_empty() => {
                root.clone_from(only);
            }
            _ => break,
        }
    }
    Ok(root)
}

pub(super) fn find(root: &Path, layout: Layout, naming: Naming<'_>, test_share: f64) -> Result<Found> {
    ensure!(
        root.is_dir(),
        "{}: no such folder; `neji data screws --out DIR` and `neji data machine --out DIR` render one to try",
        root.display()
    );
    let root = &unpacked(root)?;
    let train = train_of(root)?;
    let layout = match layout {
        Layout::Auto => detect(root, &train, naming)?,
        given => given,
    };
    match layout {
        Layout::Signals => return signals(root, naming),
        Layout::Flat => return flat(root, naming, test_share),
        _ => {}
    }
    if !train.is_dir() {
        let own = folders(root)?;
        let machine = own.iter().find(|folder| train_of(folder).is_ok_and(|train| train.is_dir()));
        let machine = machine.cloned().or_else(|| own.iter().find_map(|folder| with_train(folder, 2)));
        let hint = match machine {
            Some(folder) => format!("; {} has one, give that", folder.display()),
            None if own.is_empty() => String::new(),
            None => format!(", and {}", unnamed(&own)),
        };
        bail!("{}: no folder `train`; training data go to train/{GOOD}{hint}", root.display());
    }
    match layout {
        Layout::Dcase => dcase(root, &train),
        _ => class_folders(root, &train, layout == Layout::Mvtec, naming),
    }
}

/// A folder below `folder` that has one to train on, or normal and other samples.
fn with_train(folder: &Path, depth: usize) -> Option<PathBuf> {
    if train_of(folder).ok()?.is_dir() {
        return Some(folder.to_owned());
    }
    let below = folders(folder).ok()?;
    (depth > 0).then(|| below.iter().find_map(|folder| with_train(folder, depth - 1))).flatten()
}

/// What is said where none of some folders is known as the normal one.
fn unnamed(folders: &[PathBuf]) -> String {
    let mut names: Vec<String> = folders.iter().take(8).map(|folder| file_name(folder)).collect();
    if folders.len() > names.len() {
        names.push(format!("{} more", folders.len() - names.len()));
    }
    format!(
        "none of the folders {} is named as the normal one, such as good, normal, ok or free; say which is by data_options.good or \
         --good NAME",
        names.join(", ")
    )
}

fn detect(root: &Path, train: &Path, naming: Naming<'_>) -> Result<Layout> {
    if !train.is_dir() {
        let normal = folders(root)?.iter().any(|folder| naming.normal(&file_name(folder)));
        return Ok(match (normal, files(root)?.is_empty()) {
            (true, _) => Layout::Flat,
            (false, true) => Layout::Auto,
            (false, false) => Layout::Signals,
        });
    }
    let own = folders(train)?;
    let known = |class: &PathBuf| {
        let name = file_name(class);
        naming.normal(&name) || own.iter().any(|folder| file_name(folder) == name)
    };
    let test = test_of(root)?;
    let tested = if test.is_dir() { folders(&test)? } else { Vec::new() };
    Ok(match own.len() {
        0 if !files(train)?.is_empty() => Layout::Dcase,
        1 => Layout::Mvtec,
        // Where the defects to test are others than those to train on, only what is normal is learned.
        _ if !tested.iter().all(known) => Layout::Mvtec,
        _ => Layout::Classes,
    })
}

/// The one format of all files.
fn format<'a>(all: impl Iterator<Item = &'a PathBuf>) -> Result<Format> {
    let mut first: Option<(&Path, Format)> = None;
    for path in all {
        let Some(format) = Format::of(path) else { continue };
        match first {
            None => first = Some((path, format)),
            Some((known, other)) if other != format => bail!(
                "kinds are mixed: {} is {}, {} is {}; keep one kind, move the others elsewhere",
                known.display(),
                other.name(),
                path.display(),
                format.name()
            ),
            Some(_) => {}
        }
    }
    first.map(|(_, format)| format).context("no files")
}

fn found(classes: Vec<String>, train: Vec<File>, test: Vec<File>, masks: bool) -> Result<Found> {
    let format = format(train.iter().chain(&test).map(|file| &file.path))?;
    Ok(Found { format, classes, train, test, masks, by_time: false })
}

/// The normal class's name: the folder's where it is one of ours, so that whoever reads it knows.
fn normal_class(folder: &str) -> String {
    if is_normal(folder) { folder.to_owned() } else { GOOD.to_owned() }
}

/// Class folders that are not parted into training and test.
fn flat(root: &Path, naming: Naming<'_>, test_share: f64) -> Result<Found> {
    let own = folders(root)?;
    let (normal, others): (Vec<PathBuf>, Vec<PathBuf>) =
        own.iter().cloned().partition(|folder| naming.normal(&file_name(folder)));
    ensure!(!normal.is_empty(), "{}: {}", root.display(), unnamed(&own));
    if let [one, other, ..] = &normal[..] {
        bail!("{}", two_normal(one, other));
    }
    let mut classes = vec![normal_class(&file_name(&normal[0]))];
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let file = |path, label| File { path, label, section: None, domain: None };
    for (index, path) in some_files(&normal[0])?.into_iter().enumerate() {
        let tested = |count: usize| (count as f64 * test_share).floor() as usize;
        let part = if tested(index + 1) > tested(index) { &mut test } else { &mut train };
        part.push(file(path, 0));
    }
    for folder in others {
        // Folders of lists and scripts hold no samples.
        let found = files_below(&folder, DEPTH_MAX)?;
        if !found.is_empty() {
            classes.push(file_name(&folder));
            test.extend(found.into_iter().map(|path| file(path, classes.len() - 1)));
        }
    }
    ensure!(!train.is_empty(), "{}: one normal file; there must be some to train on", normal[0].display());
    found(classes, train, test, true)
}

fn two_normal(one: &Path, other: &Path) -> String {
    format!(
        "{} and {}: one normal class; put them into one folder, or say which is by data_options.good or --good NAME",
        one.display(),
        other.display()
    )
}

fn class_folders(root: &Path, train_root: &Path, mvtec: bool, naming: Naming<'_>) -> Result<Found> {
    let test_root = test_of(root)?;
    let mut train = folders(train_root)?;
    let test = if test_root.is_dir() { folders(&test_root)? } else { Vec::new() };
    let normal = |p: &PathBuf| naming.normal(&file_name(p));
    for (part, found, what) in [(train_root, &train, "training"), (&test_root, &test, "test")] {
        let all: Vec<&PathBuf> = found.iter().filter(|p| normal(p)).collect();
        if let [one, other, ..] = all[..] {
            bail!("{}", two_normal(one, other));
        }
        // There need not be a test part.
        ensure!(
            !all.is_empty() || (what == "test" && found.is_empty()),
            "{}: no folder `{GOOD}` or `{NORMAL}`; normal {what} data go to {}/{GOOD}{}",
            part.display(),
            file_name(part),
            if found.is_empty() { String::new() } else { format!("; {}", unnamed(found)) }
        );
    }
    let first = train.iter().find(|p| normal(p)).map(|p| normal_class(&file_name(p))).unwrap_or_default();
    if mvtec {
        train.retain(normal);
    }
    let mut classes: Vec<String> = train.iter().chain(&test).filter(|p| !normal(p)).map(|p| file_name(p)).collect();
    classes.sort();
    classes.dedup();
    if !mvtec {
        ensure!(
            !classes.is_empty(),
            "{}: one class only; a classifier needs a folder for each class",
            train_root.display()
        );
        let known = |n: &String| train.iter().any(|p| file_name(p) == **n);
        if let Some(stranger) = classes.iter().find(|n| !known(n)) {
            bail!("{}: class `{stranger}` is not in {}", test_root.display(), train_root.display());
        }
    }
    classes.insert(0, first);
    let part = |folders: Vec<PathBuf>| -> Result<Vec<File>> {
        let mut all = Vec::new();
        for folder in folders {
            // The normal class may have another name here.
            let known = || classes.iter().position(|class| *class == file_name(&folder)).unwrap_or(0);
            let label = if normal(&folder) { 0 } else { known() };
            let files = some_files(&folder)?.into_iter();
            all.extend(files.map(|path| File { path, label, section: None, domain: None }));
        }
        Ok(all)
    };
    let (train, test) = (part(train)?, part(test)?);
    found(classes, train, test, true)
}

/// Label, section and domain that a name of DCASE's says, such as `anomaly_id_02_00000013.wav` or
/// `section_00_target_test_normal_0003_vel_8.wav`.
fn parsed(path: PathBuf) -> Result<File> {
    let name = path.file_stem().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let words: Vec<&str> = name.split('_').collect();
    let label = words.iter().find_map(|word| match *word {
        word if is_normal(word) => Some(0),
        ANOMALY | "abnormal" => Some(1),
        _ => None,
    });
    let label = label.with_context(|| {
        format!(
            "{}: its name says neither {NORMAL} nor {ANOMALY}; DCASE names files normal_id_00_00000000.wav or \
             section_00_source_train_normal_0000.wav",
            path.display()
        )
    })?;
    let section = words.windows(2).find_map(|pair| match pair {
        [kind @ ("id" | "section"), number] if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
            Some(format!("{kind}_{number}"))
        }
        _ => None,
    });
    // Attributes come after the label; what they say is no domain.
    let domain = words.iter().take_while(|word| !is_normal(word) && **word != ANOMALY).find_map(|word| match *word {
        "source" => Some(Domain::Source),
        "target" => Some(Domain::Target),
        _ => None,
    });
    Ok(File { path, label, section, domain })
}

fn dcase(root: &Path, train_root: &Path) -> Result<Found> {
    let train = some_files(train_root)?;
    // In 2021 each domain had a folder.
    let mut test = Vec::new();
    for folder in ["test", "source_test", "target_test"].map(|name| root.join(name)) {
        if folder.is_dir() {
            test.extend(some_files(&folder)?);
        }
    }
    // First: a file of another kind has seldom a name that says something.
    format(train.iter().chain(&test))?;
    let labelled = |files: Vec<PathBuf>| files.into_iter().map(parsed).collect::<Result<Vec<File>>>();
    let (train, test) = (labelled(train)?, labelled(test)?);
    ensure!(
        train.iter().any(|file| file.label == 0),
        "{}: no normal files; those to train on are named {NORMAL}_*",
        train_root.display()
    );
    found(vec![NORMAL.to_owned(), ANOMALY.to_owned()], train, test, false)
}

fn signals(root: &Path, naming: Naming<'_>) -> Result<Found> {
    let all = some_files(root)?;
    format(all.iter())?;
    let stem = |path: &PathBuf| path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let first_word =
        |path: &PathBuf| stem(path).to_lowercase().split(['_', '-', '.', ' ']).next().unwrap_or_default().to_owned();
    let normal = |path: &PathBuf| match naming.good {
        Some(_) => naming.normal(&stem(path)),
        None => says_normal(first_word(path).trim_end_matches(|c: char| c.is_ascii_digit())),
    };
    ensure!(
        all.iter().any(normal),
        "{}: no folder `train`, and of its files none is normal; name one {NORMAL}*, say which is by --good NAME, or lay \
         the files out as train/{GOOD}",
        root.display()
    );
    let mut classes: Vec<String> = all.iter().filter(|path| !normal(path)).map(stem).collect();
    classes.sort();
    classes.dedup();
    classes.insert(0, NORMAL.to_owned());
    let file = |path: PathBuf| {
        let label = if normal(&path) { 0 } else { classes.iter().position(|class| *class == stem(&path)).unwrap_or(0) };
        File { path, label, section: None, domain: None }
    };
    let train: Vec<File> = all.into_iter().map(file).collect();
    let found = found(classes, train, Vec::new(), false)?;
    ensure!(
        matches!(found.format, Format::Wav | Format::Npy | Format::Csv),
        "{}: no folder `train`; training data go to train/{GOOD}",
        root.display()
    );
    Ok(Found { by_time: true, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> (usize, Option<String>, Option<Domain>) {
        let file = parsed(PathBuf::from(path)).expect("labelled");
        (file.label, file.section, file.domain)
    }

    #[test]
    fn names_of_all_years_are_understood() {
        let section = |name: &str| Some(name.to_owned());
        assert_eq!(names("normal_id_00_00000007.wav"), (0, section("id_00"), None));
        assert_eq!(names("anomaly_id_04_00000001_hist_librosa.bin"), (1, section("id_04"), None));
        assert_eq!(
            names("section_00_source_train_normal_0000_vel_6.wav"),
            (0, section("section_00"), Some(Domain::Source))
        );
        assert_eq!(names("section_02_target_test_anomaly_0049.wav"), (1, section("section_02"), Some(Domain::Target)));
        // An attribute is no domain, and no section.
        assert_eq!(names("section_01_source_test_normal_0001_noise_target_id_9.wav").2, Some(Domain::Source));
        assert_eq!(names("normal_0001_target.wav"), (0, None, None));
        let message = parsed(PathBuf::from("section_03_0000.wav")).expect_err("no label").to_string();
        assert!(message.contains("section_03_0000.wav: its name says neither"), "{message}");
    }
}
