//! What can be wrong with images.

use crate::source::Unreadable;
use std::path::PathBuf;

/// Why one image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes are no image, or a damaged one.
    #[error("cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
    /// A format of telephones and of the web that is not read here.
    #[error("is an HEIC or AVIF image, which is not read here: convert it, to JPEG say")]
    Heif,
    /// A JPEG that ends before its last marker.
    #[error("is truncated: the JPEG's end marker is missing")]
    Truncated,
    /// The decoder gave up in a way it should not.
    #[error("cannot be decoded: the decoder panicked")]
    DecoderPanic,
    /// No pixels at all.
    #[error("declares {width}×{height} pixels")]
    Empty {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
    },
    /// More pixels than the limit.
    #[error("declares {width}×{height} pixels, the limit is {limit} in all")]
    TooLarge {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// More encoded bytes than the limit.
    #[error("is {bytes} bytes long, the limit is {limit}")]
    TooManyBytes {
        /// Encoded bytes.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A row of a table without an image in it.
    #[error("its row holds no image bytes")]
    NoBytes,
    /// A symbolic link in an archive that leads to none of the files before it.
    #[error(
        "is a symbolic link to no file before it in its archive: write the archive with --dereference"
    )]
    Link,
    /// The part of a container that the image lies in is damaged.
    #[error("its part of {container} is damaged: {reason}")]
    Container {
        /// File name of the container.
        container: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why a set of images cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing is there.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// A folder without an image file.
    #[error("{} holds no image ({})", folder.display(), extensions.join(", "))]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// File extensions that were looked for.
        extensions: Vec<&'static str>,
    },
    /// Neither a file nor a folder, and no pattern that any file fits.
    #[error("there is no folder or file {}", .0.display())]
    Missing(PathBuf),
    /// Something is there, but no kind of source that is known.
    #[error("{} is none of the sets of images that are known: looked for {looked_for}; found {found}", path.display())]
    Unrecognised {
        /// What was named.
        path: PathBuf,
        /// What would have been recognised.
        looked_for: &'static str,
        /// What is there.
        found: String,
    },
    /// A folder of images and shards, or of shards of two kinds, of which each may hold the images.
    #[error("{} holds {one} and {other}: say where the images are, by '{kind}:{}' or '{other_kind}:{}'", path.display(), path.display(), path.display())]
    TwoKinds {
        /// The folder.
        path: PathBuf,
        /// A file of one kind.
        one: String,
        /// Its kind.
        kind: &'static str,
        /// A file of the other.
        other: String,
        /// Its kind.
        other_kind: &'static str,
    },
    /// A set of several splits, and none is named.
    #[error("{what} has several splits ({}): name one, as in '{what}?split={}'", splits.join(", "), splits.first().map_or("", |s| s))]
    WhichSplit {
        /// The set, as it was named.
        what: String,
        /// Splits it has.
        splits: Vec<String>,
    },
    /// A split that the set does not have.
    #[error("{what} has no split {split} (it has {})", splits.join(", "))]
    NoSplit {
        /// The set.
        what: String,
        /// The split that was named.
        split: String,
        /// Splits it has.
        splits: Vec<String>,
    },
    /// An option that the kind of source does not have, or a value it cannot have.
    #[error("{what}: {option}={value} cannot be: {rule}")]
    Option {
        /// The source, as it was named.
        what: String,
        /// Name of the option.
        option: String,
        /// Its value.
        value: String,
        /// What would be right.
        rule: String,
    },
    /// A file that is needed cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that is decompressed once, into a folder that does not take it.
    #[error(
        "{} cannot be decompressed into {}; make room there, or name another folder by XDG_CACHE_HOME: {source}",
        path.display(),
        folder.display()
    )]
    Decompress {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line of a list that cannot be understood.
    #[error("line {line} of {}: {reason}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An image without a class where others have one.
    #[error("{}: {image} has no class, and others have{otherwise}", path.display())]
    NoClass {
        /// The set.
        path: PathBuf,
        /// The image.
        image: String,
        /// What can be done about it, behind a semicolon; or nothing.
        otherwise: &'static str,
    },
    /// Classes that cannot be.
    #[error("classes of {}: {reason}", path.display())]
    Classes {
        /// The set.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A table without such a column, or of another type.
    #[error("{}: looked for {looked_for}; found {found}", path.display())]
    Column {
        /// The table.
        path: PathBuf,
        /// What would have been read.
        looked_for: &'static str,
        /// What is there.
        found: String,
    },
    /// A row of a table that does not hold what the others do.
    #[error("row {row} of {}, column {column}: {reason}", path.display())]
    Row {
        /// The table.
        path: PathBuf,
        /// From 0.
        row: usize,
        /// Name of the column.
        column: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A container whose structure is damaged: what lies behind the place cannot be found.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The container.
        path: PathBuf,
        /// Where, in bytes from its beginning.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Something in a container that is sound, and not read.
    #[error("{} has at byte {offset} what is not read: {reason}", path.display())]
    Unsupported {
        /// The container.
        path: PathBuf,
        /// Where, in bytes from its beginning.
        offset: u64,
        /// What it is, and what can be done.
        reason: String,
    },
    /// Larger than a source may be, so that a hostile file cannot take all memory.
    #[error("{} has {size} {what}, the limit is {limit}", path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        size: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The file system refused.
    #[error("cannot list {}: {source}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Too many images cannot be read.
    #[error("{} of {images} {set} images cannot be read, more than the {limit} allowed", unreadable.len())]
    TooManyUnreadable {
        /// What they are for: training, test.
        set: &'static str,
        /// Which, and why.
        unreadable: Vec<Unreadable>,
        /// Images of the set.
        images: usize,
        /// How many may be.
        limit: usize,
    },
    /// So many that follow each other: more likely it is what they lie on.
    #[error("{} images in a row cannot be read", unreadable.len())]
    UnreadableInARow {
        /// Which, and why.
        unreadable: Vec<Unreadable>,
    },
    /// Fewer images than a batch.
    #[error("{images} images do not make one batch of {batch}")]
    FewerThanBatch {
        /// Images of the set.
        images: usize,
        /// Images of a batch.
        batch: usize,
    },
}
