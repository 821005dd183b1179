//! The link to the store: one fetch of one device.

use alloc::string::String;

use ota_proto::url::Url;
use ota_proto::{Instant, OpId, TransportError, Updater};

use super::{Client, DeviceIndex, Found, Link, LinkKind, Received};
use crate::http::{self, Closed, Fetch};

/// One fetch and its link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) link: Link,
    pub(super) device: DeviceIndex,
    pub(super) op: OpId,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) state: StoreState,
    fetch: Fetch,
}

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StoreState {
    /// To be opened.
    Due,
    /// Being opened, until then at most.
    Opening(Instant),
    Open,
}

impl Store {
    pub(super) fn opened(&mut self) {
        if matches!(self.state, StoreState::Opening(_)) {
            self.state = StoreState::Open;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == StoreState::Open
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.state, StoreState::Opening(deadline) if deadline <= now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            StoreState::Opening(deadline) => Some(deadline),
            _ => None,
        }
    }

    pub(super) fn transmit(&self) -> &[u8] {
        if self.is_open() { self.fetch.transmit() } else { &[] }
    }

    pub(super) fn sent(&mut self, count: usize) {
        // More than was offered cannot leave; the excess is an adapter's slip without effect.
        let _ = self.fetch.handle_sent(count.min(self.transmit().len()));
    }
}

impl Client {
    pub(super) fn store_of(&mut self, link: Link) -> Option<&mut Store> {
        self.store.as_mut().filter(|store| store.link == link)
    }

    /// A device asked for a fetch.
    pub(super) fn begin_fetch(&mut self, device: DeviceIndex, op: OpId, url: &str, from: u64) {
        let link = self.new_link(LinkKind::Store);
        let request = Url::parse(url).ok().and_then(|url| {
            let fetch = Fetch::new(&url, from, self.config.http).ok()?;
            Some((String::from(url.host), url.port, url.tls, fetch))
        });
        self.close_store();
        if let Some((host, port, tls, fetch)) = request {
            let state = StoreState::Due;
            self.store = Some(Store { link, device, op, host, port, tls, state, fetch });
        }
    }

    /// A device dropped its fetch.
    pub(super) fn cancel_fetch(&mut self, device: DeviceIndex, op: OpId) {
        if self.store.as_ref().is_some_and(|store| (store.device, store.op) == (device, op)) {
            self.close_store();
        }
    }

    /// The fetch is over from the network's side.
    pub(super) fn fail_fetch(&mut self, now: Instant, error: TransportError) {
        let Some((op, updater)) = self.fetching() else { return };
        updater.handle_fetch_failed(now, op, error);
        self.close_store();
    }

    /// The peer closed the link.
    pub(super) fn end_fetch(&mut self, now: Instant, clean: bool) {
        let Some(store) = &mut self.store else { return };
        if !clean || store.fetch.handle_closed() == Closed::Short {
            return self.fail_fetch(now, TransportError::Closed);
        }
        self.complete_fetch(now);
    }

    pub(super) fn receive_from_store(&mut self, now: Instant, rx: &[u8]) -> Received {
        let nothing = |consumed| Received { consumed, found: None };
        let Some(Store { device, op, fetch, .. }) = &mut self.store else { return nothing(0) };
        let (device, op) = (*device, *op);
        let Some(owner) = self.devices.get_mut(device.0) else { return nothing(0) };
        let updater = &mut owner.updater;
        let Ok(http::Received { consumed, found }) = fetch.handle_received(rx) else {
            self.fail_fetch(now, TransportError::Malformed);
            return nothing(rx.len());
        };
        match found {
            http::Found::Nothing => nothing(consumed),
            http::Found::Head(head) => {
                // What a refused answer leads to comes with the next output.
                let _ = updater.handle_response(now, op, &head);
                nothing(consumed)
            }
            http::Found::End => {
                self.complete_fetch(now);
                nothing(consumed)
            }
            http::Found::Body(span) => {
                let piece = rx.get(span.clone()).unwrap_or_default();
                let Ok(body) = updater.handle_body(now, op, piece) else {
                    return nothing(rx.len());
                };
                let _ = fetch.handle_body_taken(body.consumed);
                let found = body.write.map(|mut write| {
                    write.span =
                        shift(write.span.start, span.start)..shift(write.span.end, span.start);
                    Found::Write { device, write }
                });
                Received { consumed: shift(consumed, body.consumed), found }
            }
        }
    }

    fn complete_fetch(&mut self, now: Instant) {
        let Some((op, updater)) = self.fetching() else { return };
        updater.handle_body_end(now, op);
        self.close_store();
    }

    fn fetching(&mut self) -> Option<(OpId, &mut Updater)> {
        let store = self.store.as_ref()?;
        let device = self.devices.get_mut(store.device.0)?;
        Some((store.op, &mut device.updater))
    }

    fn close_store(&mut self) {
        let Some(store) = self.store.take() else { return };
        if store.state != StoreState::Due {
            self.closing.push(store.link);
        }
    }
}

fn shift(offset: usize, by: usize) -> usize {
    offset.saturating_add(by)
}
