//! Fits on the device beside fits on the processor: the same bits, or by how many they differ.

use crate::points::{kinds, mixture, spread};
use crate::{Outcome, Request};
use protem_cluster::{Device, Fit, Init, KMeans, KMeansBuilder, Matrix};
use serde_json::{Value, json};

/// Points, clusters, columns: odd ones, and as many columns as do not stay in shared memory.
const SHAPES: [(usize, usize, usize); 4] = [
    (1000, 257, 7),
    (3000, 999, 129),
    (1500, 130, 1),
    (600, 130, 2048),
];
const LARGE: (usize, usize, usize) = (50_000, 4000, 128);
const SMALL: [(usize, usize, usize); 2] = [(70, 40, 7), (30, 17, 400)];

/// The answer, and whether all bits were the same.
pub fn run(request: &Request, device: Value) -> Outcome<(Value, bool)> {
    let shapes: &[_] = if request.small { &SMALL } else { &SHAPES };
    let mut cases = Vec::new();
    for (n, k, d) in shapes.iter().copied() {
        for (name, values) in kinds(n, d) {
            cases.push(compare(name, &values, d, k, |builder| builder)?);
        }
        let values = mixture(n, d);
        let weights = (0..n).map(|i| (i % 4) as f32 * 0.3).collect::<Vec<f32>>();
        let weighted = |builder: KMeansBuilder| builder.weights(weights.clone());
        cases.push(compare("weighted", &values, d, k, weighted)?);
        let spherical = |builder: KMeansBuilder| builder.spherical(true);
        cases.push(compare("spherical", &values, d, k, spherical)?);
    }
    if !request.small {
        let (n, k, d) = LARGE;
        cases.push(compare("clustered", &mixture(n, d), d, k, |builder| {
            builder
        })?);
    }
    let wrong = cases
        .iter()
        .filter(|case| case["differs"] != json!(0))
        .count();
    let answer = json!({ "device": device, "cases": cases, "wrong": wrong });
    Ok((answer, wrong == 0))
}

/// Two iterations and the assignment after them on both.
fn compare(
    name: &str,
    values: &[f32],
    d: usize,
    k: usize,
    change: impl Fn(KMeansBuilder) -> KMeansBuilder,
) -> Outcome<Value> {
    let n = values.len() / d;
    let points = Matrix::new(values, n, d)?;
    let fit = |device| -> Outcome<Fit> {
        let builder = KMeans::builder(k)
            .iterations(2)
            .init(Init::Given(spread(values, d, k)))
            .max_points_per_centroid(n)
            .min_points_per_centroid(0);
        Ok(change(builder).device(device).build()?.fit(points)?)
    };
    let (cpu, cuda) = (fit(Device::Cpu)?, fit(Device::Cuda(0))?);
    let floats = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count()
    };
    let labels = cpu.labels.iter().zip(&cuda.labels);
    let labels = labels.filter(|(a, b)| a != b).count();
    let distances = floats(&cpu.distances, &cuda.distances);
    let centroids = floats(&cpu.centroids, &cuda.centroids);
    let objectives = cpu.iterations.iter().zip(&cuda.iterations);
    let objectives = objectives
        .filter(|(a, b)| a.objective.to_bits() != b.objective.to_bits())
        .count();
    let differs = labels + distances + centroids + objectives;
    let good = if differs == 0 {
        "the same bits"
    } else {
        "DIFFERENT"
    };
    eprintln!("{name}, {n} × {d}, {k} clusters: {good}");
    Ok(json!({
        "points": name, "n": n, "d": d, "k": k, "differs": differs,
        "labels": labels, "distances": distances, "centroids": centroids, "objectives": objectives,
    }))
}
