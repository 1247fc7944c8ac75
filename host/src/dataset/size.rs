//! Pictures of different sizes brought to one, since a sensor has one.
//!
//! Where all have one aspect they are taken for the same view at different resolutions, and scaled. Where not, for cuts of
//! different sizes from views of one scale: then a picture keeps its scale, so that textures stay alike, and its surroundings
//! become its own mirror image; a picture that is too large is shrunk until it fits. Nothing is cut off.

use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageBuffer, Pixel};
use neji_format::Size;

use super::GreyImage;

/// Whether both have the same aspect, to the pixel that rounding takes.
fn one_aspect(a: Size, b: Size) -> bool {
    let sides = |size: Size| (i64::from(size.width), i64::from(size.height));
    let ((w, h), (v, k)) = (sides(a), sides(b));
    (w * k - v * h).abs() <= w.max(h).min(v.max(k)).max(1)
}

/// The size to which pictures of `sizes` are brought; none where there are none.
///
/// Of one aspect it is the size of median area, otherwise the largest width and height, each at most half again its median.
pub(super) fn common(sizes: &[Size]) -> Option<Size> {
    let area = |size: &Size| u32::from(size.width) * u32::from(size.height);
    let mut sorted = sizes.to_vec();
    sorted.sort_by_key(|size| (area(size), size.width));
    let middle = *sorted.get(sorted.len() / 2)?;
    if sizes.iter().all(|&size| one_aspect(size, middle)) {
        return Some(middle);
    }
    let bounded = |side: fn(&Size) -> u16| {
        let mut all: Vec<u16> = sizes.iter().map(side).collect();
        all.sort_unstable();
        let (median, largest) = (u32::from(all[all.len() / 2]), u32::from(all[all.len() - 1]));
        largest.min(median * 3 / 2) as u16
    };
    Some(Size { width: bounded(|size| size.width), height: bounded(|size| size.height) })
}

/// `image` at `size`: scaled where it has its aspect, otherwise shrunk where it is larger, and mirrored at its edges to fill.
pub fn at_size<P: Pixel<Subpixel = u8> + 'static>(
    image: &ImageBuffer<P, Vec<u8>>,
    size: Size,
) -> ImageBuffer<P, Vec<u8>> {
    let (width, height) = (u32::from(size.width), u32::from(size.height));
    let (w, h) = image.dimensions();
    if (w, h) == (width, height) || w == 0 || h == 0 {
        return image.clone();
    }
    let own = Size { width: w.min(u16::MAX.into()) as u16, height: h.min(u16::MAX.into()) as u16 };
    if one_aspect(own, size) {
        return resize(image, width, height, FilterType::Triangle);
    }
    let scale = (f64::from(width) / f64::from(w)).min(f64::from(height) / f64::from(h)).min(1.0);
    let scaled = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
    let (w, h) = (scaled(w, width), scaled(h, height));
    let shrunk = resize(image, w, h, FilterType::Triangle);
    let (left, top) = ((width - w) / 2, (height - h) / 2);
    ImageBuffer::from_fn(width, height, |x, y| *shrunk.get_pixel(mirrored(x, left, w), mirrored(y, top, h)))
}

/// The place in a line of `len` pixels, the first of which lies at `start`, that is seen at `at`.
fn mirrored(at: u32, start: u32, len: u32) -> u32 {
    let place = (i64::from(at) - i64::from(start)).rem_euclid(2 * i64::from(len)) as u32;
    if place < len { place } else { 2 * len - 1 - place }
}

/// [`at_size`] of a grey picture.
pub fn grey_at_size(image: &GreyImage, size: Size) -> GreyImage {
    let Size { width, height } = image.size;
    match GrayImage::from_raw(width.into(), height.into(), image.pixels.clone()) {
        Some(buffer) if image.size != size => GreyImage { size, pixels: at_size(&buffer, size).into_raw() },
        _ => image.clone(),
    }
}

/// [`at_size`] of a mask: white where at least half of what a pixel covers was not black.
pub(super) fn mask_at_size(mask: &GreyImage, size: Size) -> GreyImage {
    if mask.size == size {
        return mask.clone();
    }
    let flags = mask.pixels.iter().map(|&grey| if grey > 0 { 255 } else { 0 }).collect();
    let mut scaled = grey_at_size(&GreyImage { size: mask.size, pixels: flags }, size);
    scaled.pixels.iter_mut().for_each(|grey| *grey = if *grey >= 128 { 255 } else { 0 });
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u16, height: u16) -> Size {
        Size { width, height }
    }

    #[test]
    fn one_aspect_is_scaled_to_the_middle_and_several_to_what_holds_them() {
        assert_eq!(common(&[]), None);
        assert_eq!(common(&[size(300, 300); 3]), Some(size(300, 300)));
        assert_eq!(common(&[size(512, 512), size(300, 300), size(64, 64)]), Some(size(300, 300)));
        assert_eq!(common(&[size(100, 50), size(201, 100), size(151, 75)]), Some(size(151, 75)));
        assert_eq!(common(&[size(100, 300), size(120, 200), size(130, 250)]), Some(size(130, 300)));
        // One far out does not decide.
        assert_eq!(common(&[size(100, 300), size(120, 200), size(2000, 250)]), Some(size(180, 300)));
    }

    #[test]
    fn edges_are_mirrored_and_what_is_too_large_is_shrunk() {
        let image = GreyImage { size: size(2, 1), pixels: vec![10, 20] };
        let wide = grey_at_size(&image, size(6, 5));
        assert_eq!(wide.pixels, [20, 10, 10, 20, 20, 10].repeat(5));
        // Half as large, one row above and below: a mean of pixels in each.
        let image = GreyImage { size: size(8, 4), pixels: (0..32).map(|i| if i % 8 < 4 { 40 } else { 80 }).collect() };
        let small = grey_at_size(&image, size(4, 4));
        assert_eq!(small.size, size(4, 4));
        for row in small.pixels.chunks(4) {
            assert!(row[0] == 40 && row[3] == 80 && row[1] < row[2], "{row:?}");
        }
        assert_eq!(grey_at_size(&image, image.size), image);
    }

    #[test]
    fn masks_stay_black_and_white() {
        let mut mask = GreyImage { size: size(30, 30), pixels: vec![0; 900] };
        for y in 9..21 {
            mask.pixels[y * 30 + 9..y * 30 + 21].fill(1);
        }
        let small = mask_at_size(&mask, size(10, 10));
        assert_eq!(small.pixels.iter().filter(|grey| **grey == 255).count(), 16);
        assert!(small.pixels.iter().all(|grey| [0, 255].contains(grey)));
    }
}
