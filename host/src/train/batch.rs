//! Images in memory, shuffled and augmented by the seed.

use burn::tensor::{Device, Tensor, TensorData};
use neji_format::Size;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::augment::Augmenter;
use crate::model::ImageSize;
use crate::pretext::Changes;
use crate::residual::Residual;
use crate::synthetic::{Learned, Marked, on_picture};

/// Images as the model takes them, each `height * width` values from 0 to 1, and their classes.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// Pixels of each image.
    pub pixels: Vec<Vec<f32>>,
    /// Class of each image.
    pub labels: Vec<usize>,
    /// Copies of each image that an epoch has beside it, of class 1, with a defect that is drawn when they are seen.
    pub defects: usize,
    /// Those that are drawn.
    pub learned: Learned,
    /// What is seen of the images at last, where it is not they themselves.
    pub residual: Option<Residual>,
}

/// Random numbers of an epoch: the same however many epochs this process has run before, so that a resumed training is
/// the uninterrupted one.
pub fn epoch_rng(seed: u64, epoch: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    rng
}

/// Indices of an epoch's images in random order.
pub fn order(count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(rng);
    order
}

/// What a step of training sees.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[batch, 1, height, width]`.
    pub images: Tensor<4>,
    /// Class of each image.
    pub labels: Vec<usize>,
    /// Whether each pixel belongs to a defect, one image after the other; none where nobody knows.
    pub marks: Option<Vec<bool>>,
}

/// An image of a batch.
struct Seen {
    pixels: Vec<f32>,
    label: usize,
    marks: Vec<bool>,
}

fn tensor(pixels: Vec<f32>, images: usize, size: ImageSize, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(pixels, [images, 1, size.height, size.width]), device)
}

