//! The lock by which one process at a time has a run's folder, and others see that it does.

use super::{ReportError, io};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Held while a process works in the folder.
pub const NAME: &str = ".lock";
/// How often one that is held is asked for, and how long is waited in between.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock, for as long as the file is open.
pub fn hold(root: &Path) -> Result<File, ReportError> {
    let path = root.join(NAME);
    let file = File::create(&path).map_err(io("create", &path))?;
    // Who looks whether it is held has it for a moment.
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            // A file system without locks: nobody can be kept out.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
    Err(ReportError::InUse(root.to_path_buf()))
}

/// Whether a process holds it; none where that cannot be told.
pub fn is_held(root: &Path) -> Option<bool> {
    let path = root.join(NAME);
    // A pipe would be waited for.
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return None,
        Err(error) => return (error.kind() == ErrorKind::NotFound).then_some(false),
    }
    match File::open(&path).ok()?.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunFolder;

    #[test]
    fn a_run_at_work_is_seen_and_a_look_does_not_keep_it_from_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(is_held(root), Some(false));
        let run = RunFolder::create(root, "", false).unwrap();
        assert_eq!(is_held(root), Some(true));
        drop(run);
        assert_eq!(is_held(root), Some(false));
        let look = File::open(root.join(NAME)).unwrap();
        look.lock_shared().unwrap();
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| RunFolder::create(root, "", true).map(drop));
            std::thread::sleep(PAUSE);
            drop(look);
            begun.join().unwrap().unwrap();
        });
        std::fs::remove_file(root.join(NAME)).unwrap();
        std::fs::create_dir(root.join(NAME)).unwrap();
        assert_eq!(is_held(root), None);
    }
}
