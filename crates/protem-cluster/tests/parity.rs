//! Against faiss and the reference's concentration. Expected values: `fixtures/make.py`.

use protem_cluster::{ConcentrationParams, Init, KMeans, Matrix, concentration};

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect()
}

/// From the same centroids, faiss and protem-cluster follow the same path.
fn follows_faiss(bytes: &[u8], expected: &str, iterations: usize) {
    let points: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")))
        .collect();
    let lines: Vec<Vec<f64>> = expected.lines().map(numbers).collect();
    let [n, d, k] = lines[0][..] else {
        panic!("n d k: {:?}", lines[0]);
    };
    let (n, d, k) = (n as usize, d as usize, k as usize);
    let fit = KMeans::builder(k)
        .iterations(iterations)
        .max_points_per_centroid(n)
        .init(Init::Given(points[..k * d].to_vec()))
        .build()
        .unwrap()
        .fit(Matrix::new(&points, n, d).unwrap())
        .unwrap();
    let steps = &lines[1..lines.len() - 1];
    assert!(fit.iterations.len() >= steps.len() - 1, "{}", steps.len());
    // faiss sums its f32 distances in f32.
    let near = |got: f64, want: f64| (got - want).abs() < 1e-5 * want;
    for (stats, step) in fit.iterations.iter().zip(steps) {
        assert!(near(stats.objective, step[0]), "{stats:?}, faiss {step:?}");
        assert!(near(stats.imbalance, step[1]), "{stats:?}, faiss {step:?}");
    }
    let last = lines[lines.len() - 1][0];
    assert!(near(fit.objective, last), "{}, faiss {last}", fit.objective);
}

#[test]
fn unit_vectors_in_clusters_follow_faiss() {
    let bytes = include_bytes!("fixtures/blobs.f32");
    follows_faiss(bytes, include_str!("fixtures/blobs.txt"), 20);
}

#[test]
fn points_without_structure_follow_faiss() {
    let bytes = include_bytes!("fixtures/uniform.f32");
    follows_faiss(bytes, include_str!("fixtures/uniform.txt"), 25);
}

#[test]
fn concentration_equals_the_reference() {
    let lines: Vec<Vec<f64>> = include_str!("fixtures/concentration.txt")
        .lines()
        .map(numbers)
        .collect();
    let labels: Vec<u32> = lines[0].iter().map(|l| *l as u32).collect();
    let distances: Vec<f32> = lines[1].iter().map(|d| *d as f32).collect();
    let expected = &lines[2];
    let params = ConcentrationParams::default();
    let phi = concentration(&distances, &labels, expected.len(), &params).unwrap();
    for (got, want) in phi.iter().zip(expected) {
        assert!((*got as f64 - want).abs() < 1e-7, "{got} {want}");
    }
}
