//! Five by five lights: how the watch goes, and how loud it is.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Ticker, Timer};
use embedded_hal::digital::OutputPin;
use neji_app::Outcome;

use crate::event::{Event, Tell};
use crate::level::Level;

/// Rows of lights, the highest bit on the left.
type Picture = [u8; 5];

/// All is well, the level below: a dot that shows that it lives.
const WATCHING: Picture = [0b00000, 0b00000, 0b00100, 0b00000, 0b00000];
const ALARM: Picture = [0b10001, 0b01010, 0b00100, 0b01010, 0b10001];
const SENSOR: Picture = [0b00100, 0b00100, 0b00100, 0b00000, 0b00100];
const REFUSED: Picture = [0b01110, 0b10001, 0b00110, 0b00000, 0b00100];

/// What the lights show; told by the station, read by [`show`].
#[derive(Debug)]
pub struct Face(AtomicU32);

const STARTING: u32 = 0;
const WELL: u32 = 1;
const FAULT: u32 = 2;
const LOUD: u32 = 3;
const NO_MODEL: u32 = 4;

impl Face {
    /// Before anything was told.
    pub const fn new() -> Self {
        Self(AtomicU32::new(STARTING))
    }

    fn is_alarm(&self) -> bool {
        self.0.load(Ordering::Relaxed) == LOUD
    }

    /// Waits for an alarm.
    pub async fn alarm(&self) {
        while !self.is_alarm() {
            Timer::after_millis(50).await;
        }
    }

    /// Waits until the alarm is over, at most so many seconds.
    pub async fn alarm_over(&self, seconds: u32) {
        for _ in 0..seconds * 20 {
            if !self.is_alarm() {
                break;
            }
            Timer::after_millis(50).await;
        }
    }
}

impl Default for Face {
    fn default() -> Self {
        Self::new()
    }
}

impl Tell for &Face {
    fn tell(&mut self, event: &Event<'_>) {
        let state = match event {
            Event::Refused(_) => NO_MODEL,
            Event::Restarting(_) => FAULT,
            Event::Verdict(verdict) if verdict.alarm => LOUD,
            Event::Verdict(verdict) if matches!(verdict.outcome, Outcome::SensorFault(_)) => FAULT,
            Event::Verdict(_) | Event::Watching { .. } => WELL,
            _ => return,
        };
        self.0.store(state, Ordering::Relaxed);
    }
}

/// Shows `face`, and while all is well the `level` as bars, for ever. A row is lit where its pin is high and a column's low; one
/// row at a time.
pub async fn show<R: OutputPin, C: OutputPin>(mut rows: [R; 5], mut columns: [C; 5], face: &Face, level: &Level) -> ! {
    let mut ticker = Ticker::every(Duration::from_millis(2));
    let mut turn = 0u32;
    let mut bars = 0;
    loop {
        for row in 0..5 {
            ticker.next().await;
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(50) {
                bars = level.take(5);
            }
            let lit = turn & 0x100 == 0;
            let picture = match face.0.load(Ordering::Relaxed) {
                STARTING => [0; 5],
                WELL if bars == 0 => WATCHING,
                WELL => [0, 1, 2, 3, 4].map(|row: u32| if 5 - row <= bars { 0b01110 } else { 0 }),
                FAULT => SENSOR,
                LOUD if lit => ALARM,
                LOUD => [0; 5],
                _ => REFUSED,
            };
            for pin in &mut rows {
                let _ = pin.set_low();
            }
            let bits = picture.get(row).copied().unwrap_or(0);
            for (column, pin) in columns.iter_mut().enumerate() {
                let _ = pin.set_state((bits & 0b10000 >> column == 0).into());
            }
            if let Some(pin) = rows.get_mut(row) {
                let _ = pin.set_high();
            }
        }
    }
}
