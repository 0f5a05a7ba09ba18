//! Points that the device cannot hold, or is said not to.

use super::*;
use crate::Warning;
use crate::cuda::driver::LEFT_PART;
use cudarc::driver::DevicePtr;

#[test]
fn blocks_have_the_bits_of_the_processor() {
    if !device() {
        return;
    }
    let card = Card::open(0).expect("a device");
    for (n, k, d, block) in [
        (1, 1, 1, 1),
        (257, 3, 1, 256),
        (255, 33, 7, 100),
        (140, 97, 33, 130),
        (40, 300, 17, 13),
        // Too wide to stay in shared memory; the last block is short.
        (300, 140, 330, 256),
    ] {
        for (what, values) in kinds(n, d) {
            if !["on a grid", "of many sizes"].contains(&what) {
                continue;
            }
            let what = format!("{what}, blocks of {block}");
            let centroids = centroids_of(&values, d, k);
            let weights: Vec<f32> = (0..n).map(|i| (i % 4) as f32 * 0.3).collect();
            let copied = Place::Host(Matrix::new(&values, n, d).expect("the right length"));
            let memory = card.stream.clone_htod(&values).expect("room");
            let address = memory.device_ptr(&card.stream).0;
            // SAFETY: `memory` outlives it.
            let lent = unsafe { Values::lent(card.clone(), address, n, d) };
            for (place, weights) in [
                (&copied, None),
                (&copied, Some(&weights[..])),
                (&Place::Card(Arc::new(lent)), Some(&weights[..])),
            ] {
                let blocks = Blocks::of(&card, place, weights, k, block);
                let mut blocks = blocks.expect("a device").expect("room");
                same(&what, &mut blocks, &values, &centroids, d, weights);
                // Sums do not outlast an assignment.
                if n < 100 {
                    same(&what, &mut blocks, &values, &centroids, d, weights);
                }
            }
        }
    }
}

/// Leaves so many bytes of device memory to take while it lives; none on a device that has too many,
/// which is any GPU.
fn leave(bytes: usize) -> Option<CudaSlice<u8>> {
    let card = Card::open(0).expect("a device");
    card.free().expect("what was freed is given back");
    let free = card.stream.context().mem_get_info().expect("memory").0;
    if free > 1 << 30 {
        eprintln!("skipped: {free} bytes of device memory are too many to exceed");
        return None;
    }
    // And what is not to be taken: a part of what is free.
    let left = bytes + bytes / (LEFT_PART - 1);
    Some(card.stream.alloc_zeros(free - left).expect("memory"))
}

#[test]
fn fits_in_blocks_are_those_of_the_processor() {
    if !device() {
        return;
    }
    let (n, d) = (800, 40);
    let values = numbers(n * d, 8);
    let rows = Matrix::new(&values, n, d).expect("the right length");
    let stream = Card::open(0).expect("a device").stream;
    let memory = stream.clone_htod(&values).expect("room");
    let address = memory.device_ptr(&stream).0;
    // SAFETY: `memory` outlives the fits.
    let points = unsafe { DevicePoints::new(address, n, d, 0) }.expect("a shape");
    // Less than values and tiles, but a block and what passes for a moment.
    let copied = n * d * 4;
    let lent = 2 * STAGED * 4 + 100_000;
    for (what, builder) in clusterings(n, d) {
        if ["spherical", "frozen"].contains(&what) {
            continue;
        }
        let builder = builder.iterations(2).restarts(1);
        // A sample of all but a few.
        let builder = match what {
            "subsample" | "far" => builder.max_points_per_centroid(60),
            _ => builder.max_points_per_centroid(1000),
        };
        let kmeans = |device| builder.clone().device(device).build().expect("settings");
        let cpu = kmeans(crate::Device::Cpu).fit(rows).expect("a fit");
        let Some(ballast) = leave(copied) else { return };
        let cuda = kmeans(crate::Device::Cuda(0)).fit(rows).expect("a fit");
        drop(ballast);
        in_blocks(what, cuda, cpu.clone());
        // A sample is taken to where it fits.
        if ["subsample", "far"].contains(&what) {
            continue;
        }
        let Some(ballast) = leave(lent) else { return };
        let cuda = kmeans(crate::Device::Cpu).fit_on_device(points);
        drop(ballast);
        in_blocks(what, cuda.expect("a fit"), cpu);
    }
}

