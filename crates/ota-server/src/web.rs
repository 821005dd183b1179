//! The listener of the API: its connections, and whether a request is one of the console.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::api::{self, Api, ID};
use super::console;
use super::log::What;
use super::random;
use super::stream::Stream;

/// The largest head of a request in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves one connection until it ends or the service stops.
pub(crate) async fn serve(stream: Stream, peer: SocketAddr, api: Api, stop: CancellationToken) {
    let patience = api.patience();
    let router = Router::new().fallback(answer).layer(Extension(peer)).with_state(api.clone());
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    tokio::select! {
        ended = connection => if let Some(error) = ended.err().filter(|error| !error.is_timeout()) {
            api.log(What::Closed { peer, why: error.to_string() });
        },
        () = stop.cancelled() => {}
    }
}

/// Answers a request. It runs to its end even if the client disconnects, so that a complete upload
/// gets its row.
async fn answer(
    State(api): State<Api>,
    Extension(peer): Extension<SocketAddr>,
    mut request: Request,
) -> Response {
    let id = request_id();
    let value = HeaderValue::from_str(&id).ok();
    let peer = api.client(peer, &mut request);
    // In place of the caller's, so that calls of the console have it, too.
    request.headers_mut().remove(ID);
    request.headers_mut().extend(value.clone().map(|value| (ID, value)));
    let mut response = if console::is_at(request.uri().path()) {
        console::answer(api, peer, request, id).await
    } else {
        api::answer(api, peer, request, id).await
    };
    response.headers_mut().extend(value.map(|value| (ID, value)));
    response
}

/// An id for a request: in its answer, its line of the log, and its line of the audit. It has the
/// vendor's form.
fn request_id() -> String {
    let bytes: [u8; 16] = random().unwrap_or_default();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |at: usize, end: usize| hex.get(at..end).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
