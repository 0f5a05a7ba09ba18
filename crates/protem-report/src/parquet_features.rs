//! Features of images as a Parquet file.

use crate::run_folder::ReportError;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::{ParquetError, Result as WriteResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{
    SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter,
};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use protem_data::{Labelling, Source};
use serde_json::json;
use std::sync::Arc;

/// Bytes of features in a row group: what DuckDB and Polars give a thread at a time.
const GROUP: usize = 64 << 20;
/// Values that are written at a time, but for a row of more.
const AT_ONCE: usize = 1 << 16;

/// Images of a source with their features as the bytes of a Parquet file, a row each: `name`, text; where
/// each image of the source has a class `label`, its number (64 bits), and `class`, what it is called; and
/// `features`, a list of `dim` 32-bit floats. What Hugging Face's `datasets` takes the columns for is in the
/// metadata.
///
/// `images` are indices of the source, in the order of `features`, `images × dim`. Features are not
/// compressed: Snappy takes nothing off them, zstd a tenth.
///
/// # Errors
/// What the format cannot hold: a name of 2 GiB, say.
///
/// # Panics
/// If `features` does not hold `dim` values for each of `images`, or an index is not below the source's
/// length.
pub fn parquet_features(
    features: &[f32],
    dim: usize,
    source: &dyn Source,
    images: &[u32],
) -> Result<Vec<u8>, ReportError> {
    assert!(
        dim > 0 && features.len() == dim * images.len(),
        "features of all images"
    );
    let table = Table {
        dim,
        source,
        labelled: source.labelling() == Labelling::One,
    };
    // Pages of levels and names come on top, and are few beside features.
    let bytes = Vec::with_capacity(size_of_val(features) + 64 * images.len() + (1 << 16));
    let schema = Arc::new(parse_message_type(&table.schema())?);
    let mut writer = SerializedFileWriter::new(bytes, schema, Arc::new(table.properties()))?;
    let rows = (GROUP / (4 * dim)).max(1);
    for (features, images) in features.chunks(rows * dim).zip(images.chunks(rows)) {
        let mut group = writer.next_row_group()?;
        table.write(&mut group, features, images)?;
        group.close()?;
    }
    Ok(writer.into_inner()?)
}

struct Table<'a> {
    dim: usize,
    source: &'a dyn Source,
    labelled: bool,
}

