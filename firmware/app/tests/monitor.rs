//! The monitor and the station around it: a story of good and bad frames, told in any pieces.
//!
//! The model passes grey levels up to 128 and clamps lighter ones to it, so a lighter pixel is what it fails to
//! reconstruct, and every score can be computed by hand.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType, OutputPin};
use neji_app::frontend::log_mel::LogMelStream;
use neji_app::{
    AlarmPin, AlarmPolarity, FrameDecoder, Monitor, MonitorError, Outcome, Report, ReportWriter, Sensor, SensorFault,
    SetupError, Station, Trend, Verdict,
};
use neji_engine::{Int8Only, Portable, RunError};
use neji_format::{
    Aggregate, AlignedBytes, Blob, Decision, Detector, Element, FrontEnd, ImageFrontEnd, Model, Multiplier, Operator,
    Photometric, PixelFormat, Plan, Pool2d, PoolKind, Pooling, Provenance, Reconstruction, Rect, Reshape, Shape, Size,
    Streaming, Tensor, Weights, Window,
};
use neji_tables::{Settings, Tables, quantizer};
use proptest::prelude::*;

const FRAME: usize = 64;

fn blob(front_end: FrontEnd) -> AlignedBytes {
    blob_of(Element::I8, front_end)
}

/// The same model in either kind of activations: grey level 128 is 0 of int8 and 128 * 128 of int16.
fn blob_of(element: Element, front_end: FrontEnd) -> AlignedBytes {
    let (scale, zero_point, limit, residual_shift) = match element {
        Element::I8 => (1.0 / 255.0, -128, 0, 5),
        Element::I16 => (1.0 / 255.0 / 128.0, 0, 128 * 128, -2),
    };
    let second = 64 * element.bytes() as u32;
    let tensor = |offset| Tensor { offset, shape: Shape::new(8, 8, 1), scale, zero_point };
    let window = Window {
        kernel_height: 1,
        kernel_width: 1,
        stride_height: 1,
        stride_width: 1,
        dilation_height: 1,
        dilation_width: 1,
        padding_top: 0,
        padding_left: 0,
        padding_bottom: 0,
        padding_right: 0,
    };
    let pool = Pool2d {
        kind: PoolKind::Max,
        input: tensor(0),
        output: tensor(second),
        window,
        multiplier: Multiplier { multiplier: 1 << 30, shift: 1 },
        activation_min: element.range().0,
        activation_max: limit,
    };
    let output_to_residual = Multiplier { multiplier: 1 << 30, shift: residual_shift };
    let plan = Plan {
        element,
        provenance: Provenance::of("clamp"),
        front_end,
        streaming: None,
        detector: Detector::Reconstruction(Reconstruction {
            output_to_residual,
            weights: Weights::One,
            pooling: Pooling { smooth_radius: 0, top_k: 1 },
        }),
        decision: Decision {
            threshold: 2000,
            release: 500,
            smoothing: 1 << 15,
            required: 2,
            window: 3,
            ..Decision::EACH
        },
        input: tensor(0),
        output: tensor(second),
        operator_count: 1,
    };
    let blob = Blob { plan, operators: vec![Operator::Pool2d(pool)], constants: Vec::new(), arena_bytes: 2 * second };
    AlignedBytes::new(&blob.encode())
}

fn image() -> FrontEnd {
    FrontEnd::Image(ImageFrontEnd {
        sensor: Size { width: 8, height: 8 },
        pixel_format: PixelFormat::Grey8,
        crop: Rect { x: 0, y: 0, width: 8, height: 8 },
        resize: Size { width: 8, height: 8 },
        range_min: 5,
        saturated_max: 100,
        photometric: Photometric::None,
        alignment: None,
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    })
}

/// A frame of 60 and 90 whose last pixel is `last`.
fn frame(last: u8) -> Vec<u8> {
    (0..FRAME).map(|i| if i == FRAME - 1 { last } else { 60 + 30 * (i % 2) as u8 }).collect()
}

fn score(last: u8) -> i32 {
    (16 * (i32::from(last) - 128).max(0)).pow(2)
}

fn story() -> Vec<u8> {
    [frame(90), frame(200), frame(90), frame(200), vec![80; FRAME], vec![255; FRAME / 2], vec![9; FRAME / 2]]
        .into_iter()
        .chain([frame(130), frame(90), frame(90), frame(90)])
        .flatten()
        .collect()
}

