//! Images in memory, shuffled and augmented by the seed.

use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::augment::Augmenter;
use crate::model::ImageSize;

/// Images as the model takes them, each `height * width` values from 0 to 1, and their classes.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// Pixels of each image.
    pub pixels: Vec<Vec<f32>>,
    /// Class of each image.
    pub labels: Vec<usize>,
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

impl Images {
    /// The mean image.
    pub fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0_f64; self.pixels.first().map_or(0, Vec::len)];
        for image in &self.pixels {
            mean.iter_mut().zip(image).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter().map(|sum| (sum / self.pixels.len() as f64) as f32).collect()
    }

    /// The images at `indices` as `[batch, 1, height, width]`, augmented where there is a random number generator.
    pub fn batch(
        &self,
        indices: &[usize],
        size: ImageSize,
        augmentation: Option<(&Augmenter, &mut ChaCha8Rng)>,
        device: &Device,
    ) -> Tensor<4> {
        let mut values = Vec::with_capacity(indices.len() * size.height * size.width);
        match augmentation {
            Some((augmenter, rng)) => {
                for &index in indices {
                    let other = |rng: &mut ChaCha8Rng| &self.pixels[self.another(index, rng)][..];
                    values.extend(augmenter.change(&self.pixels[index], rng, other));
                }
            }
            None => indices.iter().for_each(|&index| values.extend_from_slice(&self.pixels[index])),
        }
        Tensor::from_data(TensorData::new(values, [indices.len(), 1, size.height, size.width]), device)
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

    #[test]
    fn epochs_differ_and_repeat() {
        let order = |epoch| order(50, &mut epoch_rng(7, epoch));
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let images = Images { pixels: vec![vec![0.0, 1.0], vec![1.0, 1.0]], labels: vec![0, 0] };
        assert_eq!(images.mean(), [0.5, 1.0]);
    }

    #[test]
    fn another_image_is_of_the_same_class() {
        let images = Images { pixels: vec![vec![0.0]; 4], labels: vec![0, 1, 0, 2] };
        let mut rng = epoch_rng(1, 0);
        let seen: Vec<usize> = (0..20).map(|_| images.another(0, &mut rng)).collect();
        assert!(seen.contains(&0) && seen.contains(&2) && seen.iter().all(|index| images.labels[*index] == 0));
        assert_eq!(images.another(3, &mut rng), 3);
    }
}
