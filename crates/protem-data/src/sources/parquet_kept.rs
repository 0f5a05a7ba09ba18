//! Parts of Parquet files that are kept: read once, by the first who wants them.

use super::parquet_column::{Block, ColumnError, guarded};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of pages that are kept.
const KEPT: usize = 128 << 20;
/// Pages read last.
#[derive(Default)]
pub(super) struct Kept {
    pages: HashMap<(usize, usize), Page>,
    bytes: usize,
    clock: u64,
}

struct Page {
    slot: Arc<Once<Whole<Block>>>,
    bytes: usize,
    used: u64,
}

/// Something whole, or why it will never be.
pub(super) type Whole<T> = Result<T, String>;

/// Reads a part of a file. That it is damaged is kept as the part itself would be: to find it again for
/// each image in it may take long.
///
/// # Errors
/// The disk's.
pub(super) fn whole<T>(
    read: impl FnOnce() -> Result<T, ColumnError>,
) -> Result<Whole<T>, ColumnError> {
    match guarded(read) {
        Err(e) if e.is_of_disk() => Err(e),
        read => Ok(read.map_err(|e| e.to_string())),
    }
}

/// What is read once, by the first who wants it, while others wait; after an error by the next, for
/// it may have been the disk's.
pub(super) struct Once<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Once<T> {
    pub(super) fn get_or<E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut there = lock(&self.0);
        if let Some(there) = &*there {
            return Ok(there.clone());
        }
        Ok(there.insert(Arc::new(read()?)).clone())
    }
}

impl Kept {
    pub(super) fn slot(&mut self, key: (usize, usize)) -> Arc<Once<Whole<Block>>> {
        self.clock += 1;
        let page = self.pages.entry(key).or_insert_with(|| Page {
            slot: Arc::default(),
            bytes: 0,
            used: 0,
        });
        page.used = self.clock;
        page.slot.clone()
    }

    /// Accounts for a page that was read, and lets go those not used for longest.
    pub(super) fn used(&mut self, key: (usize, usize), bytes: usize) {
        if let Some(page) = self.pages.get_mut(&key) {
            self.bytes = self.bytes - page.bytes + bytes;
            page.bytes = bytes;
        }
        if self.bytes <= KEPT {
            return;
        }
        // An eighth at a time: to look at all of them for each page would take long where pages are small.
        let there = self.pages.iter();
        let there = there.filter(|(k, page)| **k != key && page.bytes > 0);
        let mut oldest: Vec<_> = there.map(|(k, page)| (page.used, *k)).collect();
        oldest.sort_unstable();
        for (_, old) in oldest {
            if self.bytes <= KEPT / 8 * 7 {
                break;
            }
            self.bytes -= self.pages.remove(&old).map_or(0, |page| page.bytes);
        }
    }
}

pub(super) fn lock<T>(there: &Mutex<T>) -> MutexGuard<'_, T> {
    there.lock().unwrap_or_else(PoisonError::into_inner)
}
