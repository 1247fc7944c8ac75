//! A reader that goes away, as in `neji eval … | head`.
//!
//! The standard library ignores the signal that ends other programs then, and `println!` panics instead. The process ends as the
//! signal would have ended it: at once, quietly, with the shell's status for it.

use std::any::Any;

/// 128 and the number of `SIGPIPE`, which is how shells name a process that it ended.
pub const STATUS: u8 = 141;

/// From here on, printing to a pipe that nobody reads ends the process with [`STATUS`].
pub fn end_quietly() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if is_closed_pipe(panic.payload()) {
            std::process::exit(STATUS.into());
        }
        report(panic);
    }));
}

/// Whether a panic is that of a `print!` whose reader has gone.
fn is_closed_pipe(payload: &(dyn Any + Send)) -> bool {
    let gone = std::io::Error::from_raw_os_error(GONE).to_string();
    let printing = |text: &String| text.starts_with("failed printing to std") && text.ends_with(&gone);
    payload.downcast_ref().is_some_and(printing)
}

/// `EPIPE`; on Windows `ERROR_NO_DATA`.
const GONE: i32 = if cfg!(windows) { 232 } else { 32 };

/// Whether `error` comes of writing to a pipe of ours that nobody reads.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_panics_are_reported() {
        let of = |text: &str| is_closed_pipe(&text.to_owned());
        assert!(of("failed printing to stdout: Broken pipe (os error 32)") || cfg!(windows));
        assert!(!of("failed printing to stdout: No space left on device (os error 28)"));
        assert!(!of("Broken pipe (os error 32)") && !is_closed_pipe(&"a panic"));
    }
}
