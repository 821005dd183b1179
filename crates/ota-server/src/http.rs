//! The fault-free firmware server: axum over hyper.
//!
//! tower-http's `ServeFile` was considered: it serves files only, and its ETag is made of time and
//! length. Here the ETag is the digest that the offer states, images may live in memory, and a
//! path is a key of a map; what is left of it is one range, 40 lines in [`range`](super::range).
//!
//! `axum::serve` cannot write `Content-Length` in the case that the vendor's C devices look for
//! (docs/protocol.md, The cloud's side), so connections are hyper's, which can.

use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_io_timeout::TimeoutStream;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::hub::Journal;
use super::log::What;
use super::range::{self, Asked};
use super::store::{CHANGED, Image, Shelf, Source};
use super::stream::Stream;
use ota_cloud::sign::UrlSigner;

/// What every request needs.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) signer: Arc<UrlSigner>,
    pub(super) images: Shelf,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    /// How long a client may take for a request's head, rest between requests, or not read.
    pub(super) patience: Duration,
}

/// Serves one connection until it ends or the service stops.
pub(super) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    origin: Origin,
    stop: CancellationToken,
) {
    let (patience, journal) = (origin.patience, origin.journal.clone());
    let router = Router::new().fallback(answer).layer(Extension(peer)).with_state(origin);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let connection = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    tokio::select! {
        // A client that just goes silent between requests is no news.
        ended = connection => if let Some(error) = ended.err().filter(|error| !error.is_timeout()) {
            journal.write(None, What::Closed { peer, why: error.to_string() });
        },
        () = stop.cancelled() => {}
    }
}

/// The largest head of a request in bytes; hyper takes no less than 8 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// The bytes of a file that are in memory for a request.
const CHUNK: usize = 128 * 1024;

async fn answer(
    State(origin): State<Origin>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
) -> Response {
    let answer = match find(&origin, &request) {
        Ok(image) => image_reply(&image, request.headers()).await,
        Err(refused) => Err(refused),
    };
    let (reply, range, why) = match answer {
        Ok((reply, range)) => (reply, range, String::new()),
        Err(Refused { reply, why }) => (*reply, 0..0, why),
    };
    let path = request.uri().path().to_owned();
    let method = request.method().as_str().chars().take(MAX_METHOD).collect();
    let status = reply.status().as_u16();
    origin.journal.write(None, What::Request { peer, method, path, status, range, why });
    reply
}

/// The letters of a method that are noted.
const MAX_METHOD: usize = 16;

/// An answer in words.
struct Refused {
    reply: Box<Response>,
    why: String,
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Refused {
    let why = why.into();
    Refused { reply: Box::new(text(status, &why)), why }
}

/// The image that a request may have, or the refusal.
fn find(origin: &Origin, request: &Request) -> Result<Arc<Image>, Refused> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(refuse(StatusCode::BAD_REQUEST, "HTTP/1.1 has one Host"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        put(&mut refused.reply, header::ALLOW, "GET, HEAD");
        return Err(refused);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let signed = origin
        .signer
        .check(target, origin.clock.unix())
        .map_err(|refusal| refuse(StatusCode::FORBIDDEN, refusal.to_string()))?;
    let image = origin.images.get(&signed.path);
    image.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such firmware"))
}

async fn image_reply(
    image: &Image,
    headers: &HeaderMap,
) -> Result<(Response, Range<u64>), Refused> {
    let size = image.size;
    let etag = image.etag();
    let (status, range) = match asked(headers, &etag, size) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Beyond => {
            let mut refused = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "beyond the end");
            put(&mut refused.reply, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Err(refused);
        }
    };
    let body = match body(image, &range).await {
        Ok(body) => body,
        Err(error) => {
            return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
        }
    };
    let length = range.end.saturating_sub(range.start);
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    put(&mut reply, header::CONTENT_TYPE, "application/octet-stream");
    put(&mut reply, header::CONTENT_LENGTH, &length.to_string());
    put(&mut reply, header::ACCEPT_RANGES, "bytes");
    put(&mut reply, header::ETAG, &etag);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        let value = format!("bytes {}-{last}/{size}", range.start);
        put(&mut reply, header::CONTENT_RANGE, &value);
    }
    Ok((reply, range))
}

/// The range asked for; all of it when `If-Range` names another image.
fn asked(headers: &HeaderMap, etag: &str, size: u64) -> Asked {
    let get = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if get(header::IF_RANGE).is_some_and(|other| other.trim() != etag) {
        return Asked::Whole;
    }
    if headers.get_all(header::RANGE).iter().count() > 1 {
        return Asked::Whole;
    }
    range::parse(get(header::RANGE), size)
}

/// A body of exactly the bytes of `range`, never all of them in memory at once: a slice of the
/// shared bytes, or a file read piece by piece.
async fn body(image: &Image, range: &Range<u64>) -> io::Result<Body> {
    let Some(path) = image.path() else {
        return Ok(Body::from(match &image.source {
            Source::Memory(bytes) => slice(bytes, range),
            Source::File(_) => bytes::Bytes::new(),
        }));
    };
    let changed = |_| io::Error::other("the firmware's file is gone");
    let mut file = tokio::fs::File::open(path).await.map_err(changed)?;
    if !image.is_unchanged(&file.metadata().await.map_err(changed)?) {
        return Err(io::Error::other(CHANGED));
    }
    file.seek(SeekFrom::Start(range.start)).await?;
    let part = file.take(range.end.saturating_sub(range.start));
    Ok(Body::from_stream(ReaderStream::with_capacity(part, CHUNK)))
}

fn slice(bytes: &bytes::Bytes, range: &Range<u64>) -> bytes::Bytes {
    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

/// A short answer in words, with its length.
fn text(status: StatusCode, words: &str) -> Response {
    let mut reply = Response::new(Body::from(format!("{words}\n")));
    *reply.status_mut() = status;
    put(&mut reply, header::CONTENT_TYPE, "text/plain");
    put(&mut reply, header::CONTENT_LENGTH, &words.len().saturating_add(1).to_string());
    reply
}

fn put(reply: &mut Response, name: HeaderName, value: &str) {
    // All values are made here of digits, hex and words.
    if let Ok(value) = value.try_into() {
        reply.headers_mut().insert(name, value);
    }
}
