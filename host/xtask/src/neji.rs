//! The `neji` command, built from this repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use neji_machine::toolchain;
use serde_json::Value;

use crate::step::step;

/// Builds the command and says where cargo put it, whatever target folder the user has chosen.
///
/// # Errors
/// It does not build.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let mut build = toolchain::clean("cargo");
    build.current_dir(root).args(["build", "--package", "neji"]);
    step("build neji (Burn takes minutes, once)", &mut build)?;
    let mut metadata = toolchain::clean("cargo");
    metadata.current_dir(root).args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
    let out = metadata.output().context("starting cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&out.stdout).context("reading cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(Path::new(target).join("debug/neji").with_extension(std::env::consts::EXE_EXTENSION))
}
