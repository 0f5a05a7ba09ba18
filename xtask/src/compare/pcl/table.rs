//! The table of whole epochs and its rows.

use super::cases::{self, Case};
use super::measure::Sample;
use crate::compare::rounds::Rounds;
use crate::compare::section::{Row, Table};

pub static TABLE: Table = Table {
    peer: "pcl",
    heading: "## Epochs of the whole method beside PyTorch, torchvision and faiss",
    introduction: INTRODUCTION,
    columns: COLUMNS,
    order: cases::row_names,
};

const INTRODUCTION: &str = "\
The trainer and `xtask/peers/torch_pcl.py` run in turn on all CPUs, on the same folder with the same settings: \
ResNet-18 of width 32, batches of 128, K 100, 250 and 500, a queue of 2,048, plain batch norm, `configs/cifar10.toml` and `configs/photos.toml` otherwise. \
The peer is the authors' recipe: `ImageFolder` and torchvision's transforms in as many loader processes as CPUs, channels last, for bf16 under autocast, \
faiss's `Clustering` with 5 restarts of 20 iterations. \
An epoch's time is its E-step (features of all images, three clusterings) and its M-step (two views of each image, both encoders, losses, update). \
Each run's first epoch, which has no E-step, is left out; of the others the middle one counts, and of the rounds the median. \
The speed-up is the peer's epoch over protem's (higher is better), and beside it are the lowest and highest of one round. Times are wall times: \
\"others\" are the CPUs that other programs kept busy meanwhile. \
Images of 32: 5,000 of CIFAR-10 as JPEG; photographs: 4,700 of Imagenette at 224.";
const COLUMNS: &str = "\
| | M-step, protem | PyTorch | E-step, protem | with faiss | speed-up of the epoch | of one round | others | run |
|---|---|---|---|---|---|---|---|---|";

/// A row from all rounds of its case.
pub fn row(case: &Case, rounds: &Rounds<Sample>, setting: &str) -> Row {
    let both = |of: fn(&Sample) -> f64| {
        let protem = rounds.median(|pair| of(&pair.protem));
        (protem, rounds.median(|pair| of(&pair.peer)))
    };
    let cells = |(protem, peer): (f64, f64)| format!("{protem:.2} s | {peer:.2} s");
    let (protem, peer) = both(Sample::epoch);
    let (lowest, highest) = rounds.range(|pair| pair.peer.epoch() / pair.protem.epoch());
    let cells = format!(
        "{} | {} | {:.2} | {lowest:.2} to {highest:.2} | {:.1}",
        cells(both(|sample| sample.m_step)),
        cells(both(|sample| sample.e_step)),
        peer / protem,
        rounds.others
    );
    Row {
        name: case.name(),
        cells,
        setting: setting.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::Pair;

    #[test]
    fn a_row_has_both_steps_and_the_speed_up() {
        let sample = |e_step, m_step| Sample {
            images: 1.0,
            e_step,
            m_step,
            instance: 1.0,
            prototype: 1.0,
        };
        let pair = |protem, peer| Pair {
            protem: sample(1.0, protem),
            peer: sample(2.0, peer),
        };
        let rounds = Rounds {
            pairs: vec![pair(9.0, 18.0), pair(9.0, 23.0), pair(7.0, 18.0)],
            others: 0.0,
        };
        let row = row(&cases::ALL[0], &rounds, "s");
        assert_eq!(
            row.cells,
            "9.00 s | 18.00 s | 1.00 s | 2.00 s | 2.00 | 2.00 to 2.50 | 0.0"
        );
    }
}
