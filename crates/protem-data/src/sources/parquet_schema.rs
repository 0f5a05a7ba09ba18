//! Which columns of a Parquet file hold images and labels.

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Value};

/// Names that the user gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    pub(crate) image: Option<String>,
    /// An empty one: no labels are wanted.
    pub(crate) label: Option<String>,
}

/// Places among the leaf columns.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) image: usize,
    pub(crate) label: Option<usize>,
    pub(crate) names: Option<Vec<String>>,
}

/// Why there is no such column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) looked_for: &'static str,
    pub(crate) found: String,
}

/// Names of columns of bytes that are images where no metadata tells; of several the first of these.
const IMAGES: [&str; 8] = [
    "image",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_bytes",
    "bytes",
];

/// Names of labels where no metadata tells.
const LABELS: [&str; 6] = ["label", "labels", "fine_label", "cls", "class", "target"];

/// Columns that an error names.
const NAMED: usize = 50;

/// # Errors
/// No column of images, or several of which none is called `image` or `img`; labels of a type that is
/// not read.
pub(crate) fn find(metadata: &ParquetMetaData, asked: &Columns) -> Result<Found, Refused> {
    let features = features(metadata);
    let image = image(metadata, &features, asked.image.as_deref())?;
    let (label, name) = label(metadata, &features, asked.label.as_deref())?.unzip();
    let feature = name.and_then(|name| features.get(&name));
    Ok(Found {
        image,
        label,
        names: feature.and_then(|feature| names(&feature["names"])),
    })
}

fn image(
    metadata: &ParquetMetaData,
    features: &Map<String, Value>,
    asked: Option<&str>,
) -> Result<usize, Refused> {
    let described = metadata.file_metadata().schema_descr();
    // Of bytes, one value a row at most.
    let leaves = 0..described.num_columns();
    let leaves = leaves.filter(|place| {
        let column = described.column(*place);
        column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
    });
    let leaves: Vec<usize> = leaves.collect();
    let path = |place: usize| described.column(place).path().parts().to_vec();
    let of = |name: &str| {
        let mut leaves = leaves.iter().copied();
        leaves.find(|place| path(*place) == [name, "bytes"] || path(*place) == [name])
    };
    if let Some(name) = asked {
        return of(name).ok_or_else(|| no_image(metadata));
    }
    let columns = described.root_schema().get_fields().iter();
    let columns = columns.map(|column| column.name());
    let is_image = |name: &&str| features.get(*name).is_some_and(|f| f["_type"] == "Image");
    let mut found: Vec<&str> = columns.clone().filter(is_image).collect();
    found.retain(|name| of(name).is_some());
    if found.is_empty() {
        let holds = |name: &&str| {
            of(name).is_some_and(|place| match path(place).len() {
                1 => IMAGES.contains(name) && !is_text(&described.column(place)),
                _ => true,
            })
        };
        found = columns.filter(holds).collect();
    }
    let called = |name: &&&str| found.contains(name);
    let chosen = match found[..] {
        [one] => Some(one),
        _ => IMAGES[..2].iter().find(called).copied(),
    };
    match chosen {
        Some(name) => of(name).ok_or_else(|| no_image(metadata)),
        None if found.is_empty() => Err(no_image(metadata)),
        None => Err(Refused {
            looked_for: "one column of images, or one called image among several",
            found: format!(
                "the columns {}: ?image={} names one",
                found.join(", "),
                found[0]
            ),
        }),
    }
}

fn no_image(metadata: &ParquetMetaData) -> Refused {
    let described = metadata.file_metadata().schema_descr();
    let path = |place| described.column(place).path().parts().join(".");
    Refused {
        looked_for: "a column of images: a struct with bytes, as Hugging Face writes them, or bytes called image, img, jpg, jpeg, png, webp, image_bytes or bytes; ?image=COLUMN names another, and folder:PATH images in folders beside the file",
        found: the_columns((0..described.num_columns()).map(path)),
    }
}

/// Columns of these names, of which the first are told.
pub(super) fn the_columns(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut told: Vec<String> = names.take(NAMED).collect();
    if more > 0 {
        told.push(format!("{more} more"));
    }
    format!("the columns {}", told.join(", "))
}

/// The place of the labels and the name of their column.
fn label(
    metadata: &ParquetMetaData,
    features: &Map<String, Value>,
    asked: Option<&str>,
) -> Result<Option<(usize, String)>, Refused> {
    let described = metadata.file_metadata().schema_descr();
    let refused = |found: String| Refused {
        looked_for: "labels that are whole numbers, booleans or words, one a row; ?label=COLUMN names another column, and ?label= reads the images without labels",
        found,
    };
    let called = |name: &str| {
        let leaves = (0..described.num_columns()).map(|place| (place, described.column(place)));
        let mut leaves = leaves.filter(|(_, column)| column.path().parts()[0] == name);
        let (place, column) = leaves.next()?;
        Some(match unread(&column) {
            None => Ok((place, name.to_owned())),
            Some(what) => Err(refused(format!("the column {name} of {what}"))),
        })
    };
    match asked {
        Some("") => return Ok(None),
        Some(name) => {
            let none = || Err(refused(format!("no column called {name}")));
            return called(name).unwrap_or_else(none).map(Some);
        }
        None => {}
    }
    let mut columns = described.root_schema().get_fields().iter();
    let is_class = |f: &Value| f["_type"] == "ClassLabel";
    let class = columns.find(|column| features.get(column.name()).is_some_and(is_class));
    if let Some(column) = class {
        return called(column.name()).transpose();
    }
    let mut all: Vec<_> = LABELS.into_iter().filter_map(called).collect();
    // One that can be read, rather than one that cannot.
    all.sort_by_key(Result::is_err);
    all.into_iter().next().transpose()
}

/// What a column holds, if it is nothing that labels are read from.
fn unread(column: &ColumnDescriptor) -> Option<String> {
    if column.max_rep_level() > 0 {
        return Some("lists".into());
    }
    if column.path().parts().len() > 1 {
        return Some("structs".into());
    }
    let logical = column.logical_type_ref();
    match (logical, column.converted_type()) {
        (Some(LogicalType::Decimal(of)), _) if of.scale != 0 => {
            return Some("decimal numbers".into());
        }
        (None, ConvertedType::DECIMAL) if column.type_scale() != 0 => {
            return Some("decimal numbers".into());
        }
        (Some(LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(_)), _) => {
            return Some("dates or times".into());
        }
        _ => {}
    }
    match column.physical_type() {
        Type::INT32 | Type::INT64 | Type::BOOLEAN | Type::FLOAT | Type::DOUBLE => None,
        Type::BYTE_ARRAY if is_text(column) || logical.is_none() => None,
        other => Some(format!("type {other}")),
    }
}

/// Whether bytes are said to be text.
pub(super) fn is_text(column: &ColumnDescriptor) -> bool {
    matches!(
        column.logical_type_ref(),
        Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)
    ) || matches!(
        column.converted_type(),
        ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
    )
}

/// The features of Hugging Face's metadata, by the names of their columns.
fn features(metadata: &ParquetMetaData) -> Map<String, Value> {
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
