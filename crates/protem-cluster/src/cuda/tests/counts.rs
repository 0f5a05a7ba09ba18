//! What an iteration asks of the driver, from the log of `cargo xtask kernels`' driver.

use super::*;
use crate::cuda::memory::of_sums;
use std::ops::ControlFlow;
use std::path::Path;

/// What the driver did, from line `from` of its log on.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    launches: Vec<String>,
    /// Copies to the device, copies from it, memory set, and their bytes.
    copied_in: (usize, usize),
    copied_out: (usize, usize),
    set: (usize, usize),
    allocations: usize,
    /// The most bytes allocated at once.
    peak: usize,
}

fn asked(log: &str, from: usize) -> Asked {
    let mut asked = Asked::default();
    for line in log.lines().skip(from) {
        let mut words = line.split(' ');
        let (what, name, amount) = (words.next(), words.next(), words.next());
        let amount: usize = amount.and_then(|a| a.parse().ok()).expect("a number");
        let count = |(times, bytes): &mut (usize, usize)| {
            *times += 1;
            *bytes += amount;
        };
        match what.expect("a word") {
            "launch" => asked.launches.push(name.expect("a name").into()),
            "in" => count(&mut asked.copied_in),
            "out" => count(&mut asked.copied_out),
            "set" => count(&mut asked.set),
            "alloc" => asked.allocations += 1,
            // A test may be the first to open the device.
            "context" => {}
            "live" => asked.peak = asked.peak.max(amount),
            other => panic!("{other} in the driver's log"),
        }
    }
    asked
}

/// Where this driver keeps its log, if it keeps one.
fn log() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PROTEM_DRIVER_LOG");
    if path.is_none() {
        eprintln!("skipped: this driver keeps no log");
    } else {
        assert!(device());
    }
    path.map(Into::into)
}

/// The whole log after some iterations, and how long it was before them and after each.
fn iterate(
    path: &Path,
    kmeans: KMeansBuilder,
    fit: impl FnOnce(KMeans, &mut dyn FnMut(&crate::IterationStats)),
) -> (String, Vec<usize>) {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = vec![read().lines().count()];
    let mut listener = |_: &crate::IterationStats| lines.push(read().lines().count());
    let kmeans = kmeans.min_points_per_centroid(0).build();
    fit(kmeans.expect("settings"), &mut listener);
    (read(), lines)
}

/// What lines `from` to `to` of the log say.
fn between(log: &str, from: usize, to: usize) -> Asked {
    let until: Vec<&str> = log.lines().take(to).collect();
    asked(&until.join("\n"), from)
}

/// Launches of an assignment that fits into one chunk.
fn assignment() -> [&'static str; 4] {
    let card = Card::open(0).expect("a device");
    [
        "pack_centroids",
        card.kernels.pass(),
        "take_candidates",
        "decide",
    ]
}
/// Of sorting labels of two digits.
const SORT: [&str; 7] = [
    "count_digits",
    "sum_counts",
    "move_by_digit",
    "count_digits",
    "sum_counts",
    "move_by_digit",
    "find_begins",
];

/// Copies from the device in an iteration: bounds, labels and distances, begins, weights of
/// clusters, centroids.
fn out_of_iteration(n: usize, k: usize, d: usize) -> (usize, usize) {
    (6, 16 + n * 8 + (k + 1) * 4 + k * 8 + k * d * 4)
}

#[test]
fn an_iteration_asks_for_what_it_needs_and_no_more() {
    let Some(path) = log() else { return };
    let (n, k, d) = (700, 300, 20);
    let values = numbers(n * d, 11);
    let points = Matrix::new(&values, n, d).expect("the right length");
    let kmeans = KMeans::builder(k)
        .iterations(3)
        .device(crate::Device::Cuda(0));
    let (log, lines) = iterate(&path, kmeans, |kmeans, listener| {
        let listener = |stats: &crate::IterationStats| {
            listener(stats);
            ControlFlow::Continue(())
        };
        let fit = kmeans.fit_with(points, listener).expect("a fit");
        assert_eq!(fit.iterations.len(), 3);
    });

    // Points and all memory, once, before the first iteration.
    let shape = Shape { n, k, columns: d };
    let (set, buffers) = (of_set(shape, false), of_buffers(shape, chunk(shape, BEST)));
    let all = asked(&log, lines[0]);
    assert_eq!(all.peak, n * d * 4 + set + buffers);
    assert_eq!(all.allocations, 24);
    assert_eq!(asked(&log, lines[1]).allocations, 0);

    // One iteration: all points fit into one chunk.
    let one = between(&log, lines[1], lines[2]);
    let launches = [&assignment()[..], &SORT, &["mean_of_members"]].concat();
    assert_eq!(one.launches, launches);
    assert_eq!(one.copied_in, (2, k * d * 4 + k));
    assert_eq!(one.copied_out, out_of_iteration(n, k, d));
    assert_eq!(one.set, (1, 16));
    // The final assignment: one more pass, without an update.
    assert_eq!(asked(&log, lines[3]).launches, assignment());
}

