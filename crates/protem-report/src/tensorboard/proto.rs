//! TensorBoard's `event.proto` and `summary.proto`, as far as scalars need them, and the records of
//! TensorFlow (TFRecord) that events lie in.

use prost::Message;

/// What the first event of a file says, and the reason that TensorBoard heeds [`START`].
pub const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
pub const START: i32 = 1;

/// `tensorboard.Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Step of the training.
    #[prost(int64, tag = "2")]
    pub step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an event tells.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `tensorboard.SessionLog`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionLog {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `tensorboard.Summary`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// `tensorboard.Summary.Value`, of a scalar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub tag: String,
    /// One of several kinds of value: it is written when it is 0 too.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}

/// An event as a record: the length of the data in 8 bytes, their checksum in 4, the data and theirs,
/// little-endian.
pub fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let sums = [&length[..], &data].map(|bytes| masked(bytes).to_le_bytes());
    [&length[..], &sums[0], &data, &sums[1]].concat()
}

/// A record's checksum: CRC-32C, turned and moved, since the CRC of data that hold CRCs is a weak one.
fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The events of a file's records, which must be whole.
#[cfg(test)]
pub fn events(mut bytes: &[u8]) -> Vec<Event> {
    let sum = |bytes: &[u8]| masked(bytes).to_le_bytes();
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let mut take = |n: usize| bytes.split_off(..n).expect("a whole record");
        let length = take(8);
        assert_eq!(take(4), sum(length));
        let data = take(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(4), sum(data));
        events.push(Event::decode(data).unwrap());
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(figures: &[(&str, f32)]) -> What {
        let value = figures.iter().map(|(tag, figure)| Value {
            tag: (*tag).into(),
            simple_value: Some(*figure),
        });
        What::Summary(Summary {
            value: value.collect(),
        })
    }

    /// `tests/fixtures/tensorboard_events.py` writes the same by TensorBoard's own writer.
    #[test]
    fn records_are_those_of_tensorboard() {
        let session = SessionLog { status: START };
        let all = [
            (1760000000.0, 0, What::FileVersion(FILE_VERSION.into())),
            (1760000000.25, 12, What::SessionLog(session)),
            (
                1760000001.5,
                13,
                summary(&[("train/InfoNCE", 5.802), ("train/lr", 0.03)]),
            ),
            (1760000002.0, 0, summary(&[("eval/kNN", 0.0)])),
            (
                1760000003.0,
                5_000_000_000,
                summary(&[("clusters/AMI_to_last/K250", -0.125)]),
            ),
        ];
        let records = all.map(|(wall_time, step, what)| {
            record(&Event {
                wall_time,
                step,
                what: Some(what),
            })
        });
        let theirs = include_bytes!("../../tests/fixtures/tensorboard.tfevents");
        assert_eq!(records.concat(), theirs);
        let steps: Vec<i64> = events(theirs).iter().map(|event| event.step).collect();
        assert_eq!(steps, [0, 12, 13, 0, 5_000_000_000]);
    }
}
