//! One command at a time, with its duration; the first that fails ends the run and says how to type it again.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What a person types to run `command` again, with the environment that was set for it.
pub(crate) fn typed(command: &Command) -> String {
    let quote = |text: &OsStr| {
        let text = text.to_string_lossy();
        if text.chars().any(|c| c.is_whitespace() || c == '$') { format!("'{text}'") } else { text.into_owned() }
    };
    let mut words = Vec::new();
    if let Some(folder) = command.get_current_dir() {
        words.push(format!("cd {} &&", quote(folder.as_os_str())));
    }
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", key.to_string_lossy(), quote(value)));
        }
    }
    words.push(quote(command.get_program()));
    words.extend(command.get_args().map(quote));
    words.join(" ")
}

/// Runs `command` with its output in sight.
///
/// # Errors
/// It could not start, or ended with a failure; the message holds what to type.
pub(crate) fn step(title: &str, command: &mut Command) -> Result<()> {
    eprintln!("--- {title}");
    let begin = Instant::now();
    let status = command.status().with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    let seconds = begin.elapsed().as_secs_f32();
    if !status.success() {
        bail!("{title} failed after {seconds:.1} s ({status}); again: {}", typed(command));
    }
    eprintln!("--- {title}: {seconds:.1} s");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command.current_dir("/x").env("A", "b c").env_remove("GONE").args(["test", "-p", "y"]);
        assert_eq!(typed(&command), "cd /x && A='b c' cargo test -p y");
    }

    #[test]
    fn a_failure_says_how_to_run_it_again() {
        let error = step("nothing", &mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("again: false"), "{error}");
        step("all", &mut Command::new("true")).unwrap();
    }
}
