//! A folder that is written aside until it is whole, and what of such a killed program has left.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use tempfile::TempDir;

/// What its name begins with.
const PREFIX: &str = ".packing-";
/// The file in it that is locked as long as somebody writes it, and says what it is to become.
const LOCK: &str = ".lock";
/// The same before it is locked.
const UNLOCKED: &str = ".unlocked";

/// A hidden folder, which is removed with this.
pub(crate) struct Aside {
    folder: TempDir,
    /// Held open.
    _lock: File,
}

impl Aside {
    /// Makes one in a folder, to become `out`.
    pub(crate) fn new(parent: &Path, out: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // A temporary folder is its maker's alone; a data set is as readable as any new folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let folder = builder.tempdir_in(parent)?;
        let unlocked = folder.path().join(UNLOCKED);
        let mut lock = File::create_new(&unlocked)?;
        lock.write_all(name_of(out))?;
        match lock.try_lock() {
            Ok(()) => fs::rename(&unlocked, folder.path().join(LOCK))?,
            // Where files cannot be locked, what is left stays: it might be under way.
            Err(_) => fs::remove_file(&unlocked)?,
        }
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder with nothing in it but what was written.
    pub(crate) fn whole(self) -> io::Result<TempDir> {
        match fs::remove_file(self.folder.path().join(LOCK)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(self.folder),
        }
    }
}

/// Removes the folders in `parent` that were to become `out`, and that nobody writes any more.
pub(crate) fn remove_left(parent: &Path, out: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let folder = entry.path();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && is_left(&folder, out) {
            let _ = fs::remove_dir_all(&folder); // it is in nobody's way
        }
    }
}

fn is_left(folder: &Path, out: &Path) -> bool {
    let mut options = File::options();
    let Ok(lock) = options.read(true).write(true).open(folder.join(LOCK)) else {
        return false;
    };
    let mut name = Vec::new();
    let read = (&lock).take(1 << 12).read_to_end(&mut name);
    read.is_ok() && name == name_of(out) && lock.try_lock().is_ok()
}

fn name_of(out: &Path) -> &[u8] {
    out.file_name().map_or(&[], OsStr::as_encoded_bytes)
}
