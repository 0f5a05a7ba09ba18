//! Where the pages of a column lie, and one of them read by itself.

use super::parquet_column::ColumnError;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::Result;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pages of a column in a row group.
pub(crate) struct Pages {
    pages: Vec<Place>,
    /// Rows of all pages.
    rows: usize,
    dictionary: Option<Range<u64>>,
}

/// A page with rows.
struct Place {
    first: usize,
    /// Its header and what follows, in the file.
    bytes: Range<u64>,
}

/// Where a row is found.
pub(crate) struct PageOfRow {
    pub(crate) number: usize,
    /// The page's rows.
    pub(crate) rows: Range<usize>,
    pub(super) bytes: Range<u64>,
    pub(super) dictionary: Option<Range<u64>>,
}

impl Pages {
    /// Finds pages by their headers alone: `header` tells where the one read last begins, `end` where
    /// the column ends.
    pub(super) fn find(
        mut reader: Box<dyn PageReader>,
        header: impl Fn() -> u64,
        end: u64,
    ) -> std::result::Result<Self, ColumnError> {
        let refused = |reason: &str| Err(ColumnError::Rows(reason.into()));
        let (mut pages, mut rows, mut dictionary) = (Vec::new(), 0usize, None);
        let mut next = reader.peek_next_page()?;
        while let Some(page) = next {
            let begin = header();
            reader.skip_next_page()?;
            next = reader.peek_next_page()?;
            let bytes = begin..if next.is_some() { header() } else { end };
            if page.is_dict {
                if dictionary.replace(bytes).is_some() {
                    return refused("a second dictionary");
                }
                continue;
            }
            match page.num_rows.or(page.num_levels) {
                None => return refused("a page of unknown rows"),
                Some(0) => {}
                Some(held) => {
                    pages.push(Place { first: rows, bytes });
                    rows = rows.saturating_add(held);
                }
            }
        }
        Ok(Self {
            pages,
            rows,
            dictionary,
        })
    }

    /// Rows of all pages.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The page that holds a row.
    pub(crate) fn of(&self, row: usize) -> Option<PageOfRow> {
        let behind = self.pages.partition_point(|page| page.first <= row);
        let number = behind.checked_sub(1)?;
        let end = self.pages.get(behind).map_or(self.rows, |page| page.first);
        let page = &self.pages[number];
        Some(PageOfRow {
            number,
            rows: page.first..end,
            bytes: page.bytes.clone(),
            dictionary: self.dictionary.clone(),
        })
    }
}

/// Reads pages whose dictionary lies elsewhere: as behind one that was passed over, it is read when a
/// page asks for it.
pub(super) struct Apart {
    pub(super) pages: Box<dyn PageReader>,
    pub(super) dictionary: Option<Box<dyn PageReader>>,
    /// Bytes of what was read: each value keeps the whole page or dictionary that it is a part of.
    pub(super) read: Arc<AtomicUsize>,
}

impl Apart {
    fn counted(&self, page: Option<Page>) -> Option<Page> {
        let bytes = page.as_ref().map_or(0, |page| page.buffer().len());
        self.read.fetch_add(bytes, Ordering::Relaxed);
        page
    }
}

impl Iterator for Apart {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Apart {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        Ok(self.counted(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        true
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        match self.dictionary.take() {
            Some(mut dictionary) => {
                let page = dictionary.get_next_page()?;
                Ok(self.counted(page))
            }
            None => Ok(None),
        }
    }
}
