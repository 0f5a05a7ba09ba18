//! Writes a source as tar shards.

use crate::aside::{Aside, remove_left};
use crate::error::ReadError;
use crate::source::{Encoded, Labelling, Source, Unreadable};
use image::{ImageFormat, RgbImage};
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, Header};

/// How large shards become, and what ends the packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackConfig {
    /// Images of a shard at most; one at least.
    pub images: usize,
    /// Bytes of a shard at most, but for a first image that is larger alone.
    pub bytes: u64,
    /// Whether images whose bytes cannot be got are left out, instead of ending it.
    pub leave_out: bool,
}

/// What [`pack`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Shards.
    pub shards: usize,
    /// Images.
    pub images: usize,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Whether each image's class is with it.
    pub labelled: bool,
    /// Images that were left out, and why.
    pub left_out: Vec<Unreadable>,
}

/// Why a source cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something is there already.
    #[error("{} is there already", .0.display())]
    Occupied(PathBuf),
    /// An image whose bytes cannot be got.
    #[error("{name} {source}")]
    Image {
        /// Its name.
        name: String,
        /// Why not.
        source: ReadError,
    },
    /// `progress` asked for it.
    #[error("stopped")]
    Stopped,
    /// The file system refused.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes all images, in the source's order, to a new folder of plain tar shards
/// (`shard-000000.tar`, …) in WebDataset's naming: `00000000.jpg` and, where each image has one
/// class, `00000000.cls` with its number; the classes' names are the lines of `classnames.txt`. What
/// each image was called is told by a line of `names.txt`: its new name, a tab, its old one.
/// Files keep their bytes, whether they can be decoded or not; pixels without a file become PNGs.
/// The same source makes the same bytes.
///
/// The folder appears when it is whole: it is written aside, as a hidden folder beside it, and
/// renamed. One that is there already, empty, gets the shards when all of them are written; until
/// then they lie in a hidden folder in it. What a packing into this folder that was killed has left is
/// removed first, where the file system tells by a lock that nobody writes it. `progress` is told the number
/// of images done, and answers whether to go on.
///
/// # Errors
/// A folder that exists and is not empty; bytes of an image that cannot be got, unless such are left
/// out; what the file system refuses; [`PackError::Stopped`]. Nothing is left then, but where a shard could
/// not be moved into the empty folder: those before it lie there.
///
/// # Panics
/// If a shard may hold no image.
pub fn pack(
    source: &dyn Source,
    out: &Path,
    config: PackConfig,
    progress: &dyn Fn(usize) -> bool,
) -> Result<Packed, PackError> {
    assert!(config.images > 0, "images of a shard");
    let beside = out.parent().filter(|p| !p.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    remove_left(beside, out);
    remove_left(out, out);
    let empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if out.symlink_metadata().is_ok() && !empty {
        return Err(PackError::Occupied(out.to_path_buf()));
    }
    let refused = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PackError::Write { path, source }
    };
    let parent = if empty { out } else { beside };
    fs::create_dir_all(parent).map_err(refused(parent))?;
    let aside = Aside::new(parent, out).map_err(refused(parent))?;
    let packed = write(source, aside.path(), config, progress)?;
    let aside = aside.whole().map_err(refused(parent))?;
    if empty {
        move_up(aside.path(), out).map_err(refused(out))?;
    } else {
        sync(aside.path()).map_err(refused(aside.path()))?;
        fs::rename(aside.path(), out).map_err(refused(out))?;
        let _ = aside.keep(); // it is no more under its old name
    }
    sync(parent).map_err(refused(parent))?;
    Ok(packed)
}

/// Moves all files of a folder into the one it lies in.
fn move_up(folder: &Path, to: &Path) -> io::Result<()> {
    let names: io::Result<Vec<_>> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    for name in names? {
        fs::rename(folder.join(&name), to.join(&name))?;
    }
    Ok(())
}

#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(()) // a folder cannot be opened to be synced
}

