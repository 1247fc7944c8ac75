//! What a network can learn where nobody has labels: to say what was done to an input.
//!
//! Each task is a set of changes; class 0 is the input as it is, and the others are the changes of all tasks one after the other. To tell
//! them apart a network has to know what is where on a part, or what a machine sounds like, and its layers are then worth measuring
//! distances in: turns (Gidaris, Singh and Komodakis, "Unsupervised representation learning by predicting image rotations", ICLR 2018;
//! Golan and El-Yaniv, "Deep anomaly detection using geometric transformations", NeurIPS 2018), the place of a patch (after Doersch, Gupta
//! and Efros, "Unsupervised visual representation learning by context prediction", ICCV 2015, who ask for one relative to another), which
//! augmentation, and which made defect (after Li et al., "CutPaste", CVPR 2021). Inputs are what the front end gives, pictures of one
//! channel or windows of a spectrogram, rows of bands.

use anyhow::{Result, ensure};
use neji_format::Size;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::augment::image::{bilinear, blurred, gauss};
use crate::synthetic::{input_kinds, of_kind};

/// A task, `train.pretext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pretext {
    /// Turned by quarters. What is not square, or is a part that was aligned, is mirrored instead along either axis and along both, which
    /// is half a turn; of sounds that is backwards in time, and low for high.
    Rotation,
    /// All but one patch, which is moved to the middle, is flat: which of nine places it is from. Of sounds, which have no place in time,
    /// which of four parts of the spectrum.
    PatchPosition,
    /// Blurred, noisy, of higher contrast, stretched either way.
    Augmentation,
    /// A made defect, by its kind.
    Defects,
}

/// A change of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// Quarters of a turn, 1 to 3.
    Turned(u8),
    /// Mirrored along rows, columns or both.
    Mirrored {
        rows: bool,
        columns: bool,
    },
    /// The patch at this place of as many; rows and columns.
    Patch {
        at: [usize; 2],
        of: [usize; 2],
    },
    Blurred,
    Noisy,
    Contrast,
    /// By the reciprocal the other way.
    Stretched {
        rows: bool,
    },
    /// The kind's number.
    Defect(usize),
}

/// What inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Grey levels from 0 to 1; `aligned` says that a part was turned and cut out.
    Picture {
        /// See there.
        aligned: bool,
    },
    /// Rows of bands.
    Spectrogram,
}

/// The changes of some tasks, for inputs of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    all: Vec<Change>,
    size: Size,
    form: Form,
}

/// Deviation of a blur in pixels.
const BLUR: [f32; 2] = [0.8, 1.6];
/// Deviation of noise as a share of the input's own.
const NOISE: [f32; 2] = [0.2, 0.6];
/// Factor of contrast.
const CONTRAST: [f32; 2] = [1.3, 2.0];
/// Factor of a length.
const STRETCH: [f32; 2] = [1.2, 1.5];
/// Places of a patch along each axis of a picture, and along the bands of a spectrogram.
const PLACES: [usize; 2] = [3, 4];
/// Pixels that a patch has along each axis where it is cut.
const PATCH_MIN: usize = 3;

impl Changes {
    /// Of inputs of `height` rows by `width`.
    ///
    /// # Errors
    /// An input that is too small for a task: names both.
    pub fn new(tasks: &[Pretext], height: usize, width: usize, form: Form) -> Result<Self> {
        let mut all = Vec::new();
        for task in tasks {
            match task {
                Pretext::Rotation => {
                    ensure!(
                        height > 1 && width > 1,
                        "train.pretext = rotation, but an input of {width}x{height} is a line, which has no turns; take it out"
                    );
                    if height == width && form == (Form::Picture { aligned: false }) {
                        all.extend((1..4).map(Change::Turned));
                    } else {
                        let mirrored = [(true, false), (false, true), (true, true)];
                        all.extend(mirrored.map(|(rows, columns)| Change::Mirrored { rows, columns }));
                    }
                }
                Pretext::PatchPosition => {
                    let of = match form {
                        Form::Picture { .. } => [PLACES[0]; 2],
                        Form::Spectrogram => [1, PLACES[1]],
                    };
                    ensure!(
                        (of[0] == 1 || height >= of[0] * PATCH_MIN) && width >= of[1] * PATCH_MIN,
                        "train.pretext = patch_position cuts {} by {} patches of {PATCH_MIN} pixels or more, too many for an input of \
                         {width}x{height}; take it out, or enlarge the input",
                        of[1],
                        of[0]
                    );
                    all.extend((0..of[0] * of[1]).map(|i| Change::Patch { at: [i / of[1], i % of[1]], of }));
                }
                Pretext::Augmentation => {
                    let stretched = [true, false].map(|rows| Change::Stretched { rows });
                    all.extend([Change::Blurred, Change::Noisy, Change::Contrast].into_iter().chain(stretched));
                }
                Pretext::Defects => {
                    all.extend((0..input_kinds(form != Form::Spectrogram)).map(Change::Defect));
                }
            }
        }
        Ok(Self { all, size: Size { width: width as u16, height: height as u16 }, form })
    }

