//! `cargo xtask fuzz`: each target of `tests/fuzz` for a while, from the committed corpus.
//!
//! What is found on the way stays in the folder `target` of the fuzz workspace, which the next run starts from too; the
//! committed corpus changes by hand only.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use neji_machine::toolchain;

use crate::step::{step, typed};

const TARGETS: [&str; 7] = ["decode", "run", "tflite", "frames", "link", "state", "learn"];
/// What libFuzzer counts as a fault beside a panic: seconds for one input, megabytes in all and in one piece.
const LIMITS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=2048", "-malloc_limit_mb=256"];
/// Lines of a failed run that are shown.
const LINES_SHOWN: usize = 40;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Targets: decode, run, tflite, frames, link, state, learn; all where none is named.
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the targets, one after the other.
///
/// # Errors
/// Nightly or cargo-fuzz is missing, a target does not build, or an input breaks it: says what to type.
pub(crate) fn run(args: &Args) -> Result<()> {
    tools()?;
    let folder = toolchain::root()?.join("tests/fuzz");
    step("build the fuzz targets", cargo_fuzz(&folder, "build").arg("--target-dir").arg(folder.join("target")))?;
    let all = TARGETS.map(str::to_owned);
    let targets = if args.targets.is_empty() { &all[..] } else { &args.targets[..] };
    for target in targets {
        let found = fuzz(&folder, target, args.seconds)?;
        println!("{target}: {} executions, {} a second", found.executions, found.each_second);
    }
    Ok(())
}

/// What libFuzzer says at the end.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    executions: u64,
    each_second: u64,
}

impl Figures {
    fn take(&mut self, line: &str) {
        let number = |name: &str| line.strip_prefix(name)?.trim().parse().ok();
        if let Some(count) = number("stat::number_of_executed_units:") {
            self.executions = count;
        } else if let Some(rate) = number("stat::average_exec_per_sec:") {
            self.each_second = rate;
        }
    }
}

/// cargo-fuzz with nightly, whatever toolchain this runs with.
fn cargo_fuzz(folder: &Path, verb: &str) -> Command {
    let mut command = toolchain::clean("cargo");
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR").env_remove("RUSTFLAGS");
    // Errors are part of the day here; a backtrace for each would be most of the work, and hide what a panic says.
    command.env("RUSTUP_TOOLCHAIN", "nightly").env("RUST_BACKTRACE", "0").env_remove("RUST_LIB_BACKTRACE");
    command.args(["fuzz", verb, "--fuzz-dir"]).arg(folder);
    command
}

fn tools() -> Result<()> {
    let runs = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !runs(toolchain::clean("rustup").args(["run", "nightly", "rustc", "--version"])) {
        bail!("libFuzzer needs a nightly compiler; type: rustup toolchain install nightly");
    }
    if !runs(toolchain::clean("cargo-fuzz").arg("--version")) {
        bail!("cargo-fuzz is missing; type: cargo install cargo-fuzz --locked");
    }
    Ok(())
}

fn fuzz(folder: &Path, target: &str, seconds: u32) -> Result<Figures> {
    let own = folder.join("target/corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for folder in [&own, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let before = newest(&artifacts);
    let mut command = cargo_fuzz(folder, "run");
    // libFuzzer adds to the first corpus only.
    command.arg("--target-dir").arg(folder.join("target")).arg(target);
    command.arg(&own).arg(folder.join("corpus").join(target)).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").args(LIMITS);
    eprintln!("--- {target}: {seconds} s");
    let mut child = command.stderr(Stdio::piped()).spawn().context("starting cargo fuzz")?;
    let mut figures = Figures::default();
    let mut last = VecDeque::new();
    for line in BufReader::new(child.stderr.take().context("the output of cargo fuzz")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        figures.take(&line);
        // Progress and frames of the stack begin so; what else is said is about the fault.
        if line.trim_start().starts_with('#') {
            continue;
        }
        last.push_back(line);
        if last.len() > LINES_SHOWN {
            last.pop_front();
        }
    }
    if child.wait()?.success() {
        return Ok(figures);
    }
    last.iter().for_each(|line| eprintln!("{line}"));
    match newest(&artifacts).filter(|found| before.as_ref() != Some(found)) {
        Some((_, artifact)) => {
            let mut again = Command::new("cargo");
            again.args(["+nightly", "fuzz", "run", "--fuzz-dir"]).arg(folder).arg(target).arg(&artifact);
            let mut smaller = Command::new("cargo");
            smaller.args(["+nightly", "fuzz", "tmin", "--fuzz-dir"]).arg(folder).arg(target).arg(&artifact);
            let artifact = artifact.display();
            bail!("{target} broke on {artifact}\nagain: {}\nsmaller: {}", typed(&again), typed(&smaller));
        }
        None => bail!("{target} did not run; again: {}", typed(&command)),
    }
}

/// The youngest file of a folder, and when it was written.
fn newest(folder: &Path) -> Option<(SystemTime, PathBuf)> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
    });
    files.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_off_the_last_lines() {
        let mut figures = Figures::default();
        for line in
            ["Done 7 runs in 2 second(s)", "stat::number_of_executed_units: 70", "stat::average_exec_per_sec:     35"]
        {
            figures.take(line);
        }
        assert_eq!(figures, Figures { executions: 70, each_second: 35 });
    }

    #[test]
    fn every_target_is_in_the_workspace() {
        let folder = toolchain::root().unwrap().join("tests/fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(folder.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
