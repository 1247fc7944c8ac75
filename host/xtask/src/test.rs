//! `cargo xtask test`: what must hold before a commit is pushed, in the order of how soon it fails.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use neji_machine::Board;
use neji_machine::toolchain::{self, TARGETS};

use crate::step::step;
use crate::{no_panic, package, setup, size};

/// The crates that run on devices.
const DEVICE: [&str; 8] = ["-p", "neji-format", "-p", "neji-link", "-p", "neji-engine", "-p", "neji-app"];

/// Everything that CI runs.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Also lint and test what needs probe-rs, which takes five minutes to compile on two cores.
    #[arg(long)]
    probe: bool,
}

/// Runs every check.
///
/// # Errors
/// The first that fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begin = Instant::now();
    let root = toolchain::root()?;
    let boards = root.join("boards");
    setup::run()?;

    let host = |arguments: &[&str]| {
        let mut command = toolchain::clean("cargo");
        command.current_dir(&root).args(arguments);
        command
    };
    let firmware = |target: &str, arguments: &[&str]| -> Result<Command> {
        let mut command = toolchain::firmware_cargo(target)?;
        command.args(arguments).args(["--target", target]);
        Ok(command)
    };

    step("format", &mut host(&["fmt", "--check"]))?;
    package::run()?;
    step("format of the boards", host(&["fmt", "--check"]).current_dir(&boards))?;

    for target in TARGETS {
        let crates = boards.join("target/crates");
        let build = |verb: &str| -> Result<Command> {
            let mut command = firmware(target, &[verb])?;
            command.current_dir(&root).args(DEVICE).arg("--target-dir").arg(&crates);
            Ok(command)
        };
        step(&format!("device crates for {target}"), &mut build("build")?)?;
        step(&format!("lints of the device crates for {target}"), build("clippy")?.args(["--", "-D", "warnings"]))?;
    }

    for board in Board::emulated(&root)? {
        let target = &board.settings.target;
        let arguments = ["clippy", "--locked", "--release", "-p", &board.package, "-p", "neji-qemu", "-p", "empty"];
        let mut lints = firmware(target, &arguments)?;
        lints.current_dir(&boards).arg("--target-dir").arg(boards.join("target")).args(["--", "-D", "warnings"]);
        step(&format!("lints of {}", board.package), &mut lints)?;
        let mut build = firmware(target, &["build", "--locked", "--release", "-p", &board.package])?;
        build.current_dir(&boards).arg("--target-dir").arg(boards.join("target"));
        step(&format!("firmware of {}", board.package), &mut build)?;
    }

    for board in Board::real(&root)?.iter().chain(&Board::twins(&root)?) {
        let target = &board.settings.target;
        for verb in ["clippy", "build"] {
            let mut command = firmware(target, &[verb, "--locked", "--release", "-p", &board.package])?;
            command.current_dir(&boards).arg("--target-dir").arg(boards.join("target"));
            if verb == "clippy" {
                command.args(["-p", "neji-embassy", "--no-deps", "--", "-D", "warnings"]);
            }
            step(&format!("{verb} of {}", board.package), &mut command)?;
        }
    }

    let mut lints = firmware(TARGETS[0], &["clippy", "--locked", "--release", "-p", "no-panic"])?;
    lints.current_dir(&boards).arg("--target-dir").arg(boards.join("target")).args(["--", "-D", "warnings"]);
    step("lints of no-panic", &mut lints)?;
    no_panic::run()?;
    eprintln!("--- flash, RAM and stack of the boards");
    size::run(&size::Args::default())?;

    step("lints", &mut host(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("docs", host(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    // The end-to-end tests start the command, which `cargo test` alone does not build.
    step("the neji command", &mut host(&["build", "--package", "neji"]))?;
    step("tests", &mut host(&["test", "--workspace"]))?;
    if args.probe {
        // Without training, since Burn has nothing to do with them.
        let flash = ["--package", "neji-flash", "--features", "probe"];
        let neji = ["--package", "neji", "--no-default-features", "--features", "probe"];
        for probe in [flash.as_slice(), &neji] {
            let lints = ["--", "-D", "warnings"];
            step("lints of debug probes", host(&["clippy", "--all-targets"]).args(probe).args(lints))?;
        }
        step("tests of debug probes", host(&["test"]).args(flash))?;
        step("tests of their options", host(&["test"]).args(neji).args(["--lib", "cli::probe"]))?;
    }
    eprintln!("all of it holds: {:.0} s", begin.elapsed().as_secs_f32());
    Ok(())
}