    /// Of the input as it is and of each change.
    pub fn classes(&self) -> usize {
        self.all.len() + 1
    }

    /// `input` as `class` has it, below [`Changes::classes`], and its class: 0 where it has no place for the change.
    pub fn apply(&self, input: Vec<f32>, class: usize, rng: &mut ChaCha8Rng) -> (Vec<f32>, usize) {
        let Some(&change) = class.checked_sub(1).and_then(|index| self.all.get(index)) else { return (input, 0) };
        let (height, width) = (usize::from(self.size.height), usize::from(self.size.width));
        let moved = |from: &dyn Fn(usize, usize) -> usize| -> Vec<f32> {
            (0..input.len()).map(|i| input[from(i / width, i % width)]).collect()
        };
        let mut between = |[low, high]: [f32; 2]| rng.random_range(low..=high);
        let mut changed = match change {
            // Square: the width is the height.
            Change::Turned(1) => moved(&|y, x| (width - 1 - x) * width + y),
            Change::Turned(2) => moved(&|y, x| (height - 1 - y) * width + width - 1 - x),
            Change::Turned(_) => moved(&|y, x| x * width + width - 1 - y),
            Change::Mirrored { rows, columns } => moved(&|y, x| {
                let (y, x) = (if rows { height - 1 - y } else { y }, if columns { width - 1 - x } else { x });
                y * width + x
            }),
            Change::Patch { at, of } => patch(&input, [height, width], at, of),
            Change::Blurred => blurred(&input, height, width, between(BLUR)),
            Change::Noisy => {
                let deviation = between(NOISE) * moments(&input).1;
                input.iter().map(|value| value + deviation * gauss(rng)).collect()
            }
            Change::Contrast => {
                let (mean, factor) = (moments(&input).0, between(CONTRAST));
                input.iter().map(|value| mean + (value - mean) * factor).collect()
            }
            Change::Stretched { rows } => {
                let factor = between(STRETCH).sqrt();
                let by = if rows { [1.0 / factor, factor] } else { [factor, 1.0 / factor] };
                stretched(&input, [height, width], by)
            }
            Change::Defect(kind) => match of_kind(&input, self.size, self.form != Form::Spectrogram, kind, rng) {
                Some(made) => made,
                None => return (input, 0),
            },
        };
        if self.form != Form::Spectrogram {
            changed.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        }
        (changed, class)
    }
}

/// Mean and deviation.
fn moments(values: &[f32]) -> (f32, f32) {
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt())
}

/// The patch at place `at` of `of`, in the middle of a flat input of the patch's mean.
fn patch(input: &[f32], size: [usize; 2], at: [usize; 2], of: [usize; 2]) -> Vec<f32> {
    let [height, width] = size;
    let part = |axis: usize| (size[axis] * at[axis] / of[axis], size[axis] / of[axis]);
    let ((top, rows), (left, columns)) = (part(0), part(1));
    let line = |y: usize| &input[(top + y) * width + left..][..columns];
    let mean = moments(&(0..rows).flat_map(|y| line(y).iter().copied()).collect::<Vec<f32>>()).0;
    let mut out = vec![mean; input.len()];
    let (down, right) = ((height - rows) / 2, (width - columns) / 2);
    for y in 0..rows {
        out[(down + y) * width + right..][..columns].copy_from_slice(line(y));
    }
    out
}

