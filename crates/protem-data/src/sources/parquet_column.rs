//! One column of a Parquet file, read a page at a time.

use super::parquet_chunks::{Chunks, LARGEST_PAGE, most_of};
use super::parquet_pages::{Apart, PageOfRow, Pages};
use super::parquet_zstd::{self, Zstd, as_it_is};
use crate::storage::Storage;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::page::PageReader;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Values that are decoded at a time where the number of rows is only declared.
const CHUNK: usize = 1 << 13;
/// Values of bytes that are decoded before it is looked what they have become.
const AT_ONCE: usize = 64;

/// Why a column cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("{0}")]
    Parquet(#[from] ParquetError),
    #[error("{0}")]
    Rows(String),
    /// What a row says of its class is no label.
    #[error("{0}")]
    Label(String),
    /// A row, counted in its group, does not hold what it is to.
    #[error("row {0}: {1}")]
    Row(usize, String),
    #[error("the reader panicked")]
    Panic,
}

impl ColumnError {
    /// Whether it could not be read, rather than that it is damaged.
    pub(crate) fn is_of_disk(&self) -> bool {
        let Self::Parquet(ParquetError::External(source)) = self else {
            return false;
        };
        let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
        kind.is_some_and(|kind| kind != io::ErrorKind::InvalidData)
    }
}

/// Does what may panic on bytes that no writer makes: one file must not end a run.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ColumnError>) -> Result<T, ColumnError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or(Err(ColumnError::Panic))
}

/// A column of a file.
pub(crate) struct Column {
    metadata: Arc<ParquetMetaData>,
    leaf: usize,
}

/// Consecutive rows, of which some may hold nothing.
pub(crate) struct Block {
    rows: Vec<Option<ByteArray>>,
    /// Bytes in memory.
    size: usize,
}

/// Bytes of values. What an encoding makes of a page may be more by far: where each value is told by
/// what it shares with the one before, a byte may stand for a whole image.
#[derive(Default)]
struct Held {
    bytes: u64,
    /// Those of a dictionary are there once.
    places: HashSet<*const u8>,
}

impl Held {
    fn add(&mut self, value: &[u8]) -> Result<(), ColumnError> {
        /// Bytes up to which a value is no more than its place.
        const SMALL: usize = 64;
        if value.len() > SMALL && self.places.insert(value.as_ptr()) {
            self.bytes += value.len() as u64;
        }
        if self.bytes > LARGEST_PAGE {
            return Err(ColumnError::Rows(format!(
                "a page becomes more than {LARGEST_PAGE} bytes"
            )));
        }
        Ok(())
    }
}

