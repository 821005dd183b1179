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
/// A look is followed by a pause of this many times its length, so that a page costs less than a
/// hundredth of a core however large its batch is, with what it costs to send.
const SHARE: u32 = 149;
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// Follows a batch until the client is gone or the session ends.
pub(super) async fn follow(cx: &Cx, product: &str, batch: &str) -> Result<Response, Problem> {
    let (_, caller) = cx.signed_in()?;
    // What cannot be seen is no stream.
    let first = Look::at(cx, product, batch).await?;
    let full = || Problem::new(Code::TooMany, "too many live pages are open: close one");
    let place = cx.api.stream_place(&caller).ok_or_else(full)?;
    let (pieces, come) = mpsc::channel(1);
    let (cx, product, batch) = (cx.clone(), product.to_owned(), batch.to_owned());
    tokio::spawn(async move {
        let _place = place;
        run(&cx, (&product, &batch), first, &pieces).await;
    });
    let mut response = Response::new(Body::new(Pieces(come)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // The end of the stream is the end of its connection.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

/// The live part of a page, and what it took to write it.
struct Look {
    part: String,
    took: Duration,
}

impl Look {
    async fn at(cx: &Cx, product: &str, batch: &str) -> Result<Self, Problem> {
        let begun = Instant::now();
        let part = pages::live(cx, product, batch).await?.0;
        Ok(Self { part, took: begun.elapsed() })
    }
}

async fn run(
    cx: &Cx,
    (product, batch): (&str, &str),
    first: Look,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut news = cx.api.news();
    let (mut shown, mut said) = (String::new(), Instant::now());
    let mut next = Some(first);
    loop {
        let Look { part, took } = match next.take() {
            Some(first) => first,
            None => {
                news.mark_unchanged();
                let Some((ticket, _)) = &cx.who else { return };
                if cx.api.who(ticket).is_none() {
                    return;
                }
                let Ok(look) = Look::at(cx, product, batch).await else { return };
                look
            }
        };
        let pause = REST.max(took.saturating_mul(SHARE));
        let piece = if part == shown {
            (said.elapsed() >= SILENCE).then(|| keep_alive().to_vec())
        } else {
            shown = part;
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