impl Table<'_> {
    /// Columns that may hold nulls, and have none: as `datasets` and pyarrow have them, who take others for
    /// other types.
    fn schema(&self) -> String {
        let classes = match self.labelled {
            true => "optional int64 label; optional binary class (STRING);",
            false => "",
        };
        format!(
            "message images {{
                optional binary name (STRING); {classes}
                optional group features (LIST) {{ repeated group list {{ optional float element; }} }}
            }}"
        )
    }

    fn properties(&self) -> WriterProperties {
        let features =
            ColumnPath::from(["features", "list", "element"].map(str::to_owned).to_vec());
        let name = ColumnPath::from("name");
        let datasets = KeyValue::new("huggingface".to_owned(), self.datasets().to_string());
        WriterProperties::builder()
            .set_created_by("protem".into())
            .set_key_value_metadata(Some(vec![datasets]))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_compression(Compression::SNAPPY)
            .set_column_compression(features.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(features, false)
            .set_column_dictionary_enabled(name, false)
            .build()
    }

    /// The columns as `datasets` calls them. `Sequence` is what versions before 4.0 know a list by, and
    /// later ones read.
    fn datasets(&self) -> serde_json::Value {
        let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
        let mut columns = serde_json::Map::new();
        columns.insert("name".into(), value("string"));
        if self.labelled {
            let names: Vec<_> = self.source.classes().iter().collect();
            columns.insert(
                "label".into(),
                json!({"names": names, "_type": "ClassLabel"}),
            );
            columns.insert("class".into(), value("string"));
        }
        let list = json!({"feature": value("float32"), "_type": "Sequence"});
        columns.insert("features".into(), list);
        json!({"info": {"features": columns}})
    }

    fn write(&self, group: &mut Group<'_>, features: &[f32], images: &[u32]) -> WriteResult<()> {
        let source = self.source;
        let text = |text: &str| ByteArray::from(text);
        let name = |image: &u32| text(&source.name(*image as usize));
        write_texts(group, images.iter().map(name).collect())?;
        if self.labelled {
            let label = |image: &u32| source.label(*image as usize).expect("one class each");
            let labels: Vec<i64> = images.iter().map(|image| label(image).into()).collect();
            let mut column = next(group)?;
            column
                .typed::<Int64Type>()
                .write_batch(&labels, Some(&vec![1; labels.len()]), None)?;
            column.close()?;
            let name = |class: u32| source.classes().get(class as usize);
            let class = |image: &u32| text(&name(label(image)).expect("a class has a name"));
            write_texts(group, images.iter().map(class).collect())?;
        }
        self.write_features(group, features)
    }

    fn write_features(&self, group: &mut Group<'_>, features: &[f32]) -> WriteResult<()> {
        let at_once = (AT_ONCE / self.dim).max(1) * self.dim;
        // All values are there; with the first of each row, nothing repeats.
        let defined = vec![3; at_once];
        let mut repeated = vec![1; at_once];
        repeated.iter_mut().step_by(self.dim).for_each(|at| *at = 0);
        let mut column = next(group)?;
        for values in features.chunks(at_once) {
            let [defined, repeated] = [&defined, &repeated].map(|levels| &levels[..values.len()]);
            let floats = column.typed::<FloatType>();
            floats.write_batch(values, Some(defined), Some(repeated))?;
        }
        column.close()
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

/// The column that comes next.
fn next<'a>(group: &'a mut Group<'_>) -> WriteResult<SerializedColumnWriter<'a>> {
    let column = group.next_column()?;
    column.ok_or_else(|| ParquetError::General("more columns than the schema has".into()))
}

fn write_texts(group: &mut Group<'_>, texts: Vec<ByteArray>) -> WriteResult<()> {
    let mut column = next(group)?;
    let written = column.typed::<ByteArrayType>();
    written.write_batch(&texts, Some(&vec![1; texts.len()]), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protem_data::{ClassNames, FeatureTable, ReadError, RgbImage};
    use std::path::Path;

    /// Images without pixels, some of which have classes.
    struct Named(ClassNames);

    impl Source for Named {
        fn len(&self) -> usize {
            9
        }
        fn name(&self, index: usize) -> String {
            format!("grün\t{index}.jpg")
        }
        fn label(&self, index: usize) -> Option<u32> {
            (!self.0.is_empty()).then_some(index as u32 % 2)
        }
        fn classes(&self) -> &ClassNames {
            &self.0
        }
        fn read(&self, _: usize) -> Result<RgbImage, ReadError> {
            Err(ReadError::NoBytes)
        }
        fn describe(&self) -> String {
            "names".into()
        }
    }

    /// Bits of every kind: denormals, infinities, NaNs.
    fn bits(count: usize) -> Vec<f32> {
        let bits = (0..count).map(|i| (i as u32).wrapping_mul(0x9e37_79b9));
        bits.map(f32::from_bits).collect()
    }

    fn source(classes: &[&str]) -> Named {
        let names = classes.iter().map(|name| (*name).to_owned());
        Named(names.collect::<Vec<_>>().into())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        // Rows of two groups, rows of more values than are written at once, and short ones.
        for (dim, rows) in [(GROUP / 8, 3), (AT_ONCE + 1, 2), (1, 9), (7, 1)] {
            let features = bits(rows * dim);
            let images: Vec<u32> = (0..rows as u32).rev().collect();
            let bytes = parquet_features(&features, dim, &source(&[]), &images).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let table = FeatureTable::open(&path).unwrap();
            assert_eq!((table.rows(), table.dim()), (rows, dim));
            let mut read = vec![0.0; rows * dim];
            assert!(!table.read_into(&mut read).unwrap());
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
            assert!(read.iter().zip(&features).all(same), "{rows} × {dim}");
            let names = images.iter().map(|i| format!("grün\t{i}.jpg"));
            assert_eq!(table.names().unwrap(), Some(names.collect()));
        }
    }

    /// `features.py` reads the fixtures with pyarrow, pandas, Polars, DuckDB and `datasets`.
    #[test]
    fn the_bytes_are_those_that_other_programs_have_read() {
        for (name, classes) in [("labelled", &["ant", "bee"][..]), ("unlabelled", &[])] {
            let images = [8, 0, 1, 5, 2];
            let bytes = parquet_features(&bits(40), 8, &source(classes), &images).unwrap();
            let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            let fixture = fixtures.join(format!("{name}.parquet"));
            if std::fs::read(&fixture).ok().as_ref() != Some(&bytes) {
                let now = std::env::temp_dir().join(format!("{name}.parquet"));
                std::fs::write(&now, bytes).unwrap();
                let [now, fixture] = [&now, &fixture].map(|path| path.display());
                panic!("{now} is not {fixture}: copy it there, and run features.py beside it");
            }
        }
    }
}
