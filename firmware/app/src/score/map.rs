//! Anomaly maps: smoothing, and the score that is made of them.

use heapless::binary_heap::{BinaryHeap, Min};
use neji_format::{Pooling, Shape};

/// Most values that a score is the mean of.
pub const TOP_K_MAX: usize = 64;

/// Words that the map of a `shape`'s pixels and, where it is smoothed, `smooth_radius + 1` rows need.
pub(super) fn len(pooling: Pooling, shape: Shape) -> usize {
    let (height, width) = (shape.height as usize, shape.width as usize);
    let rows = if pooling.smooth_radius == 0 { 0 } else { usize::from(pooling.smooth_radius) + 1 };
    height.saturating_add(rows).saturating_mul(width)
}

/// Makes the map of `pixel(i)` for each pixel of `shape` in `memory`, which has at least [`len`] words (with fewer, what does not
/// fit is left out), smooths it and pools it to a score.
pub(super) fn pool(pooling: Pooling, shape: Shape, mut pixel: impl FnMut(usize) -> u32, memory: &mut [u32]) -> i32 {
    let width = shape.width as usize;
    let pixels = (shape.height as usize).saturating_mul(width).min(memory.len());
    let (map, rows) = memory.split_at_mut(pixels);
    map.iter_mut().enumerate().for_each(|(index, value)| *value = pixel(index));
    smooth(map, width, usize::from(pooling.smooth_radius.min(2)), rows);
    top_mean(map, usize::from(pooling.top_k))
}

/// Box mean in place, clipped at the border. A row is kept in `rows` for as long as lower rows need it unsmoothed.
fn smooth(map: &mut [u32], width: usize, radius: usize, rows: &mut [u32]) {
    let kept = radius + 1;
    if radius == 0 || width == 0 || rows.len() < kept * width {
        return;
    }
    let height = map.len() / width;
    for y in 0..height {
        let keep = rows.chunks_exact_mut(width).nth(y % kept).into_iter().flatten();
        keep.zip(row(map, y, width)).for_each(|(to, &from)| *to = from);
        let (top, bottom) = (y.saturating_sub(radius), (y + radius).min(height - 1));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(radius), (x + radius).min(width - 1));
            let mut sum = 0u32;
            for from in top..=bottom {
                let row = if from <= y { row(rows, from % kept, width) } else { row(map, from, width) };
                sum += row.get(left..=right).unwrap_or(&[]).iter().sum::<u32>();
            }
            let count = (bottom - top + 1) * (right - left + 1);
            if let Some(mean) = map.get_mut(y * width + x) {
                *mean = sum / (count as u32).max(1);
            }
        }
    }
}

/// Row `y` of rows of `width`; empty where there is none.
fn row(rows: &[u32], y: usize, width: usize) -> &[u32] {
    rows.get(y * width..).and_then(|rest| rest.get(..width)).unwrap_or(&[])
}

/// The largest values of many.
pub(crate) struct Top<T> {
    count: usize,
    largest: BinaryHeap<T, Min, TOP_K_MAX>,
}

impl<T: Ord> Top<T> {
    /// The largest `count`, at most [`TOP_K_MAX`].
    pub(crate) const fn new(count: usize) -> Self {
        Self { count, largest: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.largest.len() >= self.count {
            if self.largest.peek().is_none_or(|least| value <= *least) {
                return;
            }
            self.largest.pop();
        }
        // There is room: the heap holds fewer than `count` values here.
        let _ = self.largest.push(value);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.largest.iter()
    }
}

/// Mean of the `count` largest values, of all where `count` is 0; 0 of an empty map.
fn top_mean(map: &[u32], count: usize) -> i32 {
    let all = |values: usize| values.max(1) as u64;
    if count == 0 || count >= map.len() {
        return (map.iter().map(|&value| u64::from(value)).sum::<u64>() / all(map.len())) as i32;
    }
    let mut top = Top::new(count.min(TOP_K_MAX));
    map.iter().for_each(|&value| top.push(value));
    (top.values().map(|&value| u64::from(value)).sum::<u64>() / all(top.values().count())) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_in_place_equals_the_naive_box() {
        for radius in 0..=2usize {
            let (height, width) = (5, 4);
            let pooling = Pooling { smooth_radius: radius as u8, top_k: 0 };
            let shape = Shape::new(height, width, 1);
            let value = |i: usize| ((i as u32 * 37) % 101).pow(2);
            let mut map = [0u32; 64];
            let map = &mut map[..len(pooling, shape)];
            pool(pooling, shape, value, map);
            for y in 0..height as i32 {
                for x in 0..width as i32 {
                    let (mut sum, mut count) = (0, 0);
                    for v in y - radius as i32..=y + radius as i32 {
                        for u in x - radius as i32..=x + radius as i32 {
                            if (0..height as i32).contains(&v) && (0..width as i32).contains(&u) {
                                sum += value((v * 4 + u) as usize);
                                count += 1;
                            }
                        }
                    }
                    assert_eq!(map[(y * 4 + x) as usize], sum / count, "radius {radius} at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn top_mean_takes_the_largest() {
        assert_eq!(top_mean(&[1, 9, 3, 8, 2], 2), 8);
        assert_eq!(top_mean(&[1, 9, 3, 8, 2], 0), 4);
        assert_eq!(top_mean(&[1, 9], 64), 5);
        assert_eq!(top_mean(&[], 3), 0);
    }
}
