//! Images in memory, shuffled and augmented by the seed.

use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::experiment::Augment;
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
        augmentation: Option<(&Augment, &mut ChaCha8Rng)>,
        device: &Device,
    ) -> Tensor<4> {
        let mut values = Vec::with_capacity(indices.len() * size.height * size.width);
        match augmentation {
            Some((augment, rng)) => {
                indices.iter().for_each(|&index| values.extend(changed(&self.pixels[index], size, augment, rng)));
            }
            None => indices.iter().for_each(|&index| values.extend_from_slice(&self.pixels[index])),
        }
        Tensor::from_data(TensorData::new(values, [indices.len(), 1, size.height, size.width]), device)
    }
}

/// One image under a random change. Each kind draws its numbers only where it is on.
fn changed(pixels: &[f32], size: ImageSize, augment: &Augment, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let flip = augment.flip_vertical && rng.random_bool(0.5);
    let mut draw = |limit: u32| if limit > 0 { rng.random_range(-(limit as i64)..=i64::from(limit)) } else { 0 };
    let (dy, dx) = (draw(augment.shift), draw(augment.shift));
    let light = match augment.brightness {
        limit if limit > 0.0 => rng.random_range(-limit..=limit),
        _ => 0.0,
    };
    let (height, width) = (size.height as i64, size.width as i64);
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..height {
        let y = (if flip { height - 1 - y } else { y } + dy).clamp(0, height - 1);
        for x in 0..width {
            let x = (x + dx).clamp(0, width - 1);
            let value = pixels[(y * width + x) as usize];
            out.push(if light == 0.0 { value } else { (value + light).clamp(0.0, 1.0) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize { height: 2, width: 3 };
    const PIXELS: [f32; 6] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];

    #[test]
    fn nothing_asked_for_changes_nothing() {
        let same = changed(&PIXELS, SIZE, &Augment::default(), &mut epoch_rng(1, 0));
        assert_eq!(same, PIXELS);
    }

    #[test]
    fn changes_are_of_the_kinds_asked_for() {
        let flip = Augment { flip_vertical: true, ..Augment::default() };
        let mut rng = epoch_rng(1, 0);
        let seen: Vec<_> = (0..20).map(|_| changed(&PIXELS, SIZE, &flip, &mut rng)).collect();
        let flipped = [0.4, 0.5, 0.6, 0.1, 0.2, 0.3];
        assert!(seen.iter().all(|image| *image == PIXELS || *image == flipped));
        assert!(seen.iter().any(|image| *image == PIXELS) && seen.iter().any(|image| *image == flipped));
        let shift = Augment { shift: 1, ..Augment::default() };
        let left = [0.2, 0.3, 0.3, 0.5, 0.6, 0.6];
        assert!((0..60).any(|_| changed(&PIXELS, SIZE, &shift, &mut rng) == left));
        let light = Augment { brightness: 0.1, ..Augment::default() };
        let lit = changed(&PIXELS, SIZE, &light, &mut rng);
        let by = lit[1] - PIXELS[1];
        assert!(by.abs() <= 0.1 && lit.iter().zip(PIXELS).all(|(a, b)| (a - b - by).abs() < 1e-6));
    }

    #[test]
    fn epochs_differ_and_repeat() {
        let order = |epoch| order(50, &mut epoch_rng(7, epoch));
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let images = Images { pixels: vec![vec![0.0, 1.0], vec![1.0, 1.0]], labels: vec![0, 0] };
        assert_eq!(images.mean(), [0.5, 1.0]);
    }
}
