//! Tables of features as pyarrow, pandas, Polars and `datasets` write them, and those that are refused.

use protem_data::{DataError, FeatureTable, Storage};
use std::fs;
use std::path::{Path, PathBuf};

const ROWS: usize = 7;
const DIM: usize = 5;

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features");
    folder.join(name)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(fixture(folder)).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

fn read(table: &FeatureTable) -> Result<(Vec<f32>, bool), DataError> {
    let mut values = vec![f32::NAN; table.rows() * table.dim()];
    let rounded = table.read_into(&mut values)?;
    Ok((values, rounded))
}

fn names() -> Vec<String> {
    let name = |i| format!("class-{}/{i}.jpg", i % 3);
    (0..ROWS).map(name).collect()
}

#[test]
fn what_other_programs_write_is_read() {
    let value = |i: usize, j: usize| (((37 * i + 11 * j) % 97) as f32 - 48.0) / 8.0;
    let expected: Vec<f32> = (0..ROWS)
        .flat_map(|i| (0..DIM).map(move |j| value(i, j)))
        .collect();
    let files = files("read");
    assert_eq!(files.len(), 41);
    for file in files {
        let shown = file.display();
        assert!(FeatureTable::is_parquet(&file));
        let table = FeatureTable::open(&file).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_eq!((table.rows(), table.dim()), (ROWS, DIM), "{shown}");
        assert_eq!(read(&table).unwrap(), (expected.clone(), false), "{shown}");
        assert_eq!(table.names().unwrap(), Some(names()), "{shown}");
    }
    assert!(!FeatureTable::is_parquet(&fixture("../features.py")));
}

#[test]
fn what_is_wrong_is_said() {
    let column = "looked for a column features, in each row a list of 32- or 64-bit floats; found";
    for (file, says) in [
        ("null-row", "row 4 of"),
        ("null-row", "it is null or empty"),
        ("null-value", "column features: a value is null"),
        ("empty-row", "it is null or empty"),
        ("empty-first", "row 0 of"),
        ("longer", "it has 6 values, and the first row 5"),
        ("shorter-in-the-end", "row 6 of"),
        ("shorter-in-the-end", "it has 4 values, and the first row 5"),
        ("integers", "the column features of lists of whole numbers"),
        ("halves", "lists of 16-bit floats"),
        ("one-value", "the column features of single values"),
        ("matrices", "the column features of lists of lists"),
        ("structs", "the column features of structs"),
        ("one-field", "the column features of structs"),
        ("other-name", column),
        ("other-name", "found the columns name, embedding"),
        ("no-row", "a table without a row"),
        ("brotli", "found pages in Brotli: write them anew"),
        ("beyond", "row 5 of"),
        ("beyond", "a value is beyond 32-bit floats"),
    ] {
        let path = fixture(&format!("refused/{file}.parquet"));
        let error = FeatureTable::open(&path).and_then(|table| read(&table).map(drop));
        let error = error.expect_err(file).to_string();
        assert!(error.contains(says), "{error}");
        assert!(error.contains(&format!("{file}.parquet")), "{error}");
    }
    assert_eq!(files("refused").len(), 16);
}

#[test]
fn names_are_there_or_not() {
    let open = |name: &str| FeatureTable::open(&fixture(name)).unwrap();
    assert_eq!(open("no-names.parquet").names().unwrap(), None);
    assert_eq!(open("numbered.parquet").names().unwrap(), None);
    let error = open("null-name.parquet").names().unwrap_err();
    assert!(matches!(
        error,
        DataError::Row {
            row: 5,
            column: "name",
            ..
        }
    ));
    let (values, rounded) = read(&open("rounded.parquet")).unwrap();
    assert_eq!((values, rounded), (vec![0.1, 0.2], true));
}

/// A dictionary and no bytes for a value: as much as that is read, not more.
#[test]
fn a_small_file_may_become_large_and_not_any_size() {
    let same = fs::read(fixture("same.parquet")).unwrap();
    assert!(same.len() < 2048);
    let open = |bytes| FeatureTable::of(Storage::memory(bytes, Path::new("same.parquet")));
    let (values, _) = read(&open(same.clone()).unwrap()).unwrap();
    assert_eq!(values, vec![1.5; 2100 * 512]);
    // The number of values as the metadata has it, twice it in seven bits a byte; and 2²⁵.
    let [declared, more] = [[0x80, 0xa0, 0x83, 0x01], [0x80, 0x80, 0x80, 0x20]];
    let places = (0..same.len() - 4).filter(|at| same[*at..].starts_with(&declared));
    let places: Vec<usize> = places.collect();
    assert!(!places.is_empty());
    let mut bytes = same;
    for at in places {
        bytes[at..at + 4].copy_from_slice(&more);
    }
    let error = open(bytes).err().expect("too many values").to_string();
    assert!(
        error.contains("it declares 2100 rows with 33554432 features in"),
        "{error}"
    );
}

/// Wherever a file is cut or a byte of it changed, it is read or refused.
#[test]
fn damaged_files_are_read_or_refused() {
    for name in ["none-1-plain", "zstd-2-dictionary", "datasets", "double"] {
        let whole = fs::read(fixture(&format!("read/{name}.parquet"))).unwrap();
        let look = |bytes: Vec<u8>| {
            let table = FeatureTable::of(Storage::memory(bytes, Path::new("damaged.parquet")));
            if let Ok(table) = table {
                let _ = (read(&table), table.names());
            }
        };
        for at in 0..whole.len() {
            look(whole[..at].to_vec());
            for change in [1, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                look(bytes);
            }
        }
    }
}
