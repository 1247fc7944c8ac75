//! The Cargo.toml of a project, and where its crates of neji come from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use neji_machine::Board;
use toml::{Table, Value};

/// Where crates of neji come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crates {
    /// A repository on this PC.
    Repository(PathBuf),
    /// Their versions at the repository's address: what boards share among themselves is published nowhere, and what meets in one image
    /// has to be of one source.
    Published,
}

/// Crates that are published, and their folders.
const PUBLISHED: [(&str, &str); 4] = [
    ("neji-app", "firmware/app"),
    ("neji-engine", "firmware/engine"),
    ("neji-format", "shared"),
    ("neji-link", "shared/link"),
];

/// Firmware is made for flash: as the boards' own workspace has it.
const PROFILE: &str =
    "\n[profile.release]\nopt-level = 3\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\ndebug = 1\n";

impl Crates {
    /// A crate of neji as a dependency. `folder` is where it is, beside or below `boards` where it is not published.
    fn dependency(&self, name: &str, folder: &str) -> Table {
        let mut table = Table::new();
        let mut set = |key: &str, value: String| drop(table.insert(key.to_owned(), Value::String(value)));
        match self {
            Self::Repository(root) => set("path", root.join(folder).to_string_lossy().into_owned()),
            Self::Published => {
                set("git", env!("CARGO_PKG_REPOSITORY").to_owned());
                if PUBLISHED.iter().any(|(published, _)| *published == name) {
                    set("version", env!("CARGO_PKG_VERSION").to_owned());
                }
            }
        }
        table
    }

    fn published(&self, name: &str) -> Table {
        let folder = PUBLISHED.iter().find(|(published, _)| *published == name).map_or("", |(_, folder)| folder);
        let mut table = self.dependency(name, folder);
        // Operators are features: all of them, until the firmware is made for one model.
        table.insert("default-features".into(), Value::Boolean(name != "neji-app"));
        table
    }

    /// The manifest of a project for a board in QEMU.
    pub(super) fn emulated(&self, name: &str, board: &Board) -> String {
        let mut dependencies = Table::new();
        for (name, version) in [("cortex-m-rt", "0.7"), ("embedded-hal", "1"), ("embedded-io", "0.7")] {
            dependencies.insert(name.into(), Value::String(version.into()));
        }
        for name in ["neji-app", "neji-engine", "neji-format"] {
            let mut table = self.published(name);
            table.insert("default-features".into(), Value::Boolean(name == "neji-engine"));
            dependencies.insert(name.into(), Value::Table(table));
        }
        if board.settings.live {
            dependencies.insert("neji-link".into(), Value::Table(self.published("neji-link")));
        }
        dependencies.insert("neji-qemu".into(), Value::Table(self.dependency("neji-qemu", "boards/qemu")));
        manifest(name, &format!("A monitor on {}", board.settings.name), &dependencies, &Table::new())
    }

    /// The manifest of a real board's firmware, freed of the boards' workspace.
    ///
    /// # Errors
    /// The board's manifest, or the workspace's, is not as it should be.
    pub(super) fn real(&self, name: &str, board: &Board) -> Result<String> {
        let parse = |file: &str| -> Result<Table> {
            let text = board.file(file)?;
            text.parse::<Table>().with_context(|| format!("{file} of {}", board.package))
        };
        let (own, workspace) = (parse("Cargo.toml")?, parse("../Cargo.toml")?);
        let shared = workspace.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        let shared = shared.and_then(Value::as_table).context("the boards' workspace has no dependencies")?;
        let mut dependencies = Table::new();
        for (dependency, value) in own.get("dependencies").and_then(Value::as_table).into_iter().flatten() {
            let table = self
                .resolved(dependency, value, shared)
                .with_context(|| format!("{dependency} of {}", board.package))?;
            dependencies.insert(dependency.clone(), Value::Table(table));
        }
        let features = own.get("features").and_then(Value::as_table).cloned().unwrap_or_default();
        Ok(manifest(name, &format!("A monitor on {}", board.settings.name), &dependencies, &features))
    }

