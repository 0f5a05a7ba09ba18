//! A column of a Parquet file whose rows are lists of floats, each as long as the others.

use super::parquet_column::{Column, ColumnError};
use crate::storage::Storage;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result as PageResult};

/// Values that are read at a time, but for a row of more.
const AT_ONCE: usize = 1 << 16;

/// The values of whole rows, one row behind the other.
pub(super) enum Values<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

/// What the rows of a column are to be.
struct Lists {
    /// Values of each; if none is told, those of the first.
    length: Option<usize>,
    /// Definition level of a value that is there.
    present: i16,
    /// Whether a value may be missing.
    optional: bool,
}

impl Column {
    /// Values of the first row of a group.
    ///
    /// # Errors
    /// [`ColumnError::Row`] of a row without any.
    pub(super) fn first_list(&self, file: &Storage, group: usize) -> Result<usize, ColumnError> {
        let mut length = 0;
        self.lists(file, group, 1, None, |values| {
            length = match values {
                Values::Single(values) => values.len(),
                Values::Double(values) => values.len(),
            };
            Ok(())
        })?;
        Ok(length)
    }

    /// Tells the first `rows` rows of a group, some at a time.
    ///
    /// # Errors
    /// [`ColumnError::Row`] of the first one that has not `length` values.
    pub(super) fn lists(
        &self,
        file: &Storage,
        group: usize,
        rows: usize,
        length: Option<usize>,
        mut tell: impl FnMut(Values<'_>) -> Result<(), ColumnError>,
    ) -> Result<(), ColumnError> {
        let pages = Box::new(Declared {
            pages: self.page_reader(file, group, None)?.0,
            left: self.values(group),
        });
        let described = self.described();
        let lists = Lists {
            length,
            present: described.max_def_level(),
            optional: described.self_type().is_optional(),
        };
        match self.reader(pages) {
            ColumnReader::FloatColumnReader(reader) => {
                lists.read(reader, rows, |values| tell(Values::Single(values)))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                lists.read(reader, rows, |values| tell(Values::Double(values)))
            }
            _ => Err(ColumnError::Rows("it is no column of floats".into())),
        }
    }
}

impl Lists {
    fn read<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        rows: usize,
        mut tell: impl FnMut(&[T::T]) -> Result<(), ColumnError>,
    ) -> Result<(), ColumnError> {
        let (mut present, mut begins, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let at_once = (AT_ONCE / self.length.unwrap_or(1)).max(1);
        let mut read = 0;
        while read < rows {
            present.clear();
            begins.clear();
            values.clear();
            let most = at_once.min(rows - read);
            let levels = (Some(&mut present), Some(&mut begins));
            let (more, ..) = reader.read_records(most, levels.0, levels.1, &mut values)?;
            if more == 0 {
                return Err(ColumnError::Rows(format!(
                    "it ends after {read} of {rows} rows"
                )));
            }
            self.check(&present, &begins)
                .map_err(|(row, reason)| ColumnError::Row(read + row, reason))?;
            tell(&values)?;
            read += more;
        }
        Ok(())
    }

    /// Whether all values of rows are there, and no others; of each value, the level it is defined to, and
    /// the level that repeats with it, 0 where a row begins.
    fn check(&self, defined: &[i16], repeated: &[i16]) -> Result<(), (usize, String)> {
        let length = self.length.unwrap_or(repeated.len());
        let begins_once =
            |row: &[i16]| row.len() == length && row[0] == 0 && row[1..].iter().all(|at| *at != 0);
        let whole = defined.len() == repeated.len()
            && defined.iter().all(|level| *level == self.present)
            && repeated.chunks(length.max(1)).all(begins_once);
        match whole {
            true => Ok(()),
            false => Err(self.first_wrong(defined, repeated, length)),
        }
    }

    /// The first row that is wrong, and why.
    fn first_wrong(&self, defined: &[i16], repeated: &[i16], length: usize) -> (usize, String) {
        let mut defined = defined;
        for (row, repeated) in repeated.chunk_by(|_, next| *next != 0).enumerate() {
            let (these, behind) = defined.split_at(repeated.len().min(defined.len()));
            defined = behind;
            let missing = these.iter().find(|level| **level != self.present);
            match missing {
                Some(level) if self.optional && *level == self.present - 1 => {
                    return (row, "a value is null".into());
                }
                Some(_) => return (row, "it is null or empty".into()),
                None if repeated.len() != length => {
                    let held = repeated.len();
                    return (
                        row,
                        format!("it has {held} values, and the first row {length}"),
                    );
                }
                None => {}
            }
        }
        (0, "it begins within another row".into())
    }
}

/// Pages of no more values than there are to be: one of few bytes may tell of 2³¹, for which the reader
/// takes memory at once.
struct Declared {
    pages: Box<dyn PageReader>,
    left: u64,
}

impl Iterator for Declared {
    type Item = PageResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Declared {
    fn get_next_page(&mut self) -> PageResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(data @ (Page::DataPage { .. } | Page::DataPageV2 { .. })) = &page {
            let (held, left) = (data.num_values(), self.left);
            self.left = left.checked_sub(held.into()).ok_or_else(|| {
                ParquetError::General(format!("a page of {held} values where {left} are left"))
            })?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> PageResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> PageResult<()> {
        self.pages.skip_next_page()
    }

    /// A row is known to end where the next one begins, or where no value is left. To look for a next page
    /// would read its header before it is read, and files are read from headers on alone.
    fn at_record_boundary(&mut self) -> PageResult<bool> {
        Ok(self.left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_row_is_told() {
        let lists = Lists {
            length: Some(2),
            present: 3,
            optional: true,
        };
        let check = |defined: &[i16], repeated: &[i16]| lists.check(defined, repeated);
        assert_eq!(check(&[3; 4], &[0, 1, 0, 1]), Ok(()));
        for (defined, repeated, row, says) in [
            (&[3, 3, 3, 2][..], &[0, 1, 0, 1][..], 1, "a value is null"),
            (&[3, 3, 1, 3, 3], &[0, 1, 0, 0, 1], 1, "null or empty"),
            (&[0, 3, 3], &[0, 0, 1], 0, "null or empty"),
            (
                &[3; 5],
                &[0, 1, 0, 1, 1],
                1,
                "3 values, and the first row 2",
            ),
            (&[3; 4], &[0, 1, 1, 0], 0, "3 values"),
            (&[3; 3], &[0, 1, 0], 1, "1 values"),
            (&[3; 4], &[1, 1, 0, 1], 0, "within another row"),
        ] {
            let (found, reason) = check(defined, repeated).expect_err("a wrong row");
            assert!(found == row && reason.contains(says), "{found}: {reason}");
        }
        let required = Lists {
            length: None,
            present: 1,
            optional: false,
        };
        assert_eq!(required.check(&[1; 3], &[0, 1, 1]), Ok(()));
        let empty = required.check(&[0], &[0]).expect_err("an empty list");
        assert_eq!(empty, (0, "it is null or empty".into()));
    }
}
