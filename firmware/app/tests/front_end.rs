//! The image front end's contract: turning and lighting the part does not change the strip, faults have no score.

use neji_app::frontend::image::{extract, measure, memory_bytes, output_len};
use neji_app::frontend::resize::AreaResize;
use neji_app::{Rejection, SensorFault, SetupError};
use neji_format::{
    Alignment, Constant, Heading, ImageFrontEnd, MaskThreshold, Multiplier, Photometric, PixelFormat, Polarity, Rect,
    Registration, Size,
};
use proptest::prelude::*;

const SIDE: u16 = 96;

fn config() -> ImageFrontEnd {
    ImageFrontEnd {
        sensor: Size { width: SIDE, height: SIDE },
        pixel_format: PixelFormat::Grey8,
        crop: Rect { x: 0, y: 0, width: SIDE, height: SIDE },
        resize: Size { width: SIDE, height: SIDE },
        range_min: 20,
        saturated_max: 200,
        photometric: Photometric::Percentile { percent: 50, target: 200 },
        alignment: Some(Alignment {
            polarity: Polarity::Auto,
            threshold: MaskThreshold::Otsu,
            area_min: 200,
            area_max: 3000,
            whole_only: false,
            heading: Heading::ThickEndFirst,
            length: 68 * 256,
            breadth: 28 * 256,
            strip: Size { width: 34, height: 14 },
            registration: None,
        }),
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    }
}

/// The configuration that corrects the pose by up to 5 degrees and 4 pixels.
fn registered(correlation_min: i16) -> ImageFrontEnd {
    let mut config = config();
    let template = Constant { offset: 0, bytes: 34 * 14 };
    let (turn, along, across) = (5734, 1024, 1024);
    config.alignment.as_mut().unwrap().registration =
        Some(Registration { template, turn, along, across, rounds: 6, directions: 1, correlation_min });
    config
}

/// The strip of the part that was not turned, in grey levels.
fn template() -> Vec<u8> {
    run(&config(), &wedge(0.0, 200.0, 60.0)).unwrap().iter().map(|&q| q.cast_unsigned() ^ 128).collect()
}

/// A dark part of 60 by 20 pixels on a light ground: a wide head, then a shaft that tapers. 4 x 4 samples a pixel.
fn wedge(degrees: f64, ground: f64, part: f64) -> Vec<u8> {
    wedge_at(degrees, (47.5, 47.5), ground, part)
}

fn wedge_at(degrees: f64, (cx, cy): (f64, f64), ground: f64, part: f64) -> Vec<u8> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let inside = |x: f64, y: f64| {
        let (u, v) = (x * cos + y * sin, (y * cos - x * sin).abs());
        let half = if u < -18.0 { 10.0 } else { 5.0 - (u + 18.0) / 24.0 };
        (-30.0..30.0).contains(&u) && v < half
    };
    let samples = || (0..4).map(|i| f64::from(i) / 4.0 - 0.375);
    (0..i32::from(SIDE) * i32::from(SIDE))
        .map(|index| {
            let (x, y) = (f64::from(index % i32::from(SIDE)) - cx, f64::from(index / i32::from(SIDE)) - cy);
            let hits =
                samples().flat_map(|dy| samples().map(move |dx| (dx, dy))).filter(|(dx, dy)| inside(x + dx, y + dy));
            let share = hits.count() as f64 / 16.0;
            (ground + (part - ground) * share).round() as u8
        })
        .collect()
}

fn run(config: &ImageFrontEnd, pixels: &[u8]) -> Result<Vec<i8>, Rejection> {
    run_with(config, &[], pixels)
}

fn run_with(config: &ImageFrontEnd, template: &[u8], pixels: &[u8]) -> Result<Vec<i8>, Rejection> {
    let mut memory = vec![0xA5; memory_bytes(config)];
    let mut out = vec![0; output_len(config)];
    extract(config, template, pixels, &mut memory, &mut out).map(|()| out)
}

