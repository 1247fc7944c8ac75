//! `cargo xtask setup`: the targets, the components, QEMU.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use neji_machine::toolchain::{self, QEMU, QEMU_INSTALL, TARGETS};

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
    components()?;
    if toolchain::wants_debian() {
        debian()?;
    } else {
        rustup()?;
    }
    qemu()?;
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

fn qemu() -> Result<()> {
    if runs(QEMU, "--version") {
        return Ok(());
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if !root || !runs("apt-get", "--version") {
        bail!("{QEMU} is missing; type: sudo {QEMU_INSTALL}    (macOS: brew install qemu)");
    }
    let mut words = QEMU_INSTALL.split(' ');
    let mut install = Command::new(words.next().unwrap_or("apt-get"));
    install.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    if step("install QEMU", &mut install).is_err() {
        step("update the package lists", Command::new("apt-get").args(["update", "-qq"]))?;
        step("install QEMU", &mut install)?;
    }
    Ok(())
}
