//! Sends events to webhooks. Each is a cursor into the journal: what was not delivered stays there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ota_cloud::alert::{Alert, News};
use ota_cloud::api::EventView;
use ota_cloud::api::hook::{self, Hook, Net};
use ota_proto::Instant;
use ota_proto::url::Url;
use ota_store::{Event, EventQuery, Item, Kind, Read, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cycle::Rider;
use crate::handle::Handle;
use crate::hub::Hub;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// How soon webhooks are looked at after a delivery.
const SOON: Duration = Duration::from_millis(100);
/// The most events of a delivery.
const MOST: usize = 50;
/// The most events that are looked at for one delivery.
const PAGE: usize = 500;
/// The most deliveries of a webhook before the others are looked at again.
const ROUND: usize = 20;
/// How many addresses of a name are tried.
const ADDRESSES: usize = 4;
/// How often webhooks are looked at, and while there is none.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How webhooks are reached.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Networks inside that may be reached. Default none: only public addresses.
    pub allow: Vec<Net>,
    /// Who is trusted over https. Default the public CAs.
    pub tls: Option<ClientTls>,
    /// The first pause after a failure; each further one doubles it, up to an hour. Default 10 s.
    pub pause: Duration,
    /// How long a delivery may take. Default 10 s.
    pub patience: Duration,
}

impl Default for Webhooks {
    fn default() -> Self {
        #[cfg(feature = "tls")]
        let tls = ClientTls::new(None).ok();
        #[cfg(not(feature = "tls"))]
        let tls = None;
        let ten = Duration::from_secs(10);
        Self { allow: Vec::new(), tls, pause: ten, patience: ten }
    }
}

/// What delivers.
#[derive(Clone)]
pub(crate) struct Hooks(Arc<Inner>);

struct Inner {
    handle: Handle,
    reader: Mutex<Box<dyn Read + Send>>,
    reach: Webhooks,
    /// Events that no webhook wanted, by webhook: they need no commit.
    passed: Mutex<BTreeMap<String, u64>>,
    changed: Notify,
}

/// What a try came to.
pub(crate) type Tried = Result<u16, String>;

impl Hooks {
    pub(crate) fn new(handle: Handle, reader: Box<dyn Read + Send>, reach: Webhooks) -> Self {
        let (reader, passed) = (Mutex::new(reader), Mutex::default());
        Self(Arc::new(Inner { handle, reader, reach, passed, changed: Notify::new() }))
    }

    /// Looks at the webhooks at once.
    pub(crate) fn changed(&self) {
        self.0.changed.notify_one();
    }