fn difference(a: &[i8], b: &[i8]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn strips_do_not_depend_on_the_angle_and_begin_with_the_head() {
    let level = run(&config(), &wedge(0.0, 200.0, 60.0)).unwrap();
    for degrees in [17, 45, 90, 133, 180, 222, 270, 315, 359] {
        let strip = run(&config(), &wedge(degrees.into(), 200.0, 60.0)).unwrap();
        let apart = difference(&level, &strip);
        assert!(apart < 4.0, "{degrees} degrees: {apart} grey levels apart on average");
        let dark = |from: usize| strip.chunks(34).flat_map(|row| &row[from..from + 17]).filter(|&&q| q < 0).count();
        assert!(dark(0) > dark(17), "{degrees} degrees: the head is on the right");
    }
    // The test can fail: the strip of a part that was not turned is far from its mirror image.
    let mirrored: Vec<i8> = level.chunks(34).flat_map(|row| row.iter().rev().copied()).collect();
    assert!(difference(&level, &mirrored) > 20.0);
}

#[test]
fn pose_is_what_was_drawn() {
    let config = config();
    for degrees in [0.0f64, 30.0, 120.0, 250.0] {
        let mut memory = vec![0; memory_bytes(&config)];
        let pose = measure(&config, &[], &wedge(degrees, 200.0, 60.0), &mut memory).unwrap();
        let (sin, cos) = degrees.to_radians().sin_cos();
        let one = f64::from(1 << 30);
        let along = (f64::from(pose.axis.0) * cos + f64::from(pose.axis.1) * sin) / one;
        assert!(along > 0.999, "{degrees}: {along}");
        assert!(pose.length.abs_diff(60 * 256) < 2 * 256, "{degrees}: {}", pose.length);
        assert!(pose.breadth.abs_diff(20 * 256) < 2 * 256, "{degrees}: {}", pose.breadth);
        let (x, y) = (f64::from(pose.center.0) / 256.0, f64::from(pose.center.1) / 256.0);
        assert!((x - 47.5).abs() < 1.0 && (y - 47.5).abs() < 1.0, "{degrees}: {x}, {y}");
    }
}

#[test]
fn light_does_not_change_the_strip() {
    let bright = run(&config(), &wedge(30.0, 200.0, 60.0)).unwrap();
    let dim = run(&config(), &wedge(30.0, 100.0, 30.0)).unwrap();
    assert!(difference(&bright, &dim) < 1.0);
}

#[test]
fn faults_are_named() {
    let fault = |fault| Err(Rejection::SensorFault(fault));
    let pixels = usize::from(SIDE) * usize::from(SIDE);
    assert_eq!(run(&config(), &vec![77; pixels]), fault(SensorFault::Constant));
    let saturated: Vec<u8> = (0..pixels).map(|i| if i % 2 == 0 { 255 } else { 90 }).collect();
    assert_eq!(run(&config(), &saturated), fault(SensorFault::Saturated));
    assert_eq!(run(&config(), &wedge(0.0, 200.0, 60.0)[1..]), fault(SensorFault::Dropped));
    let mut small = config();
    small.alignment.as_mut().unwrap().area_min = 2999;
    assert_eq!(run(&small, &wedge(0.0, 200.0, 60.0)), Err(Rejection::PartNotFound));
}

#[test]
fn a_flaw_that_moves_the_moments_does_not_move_a_registered_strip() {
    let template = template();
    let flawed = |degrees: f64| {
        let mut pixels = wedge(degrees, 200.0, 60.0);
        // A burr at one side of the tip, 9 by 9 pixels: centroid, axis and extent are no longer the part's.
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (x, y) = (47.5 + 26.0 * cos - 7.0 * sin, 47.5 + 26.0 * sin + 7.0 * cos);
        for dy in -4..=4 {
            for dx in -4..=4 {
                pixels[(y as i32 + dy) as usize * usize::from(SIDE) + (x as i32 + dx) as usize] = 60;
            }
        }
        pixels
    };
    let pose = |config: &ImageFrontEnd, degrees| {
        measure(config, &template, &flawed(degrees), &mut vec![0; memory_bytes(config)]).unwrap()
    };
    for degrees in [0.0, 33.0, 118.0, 200.0, 290.0f64] {
        let turn = |config: &ImageFrontEnd| {
            let pose = pose(config, degrees);
            let found = f64::from(pose.axis.1).atan2(f64::from(pose.axis.0)).to_degrees();
            (found - degrees + 540.0).rem_euclid(360.0) - 180.0
        };
        let (moments, found) = (turn(&config()), turn(&registered(-1000)));
        assert!(
            moments.abs() > 1.5 && found.abs() < 0.8,
            "{degrees} degrees: {moments} by moments, {found} registered"
        );
    }
    let with = pose(&registered(-1000), 33.0);
    assert!(with.correlation > (1 << 30) / 10 * 8 && with.correlation < (1 << 30) / 100 * 99, "{}", with.correlation);
}

#[test]
fn parts_that_are_cut_off_or_look_unlike_are_told_apart() {
    let mut whole = registered(500);
    whole.alignment.as_mut().unwrap().whole_only = true;
    let template = template();
    assert!(run_with(&whole, &template, &wedge(71.0, 200.0, 60.0)).is_ok());
    let cut = wedge_at(0.0, (22.0, 47.5), 200.0, 60.0);
    assert_eq!(run_with(&whole, &template, &cut), Err(Rejection::PartCut));
    assert!(run_with(&registered(500), &template, &cut).is_ok(), "without asking it is judged as it is");
    // A ring has the size of the part and nothing of its looks.
    let ring: Vec<u8> = (0..i32::from(SIDE) * i32::from(SIDE))
        .map(|index| {
            let (x, y) = (index % i32::from(SIDE) - 48, index / i32::from(SIDE) - 48);
            if (400..900).contains(&(x * x + y * y)) { 60 } else { 200 }
        })
        .collect();
    assert_eq!(run_with(&whole, &template, &ring), Err(Rejection::PartUnlike));
    assert!(run_with(&registered(-1000), &template, &ring).is_ok());
    assert!(run(&config(), &ring).is_ok());
}

#[test]
fn wrong_setups_are_refused_without_panic() {
    let config = config();
    let pixels = wedge(0.0, 200.0, 60.0);
    let mut out = vec![0; output_len(&config)];
    for bytes in (0..memory_bytes(&config) - 7).step_by(997) {
        let error = extract(&config, &[], &pixels, &mut vec![0; bytes], &mut out);
        assert!(matches!(error, Err(Rejection::Setup(SetupError::MemoryTooSmall { .. }))), "{bytes}: {error:?}");
    }
    for change in [
        |config: &mut ImageFrontEnd| config.crop.x = 1,
        |config: &mut ImageFrontEnd| config.resize.width = SIDE + 1,
        |config: &mut ImageFrontEnd| config.resize.height = 0,
    ] {
        let mut changed = config;
        change(&mut changed);
        assert_eq!(run(&changed, &pixels), Err(Rejection::Setup(SetupError::Geometry)));
    }
}

#[test]
fn memory_may_begin_anywhere() {
    let (config, pixels) = (config(), wedge(75.0, 200.0, 60.0));
    let expected = run(&config, &pixels).unwrap();
    for start in 0..4 {
        let mut memory = vec![0; memory_bytes(&config) + start];
        let mut out = vec![0; output_len(&config)];
        extract(&config, &[], &pixels, &mut memory[start..], &mut out).unwrap();
        assert_eq!(out, expected);
    }
}

/// Area resize by the definition: each output pixel integrates the source over its own rectangle.
fn naive_area(pixels: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let overlap = |i: usize, from: usize, j: usize, to: usize| {
        ((i + 1) * to).min((j + 1) * from).saturating_sub((i * to).max(j * from)) as u64
    };
    let mut out = Vec::new();
    for y in 0..to.1 {
        for x in 0..to.0 {
            let mut sum = 0;
            for v in 0..from.1 {
                for u in 0..from.0 {
                    let weight = overlap(u, from.0, x, to.0) * overlap(v, from.1, y, to.1);
                    sum += weight * u64::from(pixels[v * from.0 + u]);
                }
            }
            let total = (from.0 * from.1) as u64;
            out.push(((sum + total / 2) / total) as u8);
        }
    }
    out
}

proptest! {
    #[test]
    fn resize_equals_the_definition_however_the_stream_is_cut(
        (width, height, out_width, out_height) in (1usize..12, 1usize..12)
            .prop_flat_map(|(w, h)| (Just(w), Just(h), 1..=w, 1..=h)),
        rgb in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 12 * 12 * 3),
        cuts in prop::collection::vec(1usize..9, 1..20),
    ) {
        let mut config = config();
        let size = |width: usize, height: usize| Size { width: width as u16, height: height as u16 };
        // A margin around the crop, which must not count.
        config.sensor = size(width + 3, height + 2);
        config.crop = Rect { x: 2, y: 1, width: width as u16, height: height as u16 };
        config.resize = size(out_width, out_height);
        config.pixel_format = if rgb { PixelFormat::Rgb888 } else { PixelFormat::Grey8 };
        let channels = if rgb { 3 } else { 1 };
        let grey: Vec<u8> = bytes.chunks(channels).take(width * height).map(|pixel| match *pixel {
            [red, green, blue] => {
                ((77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue) + 128) >> 8) as u8
            }
            _ => pixel[0],
        }).collect();
        let mut stream = Vec::new();
        for y in 0..height + 2 {
            for x in 0..width + 3 {
                if (2..width + 2).contains(&x) && (1..=height).contains(&y) {
                    let start = ((y - 1) * width + x - 2) * channels;
                    stream.extend(&bytes[start..start + channels]);
                } else {
                    stream.extend([0xEE; 3].iter().take(channels));
                }
            }
        }
        let mut resize = AreaResize::new(&config);
        let (mut image, mut sums) = (vec![0; out_width * out_height], vec![0; 2 * out_width]);
        let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (mut now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            let complete = resize.push(&mut now, &mut image, &mut sums);
            prop_assert!(now.is_empty());
            prop_assert_eq!(complete, later.is_empty());
            rest = later;
        }
        prop_assert_eq!(&image, &naive_area(&grey, (width, height), (out_width, out_height)));
        prop_assert_eq!(resize.statistics().pixels as usize, width * height);
        prop_assert_eq!(Some(resize.statistics().max), grey.iter().max().copied());
    }

    #[test]
    fn any_frame_gives_a_strip_or_a_reason(pixels in prop::collection::vec(any::<u8>(), 96 * 96), length in 0u32..1 << 24) {
        let mut config = config();
        config.alignment.as_mut().unwrap().area_min = 0;
        config.alignment.as_mut().unwrap().area_max = u32::MAX;
        config.alignment.as_mut().unwrap().length = length;
        let _ = run(&config, &pixels);
        config.alignment.as_mut().unwrap().registration = registered(0).alignment.unwrap().registration;
        // Too short a template, and one of noise.
        for template in [&pixels[..100], &pixels[..34 * 14]] {
            let _ = run_with(&config, template, &pixels);
        }
    }
}
