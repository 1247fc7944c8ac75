//! Where a classifier's map of logits should say something: marks of pixels as targets of its cells, and the loss of them.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Tensor, TensorData};

use crate::model::ImageSize;

/// A cell whose marked share is this large is defective; one with a smaller share is neither, and asked for nothing.
const DEFECTIVE: f32 = 0.0625;

/// What the cells of a batch should say, each `images * rows * columns` values.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// 1 where there is a defect, else 0.
    pub targets: Vec<f32>,
    /// 1 where that is known, else 0.
    pub weights: Vec<f32>,
}

impl Cells {
    /// Of pictures of `size` whose pixels are marked one picture after the other; a cell has `side` by `side` of them. What is left on
    /// the right and below belongs to none.
    pub fn new(marks: &[bool], size: ImageSize, side: usize) -> Self {
        let (rows, columns) = (size.height / side, size.width / side);
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for picture in marks.chunks_exact(size.height * size.width) {
            let mut marked = vec![0_usize; rows * columns];
            for (y, line) in picture.chunks_exact(size.width).enumerate().take(rows * side) {
                for (x, _) in line.iter().enumerate().take(columns * side).filter(|(_, mark)| **mark) {
                    marked[y / side * columns + x / side] += 1;
                }
            }
            for count in marked {
                let defective = count as f32 / (side * side) as f32 >= DEFECTIVE;
                targets.push(f32::from(u8::from(defective)));
                weights.push(f32::from(u8::from(defective || count == 0)));
            }
        }
        Self { targets, weights }
    }

    /// Binary cross entropy of the logits of two classes' map, `[images, 1, rows, columns]`, a defective cell (as Lin et al.,
    /// Focal loss for dense object detection, 2017, section 4.1, do it: most cells are easy, their number means nothing).
    pub fn loss(self, logits: Tensor<4>) -> Tensor<1> {
        let (shape, device) = (logits.dims(), logits.device());
        let defective: f32 = self.targets.iter().sum();
        let targets = Tensor::<4>::from_data(TensorData::new(self.targets, shape), &device);
        let weights = Tensor::<4>::from_data(TensorData::new(self.weights, shape), &device);
        let each = (targets.neg() + 1.0) * logits.clone() - log_sigmoid(logits);
        (each * weights).sum() / defective.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_cell_is_defective_by_its_share_and_the_border_is_nobodys() {
        let size = ImageSize { height: 9, width: 17 };
        let mut marks = vec![false; 2 * 9 * 17];
        // The second picture: four pixels of 64 in the cell on the left, three in the one on the right, the border marked whole.
        let second = &mut marks[9 * 17..];
        second[..4].fill(true);
        second[17 + 8..17 + 11].fill(true);
        second[8 * 17..].fill(true);
        (0..9).for_each(|y| second[y * 17 + 16] = true);
        let cells = Cells::new(&marks, size, 8);
        assert_eq!(cells.targets, [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(cells.weights, [1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn the_loss_by_hand() {
        let device = Device::default();
        let logits = Tensor::<4>::from_data(TensorData::new(vec![2.0_f32, -1.0, 7.0], [1, 1, 1, 3]), &device);
        let cells = Cells { targets: vec![1.0, 0.0, 0.0], weights: vec![1.0, 1.0, 0.0] };
        let softplus = |x: f32| x.exp().ln_1p();
        let got: f32 = cells.loss(logits).into_scalar();
        assert!((got - softplus(-2.0) - softplus(-1.0)).abs() < 1e-5, "{got}");
    }
}
