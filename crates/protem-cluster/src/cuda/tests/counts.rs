//! What an iteration asks of the driver, from the log of `cargo xtask kernels`' driver.

use super::*;
use std::ops::ControlFlow;

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
            "live" => asked.peak = asked.peak.max(amount),
            other => panic!("{other} in the driver's log"),
        }
    }
    asked
}

#[test]
fn an_iteration_asks_for_what_it_needs_and_no_more() {
    let Some(path) = std::env::var_os("PROTEM_DRIVER_LOG") else {
        eprintln!("skipped: this driver keeps no log");
        return;
    };
    assert!(device());
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    let (n, k, d) = (700, 300, 20);
    let values = numbers(n * d, 11);
    let points = Matrix::new(&values, n, d).expect("the right length");
    let builder = KMeans::builder(k).iterations(3).min_points_per_centroid(0);
    let kmeans = builder.device(crate::Device::Cuda(0)).build();
    let begin = read().lines().count();
    let mut lines = Vec::new();
    let listener = |_: &crate::IterationStats| {
        lines.push(read().lines().count());
        ControlFlow::Continue(())
    };
    let fit = kmeans.expect("settings").fit_with(points, listener);
    assert_eq!(fit.expect("a fit").iterations.len(), 3);
    let log = read();

    // Points and all memory, once, before the first iteration.
    let shape = Shape { n, k, columns: d };
    let all = asked(&log, begin);
    assert_eq!(all.peak, bytes(shape, chunk(shape, BEST), false));
    assert_eq!(all.allocations, 24);
    let later = asked(&log, lines[0]);
    assert_eq!(later.allocations, 0);

    // One iteration: labels have two digits, and all points fit into one chunk.
    let until: Vec<&str> = log.lines().take(lines[1]).collect();
    let one = asked(&until.join("\n"), lines[0]);
    let launches = [
        "pack_centroids",
        "best_of_groups",
        "take_candidates",
        "decide",
        "count_digits",
        "sum_counts",
        "move_by_digit",
        "count_digits",
        "sum_counts",
        "move_by_digit",
        "find_begins",
        "mean_of_members",
    ];
    assert_eq!(one.launches, launches);
    let centroids = k * d * 4;
    assert_eq!(one.copied_in, (2, centroids + k));
    let (of_points, of_clusters) = (n * 8, (k + 1) * 4 + k * 8);
    assert_eq!(
        one.copied_out,
        (6, 16 + of_points + of_clusters + centroids)
    );
    assert_eq!(one.set, (1, 16));
    // The final assignment: one more pass, without an update.
    let last = asked(&log, lines[2]);
    assert_eq!(last.launches, launches[..4]);
}
