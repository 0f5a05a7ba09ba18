//! The device against the processor, on any device there is: a GPU, or `cargo xtask kernels`' driver
//! that runs the kernels on the processor. Without either these tests say that they skip, or, where
//! `PROTEM_CUDA` is `required`, fail. What needs that driver skips on a GPU even then: memory that runs
//! out (`leave` in `blocks.rs`: a GPU has too much, and gives it in pieces of megabytes), and what is
//! read from the driver's log (`counts.rs`, and one test of `errors.rs`). That fits in blocks are right
//! on a GPU is checked by `cargo xtask gpu`.

mod blocks;
mod compiled;
mod counts;
mod errors;
mod lent;

use super::driver::{NVRTC, present};
use super::kernels::SLOTS;
use super::*;
use crate::isa::Isa;
use crate::update::{Members, means};
use crate::{Empty, Fit, Init, KMeans, KMeansBuilder, assign_on};
use cudarc::driver::CudaSlice;

fn required() -> bool {
    std::env::var_os("PROTEM_CUDA").is_some_and(|value| value == "required")
}

/// Whether there is a device to test on.
fn device() -> bool {
    match Card::open(0) {
        Ok(_) => true,
        Err(e) if required() => panic!("{e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            false
        }
    }
}

fn compiler() -> bool {
    let there = present(&NVRTC);
    assert!(there || !required(), "NVRTC is not installed");
    if !there {
        eprintln!("skipped: NVRTC is not installed");
    }
    there
}

/// Numbers between −1 and 1, the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Points of different kinds, each hard in its own way.
fn kinds(n: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let random = numbers(n * d, 1);
    let centres = numbers(5 * d, 2);
    let clustered = random.iter().enumerate();
    let clustered = clustered.map(|(at, x)| centres[at / d % 5 * d + at % d] + x / 64.0);
    vec![
        ("clustered", clustered.collect()),
        // Ties of distances, and of rounding.
        (
            "on a grid",
            random.iter().map(|x| (x * 2.0).round()).collect(),
        ),
        ("far off", random.iter().map(|x| x / 8.0 + 50.0).collect()),
        ("tiny", random.iter().map(|x| x * 1e-30).collect()),
        ("of many sizes", of_many_sizes(&random)),
        ("random", random),
    ]
}