fn write(
    source: &dyn Source,
    folder: &Path,
    config: PackConfig,
    progress: &dyn Fn(usize) -> bool,
) -> Result<Packed, PackError> {
    let labelled = source.labelling() == Labelling::One;
    let mut packed = Packed {
        shards: 0,
        images: 0,
        bytes: 0,
        labelled,
        left_out: Vec::new(),
    };
    let path = folder.join("names.txt");
    let mut names = Lines::new(path)?;
    let mut open: Option<Shard> = None;
    for index in 0..source.len() {
        if !progress(index) {
            return Err(PackError::Stopped);
        }
        let (bytes, extension) = match file_of(source, index) {
            Ok(file) => file,
            Err(error) if config.leave_out => {
                packed.left_out.push(Unreadable {
                    index: index as u32,
                    name: source.name(index),
                    reason: error.to_string(),
                });
                continue;
            }
            Err(source_error) => {
                return Err(PackError::Image {
                    name: source.name(index),
                    source: source_error,
                });
            }
        };
        let class = labelled.then(|| source.label(index)).flatten();
        let class = class.map(|class| class.to_string());
        let size = member(bytes.len()) + class.as_ref().map_or(0, |class| member(class.len()));
        let full = |shard: &Shard| {
            shard.images == config.images || shard.bytes + size + END > config.bytes
        };
        if let Some(shard) = open.take_if(|shard| full(shard)) {
            packed.bytes += shard.finish()?;
        }
        let shard = match &mut open {
            Some(shard) => shard,
            none => {
                let path = folder.join(format!("shard-{:06}.tar", packed.shards));
                packed.shards += 1;
                none.insert(Shard::new(path)?)
            }
        };
        let name = format!("{index:08}.{extension}");
        shard.add(&name, &bytes)?;
        names.add(&format!("{name}\t{}", source.name(index)))?;
        if let Some(class) = class {
            shard.add(&format!("{index:08}.cls"), class.as_bytes())?;
        }
        shard.images += 1;
        packed.images += 1;
    }
    progress(source.len());
    if let Some(shard) = open {
        packed.bytes += shard.finish()?;
    }
    names.finish()?;
    if labelled {
        let mut names = Lines::new(folder.join("classnames.txt"))?;
        source
            .classes()
            .iter()
            .try_for_each(|name| names.add(&name))?;
        names.finish()?;
    }
    Ok(packed)
}

/// A text file of names.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn new(path: PathBuf) -> Result<Self, PackError> {
        match File::create(&path) {
            Ok(file) => Ok(Self {
                path,
                file: BufWriter::new(file),
            }),
            Err(source) => Err(PackError::Write { path, source }),
        }
    }

    /// A line is a name: one with a line break in it becomes two words.
    fn add(&mut self, name: &str) -> Result<(), PackError> {
        let line = name.replace(['\n', '\r'], " ") + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| PackError::Write {
            path: self.path.clone(),
            source,
        })
    }

    fn finish(self) -> Result<(), PackError> {
        let Self { path, mut file } = self;
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(|source| PackError::Write { path, source })
    }
}

/// Two blocks of zeros.
const END: u64 = 1024;

/// Bytes a member takes.
fn member(bytes: usize) -> u64 {
    512 + (bytes as u64).next_multiple_of(512)
}

/// Bytes of an image file, and the extension of its format.
fn file_of(source: &dyn Source, index: usize) -> Result<(Vec<u8>, &'static str), ReadError> {
    Ok(match source.encoded(index)? {
        Encoded::Pixels(image) => (png(&image), "png"),
        Encoded::File(bytes) => {
            let format = image::guess_format(&bytes).ok();
            let extension = format.and_then(|f| f.extensions_str().first().copied());
            let known = extension.filter(|e| crate::files::EXTENSIONS.contains(e));
            (bytes, known.unwrap_or("jpg"))
        }
    })
}

/// A PNG of an image.
pub fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("memory takes any PNG");
    bytes.into_inner()
}

struct Shard {
    path: PathBuf,
    archive: Builder<BufWriter<File>>,
    images: usize,
    bytes: u64,
}

impl Shard {
    fn new(path: PathBuf) -> Result<Self, PackError> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self {
                path,
                archive: Builder::new(BufWriter::with_capacity(1 << 20, file)),
                images: 0,
                bytes: 0,
            }),
            Err(source) => Err(PackError::Write { path, source }),
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        let added = self.archive.append_data(&mut header, name, bytes);
        added.map_err(|source| PackError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.bytes += member(bytes.len());
        Ok(())
    }

    /// Its bytes.
    fn finish(self) -> Result<u64, PackError> {
        let Self {
            path,
            archive,
            bytes,
            ..
        } = self;
        let finished = archive.into_inner().and_then(|buffered| {
            let file = buffered
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.sync_all()
        });
        match finished {
            Ok(()) => Ok(bytes + END),
            Err(source) => Err(PackError::Write { path, source }),
        }
    }
}
