//! Which columns of a Parquet file hold images and labels.

use parquet::basic::Type;
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

/// Names that the user gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    pub(crate) image: Option<String>,
    pub(crate) label: Option<String>,
}

/// Places among the leaf columns.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) image: usize,
    pub(crate) label: Option<usize>,
    pub(crate) names: Option<Vec<String>>,
}

/// Names of labels where no metadata tells.
const LABELS: [&str; 6] = ["label", "labels", "fine_label", "cls", "class", "target"];

/// Columns that an error names.
const NAMED: usize = 50;

/// # Errors
/// What there is instead.
pub(crate) fn find(metadata: &ParquetMetaData, asked: &Columns) -> Result<Found, String> {
    let features = features(metadata);
    let described = metadata.file_metadata().schema_descr();
    let of_type = |kind: &str| {
        let mut columns = described.root_schema().get_fields().iter();
        let found = columns.find(|column| {
            let feature = features.get(column.name());
            feature.is_some_and(|feature| feature["_type"] == kind)
        });
        found.map(|column| column.name())
    };
    let image = asked.image.as_deref().or_else(|| of_type("Image"));
    let bytes = |place: usize| leaf(metadata, place).1 == Type::BYTE_ARRAY;
    let leaves = 0..described.num_columns();
    let mut images = leaves.clone().filter(|place| bytes(*place));
    let found = match image {
        Some(name) => images.find(|place| {
            let path = leaf(metadata, *place).0;
            path == [name, "bytes"] || path == [name]
        }),
        None => images
            .clone()
            .find(|place| matches!(&leaf(metadata, *place).0[..], [_, last] if last == "bytes"))
            .or_else(|| {
                images.find(|place| {
                    let path = leaf(metadata, *place).0;
                    path == ["image"] || path == ["img"]
                })
            }),
    };
    let Some(found) = found.filter(|place| flat(metadata, *place)) else {
        let all = leaves.clone().take(NAMED);
        let mut all: Vec<String> = all.map(|p| leaf(metadata, p).0.join(".")).collect();
        if leaves.len() > NAMED {
            all.push(format!("{} more", leaves.len() - NAMED));
        }
        return Err(format!("the columns {}", all.join(", ")));
    };
    let label = asked.label.as_deref().or_else(|| of_type("ClassLabel"));
    let called = |name: &str| {
        let kind = |place: &usize| {
            let read = [Type::INT32, Type::INT64, Type::BYTE_ARRAY, Type::BOOLEAN];
            read.contains(&leaf(metadata, *place).1) && flat(metadata, *place)
        };
        let mut leaves = leaves.clone().filter(kind);
        leaves.find(|place| leaf(metadata, *place).0 == [name])
    };
    let label_leaf = match label {
        Some(name) => called(name),
        None => LABELS.into_iter().find_map(called),
    };
    if let (Some(name), None) = (&asked.label, label_leaf) {
        return Err(format!(
            "no column of integers, booleans or words called {name}"
        ));
    }
    let feature = label.and_then(|name| features.get(name));
    let names = feature.and_then(|feature| names(&feature["names"]));
    Ok(Found {
        image: found,
        label: label_leaf,
        names,
    })
}

/// Path and type of a leaf column.
fn leaf(metadata: &ParquetMetaData, place: usize) -> (Vec<String>, Type) {
    let column = metadata.file_metadata().schema_descr().column(place);
    (column.path().parts().to_vec(), column.physical_type())
}

/// Whether a row has one value at most.
fn flat(metadata: &ParquetMetaData, place: usize) -> bool {
    let column = metadata.file_metadata().schema_descr().column(place);
    column.max_rep_level() == 0
}

/// The features of Hugging Face's metadata, by the names of their columns.
fn features(metadata: &ParquetMetaData) -> serde_json::Map<String, Value> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let mut pairs = pairs.into_iter().flatten();
    let text = pairs.find(|pair| pair.key == "huggingface");
    let text = text.and_then(|pair| pair.value.as_deref());
    let value: Value = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let features = value.pointer("/info/features").and_then(Value::as_object);
    features.cloned().unwrap_or_default()
}

/// Names are a list, or in older files an object from numbers to names.
fn names(value: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(names) => (0..names.len())
            .map(|number| names.get(&number.to_string()).and_then(name))
            .collect(),
        _ => None,
    }
}