fn verdicts(bytes: &AlignedBytes, stream: &[u8], cuts: &[usize]) -> Vec<Verdict> {
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0x5A; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::<Portable>::new(model, &mut memory).unwrap();
    let (mut rest, mut found) = (stream, Vec::new());
    for cut in cuts.iter().cycle() {
        let (mut now, later) = rest.split_at((*cut).min(rest.len()));
        while let Some(verdict) = monitor.push(&mut now) {
            found.push(verdict);
        }
        assert!(now.is_empty());
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    found.extend(monitor.end_of_frame());
    found
}

#[test]
fn story_of_an_alarm() {
    let found = verdicts(&blob(image()), &story(), &[usize::MAX]);
    let alarms: Vec<bool> = found.iter().map(|verdict| verdict.alarm).collect();
    // Two of three raise it, frames without a score hold it. 130 counts as abnormal only since the alarm is on; then two
    // normal ones of three end it.
    assert_eq!(alarms, [false, false, false, true, true, true, true, true, false, false]);
    let scored =
        |last: u8, abnormal| Outcome::Scored { score: score(last), smoothed: score(last), class: None, abnormal };
    assert_eq!(found[0].outcome, scored(90, false));
    assert_eq!(found[1].outcome, scored(200, true));
    assert_eq!(found[4].outcome, Outcome::SensorFault(SensorFault::Constant));
    assert_eq!(found[5].outcome, Outcome::SensorFault(SensorFault::Saturated));
    assert_eq!(found[6].outcome, scored(130, true));
    assert!(found.iter().zip(0..).all(|(verdict, sequence)| verdict.sequence == sequence));
}

/// Grey levels are whole steps of either, so the scores are the same too.
#[test]
fn int16_tells_the_same_story() {
    let int16 = blob_of(Element::I16, image());
    assert_eq!(verdicts(&int16, &story(), &[7, 64]), verdicts(&blob(image()), &story(), &[usize::MAX]));
    // Raw samples are the bytes of the input.
    let bytes = blob_of(Element::I16, FrontEnd::Raw);
    let levels: Vec<u8> = frame(200).iter().flat_map(|&grey| (i16::from(grey) * 128).to_le_bytes()).collect();
    let raw = verdicts(&bytes, &levels, &[5]);
    assert!(matches!(raw[0].outcome, Outcome::Scored { score: found, .. } if found == score(200)), "{raw:?}");
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0; Monitor::<Int8Only<Portable>>::memory_bytes(&model)];
    let refused = Monitor::<Int8Only<Portable>>::new(model, &mut memory).err();
    assert_eq!(refused, Some(MonitorError::NotLinked(RunError::Int8Only)));
}

#[test]
fn short_frame_is_dropped_and_the_next_one_counts() {
    let bytes = blob(image());
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::<Portable>::new(model, &mut memory).unwrap();
    assert_eq!(monitor.end_of_frame(), None);
    assert_eq!(monitor.push(&mut &frame(90)[1..]), None);
    let dropped = monitor.end_of_frame().unwrap();
    assert_eq!(dropped.outcome, Outcome::SensorFault(SensorFault::Dropped));
    assert_eq!(monitor.map(), None);
    let verdict = monitor.push(&mut &frame(130)[..]).unwrap();
    assert!(matches!(verdict.outcome, Outcome::Scored { score: 1024, .. }), "{verdict:?}");
    assert_eq!((monitor.input()[63], monitor.output()[63]), (2, 0));
    let (map, size) = monitor.map().unwrap();
    assert_eq!((size, map[63], map[..63].iter().sum::<u32>()), (Size { width: 8, height: 8 }, 1024, 0));
}

#[test]
fn too_little_memory_is_refused() {
    let bytes = blob(image());
    let model = Model::parse(bytes.as_slice()).unwrap();
    let needed = Monitor::<Portable>::memory_bytes(&model);
    for given in 0..needed - 6 {
        let error = Monitor::<Portable>::new(model, &mut vec![0; given]).err();
        assert_eq!(error, Some(MonitorError::Setup(SetupError::MemoryTooSmall { needed, given })));
    }
}

proptest! {
    #[test]
    fn cuts_make_no_difference(cuts in prop::collection::vec(1usize..100, 1..12), raw in any::<bool>()) {
        let bytes = blob(if raw { FrontEnd::Raw } else { image() });
        let mut stream = story();
        stream.truncate(stream.len() - 7);
        prop_assert_eq!(verdicts(&bytes, &stream, &cuts), verdicts(&bytes, &stream, &[usize::MAX]));
    }
}

