//! Takes the light out of an image: a gain that brings a percentile of its histogram to a fixed grey level.

use neji_format::Photometric;

/// Counts of the 256 grey levels.
pub fn histogram(image: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    for &grey in image {
        counts[usize::from(grey)] += 1;
    }
    counts
}

/// The smallest grey level such that at least `percent` of the pixels are not lighter; 0 of an empty histogram.
pub fn percentile(histogram: &[u32; 256], percent: u8) -> u8 {
    let total: u64 = histogram.iter().map(|&count| u64::from(count)).sum();
    let rank = (total * u64::from(percent)).div_ceil(100);
    let mut below = 0;
    for (grey, &count) in (0u8..=255).zip(histogram) {
        below += u64::from(count);
        if below >= rank {
            return grey;
        }
    }
    255
}

/// Normalises `image` in place. An image whose percentile is 0 stays as it is.
///
/// `out = min(255, (grey * target + p / 2) / p)` with `p` the percentile.
pub fn normalise(photometric: Photometric, image: &mut [u8]) {
    let Photometric::Percentile { percent, target } = photometric else { return };
    let level = u32::from(percentile(&histogram(image), percent));
    if level == 0 {
        return;
    }
    let mut table = [0u8; 256];
    for (grey, out) in (0u32..).zip(&mut table) {
        *out = ((grey * u32::from(target) + level / 2) / level).min(255) as u8;
    }
    for grey in image {
        *grey = table[usize::from(*grey)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_becomes_target_and_lighter_saturates() {
        let mut image = [10, 20, 40, 250];
        normalise(Photometric::Percentile { percent: 75, target: 200 }, &mut image);
        assert_eq!(image, [50, 100, 200, 255]);
    }

    #[test]
    fn black_image_stays() {
        let mut image = [0, 0, 0, 9];
        normalise(Photometric::Percentile { percent: 50, target: 200 }, &mut image);
        assert_eq!(image, [0, 0, 0, 9]);
    }
}
