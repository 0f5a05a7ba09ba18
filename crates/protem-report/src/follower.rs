//! A run's `metrics.jsonl`, read while it grows.

use crate::history::History;
use crate::plain::open_plain;
use crate::run_folder::{METRICS, ReportError, io};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A line that is longer is none of a run's, and is passed over in parts.
const LONGEST: u64 = 1 << 20;
/// By how much of what was read last a file is known to be the same still.
const TAIL: usize = 4096;

/// Follows `metrics.jsonl`: what has been read is not read again, unless the file is another one. A line
/// without its end is waited for.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    history: History,
    unread: usize,
    /// Bytes of the lines that were read.
    offset: u64,
    /// The last of them, at most [`TAIL`].
    tail: Vec<u8>,
    /// Whether `offset` lies within a line that is too long.
    within: bool,
}

impl Follower {
    /// Of the run in a folder; nothing is read yet.
    pub fn of(root: &Path) -> Self {
        Self {
            path: root.join(METRICS),
            history: History::default(),
            unread: 0,
            offset: 0,
            tail: Vec::new(),
            within: false,
        }
    }

    /// What the lines read so far tell.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whole lines that are no metric: torn by a crash, or of another version.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Reads what was added. A run that goes on has lines taken away, and one that begins anew all of
    /// them: then everything is read again. A file that is not there has no lines.
    ///
    /// # Errors
    /// What the file system refuses; a thing of that name that is no file.
    pub fn advance(&mut self) -> Result<(), ReportError> {
        let followed = match open_plain(&self.path) {
            Ok(Some(file)) => self.read(file),
            Ok(None) => {
                self.forget();
                Ok(())
            }
            Err(error) => Err(error),
        };
        followed.map_err(io("read", &self.path))
    }

    fn forget(&mut self) {
        let root = self.path.parent().unwrap_or(Path::new(""));
        *self = Self::of(root);
    }

    fn read(&mut self, mut file: File) -> std::io::Result<()> {
        if !self.is_same(&mut file)? {
            self.forget();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut lines = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
            let whole = line.last() == Some(&b'\n');
            if !whole && (line.len() as u64) < LONGEST {
                return Ok(()); // being written
            }
            self.take(&line, whole);
        }
    }

    /// Whether the file still holds what was read last, where it was.
    fn is_same(&self, file: &mut File) -> std::io::Result<bool> {
        let begin = self.offset - self.tail.len() as u64;
        file.seek(SeekFrom::Start(begin))?;
        let mut there = Vec::new();
        let length = self.tail.len() as u64;
        file.by_ref().take(length).read_to_end(&mut there)?;
        Ok(there == self.tail)
    }

    fn take(&mut self, line: &[u8], whole: bool) {
        match serde_json::from_slice(line) {
            Ok(event) if whole && !self.within => self.history.note(event),
            _ if self.within => {}
            _ => self.unread += usize::from(!line.trim_ascii().is_empty()),
        }
        self.within = !whole;
        self.offset += line.len() as u64;
        self.tail.clear();
        self.tail
            .extend_from_slice(&line[line.len().saturating_sub(TAIL)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    fn epoch(epoch: usize, seconds: f64) -> String {
        format!(
            "{{\"event\":\"epoch\",\"epoch\":{epoch},\"step\":{},\"loss\":3.0,\"loss_instance\":3.0,\"loss_prototype\":null,\"chance\":3.9,\"lr\":0.05,\"knn_top1\":null,\"effective_rank\":null,\"ami_previous\":null,\"images_per_second\":100.0,\"seconds\":{seconds:.1},\"e_step_seconds\":0.0,\"waited_seconds\":0.0}}\n",
            10 * epoch
        )
    }

    struct Growing {
        root: tempfile::TempDir,
        follower: Follower,
    }

    impl Growing {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let follower = Follower::of(root.path());
            Self { root, follower }
        }

        fn append(&self, bytes: impl AsRef<[u8]>) {
            let path = self.root.path().join(METRICS);
            let file = OpenOptions::new().create(true).append(true).open(path);
            let mut file = file.unwrap();
            file.write_all(bytes.as_ref()).unwrap();
        }

        fn write(&self, bytes: impl AsRef<[u8]>) {
            fs::write(self.root.path().join(METRICS), bytes).unwrap();
        }

        /// Epochs with their seconds, and lines that are none.
        #[track_caller]
        fn holds(&mut self, epochs: &[(usize, f64)], unread: usize) {
            self.follower.advance().unwrap();
            let told = &self.follower.history.epochs;
            let told: Vec<_> = told.iter().map(|(n, line)| (*n, line.seconds)).collect();
            assert_eq!((&told[..], self.follower.unread), (epochs, unread));
        }
    }

    #[test]
    fn a_torn_line_is_waited_for() {
        let mut file = Growing::new();
        file.holds(&[], 0);
        let second = epoch(2, 7.0);
        file.append(epoch(1, 6.0) + &second[..40]);
        file.holds(&[(1, 6.0)], 0);
        let offset = file.follower.offset;
        file.holds(&[(1, 6.0)], 0);
        assert_eq!(file.follower.offset, offset);
        file.append(&second[40..second.len() - 1]);
        file.holds(&[(1, 6.0)], 0);
        file.append("\n");
        file.holds(&[(1, 6.0), (2, 7.0)], 0);
        // One whose end comes too late is a line of no use.
        file.append(b"{\"event\":\"ep\n\n\xff\n");
        file.append(epoch(3, 8.0));
        file.holds(&[(1, 6.0), (2, 7.0), (3, 8.0)], 2);
    }

    #[test]
    fn another_file_is_read_from_its_beginning() {
        let mut file = Growing::new();
        file.append(epoch(1, 6.0) + &epoch(2, 7.0) + &epoch(3, 8.0));
        file.holds(&[(1, 6.0), (2, 7.0), (3, 8.0)], 0);
        // Resumed behind the first epoch; the same length again, and longer.
        file.write(epoch(1, 6.0));
        file.holds(&[(1, 6.0)], 0);
        file.append(epoch(2, 7.5));
        file.holds(&[(1, 6.0), (2, 7.5)], 0);
        file.write(epoch(1, 6.0) + &epoch(2, 9.5));
        file.holds(&[(1, 6.0), (2, 9.5)], 0);
        file.write(epoch(1, 5.0) + &epoch(2, 4.0) + &epoch(3, 3.0));
        file.holds(&[(1, 5.0), (2, 4.0), (3, 3.0)], 0);
        fs::remove_file(file.root.path().join(METRICS)).unwrap();
        file.holds(&[], 0);
        file.write(epoch(1, 2.0));
        file.holds(&[(1, 2.0)], 0);
    }

    #[test]
    fn a_line_without_end_is_passed_over_in_parts() {
        let mut file = Growing::new();
        file.append(epoch(1, 6.0));
        file.append(vec![b'x'; 3 * LONGEST as usize + 5]);
        file.holds(&[(1, 6.0)], 1);
        file.append("xxx");
        file.holds(&[(1, 6.0)], 1);
        file.append(format!("\n{}", epoch(2, 7.0)));
        file.holds(&[(1, 6.0), (2, 7.0)], 1);
    }

    #[test]
    fn a_folder_of_that_name_is_an_error() {
        let mut file = Growing::new();
        fs::create_dir(file.root.path().join(METRICS)).unwrap();
        let error = file.follower.advance().unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: it is no file"), "{error}");
    }
}
