//! Files of a run, as they are.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use std::fs::File;
use std::io::{Read, Result, Take};
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
