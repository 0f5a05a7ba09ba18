//! One function per reader: everything the bytes hold is read, and what an accepted input promises
//! is checked.

use protem_cluster::Npy;
use std::cell::RefCell;
use std::io::{Seek, Write};
use tempfile::NamedTempFile;

/// The memory-mapped `.npy` file of `protem-cluster`.
pub fn npy(bytes: &[u8]) {
    let Ok(npy) = with_file(bytes, |path| Npy::open(path)) else {
        return;
    };
    let points = npy.view().expect("what was opened can be viewed");
    let (rows, cols) = (points.rows(), points.cols());
    assert!(cols > 0, "points have columns");
    // The values are the end of the file, whole and in order.
    let values = 4 * rows * cols;
    let begin = bytes
        .len()
        .checked_sub(values)
        .expect("values are in the file");
    let mut expected = bytes[begin..].chunks_exact(4);
    for row in 0..rows {
        for value in points.row(row) {
            assert_eq!(Some(&value.to_le_bytes()[..]), expected.next());
        }
    }
    assert_eq!(expected.next(), None);
}

/// What the limit on pixels comes to: a decoded image of four channels of 16 bits, its RGB at 16
/// bits and at 8, and room for the decoder's own tables.
pub const IMAGE_MEMORY: usize = 178_956_970 * (8 + 6 + 3) + (64 << 20);

/// An image file.
pub fn image(bytes: &[u8]) {
    if let Ok(image) = protem_data::decode(bytes) {
        let (width, height) = image.dimensions();
        assert!(width > 0 && height > 0, "an image has pixels");
        assert_eq!(image.as_raw().len(), 3 * width as usize * height as usize);
    }
}

/// Calls `read` with the path of a file of `bytes`: one file per thread, written anew.
fn with_file<T>(bytes: &[u8], read: impl FnOnce(&std::path::Path) -> T) -> T {
    thread_local! {
        static FILE: RefCell<NamedTempFile> =
            RefCell::new(NamedTempFile::new().expect("a file can be made"));
    }
    FILE.with_borrow_mut(|file| {
        let written = file.as_file().set_len(0).and_then(|()| {
            file.rewind()?;
            file.write_all(bytes)
        });
        written.expect("the file can be written");
        read(file.path())
    })
}
