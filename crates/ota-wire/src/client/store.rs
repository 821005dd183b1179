//! The link to the firmware server: one fetch of one device. It does not know the other link.

use alloc::string::String;

use ota_proto::url::Url;
use ota_proto::{Instant, Micros, OpId, TransportError, Updater, Work};

use super::{AddError, ClientConfig, DeviceIndex, Found, Link, Output, Received, Timer};
use crate::http::{self, Closed, Fetch};

/// The link to the firmware server, if there is a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct StoreLink {
    limits: http::FetchLimits,
    connect: Micros,
    get: Option<Get>,
    closing: Option<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
struct Get {
    link: Link,
    device: DeviceIndex,
    op: OpId,
    host: String,
    port: u16,
    tls: bool,
    state: StoreState,
    fetch: Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
enum StoreState {
    /// It must be opened.
    Due,
    /// It is being opened, at most until then.
    Opening(Instant),
    Open,
}

/// The longest part of a request besides its URL, in bytes.
const REQUEST: usize = 256;

impl StoreLink {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self { limits: config.http, connect: config.connect, get: None, closing: None }
    }

    /// Whether a request holds the longest URL of a device.
    pub(super) fn check_room(&self, device: &ota_proto::Config) -> Result<(), AddError> {
        let needed = device.limits.url.saturating_add(REQUEST);
        let fits = self.limits.request >= needed;
        if fits { Ok(()) } else { Err(AddError::Limit { what: "request", needed }) }
    }

    /// No fetch is in progress.
    pub(super) fn is_free(&self) -> bool {
        self.get.is_none()
    }

    pub(crate) fn is(&self, link: Link) -> bool {
        self.get.as_ref().is_some_and(|get| get.link == link)
    }

    pub(super) fn is_open(&self) -> bool {
        self.get.as_ref().is_some_and(|get| get.state == StoreState::Open)
    }

    /// The owner of the fetch.
    pub(super) fn device(&self) -> Option<DeviceIndex> {
        self.get.as_ref().map(|get| get.device)
    }

    /// Starts a device's fetch; `false` if no request can hold its URL.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        link: Link,
        (device, op): (DeviceIndex, OpId),
        url: &str,
        from: u64,
        fresh: bool,
    ) -> bool {
        self.close();
        let Ok((url, user)) = Url::parse_with_user(url) else { return false };
        let Ok(fetch) = Fetch::with_user(&url, user, from, self.limits, fresh) else {
            return false;
        };
        let Url { tls, host, port, .. } = url;
        let (host, state) = (String::from(host), StoreState::Due);
        self.get = Some(Get { link, device, op, host, port, tls, state, fetch });
        true
    }

    /// Drops a device's fetch.
    pub(super) fn cancel(&mut self, device: DeviceIndex, op: OpId) {
        if self.get.as_ref().is_some_and(|get| (get.device, get.op) == (device, op)) {
            self.close();
        }
    }

    /// Whether the link is due.
    pub(super) fn is_due(&self) -> bool {
        self.get.as_ref().is_some_and(|get| get.state == StoreState::Due)
    }

    /// Opens the link.
    pub(super) fn open(&mut self, now: Instant) -> Option<Output<'_>> {
        let get = self.get.as_mut()?;
        get.state = StoreState::Opening(now + self.connect);
        Some(Output::Connect { link: get.link, host: &get.host, port: get.port, tls: get.tls })
    }

    pub(super) fn opened(&mut self) {
        if let Some(get) = &mut self.get {
            if matches!(get.state, StoreState::Opening(_)) {
                get.state = StoreState::Open;
            }
        }
    }

    pub(super) fn transmit(&self, link: Link) -> &[u8] {
        match &self.get {
            Some(get) if get.state == StoreState::Open && get.link == link => get.fetch.transmit(),
            _ => &[],
        }
    }

    pub(super) fn sent(&mut self, count: usize) {
        // More than was offered cannot have been sent; the excess is an adapter's mistake without
        // effect.
        if let Some(get) = self.get.as_mut().filter(|get| get.state == StoreState::Open) {
            let _ = get.fetch.handle_sent(count.min(get.fetch.transmit().len()));
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|(deadline, _)| deadline <= now)
    }

    /// The fetch failed.
    pub(super) fn fail(&mut self, now: Instant, error: TransportError, updater: &mut Updater) {
        if let Some(get) = &self.get {
            updater.handle_fetch_failed(now, get.op, error);
            self.close();
        }
    }

    /// The peer closed the link.
    pub(super) fn closed(&mut self, now: Instant, clean: bool, updater: &mut Updater) {
        let Some(get) = &mut self.get else { return };
        if clean && get.fetch.handle_closed() == Closed::Complete {
            self.complete(now, updater);
        } else {
            self.fail(now, TransportError::Closed, updater);
        }
    }

    /// Handles received bytes; the machine takes as much of a body as it has room for.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn receive(&mut self, now: Instant, rx: &[u8], updater: &mut Updater) -> Received {
        let nothing = |consumed| Received { consumed, found: None };
        let Some(Get { device, op, fetch, state: StoreState::Open, .. }) = &mut self.get else {
            return nothing(rx.len());
        };
        let http::FetchReceived { consumed, found } = match fetch.handle_received(rx) {
            Ok(received) => received,
            Err(error) => {
                self.fail(now, error.into(), updater);
                return nothing(rx.len());
            }
        };
        match found {
            http::FetchFound::Nothing => nothing(consumed),
            http::FetchFound::Head(head) => {
                // The next output handles a refused answer.
                let _ = updater.handle_response(now, *op, &head);
                nothing(consumed)
            }
            http::FetchFound::End => {
                self.complete(now, updater);
                nothing(consumed)
            }
            http::FetchFound::Body(span) => {
                let piece = rx.get(span.clone()).unwrap_or_default();
                let Ok(body) = updater.handle_body(now, *op, piece) else {
                    return nothing(rx.len());
                };
                let _ = fetch.handle_body_taken(body.consumed);
                let found = match body.work {
                    Some((op, Work::Write { at, bytes })) => {
                        let span = span.start..span.start.saturating_add(bytes.len());
                        Some(Found::Write { device: *device, op, at, span })
                    }
                    _ => None,
                };
                Received { consumed: consumed.saturating_add(body.consumed), found }
            }
        }
    }

    /// The number of framing bytes.
    #[cfg(feature = "record")]
    pub(crate) fn framing(&self, rx: &[u8]) -> http::Framed {
        let get = self.get.as_ref().filter(|get| get.state == StoreState::Open);
        get.map_or_else(http::Framed::default, |get| get.fetch.framing(rx))
    }

    /// The link to close.
    pub(super) fn poll_close(&mut self) -> Option<Link> {
        self.closing.take()
    }

    /// The deadline for opening the link.
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        match self.get.as_ref()?.state {
            StoreState::Opening(deadline) => Some((deadline, Timer::Connect)),
            _ => None,
        }
    }

    fn complete(&mut self, now: Instant, updater: &mut Updater) {
        if let Some(get) = &self.get {
            updater.handle_body_end(now, get.op);
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(get) = self.get.take().filter(|get| get.state != StoreState::Due) {
            self.closing = Some(get.link);
        }
    }
}
