//! A Parquet file as its page reader wants it, and what a page may become.

use super::parquet_thrift::{self, PageSizes};
use crate::storage::{Storage, StorageReader};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::BufReader;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file as the page reader wants it: any place from any thread.
pub(super) struct Chunks {
    file: Storage,
    /// What a page of so many bytes may become.
    most_of: fn(u64) -> u64,
    header: AtomicU64,
}

impl Chunks {
    pub(super) fn new(file: Storage, most_of: fn(u64) -> u64) -> Self {
        Self {
            file,
            most_of,
            header: AtomicU64::new(0),
        }
    }

    /// Where the header begins that was read last.
    pub(super) fn header(&self) -> u64 {
        self.header.load(Ordering::Relaxed)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<StorageReader>;

    /// What begins with a page's header, which is looked at here: the page reader believes it.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        const HEADER: usize = 256;
        let bytes = || BufReader::with_capacity(HEADER, self.file.reader(start));
        let sizes = parquet_thrift::check_page(bytes())?;
        check_sizes(&sizes, self.most_of).map_err(ParquetError::General)?;
        self.header.store(start, Ordering::Relaxed);
        Ok(bytes())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.file.read(start, length as u64);
        Ok(bytes
            .map_err(|e| ParquetError::External(Box::new(e)))?
            .into())
    }
}

/// Bytes of a page, as its header can tell them.
pub(super) const LARGEST_PAGE: u64 = i32::MAX as u64;

/// Values of a dictionary.
const MOST_VALUES: u64 = 1 << 24;

/// What a byte can become: a little more than deflate's 1032, the most of what the reader decompresses.
pub(super) const EXPANSION: u64 = 1100;

/// What a page of so many bytes may become.
pub(super) fn most_of(held: u64) -> u64 {
    held.saturating_mul(EXPANSION).min(LARGEST_PAGE)
}

/// Whether a page can become as large as its header says, and may: the page reader takes the memory
/// before it decompresses.
fn check_sizes(sizes: &PageSizes, most_of: fn(u64) -> u64) -> Result<(), String> {
    let PageSizes {
        whole,
        held,
        values,
    } = *sizes;
    // Sizes below zero are told as ones that no page has.
    if whole > most_of(held) || held > LARGEST_PAGE {
        return Err(format!("a page of {held} bytes is to become {whole}"));
    }
    // A value takes four bytes at least, and the page reader makes room for all.
    if values > MOST_VALUES || values.saturating_mul(4) > whole {
        return Err(format!("a dictionary of {values} values in {whole} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_what_its_bytes_can() {
        let check = |whole, held, values| {
            let sizes = PageSizes {
                whole,
                held,
                values,
            };
            check_sizes(&sizes, most_of)
        };
        assert_eq!(check(1000, 300, 250), Ok(()));
        assert_eq!(check(30 * EXPANSION, 30, 0), Ok(()));
        let error = check(2_147_483_647, 30, 0).expect_err("2 GiB of 30 bytes");
        assert!(
            error.contains("30 bytes is to become 2147483647"),
            "{error}"
        );
        assert!(check(u64::MAX, 30, 0).is_err());
        assert!(check(0, u64::MAX, 0).is_err());
        let error = check(1000, 300, 2_147_483_647).expect_err("of 1000 bytes");
        assert!(error.contains("2147483647 values"), "{error}");
        assert!(check(1 << 30, 1 << 30, 1 << 25).is_err());
    }
}
