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
#[serde(try_from = "Table")]
pub struct Settings {
    /// What people call it.
    pub name: String,
    /// The compiler's target.
    pub target: String,
    /// QEMU's machine; a board of which there is none is real, and has a [`Settings::chip`].
    pub emulator: Option<Emulator>,
    /// What probe-rs calls its chip.
    pub chip: Option<String>,
    /// The board in QEMU that is of the same family and runs the same logic.
    pub twin: Option<String>,
    /// The real board that this one is the twin of: it runs that one's station, and has no pins that could be seen.
    pub twin_of: Option<String>,
    /// The family of UF2 files that its boot loader takes.
    pub uf2_family: Option<u32>,
    /// What it listens to or looks with, for people; the firmware takes the one that the model's front end asks for.
    pub sensors: Vec<String>,
    /// The core's clock.
    pub clock_hz: Option<u64>,
    /// Where the image lies: below the blob, unless said otherwise.
    pub image_address: u64,
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
    pub int16: bool,
    /// Whether its kernels read weights in pairs of rows.
    pub pairs: bool,
    /// The core, where what its instructions cost is known.
    pub core: Option<Core>,
    /// Whether its firmware has the live link on its first serial port.
    pub live: bool,
}

/// How QEMU runs a board, and how what it does there is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// QEMU's `-machine`.
    pub machine: String,
    /// More arguments for QEMU.
    pub args: Vec<String>,
    /// Clock of SysTick.
    pub systick_hz: u64,
    /// QEMU's trace event for writes to the register of the pins; empty of a twin.
    pub pin_trace: String,
    /// The alarm's bit in that register.
    pub alarm_mask: u32,
    /// The fault line's bit in it.
    pub fault_mask: u32,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    target: String,
    chip: Option<String>,
    twin: Option<String>,
    twin_of: Option<String>,
    uf2_family: Option<u32>,
    #[serde(default)]
    sensors: Vec<String>,
    clock_hz: Option<u64>,
    image_address: Option<u64>,
    model_address: u64,
    model_bytes: u64,
    flash_bytes: u64,
    ram_bytes: u64,
    memory_bytes: u64,
    stack_bytes: u64,
    #[serde(default = "yes")]
    int16: bool,
    #[serde(default)]
    pairs: bool,
    #[serde(default)]
    live: bool,
    core: Option<Core>,
    machine: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    systick_hz: Option<u64>,
    pin_trace: Option<String>,
    alarm_mask: Option<u32>,
    fault_mask: Option<u32>,
}

impl TryFrom<Table> for Settings {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let missing = |name: &str| format!("a board with a `machine` says `{name}` too");
        let emulator = match table.machine {
            None if table.chip.is_none() => return Err("neither `machine` (in QEMU) nor `chip` (real)".into()),
            None => None,
            Some(machine) if table.twin_of.is_some() => Some(Emulator {
                machine,
                args: table.args,
                systick_hz: 0,
                pin_trace: String::new(),
                alarm_mask: 0,
                fault_mask: 0,
            }),
            Some(machine) => Some(Emulator {
                machine,
                args: table.args,
                systick_hz: table.systick_hz.ok_or_else(|| missing("systick_hz"))?,
                pin_trace: table.pin_trace.ok_or_else(|| missing("pin_trace"))?,
                alarm_mask: table.alarm_mask.ok_or_else(|| missing("alarm_mask"))?,
                fault_mask: table.fault_mask.ok_or_else(|| missing("fault_mask"))?,
            }),
        };
        let below = table.model_address.checked_sub(table.flash_bytes);
        let image_address =
            table.image_address.or(below).ok_or("no room for the image below the model: say `image_address`")?;
        Ok(Self {
            name: table.name,
            target: table.target,
            emulator,
            chip: table.chip,
            twin: table.twin,
            twin_of: table.twin_of,
            uf2_family: table.uf2_family,
            sensors: table.sensors,
            clock_hz: table.clock_hz,
            image_address,
            model_address: table.model_address,
            model_bytes: table.model_bytes,
            flash_bytes: table.flash_bytes,
            ram_bytes: table.ram_bytes,
            memory_bytes: table.memory_bytes,
            stack_bytes: table.stack_bytes,
            int16: table.int16,
            pairs: table.pairs,
            core: table.core,
            live: table.live,
        })
    }
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

/// What the boards of the repository say of themselves, as `cargo metadata` prints it: for a PC that has the command and no
/// repository. A test keeps it as the boards are.
const KNOWN: &str = include_str!("../boards.json");

/// Where the repository is.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

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

