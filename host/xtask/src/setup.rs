//! `cargo xtask setup`: the targets, the components, QEMU, a browser.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use neji_machine::toolchain::{self, BROWSER_INSTALL, QEMU, QEMU_INSTALL, TARGETS};

use crate::step::step;

/// True where `program` starts at all.
fn runs(program: &str, argument: &str) -> bool {
    let status = toolchain::clean(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Installs what is missing.
///
/// # Errors
/// Something could not be installed; the message is the command to type.
pub(crate) fn run() -> Result<()> {
    boards()?;
    browser()
}

/// Installs what boards need: all that the demo needs.
///
/// # Errors
/// As [`run`].
pub(crate) fn boards() -> Result<()> {
    components()?;
    if toolchain::wants_debian() {
        debian()?;
    } else {
        rustup()?;
    }
    if !runs(QEMU, "--version") {
        apt("QEMU", QEMU_INSTALL, "qemu")?;
    }
    eprintln!("setup: targets and QEMU are there");
    Ok(())
}

fn components() -> Result<()> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if runs(program, "--version") {
            continue;
        }
        let mut add = toolchain::clean("rustup");
        add.args(["component", "add", component]);
        step(&format!("install {component}"), &mut add)?;
    }
    Ok(())
}

fn rustup() -> Result<()> {
    let out = toolchain::clean("rustup").args(["target", "list", "--installed"]).output();
    let out = out.context("starting rustup; install it from https://rustup.rs")?;
    let installed = String::from_utf8_lossy(&out.stdout);
    let missing: Vec<&str> = TARGETS.into_iter().filter(|target| !installed.lines().any(|l| l == *target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut add = toolchain::clean("rustup");
    add.args(["target", "add"]).args(&missing);
    step("install the bare-metal targets", &mut add)
        .context("where rustup cannot download and Debian's packages can: NEJI_TOOLCHAIN=debian cargo xtask setup")
}

fn debian() -> Result<()> {
    let script = toolchain::root()?.join("host/xtask/debian-toolchain.sh");
    let mut command = toolchain::clean("bash");
    command.arg(script).args(TARGETS);
    step("Debian's compiler", &mut command)
}

/// A browser is needed by one test, which is skipped where there is none; CI has to have it.
fn browser() -> Result<()> {
    if let Some(found) = toolchain::browser() {
        eprintln!("setup: the browser is {}", found.display());
        return Ok(());
    }
    match apt("Chromium", BROWSER_INSTALL, "--cask google-chrome") {
        Err(error) if !toolchain::wants_debian() => {
            eprintln!("setup: {error:#}\nsetup: without a browser `cargo xtask test` does not open the report in one");
            Ok(())
        }
        done => done,
    }
}

/// Installs `title` by apt where that is allowed; `brew` is what Homebrew calls it.
fn apt(title: &str, command: &str, brew: &str) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if !root || !runs("apt-get", "--version") {
        bail!("{title} is missing; type: sudo {command}    (macOS: brew install {brew})");
    }
    let mut words = command.split(' ');
    let mut install = Command::new(words.next().unwrap_or("apt-get"));
    install.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    if step(&format!("install {title}"), &mut install).is_err() {
        step("update the package lists", Command::new("apt-get").args(["update", "-qq"]))?;
        step(&format!("install {title}"), &mut install)?;
    }
    Ok(())
}
