//! Bytes that are read at any place, from any thread: a file's, or some in memory.

use crate::error::{DataError, ReadError};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one image file above which it is not read: the pixels of the largest image that is
/// decoded, at two bytes a channel, and some.
pub(crate) const IMAGE_BYTES: u64 = 1 << 30;
/// How many times its size a gzip stream of images may expand, unless it stays small.
pub(crate) const GZIP_EXPANSION: u64 = 64;

/// Files that are kept open for one source; those beyond are opened for each read, so that a set
/// of thousands of shards does not run out of descriptors.
const KEPT_OPEN: usize = 256;

/// What a container is read from. A read is checked against the length before memory is taken for
/// it.
#[derive(Debug, Clone)]
pub struct Storage {
    place: Place,
    path: PathBuf,
    /// Where it begins in the place.
    start: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Place {
    Open(Arc<File>),
    Closed,
    Memory(Arc<[u8]>),
}

impl Storage {
    /// A file, kept open.
    ///
    /// # Errors
    /// One that cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let opened = path.metadata().and_then(|metadata| {
            // To open a pipe would wait for one who writes to it.
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let file = File::open(path)?;
            Ok((file.metadata()?, file))
        });
        let (metadata, file) = opened.map_err(|source| DataError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            place: Place::Open(Arc::new(file)),
            path: path.to_path_buf(),
            start: 0,
            len: metadata.len(),
        })
    }

    /// A part of an open file; `path` is what to call it.
    pub(crate) fn part(file: Arc<File>, start: u64, len: u64, path: PathBuf) -> Self {
        Self {
            place: Place::Open(file),
            path,
            start,
            len,
        }
    }

    /// A part of it, called as it is.
    pub(crate) fn within(&self, offset: u64, len: u64) -> Self {
        Self {
            start: self.start + offset,
            len,
            ..self.clone()
        }
    }

    /// The `number`th of the files of a source: the first ones are kept open.
    pub(crate) fn open_as(path: &Path, number: usize) -> Result<Self, DataError> {
        let mut storage = Self::open(path)?;
        if number >= KEPT_OPEN {
            storage.place = Place::Closed;
        }
        Ok(storage)
    }

    /// The same, open as long as this is there: for who reads much of it.
    pub(crate) fn held(&self) -> io::Result<Self> {
        let mut held = self.clone();
        if let Place::Closed = self.place {
            held.place = Place::Open(Arc::new(File::open(&self.path)?));
        }
        Ok(held)
    }

    /// Bytes in memory; `path` is what to call them in messages.
    pub fn memory(bytes: Vec<u8>, path: &Path) -> Self {
        Self {
            len: bytes.len() as u64,
            place: Place::Memory(bytes.into()),
            path: path.to_path_buf(),
            start: 0,
        }
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the file, for messages.
    pub(crate) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// A place behind the end, before memory is taken; what the file system says.
    pub fn read(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let len = usize::try_from(len).ok().filter(|_| inside);
        let len = len.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; len];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of an image file that lies in it.
    pub(crate) fn read_image(&self, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        if len > IMAGE_BYTES {
            return Err(ReadError::TooManyBytes {
                bytes: len,
                limit: IMAGE_BYTES,
            });
        }
        Ok(self.read(offset, len)?)
    }

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// A place behind the end; what the file system says.
    pub fn read_into(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = offset.checked_add(out.len() as u64);
        if inside.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let offset = self.start + offset;
        match &self.place {
            Place::Open(file) => read_exact_at(file, out, offset),
            Place::Closed => read_exact_at(&File::open(&self.path)?, out, offset),
            Place::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(out.len());
                let part = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
        }
    }

    /// A reader of its own, at `offset`.
    pub fn reader(&self, offset: u64) -> StorageReader {
        StorageReader {
            of: self.clone(),
            at: offset,
        }
    }

    /// An error at a place of it.
    pub(crate) fn damaged(&self, offset: u64, reason: impl Into<String>) -> DataError {
        DataError::Damaged {
            path: self.path.clone(),
            offset,
            reason: reason.into(),
        }
    }

    /// What is sound at a place of it, and not read.
    pub(crate) fn unsupported(&self, offset: u64, reason: impl Into<String>) -> DataError {
        DataError::Unsupported {
            path: self.path.clone(),
            offset,
            reason: reason.into(),
        }
    }

    /// The whole of a small file.
    pub(crate) fn read_all(&self, what: &'static str, limit: u64) -> Result<Vec<u8>, DataError> {
        if self.len > limit {
            return Err(DataError::TooLarge {
                path: self.path.clone(),
                what,
                size: self.len,
                limit,
            });
        }
        self.read(0, self.len).map_err(|source| DataError::Read {
            path: self.path.clone(),
            source,
        })
    }

    /// Whether it begins as a gzip stream.
    pub(crate) fn is_gzip(&self) -> bool {
        let mut magic = [0; 2];
        self.read_into(0, &mut magic).is_ok() && magic == [0x1f, 0x8b]
    }

    /// What a gzip stream holds, in memory; the bytes themselves if it is none. Bounded by
    /// `limit` whatever the stream declares, and by what images are compressed to.
    pub(crate) fn inflated(self, limit: u64) -> Result<Self, DataError> {
        /// What any stream may expand to.
        const SMALL: u64 = 64 << 20;
        if !self.is_gzip() {
            return Ok(self);
        }
        let limit = limit.min(SMALL.max(self.len.saturating_mul(GZIP_EXPANSION)));
        let mut bytes = Vec::new();
        let read = self.gunzip(limit, &mut bytes);
        read.map_err(|e| self.damaged(bytes.len() as u64, format!("no whole gzip stream: {e}")))?;
        if bytes.len() as u64 > limit {
            return Err(DataError::TooLarge {
                path: self.path,
                what: "bytes when decompressed, or more",
                size: limit + 1,
                limit,
            });
        }
        Ok(Self::memory(bytes, &self.path))
    }

    /// Decompresses a gzip stream up to its end or one byte above `limit`; how many bytes that were.
    /// Zeros behind a part of it are padding.
    pub(crate) fn gunzip(&self, limit: u64, out: &mut impl Write) -> io::Result<u64> {
        let mut stream = BufReader::with_capacity(1 << 16, self.held()?.reader(0));
        let mut written = 0;
        loop {
            let part = GzDecoder::new(&mut stream).take(limit + 1 - written);
            written += io::copy(&mut { part }, out)?;
            if written > limit || !goes_on(&mut stream)? {
                return Ok(written);
            }
        }
    }
}

/// Passes over zeros; whether anything follows them.
fn goes_on(stream: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = stream.fill_buf()?;
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        if zeros < bytes.len() || bytes.is_empty() {
            let more = !bytes.is_empty();
            stream.consume(zeros);
            return Ok(more);
        }
        stream.consume(zeros);
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads a [`Storage`] from one place on.
#[derive(Debug)]
pub struct StorageReader {
    of: Storage,
    at: u64,
}

impl Read for StorageReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.of.len.saturating_sub(self.at);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.of.read_into(self.at, &mut out[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for StorageReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.of.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
