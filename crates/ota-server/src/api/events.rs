//! Events as a stream. A client is a cursor into the journal: unread events stay there and not in
//! memory, however slow the client is.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use ota_cloud::api::{Code, EventView, FeedFilter, FeedItem, Problem, keep_alive};
use ota_store::{DeviceKey, Event, EventQuery};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::reply::Reply;
use super::{Api, Asked, Ticket, rows};
use crate::pieces::Pieces;

/// Events per read.
const MOST: usize = 500;
/// How long events are gathered, so that a busy cloud does not query for each.
const GATHER: Duration = Duration::from_millis(50);
/// How often an idle stream checks its key.
const REST: Duration = Duration::from_secs(1);
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) async fn follow(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
    let known = api.is_known(asked.query.get("product").unwrap_or("")).await?;
    let filter = FeedFilter::read(&asked.query, header("last-event-id"), &asked.grant, known)?;
    let full = || Problem::new(Code::TooMany, "too many streams are open: end one");
    let place = api.0.streams.take(asked.grant.caller().id()).ok_or_else(full)?;
    let last = api.read(|read| read.last_event()).await?;
    let (pieces, come) = mpsc::channel(1);
    let feed = Feed {
        api: api.clone(),
        ticket: asked.ticket,
        at: filter.after.unwrap_or(last),
        filter,
        pieces,
    };
    tokio::spawn(async move {
        let _place = place;
        feed.run().await;
    });
    let mut response = Response::new(Body::new(Pieces(come)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    // The end of the stream is the end of its connection.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(Reply::whole(response))
}

/// The position of a stream.
struct Feed {
    api: Api,
    ticket: Ticket,
    filter: FeedFilter,
    at: u64,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Feed {
    /// Sends events until the client is gone or reads nothing for too long, its key is invalid, or
    /// the service stops.
    async fn run(mut self) {
        let mut news = self.api.0.handle.news.clone();
        let mut said = Instant::now();
        if !self.say(keep_alive().to_vec()).await {
            return;
        }
        loop {
            news.mark_unchanged();
            let Some((piece, more)) = self.next().await else { return };
            if !piece.is_empty() {
                said = Instant::now();
                if !self.say(piece).await {
                    return;
                }
            }
            if more {
                continue;
            }
            if said.elapsed() >= SILENCE {
                said = Instant::now();
                if !self.say(keep_alive().to_vec()).await {
                    return;
                }
            }
            tokio::select! {
                () = self.pieces.closed() => return,
                changed = news.changed() => match changed {
                    Ok(()) => sleep(GATHER).await,
                    Err(_) => return,
                },
                () = sleep(REST) => {}
            }
        }
    }

    async fn say(&self, piece: Vec<u8>) -> bool {
        let sent = timeout(self.api.0.patience, self.pieces.send(Ok(piece.into())));
        matches!(sent.await, Ok(Ok(())))
    }

    /// The events after the cursor, and whether there are more; `None` at the end: the key is no
    /// longer valid, or nothing can be read.
    async fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        let caller = self.api.who(&self.ticket)?;
        let device = self.filter.device.as_ref();
        let device = device.map(|of| DeviceKey::new(of.product_id(), of.device_name()));
        let (query, whole) = (EventQuery { after: self.at, device }, self.filter.device.is_none());
        let read = self.api.read(move |read| {
            // Read before the events: later changes count next time.
            let last = read.last_event()?;
            let events = read.events(&query, MOST)?;
            // Read after them: the stored events of one device do not show what was pruned.
            let oldest = if whole { None } else { read.events(&EventQuery::default(), 1)?.pop() };
            let mut begins = BTreeMap::new();
            for Event { what, .. } in &events {
                if !begins.contains_key(&what.product) {
                    let after = rows::events_after(read, &what.product)?;
                    begins.insert(what.product.clone(), after);
                }
            }
            Ok((last, events, oldest.map(|event| event.seq), begins))
        });
        let (last, events, oldest, begins) = read.await.ok()?;
        let mut piece = Vec::new();
        let (end, first) = (last.saturating_add(1), events.first().map(|event| event.seq));
        // Numbers have no gaps: missing ones were pruned.
        let first = match first {
            first if whole => first.unwrap_or(end),
            first => oldest.unwrap_or(end).min(first.unwrap_or(u64::MAX)),
        };
        if first > self.at.saturating_add(1) || self.at > last {
            let on = if self.at > last { last } else { first.saturating_sub(1) };
            piece.extend(FeedItem::Lost { after: self.at, on }.to_bytes());
            self.at = on;
        }
        for Event { seq, what } in &events {
            self.at = *seq;
            let is_its = begins.get(&what.product).is_none_or(|after| seq > after);
            if is_its && self.filter.lets(&caller, &what.product, &what.name) {
                let of = (what.product.as_str(), what.name.as_str());
                piece.extend(
                    FeedItem::Event(EventView::new(*seq, what.at, of, &what.body)).to_bytes(),
                );
            }
        }
        let more = events.len() == MOST;
        if !more {
            // Everything up to there was read, even if it belongs to others.
            self.at = self.at.max(last);
        }
        Some((piece, more))
    }
}