impl Block {
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        Some(self.rows.get(row)?.as_ref()?.data())
    }

    /// Bytes in memory, one at least.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl Column {
    pub(crate) fn new(metadata: Arc<ParquetMetaData>, leaf: usize) -> Self {
        Self { metadata, leaf }
    }

    /// Reads the pages of a row group, all or those that lie in a part of the file.
    pub(super) fn page_reader(
        &self,
        file: &Storage,
        group: usize,
        part: Option<Range<u64>>,
    ) -> Result<(Box<dyn PageReader>, Arc<Chunks>), ColumnError> {
        let group = self.metadata.row_group(group);
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let mut column = group.column(self.leaf).clone();
        if let Some(part) = part {
            let alone = column.into_builder().set_dictionary_page_offset(None);
            let alone = alone.set_data_page_offset(part.start as i64);
            column = alone
                .set_total_compressed_size((part.end - part.start) as i64)
                .build()?;
        }
        let in_zstd = as_it_is(&column)?;
        let most_of = match in_zstd {
            Some(_) => parquet_zstd::most_of,
            None => most_of,
        };
        let chunks = Arc::new(Chunks::new(file.clone(), most_of));
        let reader = |column| SerializedPageReader::new(chunks.clone(), column, rows, None);
        let pages: Box<dyn PageReader> = match in_zstd {
            Some(column) => Box::new(Zstd(reader(&column)?)),
            None => Box::new(reader(&column)?),
        };
        Ok((pages, chunks))
    }

    /// Whether pages of a row group can be looked for.
    pub(crate) fn check(&self, file: &Storage, group: usize) -> Result<(), ColumnError> {
        self.page_reader(file, group, None)?;
        let (start, length) = self.place(group);
        if start.checked_add(length).is_none_or(|end| end > file.len()) {
            return Err(ColumnError::Rows(format!(
                "its pages lie at {start} and {length} bytes on, outside the file"
            )));
        }
        Ok(())
    }

    /// Where its pages of a row group begin, and their bytes.
    fn place(&self, group: usize) -> (u64, u64) {
        self.metadata
            .row_group(group)
            .column(self.leaf)
            .byte_range()
    }

    /// Bytes of all its pages, in all row groups.
    pub(crate) fn bytes(&self) -> u64 {
        let groups = 0..self.metadata.num_row_groups();
        let bytes = groups.map(|group| self.place(group).1);
        bytes.fold(0, u64::saturating_add)
    }

    /// Whether each row group may have pages of its own: the same ones again and again would be read for
    /// ever.
    pub(crate) fn check_bytes(&self, file: &Storage) -> Result<(), ColumnError> {
        match guarded(|| Ok(self.bytes()))? {
            bytes if bytes <= file.len() => Ok(()),
            bytes => Err(ColumnError::Rows(format!(
                "a column of {bytes} bytes in all its row groups"
            ))),
        }
    }

    /// Reads the values of pages.
    pub(super) fn reader(&self, pages: Box<dyn PageReader>) -> ColumnReader {
        get_column_reader(self.described(), pages)
    }

    /// What the schema says of it.
    pub(super) fn described(&self) -> ColumnDescPtr {
        let described = self.metadata.file_metadata().schema_descr();
        described.column(self.leaf)
    }

    /// Values of a row group as its metadata has them, with those that are missing.
    pub(super) fn values(&self, group: usize) -> u64 {
        let column = self.metadata.row_group(group).column(self.leaf);
        u64::try_from(column.num_values()).unwrap_or(0)
    }

    /// Where the pages of a row group lie.
    pub(crate) fn pages(&self, file: &Storage, group: usize) -> Result<Pages, ColumnError> {
        let rows = usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(0);
        let (pages, chunks) = self.page_reader(file, group, None)?;
        let (start, length) = self.place(group);
        let header = || chunks.header();
        let pages = Pages::find(pages, header, start.saturating_add(length))?;
        if pages.rows() != rows {
            let held = pages.rows();
            return Err(ColumnError::Rows(format!(
                "pages of {held} rows in a group of {rows}"
            )));
        }
        Ok(pages)
    }

    /// Rows of a page of a column of bytes.
    pub(crate) fn page(
        &self,
        file: &Storage,
        group: usize,
        page: &PageOfRow,
    ) -> Result<Block, ColumnError> {
        let at = |part: &Range<u64>| self.page_reader(file, group, Some(part.clone()));
        let read = Arc::new(AtomicUsize::new(0));
        let pages = Apart {
            read: read.clone(),
            pages: at(&page.bytes)?.0,
            dictionary: match &page.dictionary {
                Some(part) => Some(at(part)?.0),
                None => None,
            },
        };
        let rows = self.rows(Box::new(pages), page.rows.len())?;
        // What an encoding has made of a page is not among what was read.
        let values = rows.iter().flatten().map(ByteArray::len).sum::<usize>();
        let size = values.max(read.load(Ordering::Relaxed)) + 64 * rows.len() + 1;
        Ok(Block { rows, size })
    }

    /// Tells all rows of a column of bytes, one after the other.
    pub(crate) fn words(
        &self,
        file: &Storage,
        group: usize,
        rows: usize,
        mut tell: impl FnMut(Option<&[u8]>) -> Result<(), ColumnError>,
    ) -> Result<(), ColumnError> {
        let pages = self.page_reader(file, group, None)?.0;
        self.each(pages, rows, |value| {
            tell(value.as_ref().map(ByteArray::data))
        })
    }

    fn rows(
        &self,
        pages: Box<dyn PageReader>,
        rows: usize,
    ) -> Result<Vec<Option<ByteArray>>, ColumnError> {
        let (mut values, mut held) = (Vec::new(), Held::default());
        self.each(pages, rows, |value| {
            value.iter().try_for_each(|value| held.add(value.data()))?;
            values.push(value);
            Ok(())
        })?;
        Ok(values)
    }

    fn each(
        &self,
        pages: Box<dyn PageReader>,
        rows: usize,
        mut take: impl FnMut(Option<ByteArray>) -> Result<(), ColumnError>,
    ) -> Result<(), ColumnError> {
        let ColumnReader::ByteArrayColumnReader(mut reader) = self.reader(pages) else {
            return Err(ColumnError::Rows("it is no column of bytes".into()));
        };
        let present = self.present();
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            levels.clear();
            let most = AT_ONCE.min(rows - read);
            let (more, ..) = reader.read_records(most, Some(&mut levels), None, &mut values)?;
            if more == 0 {
                return Err(ColumnError::Rows(format!(
                    "it ends after {read} of {rows} rows"
                )));
            }
            read += more;
            let mut values = values.drain(..);
            if present == 0 {
                values.try_for_each(|value| take(Some(value)))?;
                continue;
            }
            for level in &levels {
                take((*level == present).then(|| values.next()).flatten())?;
            }
        }
        Ok(())
    }

    /// Its name, or that of the struct it is a part of.
    pub(crate) fn name(&self) -> &str {
        let described = self.metadata.file_metadata().schema_descr();
        let root = described.get_column_root(self.leaf);
        root.name()
    }

    /// The definition level of a value that is there.
    fn present(&self) -> i16 {
        self.described().max_def_level()
    }

    /// Whether its values are bytes.
    pub(crate) fn of_bytes(&self) -> bool {
        self.described().physical_type() == Type::BYTE_ARRAY
    }

    /// All rows of a column of integers, booleans or floats; −1 where there is none.
    pub(crate) fn integers(
        &self,
        file: &Storage,
        group: usize,
        rows: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), ColumnError> {
        let mut reader = self.reader(self.page_reader(file, group, None)?.0);
        let (present, end) = (self.present(), out.len() + rows);
        while out.len() < end {
            let most = CHUNK.min(end - out.len());
            let mut levels = Vec::new();
            let (read, values) = self.whole_numbers(&mut reader, most, &mut levels)?;
            if read == 0 {
                let missing = end - out.len();
                return Err(ColumnError::Rows(format!(
                    "{missing} of {rows} rows are missing"
                )));
            }
            if present == 0 {
                out.extend(values);
            } else {
                let mut values = values.into_iter();
                let mut value = |level: &i16| (*level == present).then(|| values.next()).flatten();
                out.extend(levels.iter().map(|level| value(level).unwrap_or(-1)));
            }
        }
        Ok(())
    }

    fn whole_numbers(
        &self,
        reader: &mut ColumnReader,
        most: usize,
        levels: &mut Vec<i16>,
    ) -> Result<(usize, Vec<i64>), ColumnError> {
        let unsigned = self.unsigned();
        let (read, values) = match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                let (read, values) = records(reader, most, levels)?;
                let of = |x: i32| match unsigned {
                    true => i64::from(x as u32),
                    false => i64::from(x),
                };
                (read, values.into_iter().map(of).collect())
            }
            ColumnReader::Int64ColumnReader(reader) => {
                let (read, values) = records(reader, most, levels)?;
                // No class has so large a number.
                let of = |x: i64| if unsigned && x < 0 { i64::MAX } else { x };
                (read, values.into_iter().map(of).collect())
            }
            ColumnReader::BoolColumnReader(reader) => {
                let (read, values) = records(reader, most, levels)?;
                (read, values.into_iter().map(i64::from).collect())
            }
            ColumnReader::FloatColumnReader(reader) => {
                let (read, values) = records(reader, most, levels)?;
                let values = values.into_iter().map(f64::from).map(of_float);
                (read, values.collect::<Result<_, _>>()?)
            }
            ColumnReader::DoubleColumnReader(reader) => {
                let (read, values) = records(reader, most, levels)?;
                let values = values.into_iter().map(of_float);
                (read, values.collect::<Result<_, _>>()?)
            }
            _ => return Err(ColumnError::Rows("it is no column of numbers".into())),
        };
        Ok((read, values))
    }

    /// Whether its integers have no sign.
    fn unsigned(&self) -> bool {
        let column = self.described();
        let logical = matches!(
            column.logical_type_ref(),
            Some(LogicalType::Integer(of)) if !of.is_signed
        );
        let converted = [
            ConvertedType::UINT_8,
            ConvertedType::UINT_16,
            ConvertedType::UINT_32,
            ConvertedType::UINT_64,
        ];
        logical || converted.contains(&column.converted_type())
    }
}

/// A class as a float: where some are missing, many writers make floats of integers, and of what is
/// missing no number.
fn of_float(x: f64) -> Result<i64, ColumnError> {
    if x.is_nan() {
        return Ok(-1);
    }
    if x.fract() != 0.0 || x.abs() > 1e15 {
        return Err(ColumnError::Label(format!(
            "a label is {x}, and numbers of classes are whole"
        )));
    }
    Ok(x as i64)
}

/// As many rows as there are, up to `most`: their number and the values of those that have one.
fn records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    most: usize,
    levels: &mut Vec<i16>,
) -> Result<(usize, Vec<T::T>), ParquetError> {
    let mut values = Vec::new();
    let (read, ..) = reader.read_records(most, Some(levels), None, &mut values)?;
    Ok((read, values))
}
