//! Files that are whole or not there.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Writes a file beside its final name and renames it, so that a reader never sees half of it and a full disk loses
/// nothing that was there.
///
/// # Errors
/// The folder can't be written to; the message names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let what = || format!("writing {}: check that the folder exists, may be written and has room", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.flush().with_context(what)?;
    // A temporary file is its owner's alone; what it becomes is an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(what)?;
    }
    file.persist(path).with_context(what)?;
    Ok(())
}

/// Fills a folder beside its final name with `fill` and renames it to `out`, in whose place it comes.
///
/// # Errors
/// `out` is not empty and `force` is not set, `fill` fails, or a folder can't be made or moved; `out` is then as it was.
pub fn write_folder(out: &Path, force: bool, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let occupied = out.exists() && (!out.is_dir() || fs::read_dir(out)?.next().is_some());
    if occupied && !force {
        bail!("{}: not empty; give another --out, or --force to replace it", out.display());
    }
    let parent = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let staging = tempfile::Builder::new()
        .prefix(".neji-data-")
        .tempdir_in(parent)
        .with_context(|| format!("creating a temporary folder in {}", parent.display()))?;
    let content = staging.path().join("set");
    fs::create_dir(&content).with_context(|| format!("creating {}", content.display()))?;
    fill(&content)?;
    if occupied {
        let old = staging.path().join("old");
        fs::rename(out, &old).with_context(|| format!("moving {} away", out.display()))?;
    } else if out.exists() {
        fs::remove_dir(out).with_context(|| format!("replacing {}", out.display()))?;
    }
    fs::rename(&content, out).with_context(|| format!("moving the finished set to {}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_missing_folder_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        write_whole(&path, b"long text").expect("written");
        write_whole(&path, b"short").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"short");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
        let error = write_whole(&folder.path().join("none/a.txt"), b"x").expect_err("no folder");
        assert!(format!("{error:#}").contains("none/a.txt"), "{error:#}");
    }

    #[test]
    fn a_folder_that_could_not_be_filled_leaves_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("set");
        let fill = |text: &'static str| move |content: &Path| Ok(fs::write(content.join("a.txt"), text)?);
        write_folder(&out, false, fill("old")).expect("written");
        let failing = |content: &Path| {
            fs::write(content.join("a.txt"), "half")?;
            bail!("the disk is full")
        };
        write_folder(&out, true, failing).expect_err("not filled");
        assert_eq!(fs::read(out.join("a.txt")).expect("read"), b"old");
        write_folder(&out, false, fill("new")).expect_err("not empty");
        write_folder(&out, true, fill("new")).expect("replaced");
        assert_eq!(fs::read(out.join("a.txt")).expect("read"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
