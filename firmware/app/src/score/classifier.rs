//! Score of a classifier that knows the normal class.

use neji_format::{Classifier, ClassifierScore};

/// A score and the class that the output is most like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    /// Larger is more abnormal; in 1/256 of the output's step.
    pub score: i32,
    /// Index of the largest output, the first of equals.
    pub class: u16,
}

/// Score of a classifier's output.
///
/// `value(i)` is output `i` in 1/256 of its step, zero point removed. [`ClassifierScore::Probability`] expects the step
/// of an int8 softmax, 1/256, so that one is 65536.
pub fn classify(params: &Classifier, classes: usize, value: impl Fn(usize) -> i32) -> Classification {
    let normal = usize::from(params.normal_class);
    let (mut class, mut largest, mut rival) = (0, i32::MIN, i32::MIN);
    for index in 0..classes {
        let value = value(index);
        if value > largest {
            (class, largest) = (index, value);
        }
        if index != normal {
            rival = rival.max(value);
        }
    }
    let normal = if normal < classes { value(normal) } else { 0 };
    let score = match params.score {
        ClassifierScore::Margin => rival.saturating_sub(normal),
        ClassifierScore::Probability => (1i32 << 16).saturating_sub(normal),
    };
    Classification { score, class: class as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margin_and_probability() {
        let outputs = [256, 1024, -512];
        let margin = Classifier { normal_class: 0, score: ClassifierScore::Margin };
        assert_eq!(classify(&margin, 3, |i| outputs[i]), Classification { score: 768, class: 1 });
        let probability = Classifier { normal_class: 1, score: ClassifierScore::Probability };
        assert_eq!(classify(&probability, 3, |i| outputs[i]), Classification { score: 65536 - 1024, class: 1 });
    }
}
