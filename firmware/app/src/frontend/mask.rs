//! Finds the part: threshold, polarity, largest 8-connected component.

use neji_format::{MaskThreshold, Polarity};

use super::photometric::histogram;

/// Otsu's threshold: grey levels up to it are dark, the others light.
///
/// Maximises `(S * n0 - s0 * n)^2 / (n0 * n1)`, which is the variance between the classes up to a factor (Otsu, IEEE
/// Trans. SMC 9(1), 1979, eq. 18). Where a gap in the histogram makes several levels equally good, it is the middle of
/// them. 127 where there are not two grey levels.
pub fn otsu(histogram: &[u32; 256]) -> u8 {
    let count: u64 = histogram.iter().map(|&n| u64::from(n)).sum();
    let sum: u64 = (0u64..).zip(histogram).map(|(grey, &n)| grey * u64::from(n)).sum();
    let (mut dark, mut dark_sum) = (0u64, 0u64);
    let (mut best, mut first, mut last) = (0u128, 127u16, 127u16);
    for (grey, &n) in (0u16..).zip(histogram) {
        dark += u64::from(n);
        dark_sum += u64::from(grey) * u64::from(n);
        let light = count - dark;
        if dark == 0 || light == 0 {
            continue;
        }
        let difference = u128::from((sum * dark).abs_diff(dark_sum * count));
        let variance = difference * difference / u128::from(dark * light).max(1);
        if variance > best {
            (best, first, last) = (variance, grey, grey);
        } else if variance == best && last + 1 == grey {
            last = grey;
        }
    }
    ((first + last) / 2) as u8
}

/// How the mask of one image is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Grey levels up to this are dark.
    pub threshold: u8,
    /// The part is the light side.
    pub part_is_light: bool,
}

impl Cut {
    /// Decides threshold and polarity for an image of rows of `width` pixels.
    ///
    /// With [`Polarity::Auto`] the ground is the side that more than half of the border pixels are on; a tie makes the
    /// ground dark.
    pub fn of(image: &[u8], width: usize, polarity: Polarity, threshold: MaskThreshold) -> Self {
        let threshold = match threshold {
            MaskThreshold::Otsu => otsu(&histogram(image)),
            MaskThreshold::Fixed(level) => level,
        };
        let part_is_light = match polarity {
            Polarity::Dark => false,
            Polarity::Light => true,
            Polarity::Auto => {
                let height = image.len() / width.max(1);
                let (mut light, mut border) = (0usize, 0usize);
                for (y, row) in image.chunks_exact(width.max(1)).enumerate() {
                    let whole = y == 0 || y + 1 == height;
                    for (x, &grey) in row.iter().enumerate() {
                        if whole || x == 0 || x + 1 == width {
                            border += 1;
                            light += usize::from(grey > threshold);
                        }
                    }
                }
                2 * light <= border
            }
        };
        Self { threshold, part_is_light }
    }

    /// True where a pixel of this grey level belongs to the part.
    pub fn is_part(self, grey: u8) -> bool {
        (grey > self.threshold) == self.part_is_light
    }
}

/// Most provisional labels that an image can need, the ground's included: label makers are never neighbours.
pub const fn labels_max(width: usize, height: usize) -> usize {
    width.div_ceil(2) * height.div_ceil(2) + 1
}

/// A root of the union-find forest; the other bits are its area. Without it, an entry is the parent's index.
const ROOT: u32 = 1 << 31;

fn find(nodes: &mut [u32], mut label: usize) -> usize {
    // A label without a node, which `labels_max` excludes, is its own root.
    let node = |nodes: &[u32], label: usize| nodes.get(label).copied().unwrap_or(ROOT);
    loop {
        let parent = node(nodes, label);
        if parent & ROOT != 0 {
            return label;
        }
        let grandparent = node(nodes, parent as usize);
        if let (0, Some(node)) = (grandparent & ROOT, nodes.get_mut(label)) {
            *node = grandparent;
        }
        label = parent as usize;
    }
}

fn unite(nodes: &mut [u32], a: usize, b: usize) -> usize {
    let (a, b) = (find(nodes, a), find(nodes, b));
    if a == b {
        return a;
    }
    let (keep, join) = (a.min(b), a.max(b));
    if let Ok([kept, joined]) = nodes.get_disjoint_mut([keep, join]) {
        *kept += *joined & !ROOT;
        *joined = keep as u32;
    }
    keep
}

