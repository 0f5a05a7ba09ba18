//! The charts of a run, and its epochs as a table.

use super::chart::{Chart, Guide, Series};
use super::words::{percent, significant};
use crate::history::{Agreement, EpochLine, History};
use maud::{Markup, html};

/// Lines that can be told apart in one chart.
const LINES: usize = 4;

/// All charts; without an epoch a sentence.
pub fn charts(history: &History) -> Markup {
    if history.epochs.is_empty() {
        return html! { p { "No epoch is whole yet: there is nothing to draw." } };
    }
    let clusters = makes_clusters(history).then(|| agreement(history));
    let before = [losses(history), knn(history), rank(history)];
    let after = [learning_rate(history), speed(history), shares(history)];
    let all = before.into_iter().chain(clusters).chain(after);
    html! {
        div.charts {
            @for chart in all { (chart.figure()) }
        }
        (table(history))
    }
}

/// MoCo makes none.
fn makes_clusters(history: &History) -> bool {
    let run = history.run.as_ref();
    run.is_none_or(|run| !run.clusters.is_empty())
}

/// A value of each epoch; one that is not there at all is a gap too.
fn each(history: &History, name: &str, value: impl Fn(&EpochLine) -> Option<f64>) -> Series {
    let points = history.epochs.iter();
    gaps(name, points.map(|(epoch, line)| (*epoch, value(line))))
}

fn gaps(name: &str, values: impl Iterator<Item = (usize, Option<f64>)>) -> Series {
    let mut points: Vec<(usize, Option<f64>)> = Vec::new();
    for (epoch, value) in values {
        let before = points.last().map_or(epoch, |(before, _)| *before);
        if before.saturating_add(1) < epoch {
            points.push((before + 1, None));
        }
        points.push((epoch, value));
    }
    let name = name.into();
    Series { name, points }
}

fn losses(history: &History) -> Chart {
    let mut series = vec![each(history, "InfoNCE", |line| Some(line.loss_instance))];
    if history
        .epochs
        .values()
        .any(|line| line.loss_prototype.is_some())
    {
        series.push(each(history, "ProtoNCE", |line| line.loss_prototype));
    }
    let guide = |chance| Guide {
        name: "InfoNCE at chance, ln(1 + r)".into(),
        value: chance,
    };
    // Random keys are told apart easily, and an epoch of images fills the queue.
    let note = "In epoch 1 the queue held random keys at first, and InfoNCE is low.";
    Chart {
        title: "Losses",
        unit: "nats",
        told: |loss| format!("{loss:.3}"),
        holds: &[],
        series,
        guides: history.run.iter().map(|run| guide(run.chance)).collect(),
        note: history.run.is_some().then(|| note.into()),
    }
}

fn knn(history: &History) -> Chart {
    // It may be measured every few epochs only: between those it is not missing.
    let measured = history.epochs.iter();
    let measured =
        measured.filter_map(|(epoch, line)| Some((*epoch, Some(100.0 * line.knn_top1?))));
    let guide = |(name, value): (&str, f64)| Guide {
        name: name.into(),
        value: 100.0 * value,
    };
    Chart {
        title: "kNN accuracy on images kept out of training",
        unit: "%",
        told: |share| format!("{share:.1} %"),
        holds: &[0.0],
        series: vec![Series {
            name: "kNN".into(),
            points: measured.collect(),
        }],
        guides: history.held_against().map(guide).collect(),
        note: None,
    }
}

fn rank(history: &History) -> Chart {
    Chart {
        title: "Effective rank of the features",
        unit: "dimensions",
        told: |rank| format!("{rank:.1}"),
        holds: &[0.0],
        series: vec![each(history, "rank", |line| line.effective_rank)],
        guides: Vec::new(),
        note: Some("It falls when features collapse.".into()),
    }
}

fn agreement(history: &History) -> Chart {
    let of = |agreement: &Agreement| {
        let values = agreement.ami.iter().map(|(epoch, ami)| (*epoch, *ami));
        gaps(&format!("K = {}", agreement.k), values)
    };
    let series = match history.agreements.len() {
        1..=LINES => history.agreements.iter().map(of).collect(),
        _ => vec![each(history, "mean over K", |line| line.ami_previous)],
    };
    Chart {
        title: "Agreement of clusters with those of the E-step before",
        unit: "AMI",
        told: |ami| format!("{ami:.2}"),
        holds: &[0.0, 1.0],
        series,
        guides: Vec::new(),
        note: None,
    }
}

fn learning_rate(history: &History) -> Chart {
    Chart {
        title: "Learning rate at the end of epochs",
        unit: "",
        told: significant,
        holds: &[0.0],
        series: vec![each(history, "learning rate", |line| Some(line.lr))],
        guides: Vec::new(),
        note: None,
    }
}

fn speed(history: &History) -> Chart {
    Chart {
        title: "Training images a second, without E-steps and evaluation",
        unit: "images/s",
        told: |speed| format!("{speed:.0}"),
        holds: &[0.0],
        series: vec![each(history, "images/s", |line| {
            Some(line.images_per_second)
        })],
        guides: Vec::new(),
        note: None,
    }
}

fn shares(history: &History) -> Chart {
    let share = |name, seconds: fn(&EpochLine) -> f64| {
        each(history, name, move |line| {
            Some(100.0 * seconds(line) / line.seconds)
        })
    };
    let e_step = makes_clusters(history).then(|| share("E-step", |line| line.e_step_seconds));
    let waiting = share("waiting for images", |line| line.waited_seconds);
    Chart {
        title: "Shares of an epoch's time",
        unit: "%",
        told: |share| format!("{share:.1} %"),
        holds: &[0.0],
        series: e_step.into_iter().chain([waiting]).collect(),
        guides: Vec::new(),
        note: None,
    }
}

/// The same in numbers.
fn table(history: &History) -> Markup {
    let heads = [
        "epoch",
        "InfoNCE",
        "ProtoNCE",
        "kNN",
        "rank",
        "AMI",
        "learning rate",
        "images/s",
        "s",
        "E-step s",
    ];
    let row = |line: &EpochLine| {
        let or_none = |text: Option<String>| text.unwrap_or("–".into());
        [
            format!("{:.3}", line.loss_instance),
            or_none(line.loss_prototype.map(|loss| format!("{loss:.3}"))),
            or_none(line.knn_top1.map(percent)),
            or_none(line.effective_rank.map(|rank| format!("{rank:.1}"))),
            or_none(line.ami_previous.map(|ami| format!("{ami:.2}"))),
            significant(line.lr),
            format!("{:.0}", line.images_per_second),
            format!("{:.1}", line.seconds),
            format!("{:.1}", line.e_step_seconds),
        ]
    };
    html! {
        details {
            summary { "The same in numbers" }
            div.wide {
                table {
                    thead { tr { @for head in heads { th { (head) } } } }
                    tbody {
                        @for (epoch, line) in &history.epochs {
                            tr { td { (epoch) } @for cell in row(line) { td { (cell) } } }
                        }
                    }
                }
            }
        }
    }
}
