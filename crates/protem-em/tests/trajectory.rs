//! Twenty PCL steps against PyTorch in float64: `fixtures/torch_trajectory.py` made the numbers.

#[path = "../../protem-encoder/tests/formula/mod.rs"]
mod formula;

use protem_em::{Batch, Clustering, LossConfig, Losses, m_step, normalise_rows};
use protem_encoder::{Arch, Encoder, EncoderConfig, Head, MomentumPair, Stem};
use protem_loss::Queue;
use protem_ops::Precision;
use protem_ops::optim::Sgd;
use serde::Deserialize;
use std::collections::BTreeMap;

const STEPS: usize = 20;
const BATCH: usize = 16;
const SIDE: usize = 16;
const DATASET: usize = 48;
const QUEUE: usize = 64;
const DIM: usize = 16;
const TAU: f64 = 0.2;
const CLUSTERS: [usize; 3] = [5, 12, 30];
const SGD: Sgd = Sgd {
    learning_rate: 0.05,
    momentum: 0.9,
    weight_decay: 1e-4,
};

#[derive(Deserialize)]
struct Expected {
    instance: Vec<f64>,
    prototype: Vec<f64>,
    query: Vec<[f64; 5]>,
    key: Vec<[f64; 5]>,
}

fn pair() -> MomentumPair {
    let config = EncoderConfig {
        arch: Arch::Resnet18,
        stem: Stem::Cifar,
        width: 4,
        head: Head::V2,
        dim: DIM,
        split_bn: 2,
    };
    let mut pair = MomentumPair::new(config, Precision::F32, 0, 0.99);
    formula::start(&mut pair.query);
    formula::start(&mut pair.key);
    pair
}

fn matrix(name: &str, rows: usize) -> Vec<f32> {
    let values = formula::uniform(name).take(rows * DIM);
    values.map(|u| u as f32).collect()
}

fn queue() -> Queue {
    let mut rows = matrix("queue", QUEUE);
    normalise_rows(&mut rows, DIM);
    Queue::from_parts(rows, DIM, 0, 0).expect("whole rows")
}

fn clustering(k: usize) -> Clustering {
    let labels = (0..DATASET).map(|i| ((7 * i + i / k) % k) as u32).collect();
    let concentration = formula::uniform(&format!("concentration {k}"))
        .take(k)
        .map(|u| (TAU * (1.0 + 0.5 * u)) as f32)
        .collect();
    let centroids = matrix(&format!("centroids {k}"), k);
    Clustering::new(labels, centroids, concentration, DIM).expect("parts that belong together")
}

/// Runs the steps; both encoders and each step's losses.
fn run() -> (MomentumPair, Vec<Losses>) {
    let (mut pair, mut queue, clusterings) = (pair(), queue(), CLUSTERS.map(clustering));
    // More negatives than there are prototypes: all outside the batch, in an order without effect.
    let config = LossConfig {
        temperature: TAU,
        negatives: 1000,
    };
    let mut gradient = vec![0.0; pair.query.parameters().len()];
    let mut velocity = gradient.clone();
    let losses = (0..STEPS).map(|step| {
        let indices: Vec<u32> = (0..BATCH)
            .map(|i| ((step * BATCH + i) * 5 % DATASET) as u32)
            .collect();
        pair.follow();
        let views = |name| {
            let name = format!("{name} 0 {step}");
            formula::images(&pair.query, &name, (BATCH, SIDE, SIDE))
        };
        let batch = Batch {
            indices: &indices,
            queries: views("queries"),
            keys: views("keys"),
            key_rows: None,
            ranks: &mut protem_em::Ranks::alone(),
        };
        let losses = m_step(
            &mut pair,
            &mut queue,
            &clusterings,
            &config,
            (0, step as u64),
            batch,
            &mut gradient,
        )
        .expect("a step");
        SGD.step(pair.query.parameters_mut(), &gradient, &mut velocity);
        losses
    });
    let losses = losses.collect();
    (pair, losses)
}

/// Greatest error of a tensor's change, by its norm and products, relative to the change.
fn error_of_change(encoder: &Encoder, start: &Encoder, expected: &[[f64; 5]]) -> f64 {
    let change: BTreeMap<&str, Vec<f32>> = encoder
        .tensors()
        .zip(start.tensors())
        .filter(|(t, _)| !t.name.contains("running"))
        .map(|(now, then)| {
            let pairs = now.values.iter().zip(then.values);
            (now.name, pairs.map(|(a, b)| a - b).collect())
        })
        .collect();
    assert_eq!(change.len(), expected.len());
    let errors = change
        .iter()
        .zip(expected)
        .flat_map(|((name, values), row)| {
            let norm = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let products = formula::projections::<4>(name, values);
            let got = [[norm.sqrt()].as_slice(), &products].concat();
            got.into_iter()
                .zip(row)
                .map(|(g, w)| (g - w).abs() / row[0])
                .collect::<Vec<f64>>()
        });
    // Not `f64::max`, which would drop a NaN.
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

#[test]
fn twenty_steps_follow_torch() {
    let expected: Expected =
        serde_json::from_str(include_str!("fixtures/torch_trajectory.json")).expect("the fixture");
    let start = pair();
    let (pair, losses) = run();
    let relative = |got: f32, want: f64| (f64::from(got) - want).abs() / want;
    for (step, losses) in losses.iter().enumerate() {
        let instance = relative(losses.instance, expected.instance[step]);
        let prototype = losses.prototype.expect("clusterings were given");
        let prototype = relative(prototype, expected.prototype[step]);
        println!("step {step}: {instance:.1e} {prototype:.1e}"); // seen with --nocapture
        assert!(
            instance < 1e-4 && prototype < 1e-4,
            "step {step}: InfoNCE {instance:.1e}, ProtoNCE {prototype:.1e} off"
        );
    }
    // Steps multiply rounding: PyTorch's float32 ends 1e-2 from its float64.
    for (name, now, then, rows) in [
        ("query", &pair.query, &start.query, &expected.query),
        ("key", &pair.key, &start.key, &expected.key),
    ] {
        let error = error_of_change(now, then, rows);
        println!("{name}: {error:.1e}");
        assert!(error < 2e-2, "the {name} encoder ends {error:.1e} off");
    }
}
