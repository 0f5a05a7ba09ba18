//! Pages in zstd. The reader of Parquet decompresses them by a library in C; so it is told that they
//! are not compressed, and what it reads is decompressed here.

use super::parquet_chunks;
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;

/// What every decoder must allow for as a window (RFC 8878, 3.1.1.1.2).
const WINDOW: u64 = 8 << 20;
/// What any page may become, which does no harm: a few bytes are all of a page of equal labels.
pub(super) const HARMLESS: u64 = 16 << 20;

/// What a page of so many bytes may become.
pub(super) fn most_of(held: u64) -> u64 {
    parquet_chunks::most_of(held).max(HARMLESS)
}

/// The same column without compression, if it has that of zstd.
pub(super) fn as_it_is(column: &ColumnChunkMetaData) -> Result<Option<ColumnChunkMetaData>> {
    if !matches!(column.compression(), Compression::ZSTD(_)) {
        return Ok(None);
    }
    let column = column.clone().into_builder();
    column
        .set_compression(Compression::UNCOMPRESSED)
        .build()
        .map(Some)
}

/// Decompresses the pages of another reader.
pub(super) struct Zstd<R>(pub R);

impl<R: PageReader> Iterator for Zstd<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: PageReader> PageReader for Zstd<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.0.get_next_page()?.map(page).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.0.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.0.take_deferred_dictionary()?.map(page).transpose()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}

/// A page, decompressed but for the levels that come first in the second version's.
fn page(mut page: Page) -> Result<Page> {
    let (buffer, levels) = match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => (buf, 0),
        Page::DataPageV2 {
            buf,
            is_compressed: true,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => (
            buf,
            *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
        ),
        Page::DataPageV2 { .. } => return Ok(page),
    };
    *buffer = decompressed(buffer, levels)?;
    Ok(page)
}

/// A buffer of which all but the first `levels` bytes is one frame, or nothing.
fn decompressed(buffer: &Bytes, levels: usize) -> Result<Bytes> {
    let wrong = |reason: String| ParquetError::General(format!("a page in zstd: {reason}"));
    let Some((levels, frame)) = buffer.split_at_checked(levels) else {
        return Err(wrong("it is shorter than its levels".into()));
    };
    let mut whole = levels.to_vec();
    if !frame.is_empty() {
        let most = most_of(frame.len() as u64);
        let decoder = StreamingDecoder::new_with_max_window_size(frame, most.max(WINDOW));
        let decoder = decoder.map_err(|e| wrong(e.to_string()))?;
        let read = decoder.take(most + 1).read_to_end(&mut whole);
        if read.map_err(|e| wrong(e.to_string()))? as u64 > most {
            let held = frame.len();
            return Err(wrong(format!("{held} bytes become more than {most}")));
        }
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of blocks that repeat a byte: its magic, that a size of 4 bytes follows, a window of
    /// 128 KiB, the size, the blocks.
    fn repeated(count: u32) -> Bytes {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x80, 7 << 3];
        frame.extend(count.to_le_bytes());
        // A block holds 128 KiB at most; the last one says that it is.
        let mut left = count;
        while left > 0 {
            let here = left.min(128 << 10);
            left -= here;
            let header = here << 3 | 1 << 1 | u32::from(left == 0);
            frame.extend(&header.to_le_bytes()[..3]);
            frame.push(7);
        }
        frame.into()
    }

    #[test]
    fn a_frame_becomes_its_bytes_behind_the_levels() {
        let mut page = vec![1, 2, 3];
        page.extend(repeated(1 << 20));
        let whole = decompressed(&page.clone().into(), 3).expect("a frame");
        assert_eq!(whole[..3], [1, 2, 3]);
        assert_eq!(whole[3..], [7; 1 << 20]);
        assert_eq!(
            &decompressed(&vec![1, 2].into(), 2).expect("levels")[..],
            [1, 2]
        );
        assert!(decompressed(&vec![1].into(), 2).is_err());
        for cut in 4..page.len() {
            assert!(
                decompressed(&page[..cut].to_vec().into(), 3).is_err(),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_frame_that_becomes_too_much_is_refused() {
        let bomb = repeated(64 << 20);
        assert!(bomb.len() < 4096);
        let error = decompressed(&bomb, 0).expect_err("too much");
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
