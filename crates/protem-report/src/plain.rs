//! Files that are looked at in a folder which anyone may have written to.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// Opens a file; none if there is none. A link may lead out of its folder, and a pipe would be waited for.
///
/// # Errors
/// A link, or what is no file; what the file system refuses.
pub fn open_plain(path: &Path) -> Result<Option<File>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(found) => {
            let what = if found.is_symlink() {
                "a link"
            } else {
                "no file"
            };
            return Err(Error::other(format!("it is {what}")));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None), // gone meanwhile
        opened => opened.map(Some),
    }
}
