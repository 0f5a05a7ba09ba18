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
    write_array(path, "<f4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

/// Writes `<f4` values as a one-dimensional array, or nothing.
///
/// # Errors
/// As [`write_npy`].
pub fn write_npy_vector(path: &Path, values: &[f32]) -> Result<(), EmError> {
    let shape = format!("({},)", values.len());
    write_array(path, "<f4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

/// Writes `<u4` values as a one-dimensional array, or nothing.
///
/// # Errors
/// As [`write_npy`].
pub fn write_npy_labels(path: &Path, values: &[u32]) -> Result<(), EmError> {
    let shape = format!("({},)", values.len());
    write_array(path, "<u4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

fn write_array(
    path: &Path,
    descr: &str,
    shape: &str,
    values: impl Iterator<Item = [u8; 4]>,
) -> Result<(), EmError> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes; the data begins at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.flatten());
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

    #[test]
    fn what_is_written_is_mapped_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        // Bits of every kind: denormals, infinities, NaNs.
        for (rows, columns) in [(0, 1), (1, 1), (1, 100_000), (7, 5), (12_345, 3)] {
            let bits = (0..rows * columns).map(|i| (i as u32).wrapping_mul(0x9e37_79b9));
            let values: Vec<f32> = bits.map(f32::from_bits).collect();
            super::write_npy(&path, &values, columns).unwrap();
            let npy = protem_cluster::Npy::open(&path).unwrap();
            let points = npy.view().unwrap();
            assert_eq!((points.rows(), points.cols()), (rows, columns));
            for (row, written) in values.chunks_exact(columns).enumerate() {
                let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
                assert!(points.row(row).iter().zip(written).all(same), "row {row}");
            }
        }
    }

    #[test]
    fn vectors_equal_numpys() {
        // np.save("x.npy", np.array([7, 8], dtype="u4")); print(open("x.npy", "rb").read()[10:80])
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        super::write_npy_labels(&path, &[7, 8]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header = b"{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(&bytes[10..10 + header.len()], header);
        assert_eq!(&bytes[128..], [7, 0, 0, 0, 8, 0, 0, 0]);
        super::write_npy_vector(&path, &[0.5]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }")
        );
        assert_eq!(&bytes[128..], 0.5f32.to_le_bytes());
    }
}
