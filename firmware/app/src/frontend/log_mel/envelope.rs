//! The envelope of what is high in a signal: where a fault hits again and again, its rate is a line of the envelope's spectrum,
//! while its sound is that of whatever resonates (McFadden and Smith, Journal of Sound and Vibration 96(1), 1984).
//!
//! The high-pass is the difference of neighbouring samples, rectified; the mean over `decimation` of them is the low-pass that
//! lets fewer be kept. A frame's own mean, which says nothing, is taken off before its spectrum ([`mean`]).

/// What is kept of a signal from sample to sample.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    previous: Option<i16>,
    sum: u32,
}

impl Envelope {
    /// Of no samples.
    pub const NEW: Self = Self { previous: None, sum: 0 };

    /// Takes a sample; one without another before it is as if that had been the same.
    pub fn push(&mut self, sample: i16) {
        let previous = self.previous.replace(sample).unwrap_or(sample);
        self.sum = self.sum.saturating_add(sample.abs_diff(previous).into());
    }

    /// Half the mean of the magnitudes since it was last taken, `decimation` of them: 0 to 32,767, rounded down.
    pub fn take(&mut self, decimation: u16) -> i16 {
        let sum = core::mem::replace(&mut self.sum, 0);
        let mean = sum.checked_div(2 * u32::from(decimation)).unwrap_or(0);
        i16::try_from(mean).unwrap_or(i16::MAX)
    }
}

/// The mean of a frame that has a power of two of samples, rounded to nearest.
pub fn mean(frame: &[i16]) -> i16 {
    let bits = frame.len().trailing_zeros();
    let sum: i64 = frame.iter().map(|&sample| i64::from(sample)).sum();
    ((sum + (1_i64.wrapping_shl(bits) >> 1)).wrapping_shr(bits)) as i16
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn the_envelope_of_a_few_samples() {
        let mut envelope = Envelope::NEW;
        let mut take = |samples: &[i16]| {
            samples.iter().for_each(|&sample| envelope.push(sample));
            envelope.take(samples.len() as u16)
        };
        // The first has none before it; then 3, 1, 0, 10: half of the mean of four.
        assert_eq!(take(&[100]), 0);
        assert_eq!(take(&[103, 102, 102, 112]), 1);
        assert_eq!(take(&[i16::MIN]), 16_440);
        assert_eq!(take(&[i16::MAX, i16::MIN, i16::MAX]), 32_767);
        assert_eq!(take(&[]), 0);
    }

    #[test]
    fn means_are_rounded_to_nearest() {
        assert_eq!(mean(&[1, 2, 2, 2]), 2);
        assert_eq!(mean(&[-1, -1, -1, 2]), 0);
        assert_eq!(mean(&[-3, -3, -2, -3]), -3);
        assert_eq!(mean(&[i16::MIN; 8192]), i16::MIN);
        assert_eq!(mean(&[i16::MAX; 16]), i16::MAX);
    }
}
