//! A monitor that learns, is asked for its state and given others, as `data` says.

use neji_app::{Calibration, Learner, Monitor, Outcome, STATE_BYTES, Verdict};
use neji_engine::Portable;
use neji_format::header::{CRC_OFFSET, checksum};
use neji_format::{FrontEnd, Model};

type Learning<'m> = Monitor<'m, Portable, Learner<'m>>;

/// Most bytes of memory and room that a model may ask for here.
const BYTES_MAX: usize = 1 << 14;
/// Most frames of a life.
const FRAMES_MAX: usize = 600;

/// Lets a monitor of `model`, which takes raw samples, live by `data`: each byte says what happens next.
///
/// # Panics
/// Whenever a state that was exported can't be imported, or a monitor goes on otherwise with it.
pub fn live(model: Model<'_>, data: &[u8]) {
    let bytes = Monitor::<Portable>::memory_bytes(&model).saturating_add(Learner::memory_bytes(&model));
    if bytes > BYTES_MAX || model.plan().front_end != FrontEnd::Raw {
        return;
    }
    let (mut memory, mut room) = memories(&model, 0x5a);
    let Ok(mut monitor) = Learning::with_learner(model, &mut memory, &mut room) else { return };
    let frame = model.plan().element.bytes_of(&model.plan().input);
    let (mut rest, mut frames) = (data, 0);
    while let Some((&what, behind)) = rest.split_first() {
        rest = behind;
        match what {
            0..=9 => {
                let scores = [0, 15, 16, 31, 32, 40, 63, 100, 4096, u16::MAX][usize::from(what)];
                let before = monitor.calibration();
                if monitor.calibrate(scores).is_err() {
                    assert_eq!(monitor.calibration(), before);
                }
            }
            10 => monitor.uncalibrate(),
            11 => monitor.reset(),
            12 => assert!(matches!(monitor.gap().outcome, Outcome::SensorFault(_))),
            13 => survive(model, &mut monitor),
            // A state, or what is to be taken for one: with a fitting checksum or as it is.
            14..=31 => {
                let length = (usize::from(what - 14) * 37).min(rest.len());
                let (state, behind) = rest.split_at(length);
                rest = behind;
                let before = state_of(&monitor);
                let forged = if what % 2 == 0 { state.to_vec() } else { sealed(&before, state) };
                if monitor.import_from(&forged).is_err() {
                    assert_eq!(state_of(&monitor), before, "a state that was refused has changed something");
                }
            }
            // Frames drawn from what follows.
            _ => {
                let count = usize::from(what - 31).min(FRAMES_MAX - frames);
                frames += count;
                let samples: Vec<u8> = rest.iter().copied().chain([what]).cycle().take(count * frame).collect();
                rest = rest.get(frame.min(rest.len())..).unwrap_or(&[]);
                push(&mut monitor, &samples);
            }
        }
    }
    survive(model, &mut monitor);
}

fn memories(model: &Model<'_>, content: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![content; Monitor::<Portable>::memory_bytes(model)], vec![content; Learner::memory_bytes(model)])
}

fn push(monitor: &mut Learning<'_>, samples: &[u8]) -> Vec<(Outcome, bool)> {
    let mut rest = samples;
    std::iter::from_fn(|| monitor.push(&mut rest)).map(|Verdict { outcome, alarm, .. }| (outcome, alarm)).collect()
}

fn state_of(monitor: &Learning<'_>) -> Vec<u8> {
    let mut state = vec![0; monitor.state_bytes()];
    assert_eq!(monitor.export_to(&mut state), Ok(state.len()));
    state
}

/// `state` with some bytes of `changes` in the place of its own, and fitting checksums.
fn sealed(state: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut forged = state.to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % forged.len();
        forged[at] = change[2];
    }
    let (judge, tables) = forged.split_at_mut(STATE_BYTES);
    let seal = |bytes: &mut [u8]| {
        let crc = checksum(bytes).to_le_bytes();
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc);
        crc
    };
    let crc = seal(judge);
    // The tables name the state that they belong to.
    tables[16..20].copy_from_slice(&crc);
    seal(tables);
    forged
}

/// Another monitor goes on from this one's state as this one does, but for the last scores, which neither has then.
fn survive(model: Model<'_>, monitor: &mut Learning<'_>) {
    let state = state_of(monitor);
    monitor.import_from(&state).expect("its own state");
    let (mut memory, mut room) = memories(&model, 0xc3);
    let mut other = Learning::with_learner(model, &mut memory, &mut room).expect("as the first");
    other.import_from(&state).expect("a state that was exported");
    assert_eq!(state_of(&other), state);
    let samples: Vec<u8> =
        state.iter().copied().cycle().take(40 * model.plan().element.bytes_of(&model.plan().input)).collect();
    assert_eq!(push(&mut other, &samples), push(monitor, &samples));
    assert_eq!(state_of(&other), state_of(monitor));
    if let Calibration::Learned(normal) = other.calibration() {
        assert!(normal.scale > 0);
    }
}
