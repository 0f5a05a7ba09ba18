//! Times iterations from given first centroids, for comparison with other programs:
//! `iterate POINTS.f32 N D K ITERATIONS [CENTROIDS.f32]`, raw little-endian values; prints JSON.
//! Without centroids, the first K points are taken. `PROTEM_ISA` forces a level down.

use protem_cluster::{Init, Isa, KMeans, Matrix};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [points, n, d, k, iterations, given @ ..] = &arguments[..] else {
        return Err("iterate POINTS.f32 N D K ITERATIONS [CENTROIDS.f32]".into());
    };
    let (n, d, k): (usize, usize, usize) = (n.parse()?, d.parse()?, k.parse()?);
    let points = read(points, n * d)?;
    let first = match given.first() {
        Some(path) => read(path, k * d)?,
        None => points[..k * d].to_vec(),
    };
    let kmeans = KMeans::builder(k)
        .iterations(iterations.parse()?)
        .max_points_per_centroid(n)
        .min_points_per_centroid(1)
        .init(Init::Given(first))
        .threads(Some(1))
        .build()?;
    let begun = Instant::now();
    let fit = kmeans.fit(Matrix::new(&points, n, d)?)?;
    let total = begun.elapsed().as_secs_f64();
    let mut each: Vec<f64> = fit.iterations.iter().map(|i| i.seconds).collect();
    each.sort_by(f64::total_cmp);
    let last = fit.iterations.last().map_or(0.0, |i| i.objective);
    println!(
        "{{\"isa\": \"{}\", \"n\": {n}, \"k\": {k}, \"iterations\": {}, \"total\": {total:.4}, \
         \"median_iteration\": {:.5}, \"least_iteration\": {:.5}, \"objective_last\": {last:.6}, \
         \"objective\": {:.6}}}",
        Isa::chosen()?.name(),
        fit.iterations.len(),
        each[each.len() / 2],
        each[0],
        fit.objective
    );
    Ok(())
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
