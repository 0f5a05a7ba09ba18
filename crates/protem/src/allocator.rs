//! What the system's allocator does with large blocks.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages for large blocks: maps, points and weights are
/// read from end to end and in any order, and of small pages the processor knows the places of a few
/// thousand only.
pub struct LargePages;

/// The size of a large page, and of the smallest block with some.
const LARGE: usize = 2 << 20;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

// SAFETY: all is `System`'s work; what is asked of the kernel changes no byte.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The block, of whose whole pages large ones are to be made as they are first used.
#[inline]
fn advised(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !block.is_null() {
        const PAGE: usize = 1 << 12;
        let skipped = block.align_offset(PAGE);
        let len = (size - skipped) / PAGE * PAGE;
        // SAFETY: `len` bytes from there lie in the block, and the advice leaves what they hold. Where
        // the system has no large pages, or other small ones, it refuses, and all stays as it is.
        unsafe { libc::madvise(block.add(skipped).cast(), len, libc::MADV_HUGEPAGE) };
    }
    block
}