    /// Delivers until the service stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut tasks, mut busy) = (JoinSet::new(), BTreeSet::new());
        loop {
            let hooks = self.read(all).await.unwrap_or_default();
            let rest = if hooks.is_empty() { REST.1 } else { REST.0 };
            let now = self.0.handle.clock.unix_micros();
            self.passed().retain(|id, _| hooks.iter().any(|hook| hook.id == *id));
            for hook in hooks.into_iter().filter(|hook| hook.is_due(now)) {
                if busy.insert(hook.id.clone()) {
                    let (hooks, id) = (self.clone(), hook.id.clone());
                    tasks.spawn(async move {
                        hooks.step(hook).await;
                        id
                    });
                }
            }
            tokio::select! {
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Ok(id) = ended {
                        busy.remove(&id);
                    }
                    // Not at once again: a webhook that has caught up waits for events.
                    tokio::select! {
                        () = sleep(SOON) => {}
                        () = stop.cancelled() => return,
                    }
                }
                () = self.0.changed.notified() => {}
                () = sleep(rest) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let hooks = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            run(&**hooks.0.reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        read.await.ok()?.ok()
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers events of a webhook until none is left, a delivery fails, or it had many.
    async fn step(&self, mut hook: Hook) {
        for _ in 0..ROUND {
            let after = hook.cursor.max(self.passed().get(&hook.id).copied().unwrap_or(0));
            let query = EventQuery { after, device: None };
            let Some(events) = self.read(move |read| read.events(&query, PAGE)).await else {
                return;
            };
            let Some(last) = events.last().map(|event| event.seq) else { return };
            let wants = |event: &&Event| hook.wants(&event.what.product, &event.what.kind);
            let wanted: Vec<&Event> = events.iter().filter(wants).take(MOST).collect();
            let upto = match wanted.last() {
                Some(event) if wanted.len() == MOST => event.seq,
                Some(_) => last,
                None => {
                    self.passed().insert(hook.id.clone(), last);
                    continue;
                }
            };
            let views = wanted.iter().map(|Event { seq, what }| {
                EventView::new(*seq, what.at, (&what.product, &what.name), &what.body)
            });
            let tried = self.deliver(&hook, &views.collect::<Vec<_>>()).await;
            let failed = tried.is_err();
            self.note(hook.id.clone(), Some(upto), tried).await;
            if failed {
                return;
            }
            hook.delivered(upto);
        }
    }

    /// Sends a test. Success also switches a webhook on again.
    pub(crate) async fn test(&self, hook: Hook) -> Tried {
        let at = self.0.handle.clock.unix_micros().as_micros();
        let view = EventView::new(hook.cursor, at, ("", ""), br#"{"kind":"test"}"#);
        let tried = self.deliver(&hook, &[view]).await;
        if tried.is_ok() {
            self.note(hook.id, None, tried.clone()).await;
            self.changed();
        }
        tried
    }

    /// Sends events, once.
    async fn deliver(&self, hook: &Hook, events: &[EventView<'_>]) -> Tried {
        let id = hook.id.clone();
        let secret = self.0.handle.ask(move |hub, _| hub.keys.hook_secret(hub.cloud.store(), &id));
        let secret = match secret.await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => return Err("its secret is gone".to_owned()),
            _ => return Err("its secret cannot be read".to_owned()),
        };
        let unix = self.0.handle.clock.wall();
        let made = hook.delivery(&secret, unix, events).map_err(str::to_owned)?;
        match timeout(self.0.reach.patience, self.post(&hook.url, &made.request)).await {
            Ok(Ok(status @ 200..=299)) => Ok(status),
            Ok(Ok(status)) => Err(format!("the answer is {status}")),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no answer within {:?}", self.0.reach.patience)),
        }
    }

    /// Sends a request. Redirects are not followed, and the answer's body is never shown.
    async fn post(&self, url: &str, request: &[u8]) -> Tried {
        let url = Url::parse(url).map_err(|why| why.to_string())?;
        let found = lookup_host((url.host, url.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| "its name has no address")?.collect();
        // For each try: what a name leads to may change.
        if !found.iter().all(|address| hook::may_reach(address.ip(), &self.0.reach.allow)) {
            let why =
                "it leads to an address inside: only listed ones are reached (--webhook-allow)";
            return Err(why.to_owned());
        }
        let socket = self.connect(&found).await?;
        let mut stream: Stream = match &self.0.reach.tls {
            _ if !url.tls => Box::new(socket),
            Some(tls) => match tls.connect(url.host, socket).await {
                Ok(trusted) => trusted?,
                Err(why) => return Err(format!("no TLS: {why}")),
            },
            None => return Err("this program has no TLS".to_owned()),
        };
        let broken = |why: std::io::Error| format!("the connection broke: {why}");
        stream.write_all(request).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut answer = Vec::new();
        while answer.len() < hook::MAX_HEAD {
            if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
                break;
            }
            if let Some(status) = hook::status(&answer)? {
                return Ok(status);
            }
        }
        Err("the answer is incomplete".to_owned())
    }

    /// Connects to the first address of a name that answers. They were all checked.
    async fn connect(&self, found: &[SocketAddr]) -> Result<TcpStream, String> {
        let mut why = "its name has no address".to_owned();
        let share = self.0.reach.patience.checked_div(4).unwrap_or_default();
        for address in found.iter().take(ADDRESSES) {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => why = format!("no connection: {error}"),
                Err(_) => "no connection: it does not answer".clone_into(&mut why),
            }
        }
        Err(why)
    }

    /// Stores what a try came to. A webhook that was removed meanwhile stays so.
    async fn note(&self, id: String, upto: Option<u64>, tried: Tried) {
        let pause = self.0.reach.pause;
        let noted = self.0.handle.ask(move |hub, now| note(hub, now, (&id, upto), &tried, pause));
        // What could not be stored is delivered again.
        let _ = noted.await;
    }
}

fn note(
    hub: &mut Hub,
    _: Instant,
    (id, upto): (&str, Option<u64>),
    tried: &Tried,
    pause: Duration,
) -> Result<(), StoreError> {
    let now = hub.now();
    let Some(item) = hub.cloud.store().read().item(Kind::HOOK, id)? else { return Ok(()) };
    let Ok(mut hook) = Hook::from_bytes(&item.body) else { return Ok(()) };
    let (was_off, now_off) = (
        hook.off,
        match tried {
            Ok(_) => {
                hook.delivered(upto.unwrap_or(hook.cursor));
                false
            }
            Err(why) => hook.failed(now, pause, why),
        },
    );
    let body = hook.to_bytes().map_err(|why| StoreError::Corrupt { why: why.to_string() })?;
    let mut rider = Rider { items: vec![Item { body, ..item }], ..Rider::default() };
    if now_off {
        let text = format!("webhook {id} is off: every delivery failed for 24 hours");
        rider.alerts.push((now, News::new(Alert::Webhook, true, text)));
    } else if was_off && !hook.off {
        let text = format!("webhook {id} is on again");
        rider.alerts.push((now, News::new(Alert::Webhook, false, text)));
    }
    hub.cloud.put_rider(rider)
}

/// All webhooks. An unreadable row is none.
pub(crate) fn all(read: &dyn Read) -> Result<Vec<Hook>, StoreError> {
    let items = read.items(Kind::HOOK, "", None, 100)?;
    Ok(items.iter().filter_map(|item| Hook::from_bytes(&item.body).ok()).collect())
}