#[test]
fn points_on_the_device_are_not_copied() {
    let Some(path) = log() else { return };
    let (n, k, d) = (700, 300, 20);
    let memory = Card::open(0).expect("a device").stream;
    let memory = memory.clone_htod(&numbers(n * d, 11)).expect("room");
    let address = cudarc::driver::DevicePtr::device_ptr(&memory, memory.stream()).0;
    // SAFETY: `memory` outlives the fit.
    let points = unsafe { DevicePoints::new(address, n, d, 0) }.expect("a shape");
    let (log, lines) = iterate(
        &path,
        KMeans::builder(k).iterations(2),
        |kmeans, listener| {
            let listener = |_, stats: &crate::IterationStats| {
                listener(stats);
                ControlFlow::Continue(())
            };
            let fits = kmeans.fit_many_on_device_with(points, &[k], listener);
            assert_eq!(fits.expect("fits")[0].iterations.len(), 2);
        },
    );
    // Before the first iteration: whether rows can be clustered, where they lie, first centroids.
    let first = between(&log, lines[0], lines[1]);
    let before = ["check_rows", "mean_of_rows", "pack_points", "take_rows"];
    let iteration = [&assignment()[..], &SORT, &["mean_of_members"]].concat();
    assert_eq!(first.launches, [&before[..], &iteration].concat());
    // A number, the origin, which points are first centroids; centroids and which are wanted.
    let copied_in = 4 + d * 4 + k * 4 + (k * d * 4 + k);
    assert_eq!(first.copied_in, (5, copied_in));
    // The number again, the origin, first centroids.
    let (copies, bytes) = out_of_iteration(n, k, d);
    let copied_out = (copies + 3, bytes + 4 + d * 4 + k * d * 4);
    assert_eq!(first.copied_out, copied_out);
    // Another iteration is as if points had been copied.
    let second = between(&log, lines[1], lines[2]);
    assert_eq!(second.launches, iteration);
    assert_eq!(second.copied_in, (2, k * d * 4 + k));
    assert_eq!(second.copied_out, (copies, bytes));
    // All of it beside the points, which were there before.
    let shape = Shape { n, k, columns: d };
    let (set, buffers) = (of_set(shape, false), of_buffers(shape, chunk(shape, BEST)));
    let passing = k * d * 4 + k * 4;
    assert_eq!(first.peak, n * d * 4 + set + buffers + passing);
}

#[test]
fn several_numbers_of_clusters_share_one_upload() {
    let Some(path) = log() else { return };
    let (n, d) = (900, 12);
    let values = numbers(n * d, 11);
    let points = Matrix::new(&values, n, d).expect("the right length");
    let weights = vec![0.5; n];
    let kmeans = KMeans::builder(2).iterations(2).weights(weights);
    let kmeans = kmeans.device(crate::Device::Cuda(0));
    // The last one iterates on a sample, and then assigns all.
    let kmeans = kmeans.max_points_per_centroid(40);
    let ks = [300, 25, 60, 7];
    let (log, lines) = iterate(&path, kmeans, |kmeans, _| {
        kmeans.fit_many(points, &ks).expect("fits");
    });
    let all = asked(&log, lines[0]);
    let packed = all.launches.iter().filter(|name| *name == "pack_points");
    assert_eq!(packed.count(), 2);
    let copies = |bytes: usize| {
        let line = format!("in - {bytes}");
        let of_fits = log.lines().skip(lines[0]);
        of_fits.filter(|found| **found == line).count()
    };
    assert_eq!((copies(n * d * 4), copies(n * 4)), (1, 1));
    assert_eq!((copies(280 * d * 4), copies(280 * 4)), (1, 1));
    // Beside points, weights and origins: centroids of each assignment, and which are wanted.
    let centroids: usize = ks.iter().map(|k| 3 * k * d * 4 + 2 * k).sum();
    let sets = (n + 280) * (d + 1) * 4 + 2 * d * 4;
    assert_eq!(all.copied_in.1, sets + centroids);
}

#[test]
fn a_block_is_copied_once_an_iteration() {
    let Some(path) = log() else { return };
    let (n, k, d, block) = (700, 300, 20, 256);
    let values = numbers(n * d, 11);
    let card = Card::open(0).expect("a device");
    let place = Place::Host(Matrix::new(&values, n, d).expect("the right length"));
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    let begin = read().lines().count();
    let blocks = Blocks::of(&card, &place, None, k, block);
    let mut blocks = blocks.expect("a device").expect("room");
    let made = read();
    let shape = Shape {
        n: block,
        k,
        columns: d,
    };
    let buffers = of_buffers(shape, chunk(shape, BEST)) + of_sums(shape);
    let room = asked(&made, begin);
    assert_eq!(room.peak, block * d * 4 + of_set(shape, false) + buffers);
    assert_eq!(room.allocations, 25);
    let begin = made.lines().count();
    let centroids = centroids_of(&values, d, k);
    same("counted", &mut blocks, &values, &centroids, d, None);
    let one = asked(&read(), begin);
    let of_block = [
        &["pack_points"],
        &assignment()[1..],
        &SORT,
        &["add_members"],
    ]
    .concat();
    let launches = [
        &assignment()[..1],
        &of_block,
        &of_block,
        &of_block,
        &["divide_sums"],
    ];
    assert_eq!(one.launches, launches.concat());
    assert_eq!(one.copied_in, (5, n * d * 4 + k * d * 4 + k));
    // Bounds; labels and distances of three blocks; weights of clusters, centroids.
    let out = (1 + 6 + 2, 16 + n * 8 + k * 8 + k * d * 4);
    assert_eq!(one.copied_out, out);
    assert_eq!(one.set, (3, 16 + of_sums(shape) + k * 8));
    assert_eq!(one.allocations, 0);
    // The last assignment, which no update follows, leaves out sorting and sums.
    let begin = read().lines().count();
    let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
    let assigned = blocks.assign(&centroids, 0, &mut labels, &mut distances);
    assigned.expect("an assignment");
    let of_block = [&["pack_points"], &assignment()[1..]].concat();
    let launches = [&assignment()[..1], &of_block, &of_block, &of_block];
    assert_eq!(asked(&read(), begin).launches, launches.concat());
}
