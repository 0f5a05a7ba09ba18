//! Points in a `.npy` file, memory-mapped so that their number is not bound by memory, or read.

mod header;
mod numbers;

use crate::error::ClusterError;
use crate::kernel;
use crate::matrix::Matrix;
use header::Header;
use memmap2::Mmap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A two-dimensional array of numbers in a `.npy` file, as rows of `f32`.
#[derive(Debug)]
pub struct Npy {
    values: Values,
    rows: usize,
    cols: usize,
    rounded: bool,
}

#[derive(Debug)]
enum Values {
    /// A file's, and where they begin in it.
    Mapped(Mmap, usize),
    Held(Lines),
}

/// Why a file is not such an array.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the file holds is not what is needed.
    #[error("{}: not points in .npy: {what}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with the value found.
        what: String,
    },
    /// The values are no `f32`, or not row by row: they can be read, not mapped.
    #[error(
        "{}: only 32-bit floats in row order can be mapped; others are read (`Npy::read`), which takes {bytes} bytes of memory",
        path.display()
    )]
    NotPlain {
        /// Which file.
        path: PathBuf,
        /// The file and its values as `f32`, which reading it holds together for a while.
        bytes: u64,
    },
}

/// What of a file is not as it must be.
#[derive(Debug)]
struct Wrong(String);

fn wrong(what: String) -> Wrong {
    Wrong(what)
}

impl NpyError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.into();
        Self::Io { path, source }
    }

    fn format(path: &Path, Wrong(what): Wrong) -> Self {
        let path = path.into();
        Self::Format { path, what }
    }
}

impl Npy {
    /// Maps a file. Its values are read when they are used; while this lives, nobody must change
    /// or shorten the file: the process would read something else, or be killed by the system.
    ///
    /// # Errors
    /// [`NpyError::Io`]; [`NpyError::Format`] for a file that is not a complete two-dimensional
    /// array of real numbers with columns; [`NpyError::NotPlain`] for one of other values than `f32`
    /// in this machine's order of bytes, row by row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NpyError> {
        let path = path.as_ref();
        let failed = |source| NpyError::io(path, source);
        let refused = |wrong| NpyError::format(path, wrong);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let map = kernel::map(&file).map_err(failed)?;
        let header = Header::parse(&map).map_err(refused)?;
        let values = header.values(&map).map_err(refused)?;
        if !header.is_plain() {
            let held = values.len() / header.kind.size() * size_of::<f32>();
            return Err(NpyError::NotPlain {
                path: path.into(),
                bytes: (map.len() + held) as u64,
            });
        }
        Self::new(Values::Mapped(map, header.begin), &header, false).map_err(refused)
    }

    /// Reads a file into memory, where rows are at hand sooner than in a mapped one: its pages are
    /// small, and each is fetched when it is first used.
    ///
    /// Floats of 16 and 64 bits, integers and booleans become the nearest `f32`
    /// ([`Self::is_rounded`] tells if one differs), columns that come first are put into rows.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`NpyError::NotPlain`]; [`NpyError::Format`] for a finite value
    /// that is beyond all `f32`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, NpyError> {
        let path = path.as_ref();
        let failed = |source| NpyError::io(path, source);
        let refused = |wrong| NpyError::format(path, wrong);
        let mut file = Lines::read(path).map_err(failed)?;
        let header = Header::parse(file.get()).map_err(refused)?;
        let values = header.values(file.get()).map_err(refused)?;
        if header.is_plain() {
            file.begin += header.begin;
            return Self::new(Values::Held(file), &header, false).map_err(refused);
        }
        let mut held = Lines::zeros(header.rows * header.cols).map_err(failed)?;
        let converted = header.convert(values, bytemuck::cast_slice_mut(held.get_mut()));
        let rounded = converted.map_err(refused)?;
        Self::new(Values::Held(held), &header, rounded).map_err(refused)
    }

    fn new(values: Values, header: &Header, rounded: bool) -> Result<Self, Wrong> {
        let npy = Self {
            values,
            rows: header.rows,
            cols: header.cols,
            rounded,
        };
        if bytemuck::try_cast_slice::<u8, f32>(npy.bytes()).is_err() {
            return Err(wrong(
                "values do not begin at a multiple of four bytes".into(),
            ));
        }
        npy.view().map_err(|error| wrong(error.to_string()))?;
        Ok(npy)
    }

    fn bytes(&self) -> &[u8] {
        match &self.values {
            Values::Mapped(map, begin) => &map[*begin..],
            Values::Held(lines) => lines.get(),
        }
    }

    /// The points.
    ///
    /// # Errors
    /// None: what could be wrong was when it was opened.
    pub fn view(&self) -> Result<Matrix<'_>, ClusterError> {
        let values = bytemuck::try_cast_slice(self.bytes()).unwrap_or_default();
        Matrix::new(values, self.rows, self.cols)
    }

    /// Whether a value of the file differs from the `f32` it became.
    #[must_use]
    pub fn is_rounded(&self) -> bool {
        self.rounded
    }
}

/// Bytes of a cache line. Values begin at a multiple of it in a file by numpy, and so do rows of 16
/// values each then: of others, vectors lie in two lines.
const LINE: usize = 64;

/// Bytes in memory, from the beginning of a line on.
#[derive(Debug)]
struct Lines {
    bytes: Vec<u8>,
    begin: usize,
}

impl Lines {
    fn with_room(len: usize) -> std::io::Result<Self> {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(len.saturating_add(LINE))?;
        let begin = bytes.as_ptr().addr().next_multiple_of(LINE) - bytes.as_ptr().addr();
        bytes.resize(begin, 0);
        Ok(Self { bytes, begin })
    }

    /// A whole file.
    fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut lines = Self::with_room(len)?;
        file.read_to_end(&mut lines.bytes)?;
        Ok(lines)
    }

    /// Room for so many `f32`.
    fn zeros(values: usize) -> std::io::Result<Self> {
        let len = values.saturating_mul(size_of::<f32>());
        let mut lines = Self::with_room(len)?;
        lines.bytes.resize(lines.begin + len, 0);
        Ok(lines)
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..]
    }
}
