//! Parquet shards with images in a column, as Hugging Face publishes them.
//!
//! What an image costs is a page (a megabyte, say, as most writers have it): where the pages of a row
//! group lie is found once, by their headers, and the pages read last are kept, 128 MiB of them, so
//! that a pass in order decompresses each once. Pages without compression, with Snappy, gzip, LZ4 and zstd are read.

use super::parquet_column::{Block, Column, ColumnError, guarded};
use super::parquet_kept::{Kept, Once, Whole, lock, whole};
use super::parquet_labels::{Said, WITHOUT, labels};
use super::parquet_pages::Pages;
use super::parquet_schema::{self, Columns};
use super::parquet_thrift;
use crate::class_names::ClassNames;
use crate::error::{DataError, ReadError};
use crate::files::check_count;
use crate::labels::Labels;
use crate::paths::text_of;
use crate::shards::names_below;
use crate::source::{Encoded, Source};
use crate::storage::{IMAGE_BYTES, Storage};
use image::RgbImage;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Largest footer.
const LARGEST_FOOTER: u64 = 64 << 20;

/// The images of Parquet files: the rows, in the files' order.
///
/// The images' column is the one that the `huggingface` metadata calls an `Image`; without metadata, the
/// one that is a struct with `bytes`, or bytes called `image`, `img`, `jpg`, `jpeg`, `png`, `webp`,
/// `image_bytes` or `bytes`. Of several it is the one called `image` or `img`, or the option `image` must
/// name one. Labels come from the first `ClassLabel` of the metadata, whose names are the classes in the
/// order of their numbers; without metadata, from a column of whole numbers, booleans or words called
/// `label`, `labels`, `fine_label`, `cls`, `class` or `target`, where numbers are names too; the option
/// `label` names another, or with nothing behind `=` none. Where every label is negative or missing, as in
/// tests without answers, there are none.
pub struct Parquet {
    shards: Vec<Shard>,
    /// Of the shards, below the folder that all lie in.
    names: Vec<PathBuf>,
    groups: Vec<Group>,
    labels: Labels,
    kept: Mutex<Kept>,
    what: String,
}

struct Shard {
    file: Storage,
    images: Column,
}

/// A row group.
struct Group {
    shard: usize,
    number: usize,
    /// Number of its first image.
    first: usize,
    /// Row of its file that it begins at.
    row: usize,
    rows: usize,
    pages: Once<Whole<Pages>>,
}

impl Parquet {
    pub(crate) fn open_with(files: &[PathBuf], columns: &Columns) -> Result<Self, DataError> {
        let opened = files.iter().enumerate();
        let opened = opened.map(|(i, file)| Storage::open_as(file, i));
        Self::of_with(opened.collect::<Result<_, _>>()?, columns)
    }

    /// Reads the footers and labels of files, which may lie in memory.
    ///
    /// # Errors
    /// A file that cannot be read or whose structure is damaged, one without a column of images,
    /// labels that are missing for some images.
    pub fn of(files: Vec<Storage>) -> Result<Self, DataError> {
        Self::of_with(files, &Columns::default())
    }

    fn of_with(files: Vec<Storage>, columns: &Columns) -> Result<Self, DataError> {
        let shard_names = names_below(&files);
        let read: Vec<(Shard, Vec<usize>, Told)> = files
            .into_par_iter()
            .map(|file| shard(file, columns))
            .collect::<Result<_, _>>()?;
        let (first, column) = match read.first() {
            Some((shard, ..)) => (
                shard.file.path().to_path_buf(),
                shard.images.name().to_owned(),
            ),
            None => Default::default(),
        };
        let what = match read.len() {
            1 => format!("images of {}, column {column}", first.display()),
            n => format!(
                "images of {n} shards from {} on, column {column}",
                first.display()
            ),
        };
        let (mut shards, mut groups, mut said) = (Vec::new(), Vec::new(), Vec::new());
        let (mut total, mut names) = (0, None);
        for (shard, rows, told) in read {
            let begin = total;
            for (number, rows) in rows.into_iter().enumerate() {
                groups.push(Group {
                    shard: shards.len(),
                    number,
                    first: total,
                    row: total - begin,
                    rows,
                    pages: Once::default(),
                });
                total += rows;
            }
            said.push((total - begin, told.said));
            match (&names, told.names) {
                (Some(before), Some(now)) if *before != now => {
                    return Err(DataError::Classes {
                        path: shard.file.path().to_path_buf(),
                        reason: format!(
                            "they have other names or another order than those of {}",
                            first.display()
                        ),
                    });
                }
                (None, now) => names = now,
                _ => {}
            }
            shards.push(shard);
        }
        check_count(&first, total as u64)?;
        if total == 0 {
            return Err(DataError::NoImages {
                folder: first,
                extensions: vec!["rows of a Parquet file"],
            });
        }
        let said = shards.iter().zip(said);
        let said = said.map(|(shard, (rows, said))| (shard.file.path(), rows, said));
        Ok(Self {
            labels: labels(&said.collect::<Vec<_>>(), names)?,
            shards,
            names: shard_names,
            groups,
            kept: Mutex::new(Kept::default()),
            what,
        })
    }