struct Pieces(Vec<u8>);

impl Sensor for Pieces {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let count = self.0.len().min(buffer.len()).min(50);
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0.drain(..count);
        Ok(count)
    }
}

struct Pin(Rc<Cell<bool>>);

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

fn told(sensor: impl Sensor<Error = Infallible>) -> (Vec<Report>, bool) {
    let bytes = blob(image());
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0; Monitor::<Portable>::memory_bytes(&model)];
    let (level, mut line) = (Rc::new(Cell::new(true)), vec![0; 4096]);
    let mut station = Station {
        monitor: Monitor::<Portable>::new(model, &mut memory).unwrap(),
        sensor,
        reports: ReportWriter::new(&mut line[..]).unwrap(),
        alarm: AlarmPin::new(Pin(Rc::clone(&level)), AlarmPolarity::ActiveHigh).unwrap(),
    };
    assert!(!level.get(), "the alarm begins off");
    station.run().unwrap();
    let mut decoder = FrameDecoder::new();
    (line.iter().filter_map(|&byte| decoder.push(byte)).map(Result::unwrap).collect(), level.get())
}

#[test]
fn station_tells_verdicts_alarms_and_the_end() {
    let (reports, _) = told(Pieces(story()));
    let expected = verdicts(&blob(image()), &story(), &[usize::MAX]);
    let told_verdicts: Vec<Verdict> = reports
        .iter()
        .filter_map(|report| if let Report::Verdict(verdict) = report { Some(*verdict) } else { None })
        .collect();
    assert_eq!(told_verdicts, expected);
    let changes: Vec<&Report> = reports.iter().filter(|report| matches!(report, Report::AlarmChanged { .. })).collect();
    assert_eq!(
        changes,
        [&Report::AlarmChanged { high: true, sequence: 3 }, &Report::AlarmChanged { high: false, sequence: 8 }]
    );
    assert_eq!(reports.last(), Some(&Report::Done { frames: 10 }));
}

#[test]
fn pin_is_high_when_the_story_ends_badly() {
    let (reports, high) = told(Pieces([frame(200), frame(200), frame(90)[1..].to_vec()].concat()));
    assert!(high);
    let dropped =
        Verdict { sequence: 2, outcome: Outcome::SensorFault(SensorFault::Dropped), alarm: true, drift: Trend::Steady };
    assert!(reports.contains(&Report::Verdict(dropped)));
}

/// Eight rows of eight, of which a run takes one; the output is the window.
fn streaming() -> AlignedBytes {
    let bytes = blob(FrontEnd::Raw);
    let model = Model::parse(bytes.as_slice()).unwrap();
    let rows = |offset, height| Tensor { offset, shape: Shape::new(height, 8, 1), ..model.plan().input };
    let (new, output) = (rows(64, 1), rows(72, 8));
    let copy = |input, output| Operator::Reshape(Reshape { input, output });
    let operators = vec![copy(rows(8, 7), rows(0, 7)), copy(new, rows(56, 1)), copy(rows(0, 8), output)];
    let streaming = Some(Streaming { phases: 1, full_after: 8, state_bytes: 64 });
    let plan = Plan { detector: Detector::None, streaming, input: new, output, ..*model.plan() };
    AlignedBytes::new(&Blob { plan, operators, constants: Vec::new(), arena_bytes: 136 }.encode())
}

#[test]
fn a_window_that_streams_is_scored_once_it_is_full() {
    let bytes = streaming();
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0x5A; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::<Portable>::new(model, &mut memory).unwrap();
    let stream: Vec<u8> = (0..=255).cycle().take(400).collect();
    let push = |monitor: &mut Monitor<'_, Portable>, run: usize| {
        let verdict = monitor.push(&mut &stream[8 * run..8 * run + 8]).expect("a row is a frame");
        let window: Vec<i8> = stream[(8 * run + 8).saturating_sub(64)..8 * run + 8].iter().map(|&x| x as i8).collect();
        (verdict.outcome != Outcome::WindowNotFull, monitor.output() == window)
    };
    let filled: Vec<_> = (0..10).map(|run| push(&mut monitor, run).0).collect();
    assert_eq!(filled, [false, false, false, false, false, false, false, true, true, true]);
    assert_eq!(push(&mut monitor, 10), (true, true));

    // A gap begins another window.
    assert_eq!(monitor.push(&mut &[1_u8, 2, 3][..]), None);
    assert!(monitor.end_of_frame().is_some());
    let filled = (11..19).filter(|&run| push(&mut monitor, run).0).count();
    assert_eq!(filled, 1);
    assert_eq!(push(&mut monitor, 19), (true, true));
    assert!(monitor.end_of_frame().is_none());
    assert_eq!(push(&mut monitor, 20), (true, true));
}

