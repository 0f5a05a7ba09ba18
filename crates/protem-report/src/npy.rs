//! NumPy's array file.

use protem_em::{EmError, write_atomically};
use std::path::Path;

/// Writes `rows × columns` values as a little-endian `.npy` (format 1.0), whole or not at all.
///
/// # Errors
/// What the file system refuses.
///
/// # Panics
/// If `values` does not hold whole rows.
pub fn write_npy(path: &Path, values: &[f32], columns: usize) -> Result<(), EmError> {
    assert!(
        columns > 0 && values.len().is_multiple_of(columns),
        "whole rows"
    );
    let shape = format!("({}, {columns})", values.len() / columns);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes; the data begins at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    write_atomically(path, &bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_numpy() {
        // import numpy as np; np.save("x.npy", np.array([[1, 2, 3], [4, 5, 6]], dtype="f4"))
        // print(open("x.npy", "rb").read()[:128])
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        super::write_npy(&path, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(&bytes[..header.len()], header);
        assert!(bytes[header.len()..127].iter().all(|b| *b == b' ') && bytes[127] == b'\n');
        assert_eq!(&bytes[128..132], 1f32.to_le_bytes());
        assert_eq!(bytes.len(), 128 + 24);
    }
}
