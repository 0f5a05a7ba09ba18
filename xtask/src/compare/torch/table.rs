//! The table beside PyTorch and its rows.

use super::cases::{self, Metric};
use super::measure::Sample;
use crate::compare::rounds::{Rounds, seconds};
use crate::compare::section::{Row, Table};

pub static TABLE: Table = Table {
    peer: "torch",
    heading: "## Beside PyTorch",
    introduction: INTRODUCTION,
    columns: COLUMNS,
    order: cases::row_names,
};
const INTRODUCTION: &str = "\
protem and PyTorch run in turn; each figure is the median over the rounds of a run's median, \
the ratio is protem's over PyTorch's (lower is better), and beside it are the lowest and highest ratio of one round. \
In brackets stands the instruction set that protem chose. \
Times on one thread are process CPU time, on more wall time. \
\"Others\" are the CPUs that other programs kept busy meanwhile: beside them a wall time says little. \
Memory is the resident peak above what is resident before the network is there. \
A step is forward, backward and SGD; features are all layers before the last, in evaluation mode. \
PyTorch runs channels-last, bf16 by autocast. \
AVX2 rows: `PROTEM_ISA=avx2` against `ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`.";
const COLUMNS: &str = "\
| | protem | PyTorch | ratio | of one round | others | run |
|---|---|---|---|---|---|---|";

/// A row from all rounds of its case.
pub fn row(name: String, metric: Metric, rounds: &Rounds<Sample>, setting: &str) -> Row {
    let protem = rounds.median(|pair| pair.protem.value(metric));
    let torch = rounds.median(|pair| pair.peer.value(metric));
    let (lowest, highest) =
        rounds.range(|pair| pair.protem.value(metric) / pair.peer.value(metric));
    let show = match metric {
        Metric::Time => seconds,
        Metric::Memory => bytes,
    };
    let isa = rounds
        .pairs
        .first()
        .and_then(|pair| pair.protem.isa.as_deref());
    let isa = match (metric, isa) {
        (Metric::Time, Some(isa)) => format!(" ({isa})"),
        _ => String::new(),
    };
    let cells = format!(
        "{}{isa} | {} | {:.2} | {lowest:.2} to {highest:.2} | {:.1}",
        show(protem),
        show(torch),
        protem / torch,
        rounds.others
    );
    Row {
        name,
        cells,
        setting: setting.to_owned(),
    }
}

fn bytes(bytes: f64) -> String {
    let mebibytes = bytes / f64::from(1 << 20);
    if mebibytes < 1000.0 {
        format!("{mebibytes:.0} MiB")
    } else {
        format!("{:.2} GiB", mebibytes / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::Pair;

    fn pair(protem: f64, torch: f64) -> Pair<Sample> {
        let sample = |seconds: f64| Sample {
            seconds,
            peak_bytes: seconds * 1e9,
            isa: Some("amx".into()),
        };
        Pair {
            protem: sample(protem),
            peer: sample(torch),
        }
    }

    fn cells<const N: usize>(metric: Metric, pairs: [Pair<Sample>; N]) -> String {
        let rounds = Rounds {
            pairs: pairs.into(),
            others: 0.25,
        };
        row("row".into(), metric, &rounds, "s").cells
    }

    #[test]
    fn a_row_has_medians_over_rounds_and_the_range_of_ratios() {
        let three = [pair(1.0, 2.0), pair(3.0, 2.0), pair(2.0, 4.0)];
        assert_eq!(
            cells(Metric::Time, three),
            "2.000 s (amx) | 2.000 s | 1.00 | 0.50 to 1.50 | 0.2"
        );
        let two = [pair(1.0, 2.0), pair(3.0, 2.0)];
        assert_eq!(
            cells(Metric::Memory, two),
            "1.86 GiB | 1.86 GiB | 1.00 | 0.50 to 1.50 | 0.2"
        );
        assert_eq!(bytes(5e7), "48 MiB");
    }
}
