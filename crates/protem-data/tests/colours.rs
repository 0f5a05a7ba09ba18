//! Colours that are told in rare ways, as Pillow sees them (`fixtures/colours.py`).

use protem_data::{ReadError, decode};

#[test]
fn colours_are_pillows() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/colours");
    for name in ["names.jpg", "adobe.jpg", "film.webp"] {
        let file = std::path::Path::new(folder).join(name);
        let image =
            decode(&std::fs::read(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let pillow = std::fs::read(file.with_extension("rgb")).unwrap();
        assert_eq!(image.dimensions(), (16, 16));
        assert!(*image.as_raw() == pillow, "{name}");
    }
}

#[test]
fn black_of_another_size_is_refused() {
    let bytes = include_bytes!("fixtures/colours/black.jpg");
    let error = decode(bytes).unwrap_err();
    assert!(matches!(error, ReadError::Decode(_)), "{error}");
    assert!(error.to_string().contains("black"), "{error}");
}
