//! Sends the bytes of an image, whole or a range of them. Devices use
//! [`firmware`](crate::firmware), where the URL is the key.

use std::io::{self, SeekFrom};
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use ota_cloud::origin::Span;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::store::{CHANGED, Image, Source};

/// The bytes of a file that a request holds in memory.
const CHUNK: usize = 128 * 1024;

/// The answer to a request with these headers.
///
/// # Errors
/// The bytes no longer exist.
pub(super) async fn reply(image: &Image, headers: &HeaderMap) -> io::Result<Response> {
    let (size, etag) = (image.size, format!("\"{}\"", image.md5));
    let mut range = 0..size;
    let mut reply = Response::new(Body::empty());
    if let Some(span) = asked(headers, &etag) {
        let Some((at, end)) = span.within(size) else {
            *reply.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            put(&mut reply, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(reply);
        };
        range = at..end;
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = end.saturating_sub(1);
        put(&mut reply, header::CONTENT_RANGE, &format!("bytes {at}-{last}/{size}"));
    }
    *reply.body_mut() = body(image, &range).await?;
    let length = range.end.saturating_sub(range.start);
    put(&mut reply, header::CONTENT_TYPE, "application/octet-stream");
    put(&mut reply, header::CONTENT_DISPOSITION, "attachment");
    put(&mut reply, header::CONTENT_LENGTH, &length.to_string());
    put(&mut reply, header::ACCEPT_RANGES, "bytes");
    put(&mut reply, header::ETAG, &etag);
    Ok(reply)
}

/// The requested range. `None` for several ranges, or if `If-Range` names another image.
fn asked(headers: &HeaderMap, etag: &str) -> Option<Span> {
    let get = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if get(header::IF_RANGE).is_some_and(|other| other.trim() != etag)
        || headers.get_all(header::RANGE).iter().count() > 1
    {
        return None;
    }
    Span::parse(get(header::RANGE)?)
}

/// A body of exactly these bytes: a slice of the shared bytes, or a file that is read in pieces, so
/// that it is never whole in memory.
async fn body(image: &Image, range: &Range<u64>) -> io::Result<Body> {
    let path = match &image.source {
        Source::Memory(bytes) => return Ok(Body::from(slice(bytes, range))),
        Source::File(path) => path,
    };
    let mut file = File::open(path).await?;
    if !image.is_unchanged(&file.metadata().await?) {
        return Err(io::Error::other(CHANGED));
    }
    file.seek(SeekFrom::Start(range.start)).await?;
    let part = file.take(range.end.saturating_sub(range.start));
    Ok(Body::from_stream(ReaderStream::with_capacity(part, CHUNK)))
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

fn put(reply: &mut Response, name: HeaderName, value: &str) {
    // All values consist of digits, hex and words from here.
    if let Ok(value) = value.try_into() {
        reply.headers_mut().insert(name, value);
    }
}
