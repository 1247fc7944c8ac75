//! `neji new`: a firmware project of the user's own.
//!
//! For a board in QEMU it is written from templates around the board's own registers. For a real board it is the board's own
//! firmware, freed of the repository's workspace, with a second project for its twin in QEMU in the folder `twin`. Crates are
//! taken from a repository on this PC where there is one, else from its address.

mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use neji_machine::Board;

pub use manifest::{Crates, crates};

use crate::cli::boards::takes_files;
use crate::files::write_whole;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Sound or vibration.
    Sound,
    /// Pictures.
    Image,
}

impl Task {
    fn what(self) -> &'static str {
        match self {
            Self::Sound => "a machine's sound",
            Self::Image => "pictures of parts",
        }
    }

    fn samples(self) -> &'static str {
        match self {
            Self::Sound => "16-bit samples of sound, little-endian, one axis after the other",
            Self::Image => {
                "frames of the size that the model's front end says, a byte a pixel (three where it takes colour), row by row"
            }
        }
    }

    fn data(self) -> &'static str {
        match self {
            Self::Sound => "`train/normal_*.wav`, `test/{normal,anomaly}_*.wav`",
            Self::Image => "`train/good/*.png`, `test/good`, `test/<defect>`",
        }
    }
}

/// A project's files, by their paths in it.
pub type Files = Vec<(PathBuf, String)>;

/// What a name may be: cargo's package names, without what would need quoting.
fn check_name(name: &str) -> Result<()> {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    ensure!(fits, "{name} is no name for a package: give a folder named in a-z, 0-9, - and _, beginning with a letter");
    Ok(())
}

/// The project called `name` for `board`, whose twin in QEMU is `twin` where it is another.
///
/// # Errors
/// The name is none for a package, or the board's own files are not as they should be.
pub fn files(name: &str, board: &Board, twin: Option<&Board>, task: Task, crates: &Crates) -> Result<Files> {
    check_name(name)?;
    if takes_files(board) {
        return in_qemu(name, board, None, task, crates);
    }
    let mut files = real(name, board, twin, task, crates)?;
    if let Some(twin) = twin {
        let inner = in_qemu(&format!("{name}-twin"), twin, Some(board), task, crates)?;
        files.extend(inner.into_iter().map(|(path, text)| (Path::new("twin").join(path), text)));
    }
    Ok(files)
}

/// The versions that the boards are tested with, where their repository is: cargo leaves out what is not needed.
fn lock(crates: &Crates) -> Option<(PathBuf, String)> {
    let Crates::Repository(root) = crates else { return None };
    Some(("Cargo.lock".into(), fs::read_to_string(root.join("boards/Cargo.lock")).ok()?))
}

