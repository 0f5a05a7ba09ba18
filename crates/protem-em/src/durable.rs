//! Files that are whole or not there.

use crate::error::EmError;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What the name of a file ends with while it is being written.
const ASIDE: &str = "partial";

/// Writes a file aside (its name and `.partial`), syncs it, renames it into place and syncs the
/// folder, so that a crash or a full disk at any moment leaves either the old file or the new one.
/// Of a link, the file it leads to is written.
///
/// # Errors
/// What the file system refuses; the file aside is removed then. Something of that name that is no
/// file, such as a pipe.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), EmError> {
    write_together(&[(path, bytes)])
}

/// Writes files that belong together as [`write_atomically`] does one. None is renamed before all
/// are whole on the disk: a full disk leaves all of the old ones.
///
/// # Errors
/// As [`write_atomically`]; all files aside are removed then.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<(), EmError> {
    let mut aside = Vec::new();
    let written = files.iter().try_for_each(|(path, bytes)| {
        let path = destination(path).map_err(refused("write", path))?;
        aside.push((aside_of(&path), path));
        let (aside, _) = &aside[aside.len() - 1];
        let written = File::create(aside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(refused("write", aside))
    });
    let renamed = written.and_then(|()| {
        let mut renames = aside.iter();
        renames.try_for_each(|(aside, path)| {
            fs::rename(aside, path).map_err(refused("rename into place", path))
        })
    });
    if renamed.is_err() {
        for (aside, _) in &aside {
            let _ = fs::remove_file(aside); // the first error is the one to report
        }
        return renamed;
    }
    let mut folders: Vec<&Path> = aside.iter().map(|(_, path)| folder_of(path)).collect();
    folders.dedup();
    folders.into_iter().try_for_each(|folder| {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(refused("sync the folder", folder))
    })
}

fn refused(action: &'static str, path: &Path) -> impl FnOnce(Error) -> EmError {
    let path = path.to_path_buf();
    move |source| EmError::Io {
        action,
        path,
        source,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The file that is written by this name: it, or what a link leads to.
fn destination(path: &Path) -> std::io::Result<PathBuf> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path.to_path_buf()),
        found => found?,
    };
    let path = if there.is_symlink() {
        fs::canonicalize(path)?
    } else {
        path.to_path_buf()
    };
    match fs::metadata(&path)?.is_file() {
        true => Ok(path),
        false => Err(Error::new(ErrorKind::InvalidInput, "it is no file")),
    }
}

/// Where a file lies while it is being written.
fn aside_of(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".");
    aside.push(ASIDE);
    PathBuf::from(aside)
}

/// Removes what a write of a file that a crash cut short has left.
///
/// # Errors
/// What the file system refuses.
pub fn remove_partial(path: &Path) -> Result<(), EmError> {
    let aside = aside_of(path);
    match fs::remove_file(&aside) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(EmError::Io {
            action: "remove",
            path: aside,
            source,
        }),
        _ => Ok(()),
    }
}

/// The file that one aside is to become.
pub(crate) fn partial_of(aside: &Path) -> Option<PathBuf> {
    (aside.extension()? == ASIDE).then(|| aside.with_extension(""))
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
        remove_partial(&path).unwrap();
        remove_partial(&path).unwrap();
        assert!(!aside.exists() && path.exists());
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn files_that_belong_together_stay_together() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.txt", "b.txt"].map(|name| folder.path().join(name));
        let write = |text: &[u8]| write_together(&[(&a, text), (&b, text)]);
        write(b"old").unwrap();
        let aside = folder.path().join("b.txt.partial");
        fs::create_dir(&aside).unwrap();
        assert!(write(b"new").is_err());
        let read = || [&a, &b].map(|path| fs::read(path).unwrap());
        assert_eq!(read(), [b"old", b"old"]);
        assert!(!folder.path().join("a.txt.partial").exists());
        fs::remove_dir(&aside).unwrap();
        write(b"new").unwrap();
        assert_eq!(read(), [b"new", b"new"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_what_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [there, link, dangling] =
            ["there.txt", "link.txt", "dangling"].map(|name| folder.path().join(name));
        fs::write(&there, b"old").unwrap();
        std::os::unix::fs::symlink("there.txt", &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&there).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        std::os::unix::fs::symlink("nowhere/x", &dangling).unwrap();
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&dangling, folder.path(), &socket] {
            assert!(
                write_atomically(path, b"new").is_err(),
                "{}",
                path.display()
            );
        }
        assert!(!fs::metadata(&socket).unwrap().is_file());
    }
}
