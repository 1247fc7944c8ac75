//! Building the plugin that counts in QEMU: see its crate, `host/machine/plugin`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::toolchain;

const PACKAGE: &str = "neji-plugin";

/// Builds the plugin of the repository at `root` for this PC and returns it.
///
/// # Errors
/// It does not compile.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    // In a folder of its own, since an outer cargo may have locked the other.
    let folder = root.join("target/plugin");
    let mut command = toolchain::clean("cargo");
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.current_dir(root).args(["build", "--quiet", "--locked", "--release", "--package", PACKAGE]);
    let status = command.arg("--target-dir").arg(&folder).status().context("starting cargo")?;
    if !status.success() {
        bail!("building the plugin for QEMU failed");
    }
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Ok(folder.join("release").join(format!("{prefix}{}{suffix}", PACKAGE.replace('-', "_"))))
}
