//! The kinds of sources, and how one is recognised.

mod archive_index;
mod cifar;
mod idx;
mod imagenet_archives;
mod imagenet_devkit;
mod list;
mod mat;
mod open;
pub(crate) mod parquet;
mod parquet_chunks;
mod parquet_column;
pub(crate) mod parquet_features;
mod parquet_kept;
mod parquet_labels;
mod parquet_lists;
mod parquet_pages;
mod parquet_schema;
mod parquet_thrift;
mod parquet_zstd;
mod pixels;
mod places;
mod splits;
mod stl10;
pub(crate) mod tar;
mod tar_index;
mod tar_label;
mod tar_members;
mod tar_pax;
mod voc;

pub(crate) use open::names;
pub use open::{open, open_memory};