/// Windows of eight frames of eight bands; every second frame begins one.
const SOUND: Settings = Settings {
    sample_rate: 8000,
    fft_len: 64,
    hop: 32,
    mels: 8,
    context: 8,
    stride: 2,
    centered: false,
    range_min: 2,
    saturated_max: 500,
    ..Settings::MLPERF
};
/// Samples of the first window and from one to the next.
const FIRST: usize = 64 + 32 * 7;
const NEXT: usize = 64;

/// The model with an ear in place of an eye.
fn listener(decision: Decision) -> AlignedBytes {
    let bytes = blob(FrontEnd::Raw);
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut constants = Vec::new();
    let front_end = FrontEnd::LogMel(Tables::new(SOUND).push(&[quantizer(-175.0, 10.0, 0.1)], &mut constants));
    let plan = Plan { front_end, decision, ..*model.plan() };
    let arena_bytes = model.arena_bytes() as u32;
    AlignedBytes::new(&Blob { plan, operators: model.operators().collect(), constants, arena_bytes }.encode())
}

/// Noise that becomes louder and quieter.
fn sound(len: usize) -> Vec<u8> {
    let mut state = 3u32;
    let mut sample = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let swell = 40 + ((n / 100) % 7) as i32 * 600;
        ((state >> 16) as i32 - 32768) * swell / 32768
    };
    (0..len).flat_map(|n| (sample(n) as i16).to_le_bytes()).collect()
}

/// What the model must say of each window: it can't reconstruct what lies above 0, and the worst element counts.
fn expected_scores(stream: &[u8]) -> Vec<i32> {
    let tables = Tables::new(SOUND);
    let quantizers = [quantizer(-175.0, 10.0, 0.1)];
    let config = tables.log_mel(&quantizers, Element::I8, -128);
    let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
    let mut front_end = LogMelStream::new(config, &mut memory).unwrap();
    let (mut rest, mut scores, mut input) = (stream, Vec::new(), [0; 64]);
    while let Some(due) = front_end.push(&mut rest, &mut work) {
        if due {
            front_end.input(&mut input);
            let worst = input.into_iter().max().unwrap().max(0);
            scores.push((16 * i32::from(worst)).min(4095).pow(2));
        }
    }
    scores
}

fn scored(verdict: &Verdict) -> (i32, i32, bool) {
    let Outcome::Scored { score, smoothed, abnormal, .. } = verdict.outcome else { panic!("{verdict:?}") };
    (score, smoothed, abnormal)
}

#[test]
fn sound_is_scored_window_by_window() {
    let bytes = listener(Decision { threshold: 60_000, release: 60_000, ..Decision::EACH });
    let stream = sound(FIRST + NEXT * 40 + 63);
    let found = verdicts(&bytes, &stream, &[usize::MAX]);
    let expected = expected_scores(&stream);
    assert_eq!(found.len(), 41);
    let scores: Vec<i32> = found.iter().map(|verdict| scored(verdict).0).collect();
    assert_eq!(scores, expected);
    assert!(found.iter().all(|verdict| verdict.alarm == (scored(verdict).0 > 60_000)));
    assert!(found.iter().any(|verdict| verdict.alarm) && !found.iter().all(|verdict| verdict.alarm));
}

#[test]
fn what_stands_for_the_last_scores_decides() {
    let decision =
        Decision { aggregate: Aggregate::Mean, scores: 4, threshold: 60_000, release: 50_000, ..Decision::EACH };
    let stream = sound(FIRST + NEXT * 20);
    let found = verdicts(&listener(decision), &stream, &[usize::MAX]);
    let scores: Vec<i32> = found.iter().map(|verdict| scored(verdict).0).collect();
    for (index, verdict) in found.iter().enumerate() {
        let last = &scores[(index + 1).saturating_sub(4)..=index];
        let mean = (last.iter().map(|&score| i64::from(score)).sum::<i64>() / last.len() as i64) as i32;
        let level = if index > 0 && found[index - 1].alarm { 50_000 } else { 60_000 };
        assert_eq!(scored(verdict), (scores[index], mean, index >= 3 && mean > level), "{index}");
    }
    assert!(found.iter().any(|verdict| verdict.alarm));
}

