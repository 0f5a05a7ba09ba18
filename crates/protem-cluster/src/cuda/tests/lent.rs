//! Points that lie on the device before the clustering.

use super::*;
use crate::assign_on;
use cudarc::driver::DevicePtr;

/// These values in memory of the device that is not the clustering's, after one other value, so that
/// rows begin anywhere; and where they are.
fn put(values: &[f32]) -> (CudaSlice<f32>, u64) {
    let stream = Card::open(0).expect("a device").stream;
    let all = [&[0.5], values].concat();
    let slice = stream.clone_htod(&all).expect("room");
    let address = slice.device_ptr(&stream).0 + 4;
    (slice, address)
}

fn points(address: u64, n: usize, d: usize) -> DevicePoints {
    // SAFETY: tests keep the memory that `put` gave until they end.
    unsafe { DevicePoints::new(address, n, d, 0) }.expect("a shape")
}

#[test]
fn rows_are_read_as_by_the_processor() {
    if !device() {
        return;
    }
    let card = Card::open(0).expect("a device");
    for (n, d) in [(1, 1), (257, 3), (61, 17), (1100, 2), (33, 130)] {
        for (what, values) in kinds(n, d) {
            let what = format!("{what}, {n}×{d}");
            let rows = Matrix::new(&values, n, d).expect("the right length");
            let (_memory, address) = put(&values);
            // SAFETY: it holds n × d values, to the end of this round.
            let lent = unsafe { Values::lent(card.clone(), address, n, d) };
            assert_eq!(lent.check(), Ok(()), "{what}");
            let middle = lent.mean().expect("a mean");
            assert_eq!(bits(&middle), bits(&mean(rows)), "{what}");
            let chosen: Vec<usize> = (0..n + 3).map(|at| at * 5 % n).collect();
            let expected: Vec<f32> = chosen.iter().flat_map(|i| rows.row(*i)).copied().collect();
            assert_eq!(lent.take(&chosen).expect("rows"), expected, "{what}");
            let sample = lent.sample(&chosen).expect("rows").expect("room");
            let all: Vec<usize> = (0..chosen.len()).collect();
            assert_eq!(sample.take(&all).expect("rows"), expected, "{what}");
            let some = [rows.row(0), rows.row(n / 2), rows.row(n - 1)].concat();
            let centroids = Matrix::new(&some, 3, d).expect("the right length");
            let mut distances = vec![0.0; n];
            let done = lent.nearest(centroids, &mut distances);
            done.expect("distances");
            let expected = assign_on(Isa::Portable, rows, centroids, None);
            let expected = expected.expect("labels").distances;
            assert_eq!(bits(&distances), bits(&expected), "{what}");
        }
    }
}

#[test]
fn rows_that_cannot_be_clustered_are_named() {
    if !device() {
        return;
    }
    let (n, d) = (100, 19);
    let kmeans = KMeans::builder(3).build().expect("settings");
    let edge = (f32::MAX / 10.0).sqrt();
    for (bad, at) in [
        (f32::NAN, 0),
        (f32::INFINITY, 18),
        (f32::NEG_INFINITY, 3),
        (1e19, 16),
        (edge * 1.001, 7),
    ] {
        let mut values = numbers(n * d, 2);
        for row in [99, 41, 70] {
            values[row * d + at] = bad;
        }
        let rows = Matrix::new(&values, n, d).expect("the right length");
        let (_memory, address) = put(&values);
        let found = kmeans.fit_on_device(points(address, n, d)).unwrap_err();
        assert_eq!(found, kmeans.fit(rows).unwrap_err(), "{bad}");
        let row = matches!(
            found,
            ClusterError::NotFinite { row: 41 } | ClusterError::TooLarge { row: 41, .. }
        );
        assert!(row, "{found}");
    }
    // As long as may be.
    let mut values = vec![0.0; n * d];
    values[41 * d] = edge * 0.999;
    let (_memory, address) = put(&values);
    let fit = kmeans.fit_on_device(points(address, n, d));
    fit.expect("a fit");
}

#[test]
fn fits_are_those_of_the_same_values_on_the_host() {
    if !device() {
        return;
    }
    for (n, d) in [(220, 5), (131, 18)] {
        let values = numbers(n * d, 8);
        let rows = Matrix::new(&values, n, d).expect("the right length");
        let (memory, address) = put(&values);
        for (what, builder) in clusterings(n, d) {
            let kmeans = builder.iterations(3).build().expect("settings");
            let cpu = kmeans.fit(rows).expect("a fit");
            let cuda = kmeans.fit_on_device(points(address, n, d)).expect("a fit");
            assert_eq!(cuda.device, crate::Device::Cuda(0));
            assert_eq!(without_time(cpu), without_time(cuda), "{what}");
        }
        // Each point a centroid.
        let all = KMeans::builder(n).spherical(true).build();
        let all = all.expect("settings");
        let cuda = all.fit_on_device(points(address, n, d)).expect("a fit");
        let cpu = all.fit(rows).expect("a fit");
        assert_eq!(without_time(cpu), without_time(cuda));
        // Several at once, heard of in turn.
        let several = KMeans::builder(2).iterations(3).max_points_per_centroid(30);
        let several = several.min_points_per_centroid(0).build();
        let several = several.expect("settings");
        let (ks, mut heard) = ([40, 3, 9], Vec::new());
        let listener = |at, _: &crate::IterationStats| {
            heard.push(at);
            std::ops::ControlFlow::Continue(())
        };
        let cuda = several.fit_many_on_device_with(points(address, n, d), &ks, listener);
        let cpu = several.fit_many(rows, &ks).expect("fits");
        let cuda = cuda.expect("fits");
        assert!(heard.is_sorted() && heard.last() == Some(&2), "{heard:?}");
        for (cpu, cuda) in cpu.into_iter().zip(cuda) {
            assert_eq!(without_time(cpu), without_time(cuda));
        }
        // The memory is as it was, and still its owner's.
        let stream = memory.stream();
        let after = stream.clone_dtoh(&memory).expect("a copy");
        assert_eq!(bits(&after[1..]), bits(&values));
    }
}

#[test]
fn shapes_that_cannot_be_are_errors() {
    for (rows, cols) in [(5, 0), (usize::MAX / 2, 3), (1 << 61, 1)] {
        // SAFETY: it is given to no fit.
        let refused = unsafe { DevicePoints::new(64, rows, cols, 0) };
        let refused = matches!(refused, Err(ClusterError::Length { .. }));
        assert!(refused, "{rows}×{cols}");
    }
    // SAFETY: there is no such device to read with.
    let absent = unsafe { DevicePoints::new(64, 4, 2, 99) }.expect("a shape");
    let kmeans = KMeans::builder(2).build().expect("settings");
    let error = kmeans.fit_on_device(absent).unwrap_err();
    assert!(
        matches!(error, ClusterError::DeviceMissing { .. }),
        "{error}"
    );
    if device() {
        let (_memory, address) = put(&[1.0; 6]);
        let few = kmeans.fit_on_device(points(address, 1, 3)).unwrap_err();
        assert_eq!(few, ClusterError::Clusters { k: 2, points: 1 });
    }
}
