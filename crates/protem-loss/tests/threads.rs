//! The same bits whatever the number of threads: the loss and its gradient are computed in processes of their own, since candle reads
//! `RAYON_NUM_THREADS` and rayon sizes its pool once per process.

use std::process::Command;

use candle_core::{Device, Tensor, Var};
use protem_loss::{NegativeStream, Prototypes, Queue, info_nce, proto_nce_term, sample_negatives};

const CHILD: &str = "PROTEM_LOSS_THREADS_CHILD";
/// (batch, dim, queue, prototypes, negatives): a training step's sizes, and odd ones.
const SIZES: [(usize, usize, usize, usize, usize); 3] = [
    (128, 128, 2048, 1000, 700),
    (97, 61, 4099, 333, 211),
    (1, 128, 2048, 50, 20),
];

/// Values and gradients of both losses as bit patterns.
fn bits() -> Vec<u32> {
    let rows = |n, d, seed| Queue::new(n, d, 1, seed).unwrap().tensor().clone();
    let mut out = Vec::new();
    for (b, d, r, k, n) in SIZES {
        let queries = Var::from_tensor(&rows(b, d, 1)).unwrap();
        let instance = info_nce(&queries, &rows(b, d, 2), &rows(r, d, 3), 0.2).unwrap();
        let concentration = Tensor::full(0.2f32, k, &Device::Cpu).unwrap();
        let prototypes = Prototypes::new(rows(k, d, 4), concentration).unwrap();
        let positives: Vec<u32> = (0..b).map(|i| (i * 7 % k) as u32).collect();
        let stream = NegativeStream {
            seed: 1,
            step: 1,
            clustering: 0,
        };
        let negatives = sample_negatives(k, &positives, n, stream);
        let proto = proto_nce_term(&queries, &prototypes, &positives, &negatives).unwrap();
        let loss = (&instance + &proto).unwrap();
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(queries.as_tensor()).unwrap();
        for t in [&instance, &proto, gradient] {
            let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
            out.extend(values.into_iter().map(f32::to_bits));
        }
    }
    out
}

/// FNV-1a over the bit patterns, for the children's one line of output.
fn digest(bits: &[u32]) -> u64 {
    let bytes = bits.iter().flat_map(|b| b.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    if std::env::var_os(CHILD).is_some() {
        println!("digest {:016x}", digest(&bits()));
        return;
    }
    let run = |threads: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "bits_do_not_depend_on_the_number_of_threads",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("digest ").expect("the child prints a digest") + "digest ".len();
        text[at..at + 16].to_owned()
    };
    let one = run("1");
    for threads in ["2", "3", "8"] {
        assert_eq!(one, run(threads), "with {threads} threads");
    }
    assert_eq!(one, format!("{:016x}", digest(&bits())), "in this process");
}
