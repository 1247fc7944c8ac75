//! Smooth value noise for grounds, wear and rust.

/// Hash of a lattice point as a number in `[0, 1)`.
fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x8DA6_B343) ^ (y as u32).wrapping_mul(0xD816_3841) ^ seed;
    h ^= h >> 16;
    h = h.wrapping_mul(0x7FEB_352D);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846C_A68B);
    h ^= h >> 16;
    (h >> 8) as f32 / 16_777_216.0
}

/// Value noise in `[0, 1)` with features about one unit wide; the same for the same place and seed.
pub fn value(x: f32, y: f32, seed: u32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let (fx, fy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    let (x0, y0) = (x0 as i32, y0 as i32);
    let top = lattice(x0, y0, seed) * (1.0 - fx) + lattice(x0 + 1, y0, seed) * fx;
    let bottom = lattice(x0, y0 + 1, seed) * (1.0 - fx) + lattice(x0 + 1, y0 + 1, seed) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Three octaves of [`value`], in `[0, 1)`.
pub fn fractal(x: f32, y: f32, seed: u32) -> f32 {
    (4.0 * value(x, y, seed) + 2.0 * value(2.0 * x, 2.0 * y, seed ^ 0x51ED) + value(4.0 * x, 4.0 * y, seed ^ 0xA2C3))
        / 7.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_range_and_meets_its_lattice() {
        for i in 0..1000 {
            let v = fractal(i as f32 * 0.37 - 90.0, i as f32 * -0.21, 5);
            assert!((0.0..1.0).contains(&v));
        }
        assert_eq!(value(3.0, 4.0, 9), lattice(3, 4, 9));
    }
}
