//! Three groups of points, found again: `cargo run -p protem-cluster --example quickstart`.

use protem_cluster::{ClusterError, ConcentrationParams, KMeans, Matrix, concentration};

fn main() -> Result<(), ClusterError> {
    // 300 points of the plane on three circles.
    let points: Vec<f32> = (0..300)
        .flat_map(|i| {
            let group = i % 3;
            let (x, y) = [(0.0, 0.0), (5.0, 1.0), (2.0, 6.0)][group];
            let radius = [0.2, 0.5, 1.0][group];
            let angle = i as f32;
            [x + radius * angle.cos(), y + radius * angle.sin()]
        })
        .collect();

    let kmeans = KMeans::builder(3).restarts(5).seed(7).build()?;
    let fit = kmeans.fit(Matrix::new(&points, 300, 2)?)?;
    println!(
        "{} iterations of 5 restarts, objective {:.3}",
        fit.iterations.len(),
        fit.objective
    );

    let lengths: Vec<f32> = fit.distances.iter().map(|square| square.sqrt()).collect();
    let phi = concentration(
        &lengths,
        &fit.labels,
        fit.k,
        &ConcentrationParams::default(),
    )?;
    for (c, centroid) in fit.centroids.chunks_exact(fit.dim).enumerate() {
        println!(
            "cluster {c}: {} points around {centroid:.2?}, φ = {:.3}",
            fit.sizes[c], phi[c]
        );
    }
    Ok(())
}