    /// A dependency of a board, with what it inherits.
    fn resolved(&self, name: &str, value: &Value, shared: &Table) -> Result<Table> {
        let table = |value: &Value| match value {
            Value::String(version) => Ok(Table::from_iter([("version".to_owned(), Value::String(version.clone()))])),
            Value::Table(table) => Ok(table.clone()),
            other => bail!("{other} is no dependency"),
        };
        let mut own = table(value)?;
        let mut all = match own.remove("workspace") {
            Some(_) => table(shared.get(name).context("it is not in the workspace")?)?,
            None => Table::new(),
        };
        for (key, value) in own {
            match (key.as_str(), all.get_mut(&key), &value) {
                ("features", Some(Value::Array(features)), Value::Array(more)) => features.extend(more.iter().cloned()),
                _ => drop(all.insert(key, value)),
            }
        }
        if let Some(path) = all.remove("path") {
            let path = path.as_str().context("a path is text")?;
            // The workspace's paths begin in `boards`, a board's own in its folder, which is one below.
            let folder = path.trim_start_matches("../");
            let folder = if path.starts_with("../") && PUBLISHED.iter().any(|(_, known)| *known == folder) {
                folder.to_owned()
            } else {
                format!("boards/{folder}")
            };
            all.extend(self.dependency(name, &folder));
        }
        Ok(all)
    }
}

fn manifest(name: &str, description: &str, dependencies: &Table, features: &Table) -> String {
    let mut text = format!(
        "[package]\nname = \"{name}\"\ndescription = {}\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n",
        Value::String(description.to_owned())
    );
    let mut section = |title: &str, table: &Table| {
        if table.is_empty() {
            return;
        }
        text.push_str(&format!("\n[{title}]\n"));
        for (key, value) in table {
            text.push_str(&format!("{key} = {}\n", inline(value)));
        }
    };
    section("features", features);
    section("dependencies", dependencies);
    text.push_str(PROFILE);
    text.push_str("\n# A workspace of its own, wherever it lies.\n[workspace]\n");
    text
}

/// A value in a line.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The repository that crates are taken from, where there is one: that at `asked`, or around this folder.
pub fn crates(asked: Option<&Path>, published: bool) -> Crates {
    let found = match (published, asked) {
        (true, _) => None,
        (false, Some(root)) => Some(root.to_owned()),
        (false, None) => neji_machine::toolchain::root().ok(),
    };
    found.map_or(Crates::Published, Crates::Repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Table {
        r#"
            embassy-nrf = { version = "0.11", default-features = false, features = ["rt"] }
            cortex-m = "0.7"
            neji-app = { path = "../firmware/app", default-features = false }
            neji-embassy = { path = "embassy" }
        "#
        .parse()
        .unwrap()
    }

    fn resolved(crates: &Crates, name: &str, dependency: &str) -> String {
        let own: Table = format!("it = {dependency}").parse().unwrap();
        inline(&Value::Table(crates.resolved(name, &own["it"], &shared()).unwrap()))
    }

    #[test]
    fn what_is_inherited_is_written_out() {
        let here = Crates::Repository("/n".into());
        let nrf = resolved(&here, "embassy-nrf", r#"{ workspace = true, features = ["nrf52833"] }"#);
        assert!(nrf.contains(r#"features = ["rt", "nrf52833"]"#) && nrf.contains("default-features = false"), "{nrf}");
        assert_eq!(resolved(&here, "cortex-m", "{ workspace = true }"), r#"{ version = "0.7" }"#);
        assert_eq!(resolved(&here, "x", r#""1.2""#), r#"{ version = "1.2" }"#);
    }

    #[test]
    fn crates_come_from_the_repository_or_by_version() {
        let here = Crates::Repository("/n".into());
        let app = resolved(&here, "neji-app", "{ workspace = true }");
        assert!(app.contains(r#"path = "/n/firmware/app""#), "{app}");
        let embassy = resolved(&here, "neji-embassy", r#"{ workspace = true, features = ["nrf"] }"#);
        assert!(embassy.contains(r#"path = "/n/boards/embassy""#) && embassy.contains("nrf"), "{embassy}");
        let app = resolved(&Crates::Published, "neji-app", "{ workspace = true }");
        assert!(
            app.contains(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION"))) && !app.contains("path"),
            "{app}"
        );
        let embassy = resolved(&Crates::Published, "neji-embassy", "{ workspace = true }");
        assert!(embassy.contains("git = \"https://"), "{embassy}");
    }

    #[test]
    fn a_dependency_that_is_nowhere_is_an_error() {
        let own: Table = "it = { workspace = true }".parse().unwrap();
        assert!(Crates::Published.resolved("missing", &own["it"], &shared()).is_err());
    }
}
