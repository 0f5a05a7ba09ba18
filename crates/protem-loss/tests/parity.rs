//! Values and gradients against PyTorch (`fixtures/torch_losses.py` made the numbers).

use candle_core::{Device, Tensor, Var};
use protem_loss::{BatchClustering, Prototypes, info_nce, proto_nce, proto_nce_term};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    info_nce: Vec<InfoNce>,
    proto_nce: Vec<ProtoNce>,
}

#[derive(Deserialize)]
struct InfoNce {
    batch: usize,
    dim: usize,
    queue_len: usize,
    temperature: f64,
    queries: Vec<f32>,
    keys: Vec<f32>,
    queue: Vec<f32>,
    loss: f32,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct ProtoNce {
    batch: usize,
    dim: usize,
    count: usize,
    queries: Vec<f32>,
    prototypes: Vec<f32>,
    concentration: Vec<f32>,
    positives: Vec<u32>,
    negatives: Vec<u32>,
    loss: f32,
    gradient: Vec<f32>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/torch_losses.json")).unwrap()
}

fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

/// A logit is a sum of products of unit vectors over a temperature: rounding in it grows with 1/τ, and so does the gradient.
fn assert_near(got: &[f32], want: &[f32], temperature: f32) {
    let tolerance = 4.0 * f32::EPSILON / temperature;
    let scale = want.iter().fold(1f32, |m, x| m.max(x.abs()));
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * scale, "[{i}]: {g} against {w}");
    }
}

fn gradient(loss: &Tensor, queries: &Var) -> Vec<f32> {
    let gradients = loss.backward().unwrap();
    let gradient = gradients.get(queries.as_tensor()).unwrap();
    gradient.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn info_nce_is_torchs() {
    for case in fixture().info_nce {
        let shape = (case.batch, case.dim);
        let queries = Var::from_tensor(&tensor(&case.queries, shape)).unwrap();
        let keys = tensor(&case.keys, shape);
        let queue = tensor(&case.queue, (case.queue_len, case.dim));
        let loss = info_nce(&queries, &keys, &queue, case.temperature).unwrap();
        let temperature = case.temperature as f32;
        assert_near(&[loss.to_scalar().unwrap()], &[case.loss], temperature);
        assert_near(&gradient(&loss, &queries), &case.gradient, temperature);
    }
}

fn prototypes(case: &ProtoNce) -> Prototypes {
    let vectors = tensor(&case.prototypes, (case.count, case.dim));
    let concentration = Tensor::new(&case.concentration[..], &Device::Cpu).unwrap();
    Prototypes::new(vectors, concentration).unwrap()
}

#[test]
fn proto_nce_is_torchs() {
    for case in fixture().proto_nce {
        let queries = Var::from_tensor(&tensor(&case.queries, (case.batch, case.dim))).unwrap();
        let loss = proto_nce_term(
            &queries,
            &prototypes(&case),
            &case.positives,
            &case.negatives,
        )
        .unwrap();
        let smallest = case.concentration.iter().copied().fold(1f32, f32::min);
        assert_near(&[loss.to_scalar().unwrap()], &[case.loss], smallest);
        assert_near(&gradient(&loss, &queries), &case.gradient, smallest);
    }
}

#[test]
fn proto_nce_is_the_mean_over_clusterings() {
    let case = &fixture().proto_nce[0];
    let queries = Var::from_tensor(&tensor(&case.queries, (case.batch, case.dim))).unwrap();
    let fine = prototypes(case);
    let coarse = Prototypes::new(
        fine.vectors().narrow(0, 3, 4).unwrap(),
        fine.concentration().narrow(0, 3, 4).unwrap(),
    )
    .unwrap();
    let clusterings = [
        BatchClustering {
            prototypes: &fine,
            positives: &case.positives,
            first: 0,
            negatives: &case.negatives,
        },
        BatchClustering {
            prototypes: &coarse,
            positives: &[0, 1, 0, 2, 2],
            first: 0,
            negatives: &[3],
        },
    ];
    let terms = clusterings.map(|c| {
        let term = proto_nce_term(&queries, c.prototypes, c.positives, c.negatives).unwrap();
        let gradient = gradient(&term, &queries);
        (term.to_scalar::<f32>().unwrap(), gradient)
    });
    let mean = proto_nce(&queries, &clusterings).unwrap();
    let expected: Vec<f32> = terms[0]
        .1
        .iter()
        .zip(&terms[1].1)
        .map(|(a, b)| (a + b) / 2.0)
        .collect();
    assert_near(
        &[mean.to_scalar().unwrap()],
        &[(terms[0].0 + terms[1].0) / 2.0],
        0.1,
    );
    assert_near(&gradient(&mean, &queries), &expected, 0.1);
}
