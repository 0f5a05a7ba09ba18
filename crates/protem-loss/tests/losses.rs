//! Closed forms, and values and gradients from PyTorch.

use candle_core::{Device, Tensor, Var};
use protem_loss::{
    LossError, Prototypes, Queue, chance_level, info_nce, proto_nce_term, sample_negatives,
};

fn rows(values: &[f32], rows: usize) -> Tensor {
    Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu).unwrap()
}

fn close(got: &Tensor, want: &[f32]) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 2e-6 * w.abs().max(1.0), "{got:?} {want:?}");
    }
}

/// `sin(1), sin(2), …`, easy to make in any language.
fn waves(len: usize, from: usize) -> Vec<f32> {
    (0..len).map(|i| ((from + i) as f64).sin() as f32).collect()
}

#[test]
fn equal_similarities_give_the_logarithm_of_the_columns() {
    let same = rows(&[1.0, 0.0].repeat(4), 4);
    let queue = rows(&[1.0, 0.0].repeat(16), 16);
    let loss = info_nce(&same, &same, &queue, 0.2)
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!((loss as f64 - chance_level(17)).abs() < 1e-6);
    let prototypes = Prototypes::new(
        rows(&[1.0, 0.0].repeat(9), 9),
        Tensor::from_slice(&[0.2f32; 9], 9, &Device::Cpu).unwrap(),
    )
    .unwrap();
    let loss = proto_nce_term(&same, &prototypes, &[0, 1, 1, 2], &[3, 4, 5])
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!((loss as f64 - chance_level(7)).abs() < 1e-6);
}

#[test]
fn values_and_gradients_equal_pytorch() {
    // import torch, torch.nn.functional as F
    // w = lambda n, a: torch.arange(a, a + n, dtype=torch.float64).sin().float()
    // q = w(6, 1).view(2, 3).requires_grad_(); k = w(6, 11).view(2, 3); u = w(12, 21).view(4, 3)
    // l = F.cross_entropy(torch.cat([(q * k).sum(1, keepdim=True), q @ u.T], 1) / .2, torch.zeros(2, dtype=torch.long))
    // l.backward(); print(l.item(), q.grad); q.grad = None
    // c = w(15, 41).view(5, 3); phi = torch.tensor([.1, .2, .3, .4, .5]); s = torch.tensor([3, 1, 0, 4])
    // l = F.cross_entropy(q @ c[s].T / phi[s], torch.arange(2)); l.backward(); print(l.item(), q.grad)
    let q = Var::from_tensor(&rows(&waves(6, 1), 2)).unwrap();
    let loss = info_nce(&q, &rows(&waves(6, 11), 2), &rows(&waves(12, 21), 4), 0.2).unwrap();
    close(&loss, &INFO_NCE.0);
    close(loss.backward().unwrap().get(&q).unwrap(), &INFO_NCE.1);
    let phi = Tensor::from_slice(&[0.1f32, 0.2, 0.3, 0.4, 0.5], 5, &Device::Cpu).unwrap();
    let prototypes = Prototypes::new(rows(&waves(15, 41), 5), phi).unwrap();
    let loss = proto_nce_term(&q, &prototypes, &[3, 1], &[0, 4]).unwrap();
    close(&loss, &PROTO_NCE.0);
    close(loss.backward().unwrap().get(&q).unwrap(), &PROTO_NCE.1);
}

const INFO_NCE: ([f32; 1], [f32; 6]) = (
    [11.392731],
    [
        4.8512383, 1.9278463, -2.7679987, -4.9151821, -2.5471292, 2.1627426,
    ],
);
const PROTO_NCE: ([f32; 1], [f32; 6]) = (
    [10.511271],
    [
        0.36036736,
        1.2280011,
        0.96661645,
        -0.83735281,
        -6.7098117,
        -6.4133005,
    ],
);

#[test]
fn negatives_are_all_there_are_when_too_few() {
    assert_eq!(sample_negatives(6, &[1, 1, 4], 10, (0, 0, 0)), [0, 2, 3, 5]);
    assert!(sample_negatives(2, &[0, 1], 10, (0, 0, 0)).is_empty());
    let drawn = sample_negatives(1000, &[7], 100, (1, 2, 3));
    assert_eq!(drawn.len(), 100);
    assert!(drawn.windows(2).all(|w| w[0] < w[1]) && !drawn.contains(&7));
    assert_eq!(drawn, sample_negatives(1000, &[7], 100, (1, 2, 3)));
    assert_ne!(drawn, sample_negatives(1000, &[7], 100, (1, 3, 3)));
}

#[test]
fn the_queue_is_a_ring() {
    assert!(matches!(
        Queue::new(10, 2, 4, 0),
        Err(LossError::Batch { len: 10, batch: 4 })
    ));
    let mut queue = Queue::new(4, 2, 2, 0).unwrap();
    for step in 0..3 {
        queue.push(&rows(&[step as f32; 4], 2)).unwrap();
    }
    close(queue.tensor(), &[2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!((queue.pointer(), queue.filled()), (2, 4));
}
