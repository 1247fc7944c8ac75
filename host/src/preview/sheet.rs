//! A contact sheet: rows of pictures under captions.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

/// Pixels of a letter, either way.
const LETTER: u32 = 8;
/// Pixels about pictures and captions.
const MARGIN: u32 = 6;
const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([30, 30, 36]);

/// Pictures of one kind.
#[derive(Debug, Clone)]
pub struct Row {
    /// What they are.
    pub caption: String,
    /// From left to right.
    pub pictures: Vec<RgbImage>,
}

/// The sheet; each picture is made as large as its cell of `cell` x `cell` pixels allows, small ones by whole factors, so that
/// their pixels are seen.
pub fn sheet(rows: &[Row], cell: u32) -> RgbImage {
    let scaled: Vec<Vec<RgbImage>> =
        rows.iter().map(|row| row.pictures.iter().map(|picture| scaled(picture, cell)).collect()).collect();
    let across = |row: &Vec<RgbImage>| row.iter().map(|picture| picture.width() + MARGIN).sum::<u32>();
    let letters = rows.iter().map(|row| row.caption.chars().count() as u32 * LETTER).max().unwrap_or(0);
    let width = scaled.iter().map(across).max().unwrap_or(0).max(letters + MARGIN) + MARGIN;
    let tall = |row: &Vec<RgbImage>| row.iter().map(RgbImage::height).max().unwrap_or(0);
    let height = scaled.iter().map(|row| tall(row) + LETTER + 3 * MARGIN).sum::<u32>() + MARGIN;
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let mut top = MARGIN;
    for (row, pictures) in rows.iter().zip(&scaled) {
        write(&mut sheet, MARGIN, top, &row.caption);
        top += LETTER + MARGIN;
        let mut left = MARGIN;
        for picture in pictures {
            image::imageops::replace(&mut sheet, picture, left.into(), top.into());
            left += picture.width() + MARGIN;
        }
        top += tall(pictures) + 2 * MARGIN;
    }
    sheet
}

fn scaled(picture: &RgbImage, cell: u32) -> RgbImage {
    let longer = picture.width().max(picture.height()).max(1);
    if longer > cell {
        let side = |side: u32| (side * cell / longer).max(1);
        return resize(picture, side(picture.width()), side(picture.height()), FilterType::Triangle);
    }
    let factor = cell / longer;
    resize(picture, picture.width() * factor, picture.height() * factor, FilterType::Nearest)
}

/// Writes a line of text; what has no letter is a blank, what has no room is cut off.
fn write(sheet: &mut RgbImage, left: u32, top: u32, text: &str) {
    for (index, character) in (0..).zip(text.chars()) {
        let Some(letter) = BASIC_FONTS.get(character) else { continue };
        for (y, line) in (0..).zip(letter) {
            for x in (0..LETTER).filter(|x| line >> x & 1 == 1) {
                if let Some(pixel) = sheet.get_pixel_mut_checked(left + index * LETTER + x, top + y) {
                    *pixel = INK;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape_and_captions_are_written() {
        let red = RgbImage::from_pixel(10, 4, Rgb([200, 0, 0]));
        let large = RgbImage::from_pixel(400, 100, Rgb([0, 0, 200]));
        let rows = [Row { caption: "I".into(), pictures: vec![red.clone(), large] }];
        let sheet = sheet(&rows, 100);
        let count = |colour: [u8; 3]| sheet.pixels().filter(|pixel| pixel.0 == colour).count();
        // Ten times as large each way; a quarter as large.
        assert_eq!((count([200, 0, 0]), count([0, 0, 200])), (100 * 40, 100 * 25));
        // The letter's own pixels: a bar and two serifs.
        let letter: u32 = BASIC_FONTS.get('I').expect("a letter").iter().map(|line| line.count_ones()).sum();
        assert_eq!(count(INK.0), letter as usize);
        assert_eq!(sheet.get_pixel(0, 0), &PAPER);
        assert_eq!(scaled(&red, 9).dimensions(), (9, 3));
    }
}
