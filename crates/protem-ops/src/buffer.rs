//! Memory that a training step takes again and again, kept between steps.
//!
//! A step needs the same few dozen large buffers each time. Fresh from the allocator their pages
//! would be faulted in and zeroed anew at every step, which costs 5–12 % of its time.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A shared store of buffers by length. Clones share the store.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    free: Arc<Mutex<HashMap<usize, Vec<Vec<f32>>>>>,
}

impl Pool {
    /// A buffer of `len` floats with arbitrary contents: the taker overwrites all of them.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let kept = self.lock().get_mut(&len).and_then(Vec::pop);
        Buffer {
            data: kept.unwrap_or_else(|| vec![0.0; len]),
            pool: self.clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Vec<Vec<f32>>>> {
        // A panic elsewhere cannot leave a map of spare buffers in a wrong state.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Floats that return to their pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    data: Vec<f32>,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.lock().entry(data.len()).or_default().push(data);
    }
}
