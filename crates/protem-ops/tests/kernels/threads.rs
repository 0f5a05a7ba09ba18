//! The same bits on any number of threads.

use crate::{bits, numbers, shape};
use protem_ops::conv::{Conv, Folded};
use protem_ops::linear::Linear;
use protem_ops::norm::{self, Affine, Then};
use protem_ops::optim::{Lars, Place, Sgd, momentum_update};
use protem_ops::{Activation, Pool, Precision, pooling};

/// Inputs, outputs, kernel, stride; the last two of whole tiles, which tiles read where they lie.
const CONVOLUTIONS: [(usize, usize, usize, usize); 5] = [
    (3, 33, 7, 2),
    (17, 65, 3, 1),
    (65, 5, 1, 2),
    (64, 96, 3, 2),
    (32, 64, 3, 1),
];

fn convolutions(out: &mut Vec<u32>, precision: Precision) {
    let pool = Pool::default();
    for (inputs, outputs, kernel, stride) in CONVOLUTIONS {
        let conv = Conv {
            inputs,
            outputs,
            kernel,
            stride,
            padding: kernel / 2,
        };
        let input = shape(7, 5, 38, inputs);
        let w = numbers(conv.weights(), 2);
        let x = Activation::from_nchw(&pool, precision, &numbers(input.len(), 1), input);
        let y = conv.forward(&pool, &w, &x);
        let folded = Folded {
            scale: &numbers(outputs, 3),
            shift: &numbers(outputs, 4),
            added: Some(&y),
            relu: true,
        };
        let z = conv.forward_folded(&pool, &w, &folded, &x);
        out.extend(bits(&z.to_nchw()));
        let mut dw = vec![0.0; w.len()];
        conv.weight_gradient(&pool, &x, &y, &mut dw);
        out.extend(bits(&y.to_nchw()));
        out.extend(bits(&dw));
        out.extend(bits(
            &conv.input_gradient(&pool, &w, &y, input, None).to_nchw(),
        ));
    }
}

fn norms_and_pools(out: &mut Vec<u32>, precision: Precision) {
    let (pool, size) = (Pool::default(), shape(9, 7, 6, 33));
    let [x, dy, added] =
        [1, 2, 3].map(|s| Activation::from_nchw(&pool, precision, &numbers(size.len(), s), size));
    let (gamma, beta) = (&numbers(33, 4), &numbers(33, 5));
    let affine = Affine { gamma, beta };
    let (mut mean, mut variance) = (vec![0.0; 33], vec![1.0; 33]);
    let (y, statistics) = norm::forward_train(
        &pool,
        &x,
        affine,
        (&mut mean, &mut variance),
        2,
        Some(&added),
        Then::Relu,
    );
    let (mut dgamma, mut dbeta) = (vec![0.0; 33], vec![0.0; 33]);
    let into = (&mut dgamma[..], &mut dbeta[..]);
    let gradients = norm::backward(
        &pool,
        x,
        Some(&y),
        dy,
        affine,
        &statistics,
        Then::Relu,
        into,
    );
    let of_added = gradients.added.expect("a map was added");
    let (pooled, winners) = pooling::max_forward(&pool, &y);
    let unpooled = pooling::max_backward(&pool, &pooled, &winners, size);
    for map in [&y, &gradients.input, &of_added, &pooled, &unpooled] {
        out.extend(bits(&map.to_nchw()));
    }
    out.extend(bits(&pooling::average_forward(&pool, &y).to_nchw()));
    for values in [mean, variance, dgamma, dbeta] {
        out.extend(bits(&values));
    }
}

fn heads_and_steps(out: &mut Vec<u32>) {
    let (pool, linear) = (
        Pool::default(),
        Linear {
            inputs: 65,
            outputs: 33,
        },
    );
    let x = Activation::from_matrix(&pool, &numbers(71 * 65, 1), 71, 65);
    let (w, b) = (numbers(65 * 33, 2), numbers(33, 3));
    let y = linear.forward(&pool, &w, &b, &x);
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; 33]);
    let dx = linear.backward(&pool, &w, &x, &y, (&mut dw, &mut db));
    let len = (1 << 17) + 5;
    let (mut p, mut v, g) = (numbers(len, 1), numbers(len, 2), numbers(len, 3));
    let sgd = Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 1e-4,
    };
    sgd.step(&mut p, &g, &mut v);
    let lars = Lars {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 1e-4,
        trust: 1e-3,
    };
    let vector = false;
    lars.step(&mut p, &g, &mut v, &[Place { len, vector }]);
    momentum_update(&mut v, &p, 0.99);
    for values in [y.to_nchw(), dx.to_nchw(), dw, db, p, v] {
        out.extend(bits(&values));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("a pool").install(|| {
            let mut out = Vec::new();
            for precision in [Precision::F32, Precision::Bf16] {
                convolutions(&mut out, precision);
                norms_and_pools(&mut out, precision);
            }
            heads_and_steps(&mut out);
            out
        })
    };
    let one = run(1);
    for threads in [2, 3, 7, 40] {
        assert_eq!(one, run(threads), "with {threads} threads");
    }
}
