//! The table beside torchvision and its rows.

use super::cases::{self, Case};
use super::measure::Sample;
use crate::compare::rounds::Rounds;
use crate::compare::section::{Row, Table};

pub static TABLE: Table = Table {
    peer: "torchvision",
    heading: "## Beside torchvision and Pillow",
    introduction: INTRODUCTION,
    columns: COLUMNS,
    order: cases::row_names,
};

const INTRODUCTION: &str = "\
protem and torchvision's transforms on Pillow images run in turn on one thread. \
Each figure is the median over the rounds of a run's median, in milliseconds of an image; the speed-up is torchvision's time over protem's (higher is better), \
and beside it are the lowest and highest of one round. \
An image's time goes from its encoded bytes in memory, or from its pixels where the row's name says no decoding, to normalised floats. \
Views are those of PCL v2 (crop, colour jitter, grayscale, blur, flip); protem's have Pillow's bytes for the same parameters. \
Times on one thread are process CPU time. \
In the row of two threads protem on one thread stands in torchvision's place, and the time of two is wall time: \
\"others\" are the CPUs that other programs kept busy meanwhile, beside which it says little. \
Photographs: 50 of ImageNet as they are (most 500 × 375); small photographs: Imagenette at 224; images of 32: CIFAR-10; of each at most the first 512.";
const COLUMNS: &str = "\
| | protem | torchvision | speed-up | of one round | others | run |
|---|---|---|---|---|---|---|";

/// A row from all rounds of its case.
pub fn row(case: &Case, rounds: &Rounds<Sample>, setting: &str) -> Row {
    let protem = rounds.median(|pair| pair.protem.milliseconds());
    let beside = rounds.median(|pair| pair.peer.milliseconds());
    let (lowest, highest) =
        rounds.range(|pair| pair.peer.milliseconds() / pair.protem.milliseconds());
    let cells = format!(
        "{protem:.4} ms | {beside:.4} ms{} | {:.2} | {lowest:.2} to {highest:.2} | {:.1}",
        if case.threads { " (protem on one)" } else { "" },
        beside / protem,
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
    fn a_row_has_milliseconds_of_an_image_and_the_speed_up() {
        let sample = |seconds| Sample {
            images: 100.0,
            seconds,
        };
        let pair = |protem, peer| Pair {
            protem: sample(protem),
            peer: sample(peer),
        };
        let rounds = Rounds {
            pairs: vec![pair(0.1, 0.5), pair(0.2, 0.6), pair(0.1, 0.4)],
            others: 0.25,
        };
        let row = row(&cases::ALL[0], &rounds, "s");
        assert_eq!(
            row.cells,
            "1.0000 ms | 5.0000 ms | 5.00 | 3.00 to 5.00 | 0.2"
        );
        assert_eq!(row.name, "decoding and 2 views of 224, photographs");
    }
}