impl Images {
    /// The mean image.
    pub fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0_f64; self.pixels.first().map_or(0, Vec::len)];
        for image in &self.pixels {
            mean.iter_mut().zip(image).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter().map(|sum| (sum / self.pixels.len() as f64) as f32).collect()
    }

    /// The images at `indices` as they are, or as they were made to be seen.
    pub fn plain(&self, indices: &[usize], size: ImageSize, device: &Device) -> Batch {
        let pixels = indices.iter().map(|&index| &self.pixels[index][..]).collect::<Vec<_>>().concat();
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Batch { images: tensor(pixels, indices.len(), size, device), labels, marks: None }
    }

    /// How many images an epoch has.
    pub fn count(&self) -> usize {
        self.pixels.len() * (1 + self.defects)
    }

    /// The images at `indices`, below [`Images::count`], augmented: first all as they are, then all with a defect, as often as asked.
    /// One that has no place for a defect keeps its class. With `changes` each has one of those beside, and its class is which.
    pub fn changed(
        &self,
        indices: &[usize],
        size: ImageSize,
        augmenter: &Augmenter,
        changes: Option<&Changes>,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Batch {
        // Each image has a seed of its own, so that all may be made at once.
        let drawn: Vec<(usize, u64)> = indices.iter().map(|&index| (index, rng.random())).collect();
        let all: Vec<Seen> =
            (drawn.par_iter()).map(|&(index, seed)| self.seen(index, size, augmenter, changes, seed)).collect();
        let labels = all.iter().map(|seen| seen.label).collect();
        let marks = (self.defects > 0).then(|| all.iter().flat_map(|seen| seen.marks.iter().copied()).collect());
        let pixels = all.into_iter().flat_map(|seen| seen.pixels).collect();
        Batch { images: tensor(pixels, indices.len(), size, device), labels, marks }
    }

    /// The images with a change each, drawn once, and which it was: what a network that learns changes is validated on.
    pub fn asked(&self, changes: &Changes, seed: u64) -> Self {
        let one = |(index, pixels): (usize, &Vec<f32>)| {
            // Those of validation have a stream of their own, which no epoch has.
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ index as u64);
            rng.set_stream(0);
            changes.apply(pixels.clone(), index % changes.classes(), &mut rng)
        };
        let (pixels, labels) = self.pixels.par_iter().enumerate().map(one).unzip();
        Self { pixels, labels, ..Self::default() }
    }

    fn seen(&self, index: usize, size: ImageSize, augmenter: &Augmenter, changes: Option<&Changes>, seed: u64) -> Seen {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (round, index) = (index / self.pixels.len(), index % self.pixels.len());
        let other = |rng: &mut ChaCha8Rng| &self.pixels[self.another(index, rng)][..];
        let pixels = augmenter.change(&self.pixels[index], &mut rng, other);
        if let Some(changes) = changes {
            let class = rng.random_range(0..changes.classes());
            let (pixels, label) = changes.apply(pixels, class, &mut rng);
            return Seen { marks: vec![false; pixels.len()], pixels, label };
        }
        let picture = Size { width: size.width as u16, height: size.height as u16 };
        let made = if round > 0 { on_picture(&pixels, picture, &self.learned, &mut rng) } else { None };
        let mut seen = match made {
            Some(Marked { pixels, marks }) => Seen { pixels, label: 1, marks },
            None => Seen { marks: vec![false; pixels.len()], pixels, label: self.labels[index] },
        };
        if let Some(residual) = &self.residual {
            seen.pixels = residual.of(index, &seen.pixels);
        }
        seen
    }

    /// Any image of the same class; itself where there is no other.
    fn another(&self, index: usize, rng: &mut ChaCha8Rng) -> usize {
        // Not a list of each class: few draws find one, as classes are few.
        loop {
            let other = rng.random_range(0..self.labels.len());
            if self.labels[other] == self.labels[index] {
                return other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Augment;
    use crate::frontend::Fitted;

    #[test]
    fn epochs_differ_and_repeat() {
        let order = |epoch| order(50, &mut epoch_rng(7, epoch));
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let images = Images { pixels: vec![vec![0.0, 1.0], vec![1.0, 1.0]], labels: vec![0, 0], ..Images::default() };
        assert_eq!(images.mean(), [0.5, 1.0]);
    }

    #[test]
    fn another_image_is_of_the_same_class() {
        let images = Images { pixels: vec![vec![0.0]; 4], labels: vec![0, 1, 0, 2], ..Images::default() };
        let mut rng = epoch_rng(1, 0);
        let seen: Vec<usize> = (0..20).map(|_| images.another(0, &mut rng)).collect();
        assert!(seen.contains(&0) && seen.contains(&2) && seen.iter().all(|index| images.labels[*index] == 0));
        assert_eq!(images.another(3, &mut rng), 3);
    }

    #[test]
    fn changes_are_drawn_anew_and_their_classes_are_what_was_done() {
        let size = ImageSize { height: 2, width: 3 };
        let images = Images { pixels: vec![vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], labels: vec![0], ..Images::default() };
        let form = crate::pretext::Form::Picture { aligned: true };
        let changes = Changes::new(&[crate::pretext::Pretext::Rotation], 2, 3, form).expect("large enough");
        let augmenter = Augmenter::new(&Augment::default(), &Fitted::Raw, 2, 3);
        let seen = |epoch| {
            let mut rng = epoch_rng(3, epoch);
            let batch = images.changed(&[0; 16], size, &augmenter, Some(&changes), &mut rng, &Device::default());
            assert!(batch.marks.is_none());
            (batch.images.into_data().try_into_vec_as::<f32>().expect("floats"), batch.labels)
        };
        let (pixels, labels) = seen(0);
        for (pixels, label) in pixels.chunks(6).zip(&labels) {
            assert_eq!(pixels[0], [0.1, 0.4, 0.3, 0.6][*label]);
        }
        assert!((0..4).all(|class| labels.contains(&class)));
        assert_eq!(seen(0).1, labels);
        assert_ne!(seen(1).1, labels);
        let many = Images { pixels: vec![images.pixels[0].clone(); 5], labels: vec![0; 5], ..Images::default() };
        assert_eq!(many.asked(&changes, 9).labels, [0, 1, 2, 3, 0]);
    }

    #[test]
    fn defects_are_marked_and_drawn_anew_in_every_epoch() {
        let size = ImageSize { height: 20, width: 32 };
        let image = |from: usize| (0..20 * 32).map(|i| ((i + from) * 7919 % 251) as f32 / 255.0).collect();
        let images = Images { pixels: vec![image(0), image(9)], labels: vec![0, 0], defects: 2, ..Images::default() };
        assert_eq!(images.count(), 6);
        let augmenter = Augmenter::new(&Augment::default(), &Fitted::Raw, size.height, size.width);
        let seen = |epoch| {
            let (indices, device) = ([0, 5, 1, 2], Device::default());
            let Batch { images, labels, marks } =
                images.changed(&indices, size, &augmenter, None, &mut epoch_rng(3, epoch), &device);
            let pixels = images.into_data().try_into_vec_as::<f32>().expect("floats");
            (pixels, labels, marks.expect("defects are marked"))
        };
        let (pixels, labels, marks) = seen(0);
        assert_eq!(labels, [0, 1, 0, 1]);
        for (place, origin) in [0, 1, 1, 0].into_iter().enumerate() {
            let part = place * 640..(place + 1) * 640;
            let changed: Vec<bool> =
                pixels[part.clone()].iter().zip(&images.pixels[origin]).map(|(now, was)| now != was).collect();
            assert_eq!(changed, marks[part], "image {place}");
            assert_eq!(changed.contains(&true), labels[place] == 1, "image {place}");
        }
        assert_eq!(seen(0).0, pixels);
        assert_ne!(seen(1).0, pixels);
    }
}