/// The board called `name` of those there are.
fn pick(mut boards: Vec<Board>, name: &str, none: &str) -> Result<Board> {
    let Some(index) = boards.iter().position(|board| board.package == name) else {
        let names: Vec<&str> = boards.iter().map(|board| board.package.as_str()).collect();
        bail!("{none} {name}; there are: {}", names.join(", "));
    };
    Ok(boards.swap_remove(index))
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

    /// The boards that this crate was made with. None of them can be built: [`Board::build`] needs the repository.
    ///
    /// # Panics
    /// Never: a test reads what is built in.
    pub fn known() -> Vec<Self> {
        parse(KNOWN.as_bytes(), Path::new("")).expect("boards.json is made by a test")
    }

    /// The boards of the repository at `root`, or at the one around this folder; without one, those that are known.
    ///
    /// # Errors
    /// As [`Board::all`].
    pub fn here(root: Option<&Path>) -> Result<Vec<Self>> {
        match root.map_or_else(toolchain::root, |root| Ok(root.to_owned())) {
            Ok(root) => Self::all(&root),
            Err(_) => Ok(Self::known()),
        }
    }

    /// The board called `name` of [`Board::here`].
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn find_here(root: Option<&Path>, name: &str) -> Result<Self> {
        pick(Self::here(root)?, name, "no board")
    }

    /// A file of its folder, of those that a project of a user's own begins with: `Cargo.toml`, `../Cargo.toml` (the workspace's),
    /// `memory.x`, `src/main.rs`.
    ///
    /// # Errors
    /// It cannot be read, or is not known without the repository.
    pub fn file(&self, name: &str) -> Result<String> {
        if self.has_sources() {
            let path = self.workspace.join(&self.package).join(name);
            return std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()));
        }
        let known: serde_json::Value = serde_json::from_str(KNOWN).context("reading boards.json")?;
        let text = match name.strip_prefix("../") {
            Some(_) => &known["workspace"],
            None => {
                let mut packages = known["packages"].as_array().into_iter().flatten();
                let package = packages.find(|package| package["name"] == *self.package);
                package.map_or(&serde_json::Value::Null, |package| &package["files"][name])
            }
        };
        let text = text.as_str().with_context(|| format!("{name} of {} is in neji's repository only", self.package))?;
        Ok(text.to_owned())
    }

    /// Whether the repository is there to build its firmware from.
    pub fn has_sources(&self) -> bool {
        !self.workspace.as_os_str().is_empty()
    }

    /// The boards that QEMU runs and that show their pins, by name: all of them but the twins of real ones.
    ///
    /// # Errors
    /// As [`Board::all`].
    pub fn emulated(root: &Path) -> Result<Vec<Self>> {
        Ok(Self::all(root)?.into_iter().filter(Self::is_whole).collect())
    }

    fn is_whole(&self) -> bool {
        self.settings.emulator.is_some() && self.settings.twin_of.is_none()
    }

    /// The boards in QEMU that run the station of a real one.
    ///
    /// # Errors
    /// As [`Board::all`].
    pub fn twins(root: &Path) -> Result<Vec<Self>> {
        Ok(Self::all(root)?.into_iter().filter(|board| board.settings.twin_of.is_some()).collect())
    }

    /// The real boards.
    ///
    /// # Errors
    /// As [`Board::all`].
    pub fn real(root: &Path) -> Result<Vec<Self>> {
        Ok(Self::all(root)?.into_iter().filter(|board| board.settings.emulator.is_none()).collect())
    }

    /// The board called `name`, real or not.
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn find(root: &Path, name: &str) -> Result<Self> {
        pick(Self::all(root)?, name, "no board")
    }

    /// The board called `name` that QEMU runs.
    ///
    /// # Errors
    /// There is none, or it is a real one; the message lists those there are.
    pub fn find_emulated(root: &Path, name: &str) -> Result<Self> {
        pick(Self::emulated(root)?, name, "QEMU runs no board")
    }

    /// The board called `name` of [`Board::here`] that QEMU runs.
    ///
    /// # Errors
    /// As [`Board::find_emulated`].
    pub fn find_emulated_here(root: Option<&Path>, name: &str) -> Result<Self> {
        pick(Self::here(root)?.into_iter().filter(Self::is_whole).collect(), name, "QEMU runs no board")
    }

    /// How QEMU runs it.
    ///
    /// # Errors
    /// It does not: the board is real.
    pub fn emulator(&self) -> Result<&Emulator> {
        self.settings.emulator.as_ref().with_context(|| {
            let instead = self.settings.twin.as_ref().map(|twin| format!("; {twin} is run in its place"));
            format!("{} is a real board, which QEMU does not run{}", self.package, instead.unwrap_or_default())
        })
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
        if !self.has_sources() {
            bail!(
                "the firmware of {package} is built from neji's repository, which is not around this folder: \
                 git clone {REPOSITORY} and type this in there, or give an image by --firmware ELF"
            );
        }
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

    #[test]
    fn a_board_without_a_machine_is_real_and_names_its_chip() {
        let without = TABLE.replace(r#""machine":"microbit","#, "");
        let error = format!("{:#}", parse(without.as_bytes(), Path::new("/w")).unwrap_err());
        assert!(error.contains("neither `machine`"), "{error}");
        let real = TABLE.replace(r#""machine":"microbit""#, r#""chip":"nRF52833_xxAA","sensors":["microphone"]"#);
        let boards = parse(real.as_bytes(), Path::new("/w")).unwrap();
        assert_eq!((&boards[0].settings.emulator, boards[0].settings.sensors.len()), (&None, 1));
        assert_eq!(boards[0].emulator().unwrap_err().to_string(), "b is a real board, which QEMU does not run");
        assert_eq!(pick(boards, "c", "no board").unwrap_err().to_string(), "no board c; there are: b");
        let half = TABLE.replace(r#""pin_trace":"x","#, "");
        assert!(format!("{:#}", parse(half.as_bytes(), Path::new("/w")).unwrap_err()).contains("says `pin_trace` too"));
    }
    /// The packages with a table, in the order of their names and a line each, with the files that projects begin with.
    fn printed(json: &[u8], workspace: &Path) -> String {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(json).unwrap();
        let packages = metadata["packages"].as_array().unwrap().iter();
        let mut lines: Vec<String> = packages
            .filter(|package| package["metadata"]["neji"].is_object())
            .map(|package| {
                let name = package["name"].as_str().unwrap();
                let mut files = serde_json::Map::new();
                for file in ["Cargo.toml", "memory.x", "src/main.rs"] {
                    files.insert(file.into(), read(workspace.join(name).join(file)).into());
                }
                let neji = &package["metadata"]["neji"];
                serde_json::json!({"name": name, "metadata": {"neji": neji}, "files": files}).to_string()
            })
            .collect();
        lines.sort();
        let shared = serde_json::Value::from(read(workspace.join("Cargo.toml")));
        format!("{{\"workspace\":{shared},\n\"packages\":[\n{}\n]}}\n", lines.join(",\n"))
    }

    #[test]
    fn the_known_boards_are_those_of_the_repository() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../boards");
        let mut command = toolchain::clean("cargo");
        command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&workspace);
        let found = printed(&command.output().unwrap().stdout, &workspace);
        if std::env::var_os("NEJI_BLESS").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("boards.json"), &found).unwrap();
            return;
        }
        assert!(found == KNOWN, "boards have changed; type: NEJI_BLESS=1 cargo test -p neji-machine known_boards");
        let here = Board::here(None).unwrap();
        assert!(here.iter().all(Board::has_sources));
        let names = |boards: &[Board]| boards.iter().map(|board| board.package.clone()).collect::<Vec<_>>();
        assert_eq!(names(&Board::known()), names(&here));
        for (known, here) in Board::known().iter().zip(&here) {
            for file in ["../Cargo.toml", "Cargo.toml", "memory.x", "src/main.rs"] {
                assert_eq!(known.file(file).unwrap(), here.file(file).unwrap(), "{}", known.package);
            }
        }
        let error = Board::known()[0].build().unwrap_err().to_string();
        assert!(error.contains("git clone https://") && error.contains("--firmware"), "{error}");
    }

    #[test]
    fn images_and_models_lie_where_memory_x_puts_them() {
        for board in Board::here(None).unwrap() {
            let folder = board.workspace.join(&board.package);
            let text = std::fs::read_to_string(folder.join("memory.x")).unwrap();
            let region = |name: &str| -> Option<(u64, u64)> {
                let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
                let number = |word: &str| -> Option<u64> {
                    let text = line.split_once(word)?.1.trim_start_matches([' ', '=']);
                    let text = text.split([',', ' ', '/']).next()?;
                    if let Some(digits) = text.strip_prefix("0x") {
                        return u64::from_str_radix(digits, 16).ok();
                    }
                    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                    let scale = match unit {
                        "K" => 1024,
                        "M" => 1024 * 1024,
                        _ => 1,
                    };
                    Some(text.trim_end_matches(unit).parse::<u64>().ok()? * scale)
                };
                Some((number("ORIGIN")?, number("LENGTH")?))
            };
            let settings = &board.settings;
            let model = region("MODEL").unwrap_or_else(|| panic!("{}: a line MODEL", board.package));
            assert_eq!(model, (settings.model_address, settings.model_bytes), "{}", board.package);
            let (origin, length) = region("FLASH").unwrap_or_else(|| panic!("{}: a line FLASH", board.package));
            let image = settings.image_address..settings.image_address + settings.flash_bytes;
            // What a boot loader reads may lie before the linker's region.
            assert!(image.contains(&origin) && origin + length == image.end, "{}: {image:#x?}", board.package);
        }
    }
}
