//! A run's event files as TensorBoard reads them.

use crate::{files, metrics};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Values by their step, by their tag, in the order in which they were read.
pub type Scalars = BTreeMap<String, Vec<(i64, f32)>>;

#[derive(Message)]
struct Event {
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The event files of a run, in the order in which TensorBoard reads them.
pub fn event_files(out: &Path) -> Vec<PathBuf> {
    let mut found = files(out);
    found.retain(|file| file.to_string_lossy().contains("tfevents"));
    found
}

/// What TensorBoard shows of a run, as its reader in Python does.
pub fn scalars(out: &Path) -> Scalars {
    const START: i32 = 1;
    let mut scalars = Scalars::new();
    for file in event_files(out) {
        for event in events(&fs::read(file).unwrap()) {
            if event.session_log.is_some_and(|log| log.status == START) {
                let steps = scalars.values_mut();
                steps.for_each(|steps| steps.retain(|(step, _)| *step < event.step));
            }
            for scalar in event.summary.into_iter().flat_map(|summary| summary.value) {
                let value = scalar.simple_value.expect("a scalar");
                let steps = scalars.entry(scalar.tag).or_default();
                steps.push((event.step, value));
            }
        }
    }
    scalars.retain(|_, steps| !steps.is_empty());
    scalars
}

/// Those that are the same for the same seed.
pub fn timeless_scalars(out: &Path) -> Scalars {
    let mut scalars = scalars(out);
    scalars.retain(|tag, _| !tag.contains("second"));
    scalars
}

/// The events of a file, up to a record that a crash has torn.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(data) = record(&mut bytes) {
        events.push(Event::decode(data).unwrap());
    }
    events
}

fn record<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = summed(bytes, 8)?;
    summed(
        bytes,
        u64::from_le_bytes(length.try_into().unwrap()) as usize,
    )
}

/// So many bytes, with their checksum behind them.
fn summed<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let data = bytes.split_off(..n)?;
    let sum = u32::from_le_bytes(bytes.split_off(..4)?.try_into().unwrap());
    let crc = crc32c::crc32c(data).rotate_right(15);
    assert_eq!(sum, crc.wrapping_add(0xa282_ead8));
    Some(data)
}

/// Figures of `metrics.jsonl`: event, key, tag.
const FIGURES: [(&str, &str, &str); 24] = [
    ("step", "loss", "train/loss"),
    ("step", "loss_instance", "train/InfoNCE"),
    ("step", "loss_prototype", "train/ProtoNCE"),
    ("step", "lr", "train/lr"),
    ("step", "images_per_second", "train/images_per_second"),
    ("epoch", "loss", "epoch/loss"),
    ("epoch", "loss_instance", "epoch/InfoNCE"),
    ("epoch", "loss_prototype", "epoch/ProtoNCE"),
    ("epoch", "ami_previous", "epoch/AMI_to_last"),
    ("epoch", "images_per_second", "epoch/images_per_second"),
    ("epoch", "seconds", "epoch/seconds"),
    ("epoch", "e_step_seconds", "epoch/e_step_seconds"),
    ("epoch", "waited_seconds", "epoch/waited_seconds"),
    ("epoch", "knn_top1", "eval/kNN"),
    ("epoch", "effective_rank", "eval/effective_rank"),
    ("e_step", "ami_previous", "clusters/AMI_to_last"),
    ("e_step", "objective", "clusters/objective"),
    ("e_step", "empty", "clusters/empty"),
    ("e_step", "concentration_min", "clusters/concentration_min"),
    ("e_step", "concentration_max", "clusters/concentration_max"),
    ("e_step", "seconds", "clusters/seconds"),
    ("raw_pixels", "top1", "eval/kNN_raw_pixels"),
    ("untrained", "top1", "eval/kNN"),
    ("given", "top1", "eval/kNN"),
];

/// Fails unless a run's event files tell what its `metrics.jsonl` tells: each figure once, at its
/// step, in ascending order.
#[track_caller]
pub fn assert_scalars_are_metrics(out: &Path) {
    let mut expected = Scalars::new();
    for line in metrics(out) {
        let kind = line.get("features").unwrap_or(&line["event"]);
        for (event, key, tag) in FIGURES {
            // Of a figure that there is not, the line says null.
            let Some(value) = line[key].as_f64().filter(|_| *kind == event) else {
                continue;
            };
            let tag = match line["k"].as_u64() {
                Some(k) => format!("{tag}/K{k}"),
                None => tag.to_owned(),
            };
            let step = line["step"].as_i64().unwrap();
            expected.entry(tag).or_default().push((step, value as f32));
        }
    }
    let found = scalars(out);
    for (tag, steps) in &expected {
        let ascending = steps.is_sorted_by(|(one, _), (next, _)| one < next);
        assert!(ascending, "{tag}: {steps:?}");
        assert_eq!(found.get(tag), Some(steps), "{tag}");
    }
    assert!(expected.contains_key("train/InfoNCE"));
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
}
