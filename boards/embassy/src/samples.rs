//! Samples from the task that takes them to the loop that judges them, across an interrupt.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::{Duration, WithTimeout as _};
use neji_app::Ring;

struct Shared {
    ring: Option<Ring<'static>>,
    reader: WakerRegistration,
    failed: bool,
}

/// A [`Ring`] that an interrupt may fill while the loop is busy. What finds it full is lost, and the loop is told.
pub struct Samples(Mutex<CriticalSectionRawMutex, RefCell<Shared>>);

/// What the loop got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Samples are missing before the next ones: so many, 0 where that is not known.
    Gap(u32),
    /// Nothing came in time.
    Silence,
    /// The sensor's driver gave up.
    Failed,
}

/// Where a station's samples come from.
pub trait Source {
    /// Waits for samples, not for ever.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = Read>;
}

/// Without samples for so long, the sensor hangs.
const PATIENCE: Duration = Duration::from_secs(3);

impl Samples {
    /// Without memory yet: whatever is pushed is dropped.
    pub const fn new() -> Self {
        Self(Mutex::new(RefCell::new(Shared { ring: None, reader: WakerRegistration::new(), failed: false })))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Shared) -> R) -> R {
        self.0.lock(|shared| work(&mut shared.borrow_mut()))
    }

    /// Gives it memory for samples of `sample_bytes`, all axes.
    pub fn begin(&self, memory: &'static mut [u8], sample_bytes: usize) {
        self.with(|shared| shared.ring = Some(Ring::new(memory, sample_bytes)));
    }

    /// The sensor's end: whole samples one after the other, each of as many bytes as [`Samples::begin`] was told.
    pub fn push<const N: usize>(&self, samples: impl Iterator<Item = [u8; N]>) {
        self.with(|shared| {
            if let Some(ring) = &mut shared.ring {
                for sample in samples {
                    ring.push(&sample);
                }
            }
            shared.reader.wake();
        });
    }

    /// The sensor's end, for one that can wait: bytes that were not read yet.
    pub fn waiting(&self) -> usize {
        self.with(|shared| shared.ring.as_ref().map_or(0, Ring::len))
    }

    /// The sensor's end: says that samples are missing; 0 where their number is not known.
    pub fn lose(&self, samples: u32) {
        self.with(|shared| {
            if let Some(ring) = &mut shared.ring {
                ring.lose(samples);
            }
        });
    }

    /// The sensor's end: says that no more will come.
    pub fn fail(&self) {
        self.with(|shared| {
            shared.failed = true;
            shared.reader.wake();
        });
    }
}

impl Source for &Samples {
    async fn read(&mut self, buffer: &mut [u8]) -> Read {
        let read = poll_fn(|context| {
            self.with(|shared| {
                if let Some(ring) = &mut shared.ring {
                    if let Some(lost) = ring.gap() {
                        return Poll::Ready(Read::Gap(lost));
                    }
                    match ring.read(buffer) {
                        0 => {}
                        count => return Poll::Ready(Read::Bytes(count)),
                    }
                }
                if shared.failed {
                    return Poll::Ready(Read::Failed);
                }
                shared.reader.register(context.waker());
                Poll::Pending
            })
        });
        read.with_timeout(PATIENCE).await.unwrap_or(Read::Silence)
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}