/// Writes a project into a folder that is not there yet, or empty.
///
/// # Errors
/// There is something in the folder, or it cannot be written.
pub fn write(folder: &Path, files: &Files) -> Result<()> {
    let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(!taken, "{} is not empty: give a folder that is not there yet", folder.display());
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        write_whole(&path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A template with its `@WORDS@` replaced.
fn fill(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
}

/// A template's lines for boards with a live link or without one: those of the other kind are marked and left out.
fn for_boards(template: &str, live: bool) -> String {
    let (mine, others) = if live { ("@LIVE@", "@STILL@") } else { ("@STILL@", "@LIVE@") };
    let lines = template.lines().filter(|line| !line.starts_with(others));
    lines.map(|line| line.strip_prefix(mine).unwrap_or(line).to_owned() + "\n").collect()
}

/// What a board's own main.rs says of its hardware.
struct Hardware<'t> {
    engine: &'t str,
    isa: &'t str,
    registers: String,
    alarm: &'t str,
    fault: &'t str,
    ticks: &'t str,
    /// What the live link calls the core, where there is a link.
    core: &'t str,
}

impl<'t> Hardware<'t> {
    fn of(main: &'t str) -> Option<Self> {
        let after = |start: &str| main.lines().find_map(|line| line.trim().strip_prefix(start));
        let expression = |name: &str| {
            let said = after(&format!("let {name} = ")).or_else(|| after(&format!("{name}: ")))?;
            Some(said.trim_end_matches([',', ';']))
        };
        // From the doc of the first register to the entry.
        let first = main.find("const MEMORY_BYTES")?;
        let (_, rest) = main[first..].split_once("\n\n")?;
        let (registers, _) = rest.split_once("#[entry]")?;
        Some(Self {
            engine: main.lines().find(|line| line.starts_with("use neji_engine::"))?,
            isa: after("type Isa = ")?.trim_end_matches(';'),
            registers: registers.trim().to_owned(),
            alarm: expression("alarm")?,
            fault: expression("fault")?,
            ticks: expression("ticks_per_second").unwrap_or_default(),
            core: main.split_once("core: \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default(),
        })
    }
}

/// The project for a board in QEMU, in the folder of that for the real board `of` where it is the twin of one.
fn in_qemu(name: &str, board: &Board, of: Option<&Board>, task: Task, crates: &Crates) -> Result<Files> {
    let (settings, emulator) = (&board.settings, board.emulator()?);
    let main = board.file("src/main.rs")?;
    let hardware = Hardware::of(&main)
        .with_context(|| format!("the main.rs of {} is not as those of boards in QEMU", board.package))?;
    let memory = settings.memory_bytes.to_string();
    let main = fill(
        &for_boards(include_str!("template/main.rs"), settings.live),
        &[
            ("NAME", name),
            ("WHAT", task.what()),
            ("BOARD", &settings.name),
            ("ENGINE", hardware.engine),
            ("ISA", hardware.isa),
            ("MEMORY", &memory),
            ("REGISTERS", &hardware.registers),
            ("SAMPLES", task.samples()),
            ("ALARM", hardware.alarm),
            ("FAULT", hardware.fault),
            ("PACKAGE", &board.package),
            ("CORE", hardware.core),
            ("TICKS", hardware.ticks),
        ],
    );
    let mut run = vec!["qemu-system-arm", "-machine", &emulator.machine];
    run.extend(["-display", "none", "-monitor", "none", "-serial", "none"]);
    run.extend(["-semihosting-config", "enable=on,target=native"]);
    run.extend(emulator.args.iter().map(String::as_str));
    let loader = format!("loader,file=model.neji,addr={:#x},force-raw=on", settings.model_address);
    run.extend(["-device", &loader, "-kernel"]);
    let run = run.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let (on, firmware) = (&board.package, elf(name, board));
    // A twin runs what was trained for its board, which has less room.
    let model = if of.is_some() { "../run/model.neji" } else { "run/model.neji" };
    let (watch, logic) = match settings.live {
        true => (
            format!("    neji monitor {model} --qemu {on} --firmware {firmware} --input DATA/test --loop\n"),
            "`src/watch.rs` is what the monitor does, `src/live.rs` the same while `neji monitor` looks on.",
        ),
        false => (String::new(), "`src/watch.rs` is what the monitor does."),
    };
    let commands = format!(
        "Your recordings through it: scores that have to be the PC's bit for bit, a look at it while it runs, and the way onto a board.\n\n    \
         neji simulate {model} --source DATA/test --on {on} --firmware {firmware} --compare\n{watch}    \
         neji flash {model} --board {on} --firmware {firmware}\n\n\
         `cargo run --release` runs it too, with `model.neji` and `samples.bin` beside this file.\n"
    );
    let mut files = common(name, board, of, task, &commands, logic);
    files.extend(lock(crates));
    files.extend([
        ("Cargo.toml".into(), crates.emulated(name, board)),
        (".cargo/config.toml".into(), config(&settings.target, Some(&run))),
        ("memory.x".into(), board.file("memory.x")?),
        ("build.rs".into(), include_str!("template/build.rs").to_owned()),
        ("src/main.rs".into(), main),
        ("src/watch.rs".into(), include_str!("template/watch.rs").to_owned()),
    ]);
    if settings.live {
        files.push(("src/live.rs".into(), include_str!("template/live.rs").to_owned()));
    }
    Ok(files)
}

/// What a real board says: defmt by itself compiles in errors only.
const DEFMT: &str = "\n# What defmt compiles in; by itself errors only.\n[env]\nDEFMT_LOG = \"info\"\n";

/// The project for a real board: its own firmware.
fn real(name: &str, board: &Board, twin: Option<&Board>, task: Task, crates: &Crates) -> Result<Files> {
    let settings = &board.settings;
    let main = board.file("src/main.rs")?;
    let (package, firmware) = (&board.package, elf(name, board));
    let uf2 = match settings.uf2_family {
        Some(_) => format!(
            "    neji flash run/model.neji --board {package} --firmware {firmware} --uf2    # or with BOOTSEL held while it is plugged in\n"
        ),
        None => String::new(),
    };
    let rehearsal = match twin {
        Some(twin) => format!(
            "\n`twin` is the same monitor on {}, which QEMU runs: `cd twin && cargo build --release`, then as its README says.\n",
            twin.settings.name
        ),
        None => String::new(),
    };
    let commands = format!(
        "Onto the board, by a debug probe, and a look at it while it runs, by the same probe or over its serial port:\n\n    \
         neji flash run/model.neji --board {package} --firmware {firmware}\n{uf2}    \
         neji monitor --board {package} --firmware {firmware}\n    \
         neji monitor --serial PORT                         # such as /dev/ttyACM0\n{rehearsal}"
    );
    let logic = "The loop around the monitor is neji-embassy's `Station`.";
    let mut files = common(name, board, None, task, &commands, logic);
    files.extend(lock(crates));
    files.extend([
        ("Cargo.toml".into(), crates.real(name, board)?),
        (".cargo/config.toml".into(), config(&settings.target, None) + DEFMT),
        ("memory.x".into(), board.file("memory.x")?),
        ("build.rs".into(), include_str!("template/build.rs").to_owned()),
        ("src/main.rs".into(), main),
    ]);
    Ok(files)
}

/// Where cargo puts a project's image.
fn elf(name: &str, board: &Board) -> String {
    format!("target/{}/release/{name}", board.settings.target)
}

/// What every project has. The twin of the board `of` takes the model that was made for that.
fn common(name: &str, board: &Board, of: Option<&Board>, task: Task, run: &str, logic: &str) -> Files {
    let settings = &board.settings;
    let train = match of {
        Some(of) => format!(
            "The model is that of the project around this one, made for {}; DATA is the folder that it was trained with.\n",
            of.settings.name
        ),
        None => format!(
            "A model of your own data, made for this board; DATA has {}:\n\n    \
             neji train train.toml --data DATA --out run\n    \
             neji quantize run                # writes run/model.neji\n    \
             neji boards run/model.neji       # which boards it fits\n",
            task.data()
        ),
    };
    let (flash, ram) = (settings.model_bytes.to_string(), settings.memory_bytes.to_string());
    let words = [
        ("NAME", name),
        ("WHAT", task.what()),
        ("BOARD", &settings.name),
        ("TARGET", &settings.target),
        ("ELF", &elf(name, board)),
        ("TRAIN", &train),
        ("FLASH", &flash),
        ("RAM", &ram),
        ("RUN", run),
        ("LOGIC", logic),
    ];
    let mut files: Files = vec![
        ("README.md".into(), fill(include_str!("template/README.md"), &words)),
        (".gitignore".into(), "/target\n/run\n".into()),
    ];
    if of.is_none() {
        files.push(("train.toml".into(), fill(include_str!("template/train.toml"), &words)));
    }
    files
}

/// Cargo's settings: the target, how QEMU runs it, and what the target by itself does without.
fn config(target: &str, runner: Option<&str>) -> String {
    let mut text = format!("[build]\ntarget = \"{target}\"\n\n[target.{target}]\n");
    if let Some(runner) = runner {
        text.push_str(&format!("runner = [{runner}]\n"));
    }
    if target.starts_with("thumbv8m.main") {
        text.push_str("# ARMv8-M's DSP instructions are an extension that the target does without; the core has it.\n");
        text.push_str("rustflags = [\"-Ctarget-cpu=cortex-m33\"]\n");
    }
    text
}

/// The name of a project: its folder's.
///
/// # Errors
/// The path has no last part, or one that is no text.
pub fn name_of(folder: &Path) -> Result<&str> {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name),
        None => bail!("{} has no name for a package", folder.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::boards::emulated;

    fn boards() -> Vec<Board> {
        Board::here(None).unwrap()
    }

    fn project(board: &Board, task: Task) -> Files {
        let boards = boards();
        let twin = emulated(board, &boards).filter(|twin| twin.package != board.package);
        files("mine", board, twin, task, &Crates::Repository("/n".into())).unwrap()
    }

    #[test]
    fn every_board_has_a_project_with_nothing_left_open() {
        for board in boards() {
            for task in [Task::Sound, Task::Image] {
                let files = project(&board, task);
                for (path, text) in &files {
                    let open = text.split('@').nth(1).is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase()));
                    assert!(!open, "{}: {} is not filled in", board.package, path.display());
                    assert!(!text.contains("workspace = true"), "{}: {}", board.package, path.display());
                }
                let text = |name: &str| &files.iter().find(|(path, _)| path == Path::new(name)).unwrap().1;
                let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
                assert_eq!(manifest["package"]["name"].as_str(), Some("mine"));
                let config: toml::Table = text(".cargo/config.toml").parse().unwrap();
                assert_eq!(config["build"]["target"].as_str(), Some(board.settings.target.as_str()));
                assert_eq!(config.contains_key("env"), !takes_files(&board), "{}", board.package);
                let train: toml::Table = text("train.toml").parse().unwrap();
                assert_eq!(train["auto"]["ram"].as_integer(), Some(board.settings.memory_bytes as i64));
                // What a twin watches is trained for the board.
                assert_eq!(files.iter().filter(|(path, _)| path.ends_with("train.toml")).count(), 1);
                let commands: String = files
                    .iter()
                    .filter(|(path, _)| path.ends_with("README.md"))
                    .map(|(_, text)| text.as_str())
                    .collect();
                let with_link = files.iter().find(|(path, _)| path.ends_with("src/live.rs"));
                assert_eq!(with_link.is_some(), commands.contains("--qemu"), "{}", board.package);
                if let Some((path, _)) = with_link {
                    let main = &files.iter().find(|(other, _)| *other == path.with_file_name("main.rs")).unwrap().1;
                    assert!(main.contains("core: \"cortex-m") && main.contains("_000,\n"), "{main}");
                }
            }
        }
    }

    #[test]
    fn without_the_repository_the_same_is_written() {
        let known = Board::known().into_iter().find(|board| board.package == "qemu-microbit").unwrap();
        let here = boards().into_iter().find(|board| board.package == "qemu-microbit").unwrap();
        assert_eq!(project(&known, Task::Sound), project(&here, Task::Sound));
        let published = files("mine", &known, None, Task::Image, &Crates::Published).unwrap();
        let manifest = &published.iter().find(|(path, _)| path == Path::new("Cargo.toml")).unwrap().1;
        assert!(manifest.contains("version = \"0.1.0\"") && !manifest.contains("path ="), "{manifest}");
    }

    #[test]
    fn names_and_folders_that_cannot_be_are_refused() {
        let board = &boards()[0];
        for name in ["", "Mine", "3x", "a b", "a.b"] {
            assert!(files(name, board, None, Task::Sound, &Crates::Published).is_err(), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &vec![("a/b".into(), "text".into())]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a/b")).unwrap(), "text");
        assert!(write(folder.path(), &vec![]).unwrap_err().to_string().contains("not empty"));
    }
}
