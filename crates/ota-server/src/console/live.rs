//! Live pages: the service sends the changed part of a page, as server-sent events.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use ota_cloud::api::{Code, Problem, keep_alive};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::cx::Cx;
use super::pages;
use crate::pieces::Pieces;

/// The shortest pause between two looks at a batch.
const REST: Duration = Duration::from_secs(1);
/// A look is followed by a pause of this many times its length, so that a page costs at most a
/// hundredth of a core however large its batch is.
const SHARE: u32 = 99;
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// Follows a batch until the client is gone or the session ends.
pub(super) async fn follow(cx: &Cx, product: &str, batch: &str) -> Result<Response, Problem> {
    let (_, caller) = cx.signed_in()?;
    // What cannot be seen is no stream.
    pages::live(cx, product, batch).await?;
    let full = || Problem::new(Code::TooMany, "too many live pages are open: close one");
    let place = cx.api.stream_place(&caller).ok_or_else(full)?;
    let (pieces, come) = mpsc::channel(1);
    let (cx, product, batch) = (cx.clone(), product.to_owned(), batch.to_owned());
    tokio::spawn(async move {
        let _place = place;
        run(&cx, &product, &batch, &pieces).await;
    });
    let mut response = Response::new(Body::new(Pieces(come)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // The end of the stream is the end of its connection.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

async fn run(cx: &Cx, product: &str, batch: &str, pieces: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut news = cx.api.news();
    let (mut shown, mut said) = (String::new(), Instant::now());
    loop {
        news.mark_unchanged();
        let begun = Instant::now();
        let Some((ticket, _)) = &cx.who else { return };
        if cx.api.who(ticket).is_none() {
            return;
        }
        let Ok(part) = pages::live(cx, product, batch).await else { return };
        let pause = REST.max(begun.elapsed().saturating_mul(SHARE));
        let piece = if part.0 == shown {
            (said.elapsed() >= SILENCE).then(|| keep_alive().to_vec())
        } else {
            shown = part.0;
            Some(format!("data: {}\n\n", Value::from(shown.as_str())).into_bytes())
        };
        if let Some(piece) = piece {
            said = Instant::now();
            let sent = timeout(cx.api.patience(), pieces.send(Ok(piece.into()))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        tokio::select! {
            () = pieces.closed() => return,
            () = sleep(pause) => {}
        }
        tokio::select! {
            () = pieces.closed() => return,
            changed = news.changed() => if changed.is_err() { return },
            () = sleep(SILENCE) => {}
        }
    }
}
