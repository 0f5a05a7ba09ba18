//! Points from elsewhere: `.npy` files and other crates' matrices.

#[cfg(feature = "npy")]
mod npy {
    use protem_cluster::{KMeans, Matrix, Npy, NpyError};
    use std::io::Write;
    use std::path::Path;

    /// A file as numpy writes it.
    fn file(rows: usize, cols: usize, values: &[f32]) -> tempfile::NamedTempFile {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        file_of("<f4", "False", rows, cols, &bytes.collect::<Vec<_>>())
    }

    fn file_of(
        descr: &str,
        fortran: &str,
        rows: usize,
        cols: usize,
        values: &[u8],
    ) -> tempfile::NamedTempFile {
        let shape = format!("({rows}, {cols})");
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        let len = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((len as u16).to_le_bytes());
        bytes.extend(format!("{header:<width$}\n", width = len - 1).bytes());
        bytes.extend(values);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn a_mapped_file_is_clustered_as_memory_is() {
        let (n, d) = (3000, 7);
        let values: Vec<f32> = (0..n * d).map(|i| ((i * i) % 1009) as f32).collect();
        let file = file(n, d, &values);
        let npy = Npy::open(file.path()).unwrap();
        // Few points per centroid: a sample is clustered, and the file read in blocks.
        for limit in [20, 3000] {
            let kmeans = KMeans::builder(30)
                .max_points_per_centroid(limit)
                .min_points_per_centroid(0)
                .build()
                .unwrap();
            let mapped = kmeans.fit(npy.view().unwrap()).unwrap();
            let held = kmeans.fit(Matrix::new(&values, n, d).unwrap()).unwrap();
            assert_eq!(mapped.labels, held.labels);
            assert_eq!(mapped.centroids, held.centroids);
        }
    }

    #[test]
    fn a_file_in_memory_has_its_values_from_a_line_on() {
        for n in [1, 5, 3000] {
            let values: Vec<f32> = (0..n * 16).map(|i| i as f32).collect();
            let file = file(n, 16, &values);
            let (read, mapped) = (Npy::read(file.path()), Npy::open(file.path()));
            let (read, mapped) = (read.unwrap(), mapped.unwrap());
            for i in 0..n {
                let row = read.view().unwrap().row(i);
                assert_eq!(row, &values[i * 16..][..16]);
                assert_eq!(row, mapped.view().unwrap().row(i));
                assert_eq!(row.as_ptr().addr() % 64, 0, "row {i} of {n}");
            }
        }
    }

    #[test]
    fn other_values_and_orders_are_read_and_not_mapped() {
        let (n, d) = (150, 5);
        let value = |i: usize, j: usize| (i * 7 + j) as f64 / 8.0;
        let by_rows = (0..n).flat_map(|i| (0..d).map(move |j| value(i, j)));
        let by_columns = (0..d).flat_map(|j| (0..n).map(move |i| value(i, j)));
        let doubles: Vec<u8> = by_rows.clone().flat_map(f64::to_le_bytes).collect();
        let singles = by_columns.flat_map(|v| (v as f32).to_be_bytes());
        let tenths = by_rows.flat_map(|v| (v + 0.1).to_le_bytes());
        for (file, rounded) in [
            (file_of("<f8", "False", n, d, &doubles), false),
            (
                file_of(">f4", "True", n, d, &singles.collect::<Vec<_>>()),
                false,
            ),
            (
                file_of("<f8", "False", n, d, &tenths.collect::<Vec<_>>()),
                true,
            ),
        ] {
            let error = Npy::open(file.path()).unwrap_err();
            let NpyError::NotPlain { bytes, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(
                bytes,
                file.path().metadata().unwrap().len() + 4 * (n * d) as u64
            );
            let npy = Npy::read(file.path()).unwrap();
            assert_eq!(npy.is_rounded(), rounded);
            let view = npy.view().unwrap();
            let more = if rounded { 0.1 } else { 0.0 };
            for i in 0..n {
                let expected: Vec<f32> = (0..d).map(|j| (value(i, j) + more) as f32).collect();
                assert_eq!(view.row(i), expected);
            }
        }
    }

    #[test]
    fn files_that_are_none_are_errors() {
        let mapped = |path: &Path| Npy::open(path);
        let read = |path: &Path| Npy::read(path);
        for open in [mapped as fn(&Path) -> _, read] {
            let missing = open("no such file.npy".as_ref()).unwrap_err();
            assert!(matches!(missing, NpyError::Io { .. }), "{missing}");
            let file = file(3, 2, &[0.0; 5]);
            let short = open(file.path()).unwrap_err().to_string();
            assert!(short.contains("3×2"), "{short}");
            let path = file.path().display().to_string();
            assert!(short.starts_with(&path), "{short}");
            let narrow = open(file_of("<f8", "True", 3, 0, &[]).path()).unwrap_err();
            assert!(narrow.to_string().contains("3×0 points"), "{narrow}");
            let empty = tempfile::NamedTempFile::new().unwrap();
            assert!(open(empty.path()).is_err());
        }
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_views_are_borrowed_or_copied() {
    use ndarray::Array2;
    use protem_cluster::{ClusterError, KMeans, Matrix, Rows};

    let array = Array2::from_shape_fn((20, 3), |(i, j)| (i * 3 + j) as f32);
    let matrix = Matrix::try_from(array.view()).unwrap();
    assert_eq!((matrix.rows(), matrix.cols()), (20, 3));
    assert_eq!(matrix.row(1), [3.0, 4.0, 5.0]);
    let turned = array.t();
    let error = Matrix::try_from(turned).unwrap_err();
    assert_eq!(error, ClusterError::Layout { rows: 3, cols: 20 });
    let rows = Rows::from(turned);
    assert_eq!(rows.view().unwrap().row(1)[..3], [1.0, 4.0, 7.0]);
    let fit = KMeans::builder(2).build().unwrap().fit(matrix).unwrap();
    let centroids = fit.centroids_ndarray().unwrap();
    assert_eq!(centroids.row(1).to_vec(), fit.centroids[3..]);
}

#[cfg(feature = "faer")]
#[test]
fn faer_matrices_are_copied_row_by_row() {
    use faer::Mat;
    use protem_cluster::{KMeans, Rows};

    let matrix = Mat::from_fn(20, 3, |i, j| (i * 3 + j) as f32);
    let rows = Rows::from(matrix.as_ref());
    assert_eq!(rows.view().unwrap().row(2), [6.0, 7.0, 8.0]);
    let kmeans = KMeans::builder(2).build().unwrap();
    let fit = kmeans.fit(rows.view().unwrap()).unwrap();
    let centroids = fit.centroids_faer().unwrap();
    assert_eq!(centroids[(1, 2)], fit.centroids[5]);
}

#[cfg(feature = "candle")]
#[test]
fn candle_tensors_are_copied_and_converted() {
    use candle_core::{DType, Device, Tensor};
    use protem_cluster::{KMeans, Rows};

    let tensor = Tensor::arange(0f32, 60.0, &Device::Cpu).unwrap();
    let tensor = tensor.reshape((20, 3)).unwrap();
    // Turned, the rows lie apart; in f64, values are converted.
    let turned = tensor.t().unwrap().to_dtype(DType::F64).unwrap();
    let rows = Rows::try_from(&turned).unwrap();
    assert_eq!(rows.view().unwrap().row(1)[..3], [1.0, 4.0, 7.0]);
    assert!(Rows::try_from(&tensor.flatten_all().unwrap()).is_err());
    let rows = Rows::try_from(&tensor).unwrap();
    let kmeans = KMeans::builder(2).build().unwrap();
    let fit = kmeans.fit(rows.view().unwrap()).unwrap();
    let centroids = fit.centroids_candle(&Device::Cpu).unwrap();
    assert_eq!(centroids.dims(), [2, 3]);
    let flat = centroids.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(flat, fit.centroids);
}

#[cfg(feature = "rayon")]
#[test]
fn points_come_from_and_go_to_parallel_iterators() {
    use protem_cluster::{KMeans, Rows};
    use rayon::prelude::*;

    let point = |i: usize| [i as f32, (i * i % 17) as f32];
    let rows: Rows = (0..5000).into_par_iter().map(point).collect();
    assert_eq!((rows.rows, rows.cols), (5000, 2));
    let view = rows.view().unwrap();
    assert!((0..5000).all(|i| view.row(i) == point(i)));
    let sums: Vec<f32> = view.par_rows().map(|row| row.iter().sum()).collect();
    assert!((0..5000).all(|i| sums[i] == point(i).iter().sum::<f32>()));
    assert_eq!(KMeans::builder(3).build().unwrap().fit(view).unwrap().k, 3);
    let none: Rows = rayon::iter::empty::<[f32; 2]>().collect();
    assert_eq!((none.rows, none.cols), (0, 2));
}
