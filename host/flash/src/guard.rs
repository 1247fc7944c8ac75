//! A watch over work that may hang: USB stacks, worn cables and confused probes do.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::write::Event;

/// Does `work` in a thread of its own and passes on what it tells; fails where it tells nothing for `stall`.
///
/// A thread that hangs in a driver cannot be ended: it is left to itself, and with the process.
///
/// # Errors
/// The work's own, or [`Error::Stalled`].
pub fn guarded<T: Send + 'static>(
    stall: Duration,
    work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T> + Send + 'static,
    told: &mut dyn FnMut(Event),
) -> Result<T> {
    let (sender, receiver) = channel();
    let worker = thread::spawn(move || {
        work(&mut |event| {
            // Nobody listens any more where it stalled.
            let _ = sender.send(event);
        })
    });
    let mut doing = "looking for the chip";
    loop {
        match receiver.recv_timeout(stall) {
            Ok(event) => {
                doing = event.doing();
                told(event);
            }
            Err(RecvTimeoutError::Timeout) => return Err(Error::Stalled { doing, after: stall }),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().unwrap_or_else(|_| Err(Error::Device { doing, reason: "a driver has panicked".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_passed_on_and_ends() {
        let mut seen = Vec::new();
        let work = |tell: &mut dyn FnMut(Event)| {
            tell(Event::Verifying);
            tell(Event::Starting);
            Ok(7)
        };
        assert_eq!(guarded(Duration::from_secs(60), work, &mut |event| seen.push(event)).unwrap(), 7);
        assert_eq!(seen, [Event::Verifying, Event::Starting]);
        let failing = |_: &mut dyn FnMut(Event)| Err::<(), _>(Error::NoDrive);
        assert!(matches!(guarded(Duration::from_secs(60), failing, &mut |_| ()), Err(Error::NoDrive)));
    }

    #[test]
    fn what_hangs_is_named_by_its_last_step() {
        let (hold, held) = channel::<()>();
        let work = move |tell: &mut dyn FnMut(Event)| {
            tell(Event::Verifying);
            let _ = held.recv();
            Ok(())
        };
        let error = guarded(Duration::from_millis(50), work, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("while reading back") && error.contains("plug"), "{error}");
        drop(hold);
    }

    #[test]
    fn a_driver_that_panics_is_an_error() {
        let work = |_: &mut dyn FnMut(Event)| -> Result<()> { panic!("in a driver") };
        assert!(matches!(guarded(Duration::from_secs(60), work, &mut |_| ()), Err(Error::Device { .. })));
    }
}
