//! `cargo xtask package`: what crates.io would be given, made and not compiled.

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use neji_machine::toolchain;
use serde_json::Value;

use crate::step::step;

/// What crates.io asks of a package, or people who search it.
const ASKED: [&str; 6] = ["description", "license", "repository", "readme", "keywords", "categories"];

/// Packages every crate that is published, in the order of their dependencies; nothing is uploaded.
///
/// # Errors
/// A crate lacks what crates.io asks for, or cannot be packaged: a dependency without a version, a file that is missing.
pub(crate) fn run() -> Result<()> {
    let root = toolchain::root()?;
    let mut metadata = toolchain::clean("cargo");
    metadata.current_dir(&root).args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
    let out = metadata.output().context("starting cargo metadata")?;
    ensure!(out.status.success(), "cargo metadata failed");
    let (published, others) = parted(&serde_json::from_slice(&out.stdout)?)?;

    let mut package = toolchain::clean("cargo");
    // What is not committed yet is packaged as well: this asks whether it could be.
    package.current_dir(&root).args(["package", "--workspace", "--no-verify", "--allow-dirty", "--quiet"]);
    for other in &others {
        package.args(["--exclude", other]);
    }
    step(&format!("packages of {}", published.join(", ")), &mut package)
}

/// The packages that are published, each with all that is asked for, and the others.
fn parted(metadata: &Value) -> Result<(Vec<String>, Vec<String>)> {
    let (mut published, mut others) = (Vec::new(), Vec::new());
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().context("a package has a name")?.to_owned();
        // `publish = false` is a list of no registries.
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            others.push(name);
            continue;
        }
        let missing: Vec<&str> = ASKED
            .into_iter()
            .filter(|key| match &package[*key] {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => true,
            })
            .collect();
        if !missing.is_empty() {
            bail!("the Cargo.toml of {name} lacks {}", missing.join(", "));
        }
        published.push(name);
    }
    Ok((published, others))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_package_that_lacks_something_is_named() {
        let mut whole = json!({"name": "a", "publish": null, "description": "d", "license": "l", "repository": "r",
            "readme": "README.md", "keywords": ["k"], "categories": ["c"]});
        let own = json!({"name": "b", "publish": []});
        let all = |whole: &Value| parted(&json!({"packages": [whole, own]}));
        assert_eq!(all(&whole).unwrap(), (vec!["a".to_owned()], vec!["b".to_owned()]));
        whole["keywords"] = json!([]);
        assert_eq!(all(&whole).unwrap_err().to_string(), "the Cargo.toml of a lacks keywords");
    }
}