#[test]
fn after_a_gap_or_a_stuck_sensor_a_window_is_whole_again() {
    let bytes = listener(Decision { threshold: i32::MAX, release: 0, ..Decision::EACH });
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0x33; Monitor::<Portable>::memory_bytes(&model)];
    let mut monitor = Monitor::<Portable>::new(model, &mut memory).unwrap();
    let stream = sound(2 * FIRST);
    // Half a sample is lost with the window.
    assert_eq!(monitor.push(&mut &stream[..2 * FIRST - 1]), None);
    assert_eq!(monitor.gap().outcome, Outcome::SensorFault(SensorFault::Dropped));
    let verdict = monitor.push(&mut &stream[..2 * FIRST]).expect("a whole window");
    assert_eq!(scored(&verdict).0, expected_scores(&stream[..2 * FIRST])[0]);
    assert_eq!(monitor.decibels().len(), 8);
    assert!(monitor.map().is_some());
    // Sound may end anywhere.
    assert_eq!(monitor.push(&mut &stream[..77]), None);
    assert_eq!(monitor.end_of_frame(), None);
    assert_eq!(monitor.push(&mut &stream[..2 * FIRST - 1]), None);
    let verdict = monitor.push(&mut &stream[2 * FIRST - 1..2 * FIRST]).expect("a whole window");
    assert_eq!((verdict.sequence, scored(&verdict).0), (2, expected_scores(&stream[..2 * FIRST])[0]));
    let stuck = monitor.push(&mut &[9, 1].repeat(NEXT)[..]).expect("a whole window");
    assert_eq!(stuck.outcome, Outcome::SensorFault(SensorFault::Constant));
    let full_scale = [0, 0x80, 0xff, 0x7f].repeat(NEXT / 2);
    let clipped = monitor.push(&mut &full_scale[..]).expect("a whole window");
    assert_eq!(clipped.outcome, Outcome::SensorFault(SensorFault::Saturated));
    assert_eq!(monitor.map(), None);
}

proptest! {
    #[test]
    fn cuts_of_sound_make_no_difference(cuts in prop::collection::vec(1usize..700, 1..12)) {
        let decision = Decision { aggregate: Aggregate::TopK(2), scores: 3, threshold: 60_000, ..Decision::EACH };
        let bytes = listener(decision);
        let stream = sound(FIRST + NEXT * 5);
        prop_assert_eq!(verdicts(&bytes, &stream, &cuts), verdicts(&bytes, &stream, &[usize::MAX]));
    }
}

/// Gives `before`, has lost `lost` samples, gives `behind`.
struct Gappy {
    before: Vec<u8>,
    lost: Option<u32>,
    behind: Vec<u8>,
}

impl Sensor for Gappy {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let part = if self.before.is_empty() { &mut self.behind } else { &mut self.before };
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        part.drain(..count);
        Ok(count)
    }

    fn gap(&mut self) -> Option<u32> {
        if self.before.is_empty() { self.lost.take() } else { None }
    }
}

#[test]
fn station_tells_what_was_lost_and_begins_a_new_frame_behind_it() {
    let before = [frame(90), frame(90)[..10].to_vec()].concat();
    for lost in [0, 54] {
        let sensor = Gappy { before: before.clone(), lost: Some(lost), behind: frame(130) };
        let (reports, _) = told(sensor);
        let outcomes: Vec<Outcome> = reports
            .iter()
            .filter_map(|report| if let Report::Verdict(verdict) = report { Some(verdict.outcome) } else { None })
            .collect();
        assert_eq!(outcomes.len(), 3, "{reports:?}");
        assert_eq!(outcomes[1], Outcome::SensorFault(SensorFault::Dropped));
        assert!(matches!(outcomes[2], Outcome::Scored { score: found, .. } if found == score(130)), "{outcomes:?}");
        let overrun = reports.iter().find(|report| matches!(report, Report::Overrun { .. }));
        // A number that is not known is no overrun.
        assert_eq!(overrun, (lost > 0).then_some(&Report::Overrun { samples: 54, bytes: before.len() as u64 }));
    }
}
