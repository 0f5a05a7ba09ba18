//! Time of the losses, forward and backward: `cargo bench -p protem-loss`. The plain candle expression, which keeps the logits on the tape
//! and computes a gradient for the queue too, stands beside InfoNCE for comparison.

use candle_core::{D, Device, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use protem_loss::{NegativeStream, Prototypes, Queue, info_nce, proto_nce_term, sample_negatives};

const BATCH: usize = 128;
const DIM: usize = 128;
const QUEUE: usize = 2048;
const TAU: f64 = 0.2;

fn rows(n: usize, seed: u64) -> Tensor {
    let queue = Queue::new(n, DIM, 1, seed).expect("the sizes are positive");
    queue.tensor().clone()
}

fn plain_info_nce(queries: &Tensor, keys: &Tensor, queue: &Tensor) -> candle_core::Result<Tensor> {
    let positive = (queries * keys)?.sum_keepdim(1)?;
    let logits = (Tensor::cat(&[&positive, &queries.matmul(&queue.t()?)?], 1)? / TAU)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(1)?.log()?;
    (log_sum - shifted.narrow(1, 0, 1)?)?.mean_all()
}

fn losses(c: &mut Criterion) {
    let queries = Var::from_tensor(&rows(BATCH, 1)).expect("a variable");
    let (keys, queue) = (rows(BATCH, 2), rows(QUEUE, 3));
    c.bench_function("info_nce 128x128 r2048, both ways", |b| {
        b.iter(|| {
            info_nce(&queries, &keys, &queue, TAU)
                .expect("sizes agree")
                .backward()
        })
    });
    c.bench_function("info_nce by the tape", |b| {
        b.iter(|| {
            plain_info_nce(&queries, &keys, &queue)
                .expect("sizes agree")
                .backward()
        })
    });

    let k = 1000;
    let concentration = Tensor::full(0.2f32, k, &Device::Cpu).expect("a vector");
    let prototypes = Prototypes::new(rows(k, 4), concentration).expect("normalised");
    let positives: Vec<u32> = (0..BATCH as u32).map(|i| i * 7 % k as u32).collect();
    let stream = |step| NegativeStream {
        seed: 1,
        step,
        clustering: 0,
    };
    let negatives = sample_negatives(k, &positives, 800, stream(0));
    c.bench_function("proto_nce_term K1000 n800, both ways", |b| {
        b.iter(|| {
            proto_nce_term(&queries, &prototypes, &positives, &negatives)
                .expect("sizes agree")
                .backward()
        })
    });
    let mut step = 0;
    c.bench_function("sample_negatives K25000 n16384", |b| {
        b.iter(|| {
            step += 1;
            sample_negatives(25_000, &positives, 16_384, stream(step))
        })
    });
}

criterion_group!(benches, losses);
criterion_main!(benches);
