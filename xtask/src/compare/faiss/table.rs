//! The table beside faiss and its rows.

use super::cases::{self, Case};
use super::measure::Sample;
use crate::compare::rounds::{Pair, Rounds, seconds};
use crate::compare::section::{Row, Table};

pub static TABLE: Table = Table {
    peer: "faiss",
    heading: "## Beside faiss",
    introduction: INTRODUCTION,
    columns: COLUMNS,
    order: cases::row_names,
};

const INTRODUCTION: &str = "\
protem's k-means and faiss's `Clustering` with `IndexFlatL2` run in turn on one thread, from the same centroids (points drawn without replacement), \
with all points in every iteration and no early stop. \
Each figure is the median over the rounds, the speed-up is faiss's time over protem's (higher is better), and beside it are the lowest and highest of one round. \
In brackets stands what a program used: protem's instruction set; faiss's own and the one of its OpenBLAS. \
All times are wall times: \"others\" are the CPUs that other programs kept busy meanwhile, and beside them a time says little. \
\"Objective\" is the relative difference between protem's last objective and faiss's (below zero, protem's is lower), over all points. \
An iteration's time is the mean of a run's iterations, without what comes before and after them. \
protem's time of a whole clustering has in it the checking and packing of points and the last assignment of all of them, faiss's only the iterations. \
A warm start begins with the centroids of 20 iterations on the points as they were before they drifted, \
and makes as many iterations as it takes to reach the objective of faiss's 20 from drawn points; finding those centroids is in no time. \
In the row of two threads, protem on one thread stands in faiss's place. \
sphere50k: 50,000 points evenly on the sphere in 128 dimensions; mixture200k: 200,000 of 300 clusters of 20 clusters each, of unit length (`xtask/peers/kmeans_data.py`). \
AVX2 rows: `PROTEM_ISA=avx2` against `FAISS_SIMD_LEVEL=AVX2 OPENBLAS_CORETYPE=Haswell`; \
in the other rows OpenBLAS is told `SkylakeX` where the processor has AVX-512, for it does not know every one that has.";
const COLUMNS: &str = "\
| | protem | faiss | speed-up | of one round | objective | others | run |
|---|---|---|---|---|---|---|---|";

/// A row from all rounds of its case.
pub fn row(case: &Case, rounds: &Rounds<Sample>, setting: &str) -> Row {
    let protem = rounds.median(|pair| pair.protem.seconds);
    let faiss = rounds.median(|pair| pair.peer.seconds);
    let (lowest, highest) = rounds.range(|pair| pair.peer.seconds / pair.protem.seconds);
    let note = |sample: fn(&Pair<Sample>) -> &Sample| {
        let pair = rounds.pairs.first();
        pair.map_or("", |pair| &sample(pair).note)
    };
    let cells = format!(
        "{} ({}) | {} ({}) | {:.2} | {lowest:.2} to {highest:.2} | {} | {:.1}",
        seconds(protem),
        note(|pair| &pair.protem),
        seconds(faiss),
        note(|pair| &pair.peer),
        faiss / protem,
        difference(rounds),
        rounds.others
    );
    Row {
        name: case.name(),
        cells,
        setting: setting.to_owned(),
    }
}

/// Of the round in which the objectives are farthest apart.
fn difference(rounds: &Rounds<Sample>) -> String {
    let (lowest, highest) = rounds.range(|pair| pair.protem.objective / pair.peer.objective - 1.0);
    let farthest = if -lowest > highest { lowest } else { highest };
    if farthest == 0.0 {
        "0".into()
    } else {
        format!("{farthest:+.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(protem: f64, faiss: f64, objective: f64) -> Pair<Sample> {
        let sample = |seconds: f64, objective: f64, note: &str| Sample {
            seconds,
            objective,
            note: note.into(),
        };
        Pair {
            protem: sample(protem, objective, "amx"),
            peer: sample(faiss, 1.0, "AVX2"),
        }
    }

    fn rounds<const N: usize>(pairs: [Pair<Sample>; N]) -> Rounds<Sample> {
        Rounds {
            pairs: pairs.into(),
            others: 0.25,
        }
    }

    #[test]
    fn a_row_has_medians_the_range_of_speed_ups_and_the_difference() {
        let rounds = rounds([
            pair(1.0, 2.0, 1.0),
            pair(2.0, 3.0, 0.75),
            pair(1.0, 8.0, 1.1),
        ]);
        let row = row(&cases::ALL[0], &rounds, "s");
        assert_eq!(
            row.cells,
            "1.000 s (amx) | 3.000 s (AVX2) | 3.00 | 1.50 to 8.00 | -2.5e-1 | 0.2"
        );
        assert_eq!(row.name, "iteration, sphere50k, K 1000, AMX");
    }

    #[test]
    fn equal_objectives_differ_by_zero() {
        assert_eq!(difference(&rounds([pair(1.0, 1.0, 1.0)])), "0");
        assert_eq!(difference(&rounds([pair(1.0, 1.0, 1.5)])), "+5.0e-1");
    }
}