    /// Row group and row within it of an image.
    fn place(&self, index: usize) -> (usize, usize) {
        assert!(index < self.len(), "index of an image");
        // Of groups without rows, the one behind them.
        let group = self.groups.partition_point(|g| g.first <= index) - 1;
        (group, index - self.groups[group].first)
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, ReadError> {
        let (number, row) = self.place(index);
        let group = &self.groups[number];
        let shard = &self.shards[group.shard];
        let damaged = |reason: String| ReadError::Container {
            container: shard.file.file_name(),
            reason,
        };
        let pages = group
            .pages
            .get_or(|| whole(|| shard.images.pages(&shard.file, group.number)))
            .map_err(|e| damaged(e.to_string()))?;
        let pages = pages.as_ref().as_ref().map_err(|e| damaged(e.clone()))?;
        let Some(page) = pages.of(row) else {
            return Err(damaged(format!("it has no page with row {row}")));
        };
        let key = (number, page.number);
        let slot = lock(&self.kept).slot(key);
        let mut new = false;
        let block = slot.get_or(|| {
            new = true;
            whole(|| shard.images.page(&shard.file, group.number, &page))
        });
        let block = block.map_err(|e| damaged(e.to_string()))?;
        if new {
            let size = block.as_ref().as_ref().map_or(1, Block::size);
            lock(&self.kept).used(key, size);
        }
        let block = block.as_ref().as_ref().map_err(|e| damaged(e.clone()))?;
        match block.get(row - page.rows.start) {
            Some(bytes) if bytes.len() as u64 > IMAGE_BYTES => Err(ReadError::TooManyBytes {
                bytes: bytes.len() as u64,
                limit: IMAGE_BYTES,
            }),
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(ReadError::NoBytes),
        }
    }
}

/// What a shard tells of the classes.
struct Told {
    said: Said,
    names: Option<Vec<String>>,
}

fn shard(file: Storage, columns: &Columns) -> Result<(Shard, Vec<usize>, Told), DataError> {
    let (metadata, offset) = footer(&file)?;
    let refused = |reason: String| file.damaged(offset, reason);
    let groups = metadata
        .row_groups()
        .iter()
        .map(|g| usize::try_from(g.num_rows()));
    let rows: Vec<usize> = groups
        .collect::<Result<_, _>>()
        .map_err(|e| refused(e.to_string()))?;
    // An image takes a byte at least: a small file cannot declare billions.
    let total = rows
        .iter()
        .try_fold(0usize, |sum, rows| sum.checked_add(*rows));
    if total.is_none_or(|total| total as u64 > file.len()) {
        return Err(refused(format!(
            "it declares more rows than its {} bytes",
            file.len()
        )));
    }
    let found =
        parquet_schema::find(&metadata, columns).map_err(|refused| DataError::Unrecognised {
            path: file.path().to_path_buf(),
            looked_for: refused.looked_for,
            found: refused.found,
        })?;
    let leaves = [Some(found.image), found.label];
    if let Some(codec) = unread_codec(&metadata, leaves.into_iter().flatten()) {
        return Err(DataError::Unrecognised {
            path: file.path().to_path_buf(),
            looked_for: CODECS,
            found: codec,
        });
    }
    let metadata = Arc::new(metadata);
    let images = Column::new(metadata.clone(), found.image);
    for group in 0..rows.len() {
        // Places outside the file are known here.
        let read = guarded(|| images.check(&file, group));
        read.map_err(|e| refused(format!("row group {group}: {e}")))?;
    }
    images
        .check_bytes(&file)
        .map_err(|e| refused(e.to_string()))?;
    let mut said = Said::default();
    if let Some(column) = found.label {
        let column = Column::new(metadata, column);
        column
            .check_bytes(&file)
            .map_err(|e| refused(e.to_string()))?;
        said = Said::read(&column, &file, &rows).map_err(|(group, e)| match e {
            ColumnError::Label(reason) => DataError::Classes {
                path: file.path().to_path_buf(),
                reason: reason + WITHOUT,
            },
            e => refused(format!("labels of row group {group}: {e}")),
        })?;
    }
    let told = Told {
        said,
        names: found.names,
    };
    Ok((Shard { file, images }, rows, told))
}

/// Compression that is read.
pub(super) const CODECS: &str = "pages without compression, or in Snappy, gzip, LZ4 or zstd";

/// What columns have instead, if they have another, and what to do.
pub(super) fn unread_codec(
    metadata: &ParquetMetaData,
    mut leaves: impl Iterator<Item = usize>,
) -> Option<String> {
    let of_groups = |leaf: usize| {
        let columns = metadata.row_groups().iter();
        let mut columns = columns.filter_map(move |group| group.columns().get(leaf));
        columns.find_map(|column| match column.compression() {
            Compression::BROTLI(_) => Some("Brotli"),
            Compression::LZO => Some("LZO"),
            _ => None,
        })
    };
    let codec = leaves.find_map(of_groups)?;
    Some(format!("pages in {codec}: write them anew in one of those"))
}

/// The metadata of a file, and where it begins.
pub(super) fn footer(file: &Storage) -> Result<(ParquetMetaData, u64), DataError> {
    const TAIL: u64 = 8;
    let tail = file.len().checked_sub(TAIL).filter(|at| *at >= 4);
    let tail = tail.and_then(|at| Some((at, file.read(at, TAIL).ok()?)));
    let Some((at, tail)) = tail.filter(|(_, tail)| tail.ends_with(b"PAR1")) else {
        return Err(file.damaged(file.len(), "it does not end as a Parquet file"));
    };
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length > LARGEST_FOOTER {
        return Err(DataError::TooLarge {
            path: file.path().to_path_buf(),
            what: "bytes of footer",
            size: length,
            limit: LARGEST_FOOTER,
        });
    }
    let Some(start) = at.checked_sub(length) else {
        return Err(file.damaged(
            at,
            format!("a footer of {length} bytes is longer than the file"),
        ));
    };
    let bytes = file.read(start, length).map_err(|source| DataError::Read {
        path: file.path().to_path_buf(),
        source,
    })?;
    parquet_thrift::check_file(&bytes).map_err(|e| file.damaged(start, e.to_string()))?;
    let metadata =
        guarded(|| Ok(parquet::file::metadata::ParquetMetaDataReader::decode_metadata(&bytes)?));
    let metadata = metadata.map_err(|e| file.damaged(start, e.to_string()))?;
    Ok((metadata, start))
}

/// Whether a file begins as Parquet.
pub(crate) fn is_parquet(file: &Storage) -> bool {
    file.read(0, 4).is_ok_and(|magic| magic == b"PAR1")
}

impl Source for Parquet {
    fn len(&self) -> usize {
        self.groups.last().map_or(0, |last| last.first + last.rows)
    }
    fn name(&self, index: usize) -> String {
        let (number, row) = self.place(index);
        let group = &self.groups[number];
        let name = &self.names[group.shard];
        format!("{}:{}", text_of(name), group.row + row)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn classes(&self) -> &ClassNames {
        &self.labels.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        crate::decode(&self.bytes(index)?)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.bytes(index).map(Encoded::File)
    }
    fn describe(&self) -> String {
        self.what.clone()
    }
}
