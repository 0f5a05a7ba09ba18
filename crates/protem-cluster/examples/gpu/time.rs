//! Seconds of an iteration, and of each kernel in it.

use crate::points::{mixture, spread};
use crate::{Outcome, Request};
use protem_cluster::{Device, Init, KMeans, Matrix, assign, time_kernels};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Points, clusters, columns: an ImageNet of embeddings, and something that other programs take.
pub const SHAPES: [(usize, usize, usize); 2] = [(1_280_000, 100_000, 128), (200_000, 5000, 128)];
pub const SMALL: [(usize, usize, usize); 1] = [(600, 70, 16)];
/// Iterations that are timed, after one that is not.
pub const ITERATIONS: usize = 4;
/// Iterations in which kernels are timed one by one.
const BY_KERNEL: usize = 2;
/// Points whose labels are compared with the processor's.
const SAMPLE: usize = 2048;
/// Kernels of an update; the others, but for `pack_points`, are of an assignment, and of those a fit
/// has one more.
const OF_UPDATE: [&str; 5] = [
    "count_digits",
    "sum_counts",
    "move_by_digit",
    "find_begins",
    "mean_of_members",
];

/// Where `points` of a shape lie, for other programs: raw little-endian values.
pub fn file(folder: &std::path::Path, (n, _, d): (usize, usize, usize)) -> PathBuf {
    folder.join(format!("mixture-{n}x{d}.f32"))
}

/// The answer, and whether the sample's labels were the processor's.
pub fn run(request: &Request, device: Value) -> Outcome<(Value, bool)> {
    let shapes: &[_] = if request.small { &SMALL } else { &SHAPES };
    let mut rows = Vec::new();
    let mut wrong = 0;
    for shape in shapes.iter().copied() {
        let (n, k, d) = shape;
        let values = mixture(n, d);
        if let Some(folder) = &request.points {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(file(folder, shape), bytes)?;
        }
        let row = row(&values, shape)?;
        eprintln!("{n} × {d}, {k} clusters: {} s an iteration", row["seconds"]);
        wrong += row["sample_differs"].as_u64().unwrap_or(1);
        rows.push(row);
    }
    let answer = json!({ "device": device, "rows": rows, "wrong": wrong });
    Ok((answer, wrong == 0))
}

fn row(values: &[f32], (n, k, d): (usize, usize, usize)) -> Outcome<Value> {
    let points = Matrix::new(values, n, d)?;
    let kmeans = |iterations| {
        KMeans::builder(k)
            .iterations(iterations)
            .init(Init::Given(spread(values, d, k)))
            .max_points_per_centroid(n)
            .min_points_per_centroid(0)
            .device(Device::Cuda(0))
            .build()
    };
    let begun = Instant::now();
    let fit = kmeans(ITERATIONS + 1)?.fit(points)?;
    let whole = begun.elapsed().as_secs_f64();
    let each: Vec<f64> = fit.iterations.iter().map(|i| i.seconds).collect();
    let mut sorted = each[1.min(each.len() - 1)..].to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let (timed, times) = time_kernels(|| kmeans(BY_KERNEL)?.fit(points))?;
    timed?;
    let kernels: Vec<Value> = times
        .iter()
        .map(|time| {
            let times = match time.kernel {
                "pack_points" => 1,
                kernel if OF_UPDATE.contains(&kernel) => BY_KERNEL,
                _ => BY_KERNEL + 1,
            };
            json!({
                "kernel": time.kernel,
                "launches": time.launches / times,
                "milliseconds": time.seconds * 1e3 / times as f64,
            })
        })
        .collect();
    let sample = SAMPLE.min(n);
    let chosen = spread(values, d, sample);
    let expected = assign(Matrix::new(&chosen, sample, d)?, fit.centroid_rows()?, None)?;
    let differs = (0..sample)
        .filter(|at| {
            let i = (*at as u64 * n as u64 / sample as u64) as usize;
            let same = fit.distances[i].to_bits() == expected.distances[*at].to_bits();
            fit.labels[i] != expected.labels[*at] || !same
        })
        .count();
    Ok(json!({
        "n": n, "k": k, "d": d, "seconds": median, "each": each,
        "whole_fit": whole, "objective": fit.iterations[fit.iterations.len() - 1].objective,
        "kernels": kernels, "sample": sample, "sample_differs": differs,
    }))
}
