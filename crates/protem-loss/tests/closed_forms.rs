//! Cases whose value is known without another program, the closed-form gradient against the tape and against differences, and errors.

use candle_core::{D, DType, Device, Tensor, Var};
use protem_loss::{
    BatchClustering, LossError, NegativeStream, Prototypes, Queue, chance_level, info_nce,
    proto_nce, proto_nce_term, sample_negatives,
};

/// Normalised rows that depend on the seed.
fn rows(n: usize, d: usize, seed: u64) -> Tensor {
    let queue = Queue::new(n, d, 1, seed).unwrap();
    queue.tensor().clone()
}

fn scalar(t: &Tensor) -> f32 {
    t.to_scalar().unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn gradient(loss: &Tensor, of: &Var) -> Vec<f32> {
    let gradients = loss.backward().unwrap();
    flat(gradients.get(of.as_tensor()).unwrap())
}

fn prototypes(k: usize, d: usize, seed: u64) -> Prototypes {
    let concentration: Vec<f32> = (0..k).map(|i| 0.1 + 0.03 * (i % 7) as f32).collect();
    let concentration = Tensor::new(concentration, &Device::Cpu).unwrap();
    Prototypes::new(rows(k, d, seed), concentration).unwrap()
}

fn assert_near(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "[{i}]: {g} against {w}");
    }
}

const STREAM: NegativeStream = NegativeStream {
    seed: 1,
    step: 2,
    clustering: 0,
};

#[test]
fn equal_similarities_give_the_chance_level() {
    let same = |n: usize| rows(1, 9, 4).broadcast_as((n, 9)).unwrap();
    for r in [1, 6, 127] {
        let loss = info_nce(&same(5), &same(5), &same(r), 0.2).unwrap();
        assert_near(&[scalar(&loss)], &[chance_level(1 + r) as f32], 1e-5);
    }
    let all_one = Prototypes::new(same(8), Tensor::full(0.2f32, 8, &Device::Cpu).unwrap()).unwrap();
    let loss = proto_nce_term(&same(3), &all_one, &[0, 1, 2], &[3, 4, 5, 6, 7]).unwrap();
    assert_near(&[scalar(&loss)], &[chance_level(8) as f32], 1e-5);
}

/// All images of the batch in one cluster: the other rows' copies of the prototype are negatives, so the value is ln B, as in the authors'
/// code, and the gradient vanishes.
#[test]
fn copies_of_ones_own_prototype_count_as_negatives() {
    let queries = Var::from_tensor(&rows(6, 5, 1)).unwrap();
    let loss = proto_nce_term(&queries, &prototypes(4, 5, 2), &[3; 6], &[]).unwrap();
    assert_near(&[scalar(&loss)], &[6f32.ln()], 1e-5);
    assert_near(&gradient(&loss, &queries), &[0.0; 30], 1e-5);
}

/// K = N: one cluster per point, the prototypes are the features themselves, and one temperature: ProtoNCE without negatives is then the
/// in-batch InfoNCE, written out here.
#[test]
fn one_cluster_per_point_is_instance_discrimination() {
    let (n, d, tau) = (7, 6, 0.2f64);
    let features = rows(n, d, 3);
    let flat_temperature = Tensor::full(tau as f32, n, &Device::Cpu).unwrap();
    let singletons = Prototypes::new(features.clone(), flat_temperature).unwrap();
    let positives: Vec<u32> = (0..n as u32).collect();
    let negatives = sample_negatives(n, &positives, 100, STREAM);
    assert!(negatives.is_empty());
    let loss = proto_nce_term(&features, &singletons, &positives, &negatives).unwrap();

    let x = features.to_vec2::<f32>().unwrap();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let mut expected = 0.0;
    for i in 0..n {
        let sum: f64 = x.iter().map(|y| (dot(&x[i], y) / tau).exp()).sum();
        expected += sum.ln() - dot(&x[i], &x[i]) / tau;
    }
    assert_near(&[scalar(&loss)], &[(expected / n as f64) as f32], 1e-5);
}

