//! Files that are whole or not there.

use crate::error::EmError;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the name of a file ends with while it is being written.
const ASIDE: &str = "partial";

/// Writes a file aside (its name and `.partial`), syncs it, renames it into place and syncs the
/// folder, so that a crash or a full disk at any moment leaves either the old file or the new one.
///
/// # Errors
/// What the file system refuses; the file aside is removed then.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), EmError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".");
    aside.push(ASIDE);
    let aside = PathBuf::from(aside);
    let refused = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| EmError::Io {
            action,
            path,
            source,
        }
    };
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = match written {
        Ok(()) => fs::rename(&aside, path).map_err(refused("rename into place", path)),
        Err(source) => Err(refused("write", &aside)(source)),
    };
    if renamed.is_err() {
        let _ = fs::remove_file(&aside); // the first error is the one to report
        return renamed;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(refused("sync the folder", folder))
}

/// Removes what writes that a crash cut short have left in a folder.
///
/// # Errors
/// What the file system refuses.
pub fn remove_partial(folder: &Path) -> Result<(), EmError> {
    let refused = |source| EmError::Io {
        action: "clean up",
        path: folder.to_path_buf(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        if path.extension().is_some_and(|e| e == ASIDE) {
            fs::remove_file(&path).map_err(refused)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        write_atomically(&path, b"old").unwrap();
        // A folder of the name aside cannot be written to.
        let aside = folder.path().join("x.txt.partial");
        fs::create_dir(&aside).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir(&aside).unwrap();
        fs::write(&aside, b"torn").unwrap();
        remove_partial(folder.path()).unwrap();
        assert!(!aside.exists() && path.exists());
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
