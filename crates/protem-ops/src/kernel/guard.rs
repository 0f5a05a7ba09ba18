//! For tests: memory between pages that may not be touched, so that a kernel that reads or writes
//! one value too far ends the process.

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::ops::{Deref, DerefMut};

/// Which end of the values lies against a guard page.
#[derive(Debug, Clone, Copy)]
pub enum Against {
    Begin,
    End,
}

/// Values with a guard page right before or behind them.
pub struct Guarded<T> {
    map: *mut c_void,
    map_len: usize,
    values: *mut T,
    len: usize,
}

const PAGE: usize = 4096;

impl<T: bytemuck::Pod> Guarded<T> {
    pub fn new(values: &[T], against: Against) -> Self {
        let bytes = size_of_val(values);
        let room = bytes.next_multiple_of(PAGE);
        let map_len = room + 2 * PAGE;
        // SAFETY: a fresh private mapping; its first and last page are taken away again, which
        // nothing points into. The values fit between, aligned, since pages and sizes are
        // multiples of their alignment.
        unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            let map = mmap_anonymous(std::ptr::null_mut(), map_len, access, MapFlags::PRIVATE)
                .expect("memory");
            mprotect(map, PAGE, MprotectFlags::empty()).expect("a guard page");
            mprotect(map.byte_add(PAGE + room), PAGE, MprotectFlags::empty())
                .expect("a guard page");
            let at = match against {
                Against::Begin => map.byte_add(PAGE),
                Against::End => map.byte_add(PAGE + room - bytes),
            };
            let at = at.cast::<T>();
            at.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self {
                map,
                map_len,
                values: at,
                len: values.len(),
            }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `new` put `len` values there; they live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, to which nothing points any more.
        unsafe { munmap(self.map, self.map_len) }.expect("the mapping was there");
    }
}