/// A query on its prototype, the others opposite: the loss is ln(1 + n·exp(−2/φ)), which a softmax that underflows would turn into 0 or ∞.
#[test]
fn extreme_logits_stay_finite() {
    let e = Tensor::new(&[[1f32, 0.0]], &Device::Cpu).unwrap();
    let pair = Tensor::cat(&[&e, &e.neg().unwrap()], 0).unwrap();
    for (phi, positive, expected) in [
        (0.01f32, 0u32, 0.0f32),
        (0.01, 1, 200.0),
        (0.001, 1, 2000.0),
        (0.5, 0, (1.0 + (-4.0f32).exp()).ln()),
    ] {
        let concentration = Tensor::full(phi, 2, &Device::Cpu).unwrap();
        let two = Prototypes::new(pair.clone(), concentration).unwrap();
        let query = Var::from_tensor(&e).unwrap();
        let loss = proto_nce_term(&query, &two, &[positive], &[1 - positive]).unwrap();
        assert_near(&[scalar(&loss)], &[expected], 1e-6 * expected.max(1.0));
        assert!(gradient(&loss, &query).iter().all(|g| g.is_finite()));
    }
}

/// The slow, obvious expressions, with everything left to candle's tape.
fn plain_cross_entropy(logits: &Tensor, targets: &[u32]) -> Tensor {
    let maximum = logits.max_keepdim(D::Minus1).unwrap().detach();
    let shifted = logits.broadcast_sub(&maximum).unwrap();
    let log_sum = shifted
        .exp()
        .unwrap()
        .sum_keepdim(1)
        .unwrap()
        .log()
        .unwrap();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    let picked = shifted.gather(&targets.unsqueeze(1).unwrap(), 1).unwrap();
    (log_sum - picked).unwrap().mean_all().unwrap()
}

#[test]
fn info_nce_is_the_tapes() {
    for (b, d, r) in [(1, 1, 1), (3, 5, 2), (17, 33, 31), (64, 128, 257)] {
        let queries = Var::from_tensor(&rows(b, d, 1)).unwrap();
        let (keys, queue) = (rows(b, d, 2), rows(r, d, 3));
        let positive = (queries.as_tensor() * &keys)
            .unwrap()
            .sum_keepdim(1)
            .unwrap();
        let negative = queries.matmul(&queue.t().unwrap()).unwrap();
        let logits = (Tensor::cat(&[positive, negative], 1).unwrap() / 0.2).unwrap();
        let slow = plain_cross_entropy(&logits, &vec![0; b]);
        let fast = info_nce(&queries, &keys, &queue, 0.2).unwrap();
        assert_near(&[scalar(&fast)], &[scalar(&slow)], 1e-5);
        assert_near(&gradient(&fast, &queries), &gradient(&slow, &queries), 1e-6);
    }
}

#[test]
fn proto_nce_is_the_tapes() {
    // The last two have fewer prototypes than images.
    for (b, d, k, n) in [
        (1, 1, 2, 1),
        (5, 7, 40, 13),
        (64, 128, 500, 99),
        (19, 6, 4, 9),
        (8, 3, 1, 1),
    ] {
        let queries = Var::from_tensor(&rows(b, d, 1)).unwrap();
        let prototypes = prototypes(k, d, 2);
        let positives: Vec<u32> = (0..b).map(|i| (i * i % k) as u32).collect();
        let negatives = sample_negatives(k, &positives, n, STREAM);
        let ids = Tensor::new([&positives[..], &negatives].concat(), &Device::Cpu).unwrap();
        let vectors = prototypes.vectors().index_select(&ids, 0).unwrap();
        let phi = prototypes.concentration().index_select(&ids, 0).unwrap();
        let logits = queries.matmul(&vectors.t().unwrap()).unwrap();
        let logits = logits.broadcast_div(&phi).unwrap();
        let targets: Vec<u32> = (0..b as u32).collect();
        let slow = plain_cross_entropy(&logits, &targets);
        let fast = proto_nce_term(&queries, &prototypes, &positives, &negatives).unwrap();
        assert_near(&[scalar(&fast)], &[scalar(&slow)], 1e-5);
        // Up to 1/φ = 10 times the queries.
        assert_near(&gradient(&fast, &queries), &gradient(&slow, &queries), 1e-5);
    }
}

