//! What a board says of itself, and building its firmware.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::toolchain;

/// A core whose manual says what its instructions cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Core {
    /// Cortex-M4, with or without floating point.
    #[serde(rename = "cortex-m4")]
    CortexM4,
}

/// The `[package.metadata.neji]` table of a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What people call it.
    pub name: String,
    /// The compiler's target.
    pub target: String,
    /// QEMU's `-machine`.
    pub machine: String,
    /// More arguments for QEMU.
    #[serde(default)]
    pub args: Vec<String>,
    /// Where the blob lies.
    pub model_address: u64,
    /// Size of the blob's region.
    pub model_bytes: u64,
    /// Size of the image's region.
    pub flash_bytes: u64,
    /// Size of RAM.
    pub ram_bytes: u64,
    /// What of it the firmware keeps for the monitor: arena, front end, frame.
    pub memory_bytes: u64,
    /// What is left of it for the stack, at least: the firmware never needs more.
    pub stack_bytes: u64,
    /// Whether its kernels run models of int16 activations.
    #[serde(default = "yes")]
    pub int16: bool,
    /// Whether its kernels read weights in pairs of rows.
    #[serde(default)]
    pub pairs: bool,
    /// The core, where what its instructions cost is known.
    #[serde(default)]
    pub core: Option<Core>,
    /// Clock of SysTick.
    pub systick_hz: u64,
    /// QEMU's trace event for writes to the register of the pins.
    pub pin_trace: String,
    /// The alarm's bit in that register.
    pub alarm_mask: u32,
    /// The fault line's bit in it.
    pub fault_mask: u32,
}

/// The package of the image without neji.
const EMPTY: &str = "empty";

fn yes() -> bool {
    true
}

/// A board of the `boards` workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// The package's name: what `--on` takes.
    pub package: String,
    /// What it says of itself.
    pub settings: Settings,
    /// The `boards` workspace.
    pub workspace: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    metadata: Option<serde_json::Value>,
}

/// The boards in what `cargo metadata` printed.
fn parse(json: &[u8], workspace: &Path) -> Result<Vec<Board>> {
    let metadata: Metadata = serde_json::from_slice(json).context("reading cargo metadata")?;
    let mut boards = Vec::new();
    for package in metadata.packages {
        let Some(table) = package.metadata.as_ref().and_then(|m| m.get("neji")) else { continue };
        let settings =
            Settings::deserialize(table).with_context(|| format!("[package.metadata.neji] of {}", package.name))?;
        boards.push(Board { package: package.name, settings, workspace: workspace.to_owned() });
    }
    boards.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(boards)
}

impl Board {
    /// All boards of the repository at `root`, by name.
    ///
    /// # Errors
    /// Cargo cannot read the workspace, or a board's table is wrong.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        // Absolute, since QEMU runs in a folder of its own.
        let workspace = root.join("boards");
        let workspace = workspace.canonicalize().with_context(|| format!("no boards at {}", workspace.display()))?;
        let mut command = toolchain::clean("cargo");
        command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&workspace);
        let out = command.stderr(Stdio::inherit()).output().context("starting cargo metadata")?;
        if !out.status.success() {
            bail!("cargo metadata failed in {}", workspace.display());
        }
        parse(&out.stdout, &workspace)
    }

    /// The board called `name`.
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn find(root: &Path, name: &str) -> Result<Self> {
        let mut boards = Self::all(root)?;
        let Some(index) = boards.iter().position(|board| board.package == name) else {
            let names: Vec<&str> = boards.iter().map(|board| board.package.as_str()).collect();
            bail!("no board {name}; there are: {}", names.join(", "));
        };
        Ok(boards.swap_remove(index))
    }

    /// Where [`Board::build`] puts the firmware.
    pub fn elf(&self) -> PathBuf {
        self.image(&self.target_folder(), &self.package)
    }

    /// Builds the firmware (release profile of the `boards` workspace) and returns its ELF.
    ///
    /// # Errors
    /// No compiler for the target, or it does not compile.
    pub fn build(&self) -> Result<PathBuf> {
        self.build_package(&self.package, &[], &self.target_folder())
    }

    /// Builds an image that infers and does nothing else, for its size, and returns its ELF. Of neji-engine's features it
    /// has `features` and no more.
    ///
    /// # Errors
    /// As [`Board::build`].
    pub fn build_inference(&self, features: &[&str]) -> Result<PathBuf> {
        // In a folder of its own, since it is the same package.
        let folder = self.target_folder().join("inference");
        let named: String = features.iter().map(|feature| format!(",neji-engine/{feature}")).collect();
        let named = format!("neji-qemu/inference{named}");
        self.build_package(&self.package, &["--no-default-features", "--features", &named], &folder)
    }

    /// Builds what a firmware for this board's target takes before it has anything of neji, and returns its ELF.
    ///
    /// # Errors
    /// As [`Board::build`].
    pub fn build_empty(&self) -> Result<PathBuf> {
        self.build_package(EMPTY, &[], &self.target_folder())
    }

    fn target_folder(&self) -> PathBuf {
        self.workspace.join("target")
    }

    /// Where cargo puts the image of a package that is built for this board's target.
    fn image(&self, folder: &Path, package: &str) -> PathBuf {
        folder.join(&self.settings.target).join("release").join(package)
    }

    fn build_package(&self, package: &str, features: &[&str], folder: &Path) -> Result<PathBuf> {
        let mut command = toolchain::firmware_cargo(&self.settings.target)?;
        command.current_dir(&self.workspace).args(["build", "--quiet", "--locked", "--release", "--package", package]);
        command.args(features).args(["--target", &self.settings.target]).arg("--target-dir").arg(folder);
        let status = command.status().context("starting cargo")?;
        if !status.success() {
            bail!("building the firmware of {package} failed");
        }
        Ok(self.image(folder, package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"packages":[{"name":"lib","metadata":null},{"name":"b","metadata":{"neji":{"name":"B",
        "target":"thumbv6m-none-eabi","machine":"microbit","args":["-s"],"model_address":131072,"model_bytes":4096,
        "flash_bytes":8192,"ram_bytes":1024,"memory_bytes":512,"stack_bytes":512,"systick_hz":16000000,"pin_trace":"x","alarm_mask":1,"fault_mask":2}}}]}"#;

    #[test]
    fn boards_are_the_packages_with_a_table() {
        let boards = parse(TABLE.as_bytes(), Path::new("/w")).unwrap();
        assert_eq!(boards.len(), 1);
        assert_eq!(boards[0].settings.model_address, 0x20000);
        assert_eq!(boards[0].elf(), Path::new("/w/target/thumbv6m-none-eabi/release/b"));
    }

    #[test]
    fn a_wrong_table_names_its_board() {
        let error = parse(TABLE.replace("\"machine\"", "\"machin\"").as_bytes(), Path::new("/w")).unwrap_err();
        assert!(format!("{error:#}").contains("of b: "), "{error:#}");
    }
}
