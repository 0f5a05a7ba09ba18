//! NumPy's array file.

/// `rows × columns` values as the bytes of a little-endian `.npy` file (format 1.0).
///
/// # Panics
/// If `values` does not hold whole rows.
pub fn npy(values: &[f32], columns: usize) -> Vec<u8> {
    assert!(
        columns > 0 && values.len().is_multiple_of(columns),
        "whole rows"
    );
    let shape = format!("({}, {columns})", values.len() / columns);
    array("<f4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

/// `<f4` values as a one-dimensional array, in the bytes of a file.
pub fn npy_vector(values: &[f32]) -> Vec<u8> {
    let shape = format!("({},)", values.len());
    array("<f4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

/// `<u4` values as a one-dimensional array, in the bytes of a file.
pub fn npy_labels(values: &[u32]) -> Vec<u8> {
    let shape = format!("({},)", values.len());
    array("<u4", &shape, values.iter().map(|v| v.to_le_bytes()))
}

fn array(descr: &str, shape: &str, values: impl ExactSizeIterator<Item = [u8; 4]>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes; the data begins at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.reserve_exact(4 * values.len());
    bytes.extend(values.flatten());
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_numpy() {
        // import numpy as np; np.save("x.npy", np.array([[1, 2, 3], [4, 5, 6]], dtype="f4"))
        // print(open("x.npy", "rb").read()[:128])
        let bytes = super::npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
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
            std::fs::write(&path, super::npy(&values, columns)).unwrap();
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
        let bytes = super::npy_labels(&[7, 8]);
        let header = b"{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(&bytes[10..10 + header.len()], header);
        assert_eq!(&bytes[128..], [7, 0, 0, 0, 8, 0, 0, 0]);
        let bytes = super::npy_vector(&[0.5]);
        assert!(
            bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }")
        );
        assert_eq!(&bytes[128..], 0.5f32.to_le_bytes());
    }
}