/// Central differences of the whole loss, through the normalisation of the queries, as the encoder's head will see it.
#[test]
fn gradient_is_the_slope() {
    let (b, d) = (3, 4);
    let raw = (rows(b, d, 1) * 1.7).unwrap();
    let (keys, queue, prototypes) = (rows(b, d, 2), rows(5, d, 3), prototypes(6, d, 4));
    let total = |raw: &Tensor| {
        let norms = raw.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
        let queries = raw.broadcast_div(&norms).unwrap();
        let clustering = BatchClustering {
            prototypes: &prototypes,
            positives: &[0, 2, 2],
            first: 0,
            negatives: &[5, 1],
        };
        let instance = info_nce(&queries, &keys, &queue, 0.2).unwrap();
        (instance + proto_nce(&queries, &[clustering]).unwrap()).unwrap()
    };
    let var = Var::from_tensor(&raw).unwrap();
    let analytic = gradient(&total(var.as_tensor()), &var);
    let step = 1e-2f32;
    for (i, &expected) in analytic.iter().enumerate() {
        let at = |delta: f32| {
            let mut values = flat(&raw);
            values[i] += delta;
            scalar(&total(
                &Tensor::from_vec(values, (b, d), &Device::Cpu).unwrap(),
            ))
        };
        // Fourth order: the loss curves by 1/φ².
        let slope =
            (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
        assert!(
            (slope - expected).abs() < 2e-3,
            "[{i}]: {slope} against {expected}"
        );
    }
}

/// Ranks have parts of a batch: the mean of what they find is the batch's own loss, and so is its gradient.
#[test]
fn equal_parts_of_a_batch_have_its_loss_on_average() {
    let (b, d, parts) = (6, 5, 3);
    let prototypes = prototypes(9, d, 4);
    let (positives, negatives) = ([3, 0, 3, 8, 1, 1], [2, 4, 7]);
    let queries = rows(b, d, 1);
    let of = |first: usize, len: usize| {
        let queries = Var::from_tensor(&queries.narrow(0, first, len).unwrap()).unwrap();
        let clustering = BatchClustering {
            prototypes: &prototypes,
            positives: &positives,
            first,
            negatives: &negatives,
        };
        let loss = proto_nce(&queries, &[clustering]).unwrap();
        (scalar(&loss), gradient(&loss, &queries))
    };
    let (whole, of_whole) = of(0, b);
    let (each, of_each): (Vec<f32>, Vec<Vec<f32>>) = (0..parts).map(|i| of(2 * i, 2)).unzip();
    let mean = each.iter().sum::<f32>() / parts as f32;
    assert!((whole - mean).abs() < 1e-6, "{whole} against {mean}");
    assert!(each.iter().any(|loss| (loss - mean).abs() > 1e-2));
    for (whole, part) in of_whole.iter().zip(of_each.iter().flatten()) {
        assert!(
            (whole - part / parts as f32).abs() < 1e-6,
            "{whole} against {part}"
        );
    }
    let beyond = BatchClustering {
        prototypes: &prototypes,
        positives: &positives,
        first: 1,
        negatives: &[],
    };
    let refused = proto_nce(&queries, &[beyond]).unwrap_err();
    assert!(matches!(
        refused,
        LossError::SizeMismatch {
            expected: 7,
            got: 6,
            ..
        }
    ));
}

#[test]
fn only_the_queries_receive_a_gradient() {
    let queries = Var::from_tensor(&rows(2, 3, 1)).unwrap();
    let keys = Var::from_tensor(&rows(2, 3, 2)).unwrap();
    let queue = Var::from_tensor(&rows(4, 3, 3)).unwrap();
    let loss = info_nce(&queries, &keys, &queue, 0.2).unwrap();
    let gradients = loss.backward().unwrap();
    assert!(gradients.get(queries.as_tensor()).is_some());
    assert!(gradients.get(keys.as_tensor()).is_none());
    assert!(gradients.get(queue.as_tensor()).is_none());
}

#[test]
fn a_push_before_backward_leaves_the_gradient_alone() {
    let queries = Var::from_tensor(&rows(2, 3, 1)).unwrap();
    let keys = rows(2, 3, 2);
    let mut queue = Queue::new(4, 3, 1, 3).unwrap();
    let before = gradient(
        &info_nce(&queries, &keys, queue.tensor(), 0.2).unwrap(),
        &queries,
    );
    let loss = info_nce(&queries, &keys, queue.tensor(), 0.2).unwrap();
    queue.push(&keys).unwrap();
    assert_eq!(gradient(&loss, &queries), before);
}

#[test]
fn strided_queries_are_as_good_as_contiguous_ones() {
    let (keys, queue) = (rows(3, 4, 2), rows(5, 4, 3));
    let turned = rows(4, 3, 1).t().unwrap();
    let strided = info_nce(&turned, &keys, &queue, 0.2).unwrap();
    let contiguous = info_nce(&turned.contiguous().unwrap(), &keys, &queue, 0.2).unwrap();
    assert_eq!(scalar(&strided), scalar(&contiguous));
}

#[test]
fn wrong_arguments_are_named() {
    let (q, queue) = (rows(3, 4, 1), rows(5, 4, 2));
    let wrong =
        |q: &Tensor, k: &Tensor, queue: &Tensor, tau| info_nce(q, k, queue, tau).unwrap_err();
    assert!(matches!(
        wrong(&q, &rows(2, 4, 1), &queue, 0.2),
        LossError::SizeMismatch {
            expected: 3,
            got: 2,
            ..
        }
    ));
    assert!(matches!(
        wrong(&q, &q, &rows(5, 6, 1), 0.2),
        LossError::SizeMismatch {
            expected: 4,
            got: 6,
            ..
        }
    ));
    assert!(matches!(
        wrong(&q.flatten_all().unwrap(), &q, &queue, 0.2),
        LossError::NotAMatrix { .. }
    ));
    assert!(matches!(
        wrong(&q, &q, &queue.narrow(0, 0, 0).unwrap(), 0.2),
        LossError::Empty { what: "queue", .. }
    ));
    assert!(matches!(
        wrong(&q.to_dtype(DType::F64).unwrap(), &q, &queue, 0.2),
        LossError::NotF32 { .. }
    ));
    for tau in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            wrong(&q, &q, &queue, tau),
            LossError::Temperature { .. }
        ));
    }

    let p = prototypes(6, 4, 3);
    let term = |positives: &[u32], negatives: &[u32]| {
        proto_nce_term(&q, &p, positives, negatives).unwrap_err()
    };
    assert!(matches!(
        term(&[0, 1], &[]),
        LossError::SizeMismatch {
            expected: 3,
            got: 2,
            ..
        }
    ));
    assert!(matches!(
        term(&[0, 1, 6], &[]),
        LossError::UnknownPrototype {
            what: "positives",
            id: 6,
            count: 6
        }
    ));
    assert!(matches!(
        term(&[0, 1, 2], &[9]),
        LossError::UnknownPrototype {
            what: "negatives",
            id: 9,
            ..
        }
    ));
    assert!(matches!(
        proto_nce(&q, &[]).unwrap_err(),
        LossError::NoClustering
    ));

    let phi = |value: f32| Tensor::new(&[0.2f32, value, 0.2], &Device::Cpu).unwrap();
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = Prototypes::new(q.clone(), phi(value)).unwrap_err();
        assert!(matches!(error, LossError::Concentration { index: 1, .. }));
    }
    let long = (&q * 2.0).unwrap();
    assert!(matches!(
        Prototypes::new(long, phi(0.2)).unwrap_err(),
        LossError::NotNormalised { index: 0, .. }
    ));
    let nan = (&q * f64::NAN).unwrap();
    assert!(matches!(
        Prototypes::new(nan, phi(0.2)).unwrap_err(),
        LossError::NotNormalised { index: 0, .. }
    ));
    assert!(matches!(
        Prototypes::new(rows(2, 4, 1), phi(0.2)).unwrap_err(),
        LossError::SizeMismatch { .. }
    ));
}
