//! What is needed from outside: the compiler that builds firmware, the emulator, a browser; and a cargo that is not
//! confused by the cargo it was started from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The targets of all boards.
pub const TARGETS: [&str; 4] =
    ["thumbv6m-none-eabi", "thumbv7m-none-eabi", "thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// Name under which `cargo xtask setup` registers the toolchain made from Debian's compiler.
pub const DEBIAN: &str = "neji-debian";

/// What installs QEMU where apt is.
pub const QEMU_INSTALL: &str = "apt-get install -y --no-install-recommends qemu-system-arm";

/// What to do where QEMU is missing, for people.
pub fn qemu_is_missing() -> String {
    format!("{QEMU} is missing; type: cargo xtask setup    or: sudo {QEMU_INSTALL}")
}

/// The emulator.
pub const QEMU: &str = "qemu-system-arm";

/// What installs a browser where apt is.
pub const BROWSER_INSTALL: &str = "apt-get install -y --no-install-recommends chromium";

/// Names under which Chromium and its kin are installed; on macOS they are in no folder of `PATH`.
const BROWSERS: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// The browser that the tests look at reports with: what `NEJI_BROWSER` names, else the first in `PATH`.
pub fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NEJI_BROWSER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// True where `NEJI_TOOLCHAIN=debian` asks for Debian's compiler.
pub fn wants_debian() -> bool {
    std::env::var_os("NEJI_TOOLCHAIN").is_some_and(|name| name == "debian")
}

/// The repository: the folder at or above the current one that holds `boards/Cargo.toml`, else where this was built.
///
/// # Errors
/// Neither has a `boards` workspace.
pub fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in here.ancestors().chain([built.as_path()]) {
        if folder.join("boards/Cargo.toml").is_file() && folder.join("host/machine").is_dir() {
            return Ok(folder.canonicalize()?);
        }
    }
    bail!("no boards here: run this inside neji's repository ({} is not in one)", here.display())
}

/// A command without what an outer cargo leaves in the environment of what it runs.
pub fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let leaks =
            ["CARGO_PKG_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_", "DEP_"].iter().any(|p| name.starts_with(p))
                || ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"]
                    .contains(&name)
                || ["CARGO_MAKEFLAGS", "MAKEFLAGS", "OUT_DIR", "RUSTC", "RUSTDOC", "LD_LIBRARY_PATH"].contains(&name);
        if leaks {
            command.env_remove(name);
        }
    }
    command
}

/// True where the user's own toolchain has the libraries of `target`.
fn has_target(target: &str) -> bool {
    let Ok(out) = clean("rustc").args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir()
}

/// A cargo that compiles for `target`: the user's toolchain, or Debian's where that is asked for or is all there is.
///
/// `CARGO_TARGET_DIR` is not passed on: firmware is built in a folder of its own.
///
/// # Errors
/// No toolchain here can build for `target`; says what to type.
pub fn firmware_cargo(target: &str) -> Result<Command> {
    let mut command = clean("cargo");
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR").env_remove("RUSTFLAGS");
    if !wants_debian() && has_target(target) {
        return Ok(command);
    }
    let linked = clean("rustup").args(["toolchain", "list"]).output();
    let linked = linked.map(|out| String::from_utf8_lossy(&out.stdout).lines().any(|line| line.starts_with(DEBIAN)));
    if !linked.unwrap_or(false) {
        bail!("no compiler for {target} here; type: cargo xtask setup");
    }
    command.env("RUSTUP_TOOLCHAIN", DEBIAN);
    Ok(command)
}
