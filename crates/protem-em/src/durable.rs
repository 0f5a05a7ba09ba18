//! Files that are whole or not there.

use crate::error::EmError;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes a file aside, syncs it, renames it into place and syncs the folder, so that a crash or
/// a full disk at any moment leaves either the old file or the new one.
///
/// # Errors
/// What the file system refuses; the file aside is removed then.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), EmError> {
    let aside = path.with_extension("partial");
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
    if let Err(source) = written {
        let _ = fs::remove_file(&aside); // the first error is the one to report
        return Err(refused("write", &aside)(source));
    }
    fs::rename(&aside, path).map_err(refused("rename into place", path))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(refused("sync the folder", folder))?;
    }
    Ok(())
}
