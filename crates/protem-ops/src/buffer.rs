//! Memory that a training step takes again and again, kept between steps.
//!
//! A step needs the same few dozen large buffers each time. Fresh from the allocator their pages
//! would be faulted in and zeroed anew at every step, which costs 5–12 % of its time.

use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The unit of pooled memory: a cache line, so that no vector or tile row straddles two.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Spare buffers by their size in lines.
type Spare = BTreeMap<usize, Vec<Vec<Line>>>;

/// A shared store of buffers by size. Clones share the store.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    free: Arc<Mutex<Spare>>,
}

impl Pool {
    /// A buffer of `len` values with arbitrary contents: the taker overwrites all of them. It may
    /// take up to twice the memory, so that the smaller batch at the end of a set needs none of its
    /// own; not twice, which is what the next stage of a network takes.
    pub(crate) fn take<T: Pod>(&self, len: usize) -> Buffer<T> {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let kept = {
            let mut spare = self.lock();
            let mut fitting = spare.range_mut(lines..2 * lines);
            fitting.find_map(|(_, kept)| kept.pop())
        };
        Buffer {
            lines: kept.unwrap_or_else(|| bytemuck::zeroed_vec(lines)),
            len,
            pool: self.clone(),
            of: PhantomData,
        }
    }

    /// Bytes that lie in the store, in no use.
    pub fn spare_bytes(&self) -> usize {
        let spare = |(lines, kept): (&usize, &Vec<_>)| lines * size_of::<Line>() * kept.len();
        self.lock().iter().map(spare).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Spare> {
        // A panic elsewhere cannot leave a map of spare buffers in a wrong state.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values that return to their pool when dropped, the first at the start of a cache line.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    lines: Vec<Line>,
    len: usize,
    pool: Pool,
    of: PhantomData<T>,
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return;
        }
        let mut free = self.pool.lock();
        free.entry(lines.len()).or_default().push(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_buffer_takes_the_place_of_a_larger_one_up_to_twice_its_size() {
        let pool = Pool::default();
        let large = pool.take::<f32>(1600);
        let at = large.as_ptr();
        drop(large);
        let smaller = pool.take::<f32>(1001);
        assert_eq!((smaller.len(), smaller.as_ptr()), (1001, at));
        assert_eq!(pool.spare_bytes(), 0);
        drop(smaller);
        assert_eq!(pool.spare_bytes(), 6400);
        // The size of another stage leaves it alone.
        let (half, own) = (pool.take::<f32>(800), pool.take::<f32>(1600));
        assert!(half.as_ptr() != at && own.as_ptr() == at);
        drop(pool.take::<f32>(0));
        assert!(!pool.lock().contains_key(&0), "nothing is kept of nothing");
    }
}
