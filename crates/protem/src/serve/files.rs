//! Files of a run, as they are.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Take};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What can be asked for, and as what it is sent. A browser shows text.
pub const FILES: [(&str, &str); 3] = [
    ("report.html", "text/html; charset=utf-8"),
    ("metrics.jsonl", "text/plain; charset=utf-8"),
    ("config.toml", "text/plain; charset=utf-8"),
];
/// Bytes read at once.
const CHUNK: usize = 1 << 16;

/// Opens a file of a run's folder; none if there is none. A link may lead out of the folder, and a pipe would
/// be waited for: they are none of a run's files.
pub fn open(path: &Path) -> Result<Option<File>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(found) => {
            let what = if found.is_symlink() {
                "a link"
            } else {
                "no file"
            };
            return Err(Error::other(format!("it is {what}")));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None), // gone meanwhile
        opened => opened.map(Some),
    }
}

/// A file as it is now, to its present length.
pub fn answer(file: File, kind: &'static str) -> Result<Response> {
    let length = file.metadata()?.len();
    let body = Body::from_stream(Chunks(file.take(length)));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, length.into()),
    ];
    Ok((headers, body).into_response())
}

/// What is left of a file, which may be large.
struct Chunks(Take<File>);

impl Stream for Chunks {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context) -> Poll<Option<Self::Item>> {
        let mut chunk = vec![0; CHUNK];
        let read = self.0.read(&mut chunk).map(|read| {
            chunk.truncate(read);
            (read > 0).then(|| chunk.into())
        });
        Poll::Ready(read.transpose())
    }
}