/// Asserts that a fit ran in blocks and else is that of the processor.
fn in_blocks(what: &str, mut cuda: Fit, cpu: Fit) {
    let in_blocks = |said: &Warning| matches!(said, Warning::InBlocks { .. });
    let said = cuda.warnings.iter().position(in_blocks);
    let said = said.map(|at| cuda.warnings.remove(at));
    let Some(Warning::InBlocks { points, block }) = said else {
        panic!("{what}: {said:?}");
    };
    assert!(block < points && points >= 780, "{what}: {said:?}");
    assert!(block >= 256 && block % 256 == 0, "{what}: {said:?}");
    assert_eq!(without_time(cuda), without_time(cpu), "{what}");
}

#[test]
fn points_that_are_kept_make_room_for_a_sample() {
    if !device() {
        return;
    }
    let (n, d) = (2000, 64);
    let values = numbers(n * d, 5);
    let rows = Matrix::new(&values, n, d).expect("the right length");
    let builder = KMeans::builder(2).iterations(1).min_points_per_centroid(0);
    let builder = builder.max_points_per_centroid(500);
    let fits = |device| {
        let kmeans = builder.clone().device(device).build().expect("settings");
        kmeans.fit_many(rows, &[4, 3]).expect("fits")
    };
    let cpu = fits(crate::Device::Cpu);
    // Enough for all points or the sample, but not for both.
    let Some(_ballast) = leave(1_100_000) else {
        return;
    };
    for (cpu, cuda) in cpu.into_iter().zip(fits(crate::Device::Cuda(0))) {
        assert_eq!(cuda.warnings, []);
        assert_eq!(without_time(cpu), without_time(cuda));
    }
}

#[test]
fn clusters_that_do_not_fit_are_an_error_that_says_how_many_would() {
    if !device() {
        return;
    }
    let (n, d) = (2000, 64);
    let values = numbers(n * d, 3);
    let rows = Matrix::new(&values, n, d).expect("the right length");
    let fit = |k| {
        let builder = KMeans::builder(k).iterations(1).min_points_per_centroid(0);
        let kmeans = builder.device(crate::Device::Cuda(0)).build();
        kmeans.expect("settings").fit(rows)
    };
    let Some(_ballast) = leave(600_000) else {
        return;
    };
    let error = fit(1900).unwrap_err();
    let ClusterError::DeviceMemory {
        clusters,
        points,
        needed,
        free,
        fitting,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((clusters, points), (1900, 256));
    assert!(needed > free && free <= 600_000, "{error}");
    assert!((100..1000).contains(&fitting), "{error}");
    fit(fitting).expect("as many do fit");
    let error = fit(fitting + 1).unwrap_err();
    assert!(matches!(error, ClusterError::DeviceMemory { .. }));
}

#[test]
fn a_full_device_is_an_error_that_says_what_to_do() {
    if !device() {
        return;
    }
    let (n, d) = (300, 7);
    let values = numbers(n * d, 3);
    let card = Card::open(0).expect("a device");
    let memory = card.stream.clone_htod(&values).expect("room");
    let address = memory.device_ptr(&card.stream).0;
    // SAFETY: `memory` outlives it.
    let lent = Arc::new(unsafe { Values::lent(card.clone(), address, n, d) });
    let first = Matrix::new(&values[..d], 1, d).expect("the right length");
    let Some(_ballast) = leave(0) else { return };
    for failed in [
        lent.check().unwrap_err(),
        lent.mean().unwrap_err(),
        lent.take(&[1, 2]).unwrap_err(),
        lent.nearest(first, &mut [0.0; 300]).unwrap_err(),
    ] {
        assert_eq!(failed, ClusterError::DeviceFull);
        let said = failed.to_string();
        assert!(said.contains("free some of it") && said.contains("`Device::Cpu`"));
    }
    // Who can do with less is told that this does not fit.
    let place = Place::Card(lent);
    assert!(matches!(Blocks::of(&card, &place, None, 2, 256), Ok(None)));
    assert!(matches!(Loaded::new(&card, &place, None), Ok(None)));
}

#[test]
fn a_device_without_room_is_left_alone_and_said_to_have_none() {
    if !device() {
        return;
    }
    let Some(_ballast) = leave(100_000) else {
        return;
    };
    let warnings = super::errors::without_a_device();
    assert_eq!(warnings.len(), 2);
    for warning in warnings {
        let said = warning.to_string();
        assert!(said.contains("bytes of device memory are needed"), "{said}");
    }
}
