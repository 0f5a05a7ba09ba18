//! Times iterations from given first centroids, for comparison with other programs:
//! `iterate POINTS.f32 N D K ITERATIONS [CENTROIDS.f32|-] [on|off] [THREADS]`, raw little-endian
//! values; prints JSON. Without centroids, the first K points are taken; `on` and `off` are of
//! pruning; one thread unless more are asked for. `PROTEM_ISA` forces a level down.
//!
//! Seconds are the process's CPU time, which a busy machine changes least; `median_wall` is not.
//! Each iteration's go to standard error.

use protem_cluster::{Init, Isa, KMeans, Matrix};
use std::error::Error;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [points, n, d, k, iterations, given @ ..] = &arguments[..] else {
        return Err(
            "iterate POINTS.f32 N D K ITERATIONS [CENTROIDS.f32|-] [on|off] [THREADS]".into(),
        );
    };
    let (n, d, k): (usize, usize, usize) = (n.parse()?, d.parse()?, k.parse()?);
    let points = read(points, n * d)?;
    let first = match given.first() {
        Some(path) if path != "-" => read(path, k * d)?,
        _ => points[..k * d].to_vec(),
    };
    let kmeans = KMeans::builder(k)
        .iterations(iterations.parse()?)
        .max_points_per_centroid(n)
        .min_points_per_centroid(1)
        .init(Init::Given(first))
        .prune(given.get(1).is_none_or(|prune| prune != "off"))
        .threads(Some(given.get(2).map_or(Ok(1), |threads| threads.parse())?))
        .build()?;
    let begun = cpu_seconds();
    let mut each = vec![];
    let mut since = begun;
    let fit = kmeans.fit_with(Matrix::new(&points, n, d)?, |_| {
        let now = cpu_seconds();
        each.push(now - since);
        since = now;
        ControlFlow::Continue(())
    })?;
    let total = cpu_seconds() - begun;
    let sum: f64 = each.iter().sum();
    let shown: Vec<String> = each.iter().map(|s| format!("{s:.4}")).collect();
    eprintln!("{}", shown.join(" "));
    // The first one includes what is prepared once.
    each.sort_by(f64::total_cmp);
    let mut wall: Vec<f64> = fit.iterations.iter().map(|i| i.seconds).collect();
    wall.sort_by(f64::total_cmp);
    let last = fit.iterations.last().map_or(0.0, |i| i.objective);
    println!(
        "{{\"isa\": \"{}\", \"n\": {n}, \"k\": {k}, \"iterations\": {}, \"total\": {total:.4}, \"sum\": {sum:.4}, \
         \"median_wall\": {:.5}, \"median_iteration\": {:.5}, \"least_iteration\": {:.5}, \"objective_last\": {last:.6}, \
         \"objective\": {:.6}}}",
        Isa::chosen()?.name(),
        fit.iterations.len(),
        wall[wall.len() / 2],
        each[each.len() / 2],
        each[0],
        fit.objective
    );
    Ok(())
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The first `len` values of a file.
fn read(path: &str, len: usize) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let bytes = bytes.get(..len * 4).ok_or("the file is too short")?;
    let values = bytes.chunks_exact(4);
    Ok(values
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}