/// Numbers that lose most of their digits when they are added.
fn of_many_sizes(values: &[f32]) -> Vec<f32> {
    let sized = |(at, x): (usize, &f32)| x / (1u64 << (at * 11 % 53)) as f32;
    values.iter().enumerate().map(sized).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Work on all of these points, in chunks of one block unless `best` is more.
fn at_once(
    values: &[f32],
    d: usize,
    weights: Option<&[f32]>,
    k: usize,
    best: usize,
) -> Result<Cuda, ClusterError> {
    let card = Card::open(0)?;
    let place = Place::Host(Matrix::new(values, values.len() / d, d)?);
    let cuda = Cuda::room(&card, &place, weights, k, best, &mut None)?;
    Ok(cuda.expect("room for the points"))
}

/// Asserts that an assignment and an update are the processor's; returns the device.
fn check(what: &str, values: &[f32], centroids: &[f32], d: usize, weights: Option<&[f32]>) -> Cuda {
    let cuda = at_once(values, d, weights, centroids.len() / d, 1);
    let mut cuda = cuda.expect("a device");
    same(what, &mut cuda, values, centroids, d, weights);
    cuda
}

/// Asserts that a backend does to points what the processor does.
fn same(
    what: &str,
    backend: &mut dyn Backend,
    values: &[f32],
    centroids: &[f32],
    d: usize,
    weights: Option<&[f32]>,
) {
    let (n, k) = (values.len() / d, centroids.len() / d);
    let what = format!("{what}, {n}×{d} points, {k} centroids");
    let rows = Matrix::new(values, n, d).expect("the right length");
    let centres = Matrix::new(centroids, k, d).expect("the right length");
    let expected = assign_on(Isa::Portable, rows, centres, None).expect("an assignment");
    let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
    let assigned = backend.assign(centroids, 1, &mut labels, &mut distances);
    assigned.expect("an assignment");
    assert_eq!(labels, expected.labels, "{what}");
    assert_eq!(bits(&distances), bits(&expected.distances), "{what}");
    let mut members = Members::default();
    members.sort(&labels, k);
    let frozen = k / 3;
    let change = Change {
        labels: &labels,
        before: None,
        frozen,
    };
    let (mut found, mut wanted) = (centroids.to_vec(), centroids.to_vec());
    let update = backend.update(&change, &mut found).expect("an update");
    let moved = &update.moved;
    let sizes = means(rows, Isa::Portable, weights, &members, moved, &mut wanted);
    assert_eq!(update.sizes, sizes, "{what}");
    assert_eq!(bits(&found), bits(&wanted), "{what}");
    assert!(moved.iter().skip(frozen).all(|moved| *moved), "{what}");
}

/// Of the points, whole and halved: some coincide with a point, some with each other.
fn centroids_of(values: &[f32], d: usize, k: usize) -> Vec<f32> {
    let n = values.len() / d;
    let rows = (0..k).map(|c| (c * 7 % n, if c % 2 == 0 { 1.0 } else { 0.5 }));
    rows.flat_map(|(i, by)| values[i * d..][..d].iter().map(move |x| x * by))
        .collect()
}

#[test]
fn labels_and_means_have_the_bits_of_the_processor() {
    if !device() {
        return;
    }
    for (n, k, d) in [
        (1, 1, 1),
        (257, 3, 1),
        (255, 33, 7),
        (300, 64, 16),
        (258, 97, 33),
        (40, 300, 17),
        (33, 31, 130),
    ] {
        for (what, values) in kinds(n, d) {
            check(what, &values, &centroids_of(&values, d, k), d, None);
        }
    }
    // Labels of two digits, and more than one sorting block.
    let values = numbers(4500 * 3, 3);
    let mut cuda = check("two digits", &values, &values[..600 * 3], 3, None);
    // Sums in f64 seldom show the order of members in an f32, so it is looked at.
    let last = cuda.work.sort(4500).expect("sorted labels");
    let copy = |values: &CudaSlice<u32>| cuda.work.card.stream.clone_dtoh(values);
    let labels = copy(&cuda.work.on.labels).expect("a copy");
    let mut members: Vec<u32> = (0..4500).collect();
    members.sort_by_key(|i| labels[*i as usize]);
    let found = copy(&cuda.work.on.members[last]);
    assert_eq!(found.expect("a copy"), members);
}

#[test]
fn many_columns_and_many_tiles_have_the_bits_of_the_processor() {
    if !device() {
        return;
    }
    // Points that stay in shared memory and points that do not, rings that turn.
    for (n, k, d) in [
        (260, 1300, 20),
        (65, 4200, 16),
        (65, 130, 129),
        (9, 290, 384),
        (7, 40, 2048),
    ] {
        let values = numbers(n * d, 13);
        let centroids = numbers(k * d, 14);
        check("many", &values, &centroids, d, None);
        check(
            "of many sizes",
            &of_many_sizes(&values),
            &of_many_sizes(&centroids),
            d,
            None,
        );
    }
}

#[test]
fn weights_are_those_of_the_processor() {
    if !device() {
        return;
    }
    let (n, d) = (400, 5);
    let values = of_many_sizes(&numbers(n * d, 4));
    let weights: Vec<f32> = (0..n).map(|i| (i % 4) as f32 * 0.3).collect();
    check("weighted", &values, &values[..37 * d], d, Some(&weights));
}

#[test]
fn the_first_of_equal_centroids_is_the_label_whatever_group_is_looked_at_first() {
    if !device() {
        return;
    }
    // Centroid 224 + c is centroid c: of another group, in the same lane.
    let (n, k, d) = (224, 300, 6);
    let values = numbers(n * d, 15);
    let centroids: Vec<f32> = (0..k * d).map(|at| values[at % (224 * d)]).collect();
    check("copies", &values, &centroids, d, None);
}

#[test]
fn points_with_more_candidates_than_slots_are_compared_with_all() {
    if !device() {
        return;
    }
    let (n, k, d) = (64, 400, 9);
    let values = numbers(n * d, 5);
    // Alike but for what bf16 does not see: the nearest can lie in any group.
    let noise = numbers(k * d, 7).into_iter().enumerate();
    let centroids: Vec<f32> = noise.map(|(at, x)| values[at % d] + x * 1e-4).collect();
    let cuda = check("much alike", &values, &centroids, d, None);
    let (stream, found) = (&cuda.work.card.stream, &cuda.work.on.found);
    let found = stream.clone_dtoh(found).expect("a copy");
    let overflowed = |count: &&u32| **count as usize > SLOTS;
    assert!(found[..n].iter().filter(overflowed).count() > n / 2);
}

#[test]
fn scores_of_the_pass_lie_within_half_a_window() {
    if !device() {
        return;
    }
    for d in [1, 15, 16, 17, 40, 129] {
        for (what, values) in kinds(70, d) {
            let rows = Matrix::new(&values, 70, d).expect("the right length");
            let origin = mean(rows);
            let mut cuda = at_once(&values, d, None, 1, BEST).expect("a device");
            let centroid: Vec<f32> = numbers(d, 6)
                .iter()
                .zip(&values)
                .map(|(c, x)| x + c * x.abs())
                .collect();
            let (work, loaded) = (&mut cuda.work, &cuda.loaded);
            let windows = work.pack(&loaded.set, &centroid).expect("packed centroids");
            let all = loaded.values.between(0, 70);
            let assigned = work.assign(&loaded.set, &all, &windows);
            assigned.expect("an assignment");
            let copy = |values: &CudaSlice<f32>| work.card.stream.clone_dtoh(values);
            let scores = copy(&work.on.best).expect("a copy");
            let errors = copy(&loaded.set.errors).expect("a copy");
            let norms = copy(&loaded.set.norms).expect("a copy");
            for i in 0..70 {
                let columns = rows.row(i).iter().zip(&centroid).zip(&origin);
                let of = columns.map(|((x, c), o)| {
                    let (c, o) = (f64::from(*c), f64::from(*o));
                    (f64::from(*x) - o) * (c - o) - (c - o).powi(2) / 2.0
                });
                let off = (f64::from(scores[i]) - of.sum::<f64>()).abs();
                let half = f64::from(windows.pass.of_length(errors[i], norms[i])) / 2.0;
                assert!(
                    off <= half,
                    "{what}, {d} columns: off by {off}, allowed {half}"
                );
            }
        }
    }
}

#[test]
fn scores_in_f32_that_lose_at_every_column_are_within_their_window() {
    if !device() {
        return;
    }
    // Scores begin near -128, of which half a last place is 2⁻¹⁷. Until the last column brings them
    // back each product is a bit less than that, and dropped, or a bit more, and rounded up.
    let half = 1.0 / (1 << 17) as f32;
    let more = [1.0 + half * 65.0 / 64.0; 127];
    let less = [1.0 + half * 63.0 / 64.0; 127];
    let point = [&[1.0; 127][..], &[1024.0]].concat();
    let centroids = [&more[..], &[1024.125], &less, &[1024.125]].concat();
    let values = point.repeat(40);
    let cuda = check("lost in f32", &values, &centroids, 128, None);
    let labels = cuda.work.card.stream.clone_dtoh(&cuda.work.on.labels);
    assert_eq!(labels.expect("a copy"), [1; 40]);
}

/// What two fits must share: all but the device and the time.
fn without_time(mut fit: Fit) -> Fit {
    fit.device = crate::Device::Cpu;
    fit.iterations.iter_mut().for_each(|i| i.seconds = 0.0);
    fit
}

/// Clusterings of `n` points of `d` columns that are unlike each other.
fn clusterings(n: usize, d: usize) -> Vec<(&'static str, KMeansBuilder)> {
    let base = || {
        let builder = KMeans::builder(13).iterations(4).restarts(2);
        builder.min_points_per_centroid(0)
    };
    let given = Init::Given(numbers(4 * d, 9));
    let weights = (0..n).map(|i| (i % 3) as f32);
    let sample = base().max_points_per_centroid(9);
    vec![
        ("plain", base()),
        ("plus plus", base().init(Init::PlusPlus).seed(3)),
        ("weights", base().weights(weights.clone().collect())),
        ("spherical", base().spherical(true)),
        ("subsample", sample.clone().weights(weights.collect())),
        ("frozen", base().init(given.clone()).frozen(true)),
        ("warm", base().init(given).empty(Empty::Farthest)),
        ("far", sample.empty(Empty::Farthest)),
    ]
}

#[test]
fn fits_are_those_of_the_processor() {
    if !device() {
        return;
    }
    let (n, d) = (420, 6);
    let values = numbers(n * d, 8);
    // Rows apart from each other.
    let rows = Matrix::with_stride(&values, n, d - 1, d).expect("the right length");
    for (what, builder) in clusterings(n, d - 1) {
        let on = |device| {
            let kmeans = builder.clone().device(device).build().expect("settings");
            kmeans.fit(rows).expect("a fit")
        };
        let (cpu, cuda) = (on(crate::Device::Cpu), on(crate::Device::Cuda(0)));
        assert_eq!(cuda.device, crate::Device::Cuda(0));
        assert_eq!(without_time(cpu), without_time(cuda), "{what}");
    }
    // Too little to be worth a device.
    let auto = KMeans::builder(13).device(crate::Device::Auto).build();
    let auto = auto.expect("settings").fit(rows).expect("a fit");
    assert_eq!(auto.device, crate::Device::Cpu);
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let values = numbers(64, 1);
    let kmeans = KMeans::builder(2).device(crate::Device::Cuda(99));
    let points = Matrix::new(&values, 32, 2).expect("the right length");
    let error = kmeans.build().expect("settings").fit(points).unwrap_err();
    let ClusterError::DeviceMissing { reason } = &error else {
        panic!("{error}");
    };
    let known = ["no CUDA driver", "no device 99 among", "does not start"];
    assert!(known.iter().any(|known| reason.contains(known)), "{reason}");
}
