//! Pictures of the report: grey images and heat maps as PNG in data URLs.

use std::io::Cursor;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};

use super::html::escape;

/// Colours from calm to alarming, dark to light, readable in print as well: black, violet, red, orange, pale yellow.
const HEAT: [[f32; 3]; 5] =
    [[0.0, 0.0, 4.0], [87.0, 16.0, 110.0], [188.0, 55.0, 84.0], [249.0, 142.0, 9.0], [252.0, 255.0, 164.0]];

/// Colour of a value in `0..=1`; what lies outside is clamped.
pub fn heat(value: f32) -> [u8; 3] {
    let place = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32 };
    let index = (place as usize).min(HEAT.len() - 2);
    let share = place - index as f32;
    std::array::from_fn(|c| (HEAT[index][c] * (1.0 - share) + HEAT[index + 1][c] * share).round() as u8)
}

/// An `<img>` of grey pixels, row-major.
///
/// # Errors
/// When there are not `width * pixels` rows, or PNG fails.
pub fn grey(width: u32, pixels: &[u8], title: &str) -> anyhow::Result<String> {
    tag(width, pixels.len(), |index| [pixels[index]; 3], title)
}

/// An `<img>` of an anomaly map, row-major, `largest` and above in the lightest colour.
///
/// # Errors
/// As [`grey`].
pub fn heat_map(width: u32, map: &[u32], largest: u32, title: &str) -> anyhow::Result<String> {
    tag(width, map.len(), |index| heat(map[index] as f32 / largest.max(1) as f32), title)
}

/// An `<img>` of a picture as it is.
///
/// # Errors
/// PNG fails.
pub fn picture(image: &RgbImage, title: &str) -> anyhow::Result<String> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    let data = STANDARD.encode(png.into_inner());
    let title = escape(title);
    Ok(format!("<img alt=\"{title}\" title=\"{title}\" src=\"data:image/png;base64,{data}\">"))
}

fn tag(width: u32, len: usize, colour: impl Fn(usize) -> [u8; 3], title: &str) -> anyhow::Result<String> {
    ensure!(width > 0 && len > 0 && len.is_multiple_of(width as usize), "{len} pixels are no rows of {width}");
    let bytes = (0..len).flat_map(colour).collect();
    let image = RgbImage::from_raw(width, len as u32 / width, bytes).context("pixels of an image")?;
    picture(&image, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_runs_from_dark_to_light() {
        assert_eq!(heat(0.0), [0, 0, 4]);
        assert_eq!(heat(9.0), [252, 255, 164]);
        assert_eq!(heat(0.5), [188, 55, 84]);
        assert_eq!(heat(f32::NAN), [0, 0, 4]);
    }

    #[test]
    fn a_picture_is_a_png_of_the_pixels() {
        let tag = grey(2, &[0, 50, 100, 255], "a \"b\"").expect("two rows");
        let data = tag.split("base64,").nth(1).and_then(|rest| rest.split('"').next()).expect("data");
        let png = image::load_from_memory(&STANDARD.decode(data).expect("base64")).expect("png");
        assert_eq!(png.to_luma8().into_raw(), [0, 50, 100, 255]);
        assert!(grey(3, &[0; 4], "").is_err());
    }
}
