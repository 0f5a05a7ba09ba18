//! Files of raw pixels: records of one size, one behind the other.

use crate::class_names::ClassNames;
use crate::error::{DataError, ReadError};
use crate::files::check_count;
use crate::labels::Labels;
use crate::source::Source;
use crate::storage::Storage;
use image::RgbImage;

/// How a record's pixels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Three planes, row by row.
    Planes,
    /// Three planes, column by column.
    Columns,
    /// One value a pixel.
    Gray,
    /// Three values a pixel.
    Interleaved,
}

/// Pixels that have no file each.
#[derive(Debug)]
pub(crate) struct Pixels {
    parts: Vec<Part>,
    shape: Shape,
    pub(crate) labels: Labels,
    what: String,
}

#[derive(Debug)]
struct Part {
    file: Storage,
    /// Number of its first image.
    first: usize,
}

/// What the records of a set are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) layout: Layout,
    /// Bytes before the pixels of each record.
    pub(crate) before: u64,
    /// Bytes before the first record of each file.
    pub(crate) header: u64,
}

impl Shape {
    /// Bytes of a record; the sides are known to be small.
    fn record(self) -> u64 {
        let channels = if self.layout == Layout::Gray { 1 } else { 3 };
        self.before + u64::from(self.width) * u64::from(self.height) * channels
    }
}

impl Pixels {
    /// # Errors
    /// A file that is not a whole number of records, or none.
    pub(crate) fn new(files: Vec<Storage>, shape: Shape, what: String) -> Result<Self, DataError> {
        let record = shape.record();
        let (mut parts, mut first) = (Vec::new(), 0u64);
        for file in files {
            let body = file.len().checked_sub(shape.header);
            let records = body.filter(|b| b.is_multiple_of(record) && *b > 0);
            let Some(records) = records.map(|b| b / record) else {
                let whole = body.map_or(0, |b| shape.header + b / record * record);
                let reason = format!("its {} bytes are no whole images of {record}", file.len());
                return Err(file.damaged(whole, reason));
            };
            check_count(file.path(), first + records)?;
            parts.push(Part {
                file,
                first: first as usize,
            });
            first += records;
        }
        Ok(Self {
            parts,
            shape,
            labels: Labels::default(),
            what,
        })
    }

    /// Labels that stand before the pixels, `at` bytes into each record.
    pub(crate) fn with_labels_inside(
        mut self,
        at: u64,
        names: Vec<String>,
    ) -> Result<Self, DataError> {
        for index in 0..self.len() {
            let (part, _, place) = self.place(index);
            let place = place - self.shape.before + at;
            let mut label = [0];
            part.file
                .read_into(place, &mut label)
                .map_err(|source| DataError::Read {
                    path: part.file.path().to_path_buf(),
                    source,
                })?;
            if usize::from(label[0]) >= names.len() {
                let reason = format!("label {} of {} classes", label[0], names.len());
                return Err(part.file.damaged(place, reason));
            }
            self.labels.of.push(label[0].into());
        }
        self.labels.classes = names.into();
        Ok(self)
    }

    /// Labels of a file of their own.
    pub(crate) fn with_labels(mut self, labels: Labels, file: &Storage) -> Result<Self, DataError> {
        if labels.of.len() != self.len() {
            let reason = format!("{} labels for {} images", labels.of.len(), self.len());
            return Err(file.damaged(file.len(), reason));
        }
        self.labels = labels;
        Ok(self)
    }

    /// File, number within it and place of an image's pixels.
    fn place(&self, index: usize) -> (&Part, u64, u64) {
        let part = self.parts.partition_point(|p| p.first <= index) - 1;
        let part = &self.parts[part];
        let number = (index - part.first) as u64;
        let place = self.shape.header + number * self.shape.record() + self.shape.before;
        (part, number, place)
    }
}

impl Source for Pixels {
    fn len(&self) -> usize {
        let records = |p: &Part| (p.file.len() - self.shape.header) / self.shape.record();
        self.parts
            .last()
            .map_or(0, |last| last.first + records(last) as usize)
    }
    fn name(&self, index: usize) -> String {
        assert!(index < self.len(), "index of an image");
        let (part, number, _) = self.place(index);
        format!("{}:{number}", part.file.file_name())
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn classes(&self) -> &ClassNames {
        &self.labels.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        assert!(index < self.len(), "index of an image");
        let (part, _, place) = self.place(index);
        let Shape { width, height, .. } = self.shape;
        let bytes = self.shape.record() - self.shape.before;
        let values = part.file.read(place, bytes)?;
        let (w, h) = (width as usize, height as usize);
        let plane = w * h;
        let at = |x: usize, y: usize, c: usize| match self.shape.layout {
            Layout::Planes => c * plane + y * w + x,
            Layout::Columns => c * plane + x * h + y,
            Layout::Gray => y * w + x,
            Layout::Interleaved => (y * w + x) * 3 + c,
        };
        Ok(RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([0, 1, 2].map(|c| values[at(x as usize, y as usize, c)]))
        }))
    }
    fn describe(&self) -> String {
        self.what.clone()
    }
}