/// Leaves 1 in `labels` where the largest 8-connected component is and 0 elsewhere; returns its area in pixels.
///
/// `labels` is as long as `image`, `nodes` at least [`labels_max`], which must not exceed 65535. Of components of the
/// same size the one whose first pixel comes first in the scan wins. (Rosenfeld and Pfaltz, J. ACM 13(4), 1966; the
/// areas live in the roots.)
pub fn largest_component(image: &[u8], width: usize, cut: Cut, labels: &mut [u16], nodes: &mut [u32]) -> u32 {
    let mut count = 1;
    let mut x = 0;
    for (index, &grey) in image.iter().enumerate() {
        let (left, right, inner) = (x > 0, x + 1 < width, index >= width);
        x = if right { x + 1 } else { 0 };
        let Some((before, [here, ..])) = labels.split_at_mut_checked(index) else { break };
        *here = 0;
        if !cut.is_part(grey) {
            continue;
        }
        let mut label = 0;
        let mut look = |there: bool, back: usize| {
            let neighbour = before.get(index.wrapping_sub(back)).filter(|_| there).map_or(0, |&label| label.into());
            if neighbour != 0 {
                label = if label == 0 { find(nodes, neighbour) } else { unite(nodes, label, neighbour) };
            }
        };
        look(left, 1);
        look(inner && left, width + 1);
        look(inner, width);
        look(inner && right, width.saturating_sub(1));
        let new = label == 0;
        if new {
            label = count;
            count += 1;
        }
        if let Some(node) = nodes.get_mut(label) {
            *node = if new { ROOT | 1 } else { *node + 1 };
            *here = label as u16;
        }
    }
    let (mut best, mut area) = (0, 0);
    for (label, &node) in nodes.iter().enumerate().take(count).skip(1) {
        if node & ROOT != 0 && node & !ROOT > area {
            (best, area) = (label, node & !ROOT);
        }
    }
    for label in labels.iter_mut().take(image.len()) {
        *label = u16::from(*label != 0 && find(nodes, usize::from(*label)) == best);
    }
    area
}

/// Whether a mask of rows of `width` reaches a border of its image.
pub fn touches_border(mask: &[u16], width: usize) -> bool {
    let rows = mask.chunks_exact(width.max(1));
    let last = rows.len().saturating_sub(1);
    rows.enumerate().any(|(y, row)| match row {
        _ if y == 0 || y == last => row.iter().any(|&label| label != 0),
        [first, .., last] => *first != 0 || *last != 0,
        _ => row.iter().any(|&label| label != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otsu_is_the_middle_of_the_gap() {
        let mut counts = [0; 256];
        (counts[10], counts[20]) = (5, 7);
        assert_eq!(otsu(&counts), 14);
    }

    #[test]
    fn largest_component_joins_diagonals_and_late_unions() {
        #[rustfmt::skip]
        let image = [
            9, 0, 9, 0, 0, 0,
            9, 0, 9, 0, 9, 9,
            0, 9, 0, 0, 0, 0,
        ];
        let (mut labels, mut nodes) = ([7; 18], [0; 16]);
        let cut = Cut { threshold: 4, part_is_light: true };
        assert_eq!(largest_component(&image, 6, cut, &mut labels, &mut nodes), 5);
        assert_eq!(labels, [1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn checkerboard_needs_no_more_labels_than_promised() {
        let image: [u8; 25] = core::array::from_fn(|i| if (i / 5) % 2 == 0 && i % 5 % 2 == 0 { 9 } else { 0 });
        let (mut labels, mut nodes) = ([0; 25], [0; labels_max(5, 5)]);
        let cut = Cut { threshold: 4, part_is_light: true };
        assert_eq!(largest_component(&image, 5, cut, &mut labels, &mut nodes), 1);
        assert_eq!(labels.iter().sum::<u16>(), 1);
    }

    #[test]
    fn each_border_is_touched_by_itself() {
        for index in 0..20 {
            let mut mask = [0; 20];
            mask[index] = 1;
            let inside = [6, 7, 8, 11, 12, 13].contains(&index);
            assert_eq!(touches_border(&mask, 5), !inside, "{index}");
        }
        assert!(touches_border(&[0, 1, 0], 1) && !touches_border(&[0; 3], 1) && !touches_border(&[], 0));
    }

    #[test]
    fn ground_is_what_the_border_looks_like() {
        let image = [200, 200, 200, 200, 10, 200, 200, 200, 200];
        assert_eq!(
            Cut::of(&image, 3, Polarity::Auto, MaskThreshold::Otsu),
            Cut { threshold: 104, part_is_light: false }
        );
    }
}
