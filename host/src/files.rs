//! Files that are whole or not there.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

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
}