/// Read `by` times as fast from the middle along each axis.
fn stretched(input: &[f32], [height, width]: [usize; 2], by: [f32; 2]) -> Vec<f32> {
    let middle = |length: usize| (length as f32 - 1.0) / 2.0;
    let from = |at: usize, length: usize, by: f32| (at as f32 - middle(length)) * by + middle(length);
    (0..input.len())
        .map(|i| bilinear(input, height, width, from(i % width, width, by[1]), from(i / width, height, by[0])))
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const PICTURE: Form = Form::Picture { aligned: false };

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(5)
    }

    fn apply(changes: &Changes, input: &[f32], class: usize) -> Vec<f32> {
        let (changed, said) = changes.apply(input.to_vec(), class, &mut rng());
        assert_eq!(said, class);
        changed
    }

    #[test]
    fn a_square_picture_is_turned_and_others_are_mirrored() {
        let input = [1.0, 2.0, 3.0, 4.0].map(|value| value / 4.0);
        let turned = |form, class| {
            let changes = Changes::new(&[Pretext::Rotation], 2, 2, form).expect("square");
            assert_eq!(changes.classes(), 4);
            apply(&changes, &input, class).iter().map(|value| (value * 4.0) as u8).collect::<Vec<u8>>()
        };
        assert_eq!(turned(PICTURE, 0), [1, 2, 3, 4]);
        assert_eq!(turned(PICTURE, 1), [3, 1, 4, 2]);
        assert_eq!(turned(PICTURE, 2), [4, 3, 2, 1]);
        assert_eq!(turned(PICTURE, 3), [2, 4, 1, 3]);
        let aligned = Form::Picture { aligned: true };
        for form in [aligned, Form::Spectrogram] {
            assert_eq!(turned(form, 1), [3, 4, 1, 2]);
            assert_eq!(turned(form, 2), [2, 1, 4, 3]);
            assert_eq!(turned(form, 3), [4, 3, 2, 1]);
        }
    }

    #[test]
    fn a_patch_is_seen_alone_in_the_middle() {
        let input: Vec<f32> = (0..81).map(|i| (i / 9 * 10 + i % 9) as f32 / 100.0).collect();
        let changes = Changes::new(&[Pretext::PatchPosition], 9, 9, PICTURE).expect("large enough");
        assert_eq!(changes.classes(), 10);
        // Class 6 is the second row's last: rows 3 to 5, columns 6 to 8, whose mean is 0.47.
        let seen = apply(&changes, &input, 6);
        for (i, value) in seen.iter().enumerate() {
            let (y, x) = (i / 9, i % 9);
            let inside = (3..6).contains(&y) && (3..6).contains(&x);
            let expected = if inside { (y * 10 + x + 3) as f32 / 100.0 } else { 0.47 };
            assert!((value - expected).abs() < 1e-6, "{y}, {x}: {value}");
        }
        let bands = Changes::new(&[Pretext::PatchPosition], 1, 12, Form::Spectrogram).expect("a line of bands will do");
        assert_eq!(bands.classes(), 5);
    }

    #[test]
    fn each_class_is_another_change_and_a_seed_repeats() {
        let all = [Pretext::Rotation, Pretext::PatchPosition, Pretext::Augmentation, Pretext::Defects];
        let input: Vec<f32> = (0..24 * 20).map(|i| (i * 7919 % 251) as f32 / 255.0).collect();
        for (form, classes) in [(PICTURE, 1 + 3 + 9 + 5 + 7), (Form::Spectrogram, 1 + 3 + 4 + 5 + 4)] {
            let changes = Changes::new(&all, 20, 24, form).expect("large enough");
            assert_eq!(changes.classes(), classes);
            let made: Vec<Vec<f32>> = (0..classes).map(|class| apply(&changes, &input, class)).collect();
            for (i, one) in made.iter().enumerate() {
                assert_eq!(*one, apply(&changes, &input, i));
                assert!(made[..i].iter().all(|other| other != one), "{form:?}: class {i}");
                assert!(form == Form::Spectrogram || one.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }

    #[test]
    fn stretching_keeps_the_middle_and_contrast_the_mean() {
        let input: Vec<f32> = (0..25).map(|i| 0.3 + (i % 5) as f32 * 0.05).collect();
        let changes = Changes::new(&[Pretext::Augmentation], 5, 5, PICTURE).expect("any size");
        // Wider: what was one column from the middle is further away, so the outer columns differ less from it.
        let wide = apply(&changes, &input, 5);
        assert!((wide[12] - 0.4).abs() < 1e-6 && wide[14] < 0.5 - 1e-3 && wide[14] > 0.4);
        let (mean, deviation) = moments(&apply(&changes, &input, 3));
        let (was, before) = moments(&input);
        assert!((mean - was).abs() < 1e-6 && (1.3..=2.0).contains(&(deviation / before)), "{deviation} {before}");
    }

    #[test]
    fn what_is_too_small_is_refused() {
        let said =
            |task, height, width| Changes::new(&[task], height, width, Form::Spectrogram).map_err(|e| e.to_string());
        assert!(said(Pretext::Rotation, 1, 40).is_err_and(|error| error.contains("40x1")));
        assert!(said(Pretext::PatchPosition, 5, 11).is_err_and(|error| error.contains("patch_position")));
        assert!(said(Pretext::PatchPosition, 1, 12).is_ok());
        assert!(Changes::new(&[Pretext::PatchPosition], 8, 40, PICTURE).is_err());
    }
}
