//! REST under `/api/v1`, on its own listener. This module decodes requests and writes answers;
//! [`ota_cloud::api`] decides permissions and errors.
//!
//! A call that changes something is a command of the hub, between two turns: earlier inputs are
//! durable, and the call is answered after its own commit. Lists and history are read outside the
//! hub's loop.

mod audits;
mod batches;
mod devices;
mod events;
mod firmware;
mod first;
mod health;
mod hooks;
mod image;
mod keys;
mod known;
mod limits;
mod modules;
mod once;
mod password;
mod people;
mod products;
mod rekey;
mod reply;
mod rows;
mod settings;
mod sign_in;
mod updates;
mod vendor;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;
use ota_cloud::api::SettingsView;
use ota_cloud::api::hook::Net;
use ota_cloud::api::{self, Call, Caller, Code, Grant, KeyText, Once, Op, Problem, Query};
use ota_cloud::batch::Batch;
use ota_proto::Instant;
use ota_store::{Kind, NewAudit, Read, Store, StoreError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::handle::Handle;
use crate::hooks::{Hooks, Webhooks};
use crate::hub::Hub;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::log::What;
use crate::store::Image;
use crate::{ApiConfig, cookies};
use known::Known;
pub(crate) use known::Ticket;
use limits::{Budgets, Places};
use reply::Reply;

pub use first::{add_key, admin_link};
pub(crate) use first::{first_key, first_link};
pub(crate) use settings::{Bound, settings};
pub(crate) use vendor::sweep;

/// The largest JSON body in bytes.
const MAX_JSON: usize = 64 * 1024;
/// The largest list of devices in bytes, as CSV or JSON.
const MAX_LIST: usize = 256 * 1024;
/// The largest batch in bytes: the names of as many devices as one may have.
const MAX_NAMES: usize = 8 << 20;

/// The most images in memory that are no firmware yet.
const MOST_HELD: usize = 4;

/// The most concurrent uploads of a product, and in all. The first upload of a product is always
/// admitted.
const UPLOADS: usize = 4;
/// The most concurrent streams of a key, and in all. The first stream of a key is always admitted.
const STREAMS: (usize, usize) = (8, 64);
/// The most concurrent walks of one key.
const WALKS: usize = 8;

/// The state that every request shares.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    handle: Handle,
    reader: Mutex<Box<dyn Read + Send>>,
    /// The reader for long reads, and the semaphore that orders their steps.
    walker: Mutex<Box<dyn Read + Send>>,
    turn: Semaphore,
    walks: Places,
    known: Known,
    budgets: Mutex<Budgets>,
    /// Two at once: each password that is hashed takes 19 MiB.
    hashing: Semaphore,
    uploads: Places,
    streams: Places,
    journal: Journal,
    patience: Duration,
    /// Whether the listener uses TLS.
    secure: bool,
    /// The prefix of upload URLs, instead of the host of the request.
    public_url: Option<String>,
    /// Whether the vendor's old signatures are accepted.
    old_signatures: bool,
    /// Without a folder: uploaded bytes that are no firmware yet, by the name of their place.
    held: Mutex<BTreeMap<String, Image>>,
    found: health::Found,
    hooks: Hooks,
    /// Whether the metrics need no key.
    open_metrics: bool,
    /// The proxies that say whom a request is from.
    trusted: Vec<Net>,
    /// The data folder.
    data: Option<PathBuf>,
    settings: SettingsView,
}

/// The readers for calls outside the hub's loop.
pub(crate) struct Readers {
    reader: Box<dyn Read + Send>,
    walker: Box<dyn Read + Send>,
    hooks: Box<dyn Read + Send>,
    known: Known,
}

impl Readers {
    pub(crate) fn new(store: &dyn Store, keys: &Keys, now: Instant) -> Result<Self, StoreError> {
        let known = Known::read(store.read(), keys.clone(), now)?;
        let (reader, walker, hooks) = (store.reader()?, store.reader()?, store.reader()?);
        Ok(Self { reader, walker, hooks, known })
    }
}

/// What a handler knows of a request.
struct Asked {
    grant: Grant,
    call: Call,
    query: Query,
    is_csv: bool,
    ticket: Ticket,
    headers: HeaderMap,
    body: Bytes,
    /// Its idempotency key, under which its answer is stored.
    once: Option<Once>,
    /// The id of the request.
    id: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// The header with the id of the request.
pub(crate) const ID: HeaderName = HeaderName::from_static("x-request-id");

fn id_of(headers: &HeaderMap) -> String {
    text_of(headers, &ID).to_owned()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The header with the address that the request is from.
const FROM: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request came through a trusted proxy.
#[derive(Clone, Copy, Debug)]
struct Proxied;

/// Whom a request is from, and its id.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) ip: IpAddr,
    request: String,
}

impl Asker {
    pub(crate) fn new(ip: IpAddr, trace: &HeaderMap) -> Self {
        Self { ip, request: id_of(trace) }
    }
}

/// The headers of a request that a call of a page takes over.
pub(crate) fn trace(headers: &HeaderMap) -> HeaderMap {
    let kept = [ID, FROM].into_iter();
    kept.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}

/// Answers a call of REST or of the vendor's API, an upload, or a question about the service's
/// health.
pub(crate) async fn answer(api: Api, peer: SocketAddr, request: Request, id: String) -> Response {
    let request = match health::answer(&api, peer, request, &id).await {
        Ok(response) => return response,
        Err(other) => other,
    };
    if request.uri().path() == "/" {
        return vendor::answer(api, peer, request, id).await;
    }
    let for_run = api.clone();
    let run = tokio::spawn(async move {
        let mut line = Line::default();
        let is_put = request.method() == Method::PUT;
        let reply = if is_put && request.uri().path().starts_with(vendor::PATH) {
            line.call = Some(("PUT", vendor::PATH));
            vendor::put(for_run, peer, request).await
        } else {
            for_run.handle(peer, request, &mut line).await
        };
        (reply, line)
    });
    let (reply, line) = run
        .await
        .unwrap_or_else(|_| (Err(Problem::new(Code::Internal, "internal error")), Line::default()));
    let reply = reply.unwrap_or_else(|problem| Reply::problem(&problem));
    let (method, path) = line.call.unwrap_or(("", ""));
    let key = line.key.unwrap_or_default();
    let what = What::Called { peer, key, method, path, status: reply.status(), request: id };
    api.0.journal.write(None, what);
    reply.into_response()
}

/// The log entry of a request. It contains nothing that the caller chose.
#[derive(Default)]
struct Line {
    request: String,
    key: Option<String>,
    call: Option<(&'static str, &'static str)>,
}

impl Api {
    pub(crate) fn new(
        handle: Handle,
        state: Readers,
        journal: Journal,
        patience: Duration,
        (config, data, reach): (&ApiConfig, Option<PathBuf>, Webhooks),
        settings: SettingsView,
    ) -> Self {
        let secure = settings.tls;
        let hooks = handle.clone();
        let (public_url, old_signatures) = (config.public_url.clone(), config.old_signatures);
        Self(Arc::new(Inner {
            handle,
            reader: Mutex::new(state.reader),
            walker: Mutex::new(state.walker),
            turn: Semaphore::new(1),
            walks: Places::new(WALKS, usize::MAX),
            known: state.known,
            budgets: Mutex::default(),
            hashing: Semaphore::new(2),
            uploads: Places::new(UPLOADS, UPLOADS),
            streams: Places::new(STREAMS.0, STREAMS.1),
            journal,
            patience,
            secure,
            public_url,
            old_signatures,
            held: Mutex::default(),
            found: health::Found::default(),
            hooks: Hooks::new(hooks, state.hooks, reach),
            open_metrics: config.open_metrics,
            trusted: config.trusted_proxies.clone(),
            data,
            settings,
        }))
    }

    /// The address that a request is from, which it then has in a header.
    pub(crate) fn client(&self, peer: SocketAddr, request: &mut Request) -> SocketAddr {
        let headers = request.headers();
        let values = |name: &HeaderName| -> Vec<&str> {
            // What is no text is no address.
            headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect()
        };
        let trusted = &self.0.trusted;
        let ip = api::client(peer.ip(), trusted, &values(&FROM), &values(&header::FORWARDED));
        let is_proxied = ip != peer.ip().to_canonical();
        let value = HeaderValue::from_str(&ip.to_string()).ok();
        request.headers_mut().remove(FROM);
        request.headers_mut().extend(value.map(|value| (FROM, value)));
        if !is_proxied {
            return peer;
        }
        request.extensions_mut().insert(Proxied);
        SocketAddr::new(ip, 0)
    }

    /// What sends events to webhooks.
    pub(crate) fn hooks(&self) -> Hooks {
        self.0.hooks.clone()
    }

    /// Holds bytes in memory until they are firmware.
    fn hold(&self, place: String, image: Image) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(place, image);
        if held.len() <= MOST_HELD {
            return;
        }
        // Removes one of the product that holds the most, so that the uploads of other products
        // stay.
        let mut of: BTreeMap<&str, usize> = BTreeMap::new();
        for place in held.keys() {
            let count = of.entry(product_of(place)).or_default();
            *count = count.saturating_add(1);
        }
        let most = of.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 1);
        let most = most.map(|(product, _)| product.to_owned());
        let gone = held.keys().find(|place| most.as_deref() == Some(product_of(place))).cloned();
        gone.map(|gone| held.remove(&gone));
    }

    /// Takes the bytes of a place out.
    fn release(&self, place: &str) -> Option<Image> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).remove(place)
    }

    async fn handle(
        &self,
        peer: SocketAddr,
        request: Request,
        line: &mut Line,
    ) -> Result<Reply, Problem> {
        let (head, body) = request.into_parts();
        let (ticket, caller) = self.caller(peer, &head.headers)?;
        line.key = Some(caller.id().to_owned());
        let call = api::find(head.method.as_str(), head.uri.path())?;
        let operation = call.operation();
        line.call = Some((operation.method, operation.path));
        self.run((ticket, caller), call, head.uri, head.headers, body).await
    }

    /// Carries out a call of a known caller.
    async fn run(
        &self,
        (ticket, caller): (Ticket, Caller),
        call: Call,
        uri: Uri,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Reply, Problem> {
        let operation = call.operation();
        let known = self.is_known(call.product()).await?;
        let grant = caller.may(&call, known)?;
        let query = Query::read(uri.query().unwrap_or(""), operation.query)?;
        let kind = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let is_csv = call.is_csv(kind)?;
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let named = |body: &[u8]| {
            let value = headers.get("idempotency-key").map(HeaderValue::as_bytes);
            Once::read((&call, grant.caller()), value, target, (is_csv, body))
        };
        if operation.op == Op::AddFirmware {
            let (once, none, id) = (named(b"")?, Bytes::new(), id_of(&headers));
            let asked = Asked { grant, call, query, is_csv, ticket, headers, body: none, once, id };
            return firmware::add(self, asked, body).await;
        }
        let most = match operation.op {
            Op::StartBatch | Op::RehearseBatch => MAX_NAMES,
            _ if is_csv => MAX_LIST,
            _ => MAX_JSON,
        };
        let body = self.body(most, body).await?;
        let once = named(&body)?;
        self.is_still(&grant, &ticket)?;
        let id = id_of(&headers);
        let asked = Asked { grant, call, query, is_csv, ticket, headers, body, once, id };
        match once::before(self, &asked).await? {
            Some(answered) => Ok(answered),
            None => self.dispatch(asked).await,
        }
    }

    /// Carries out a call for a page: the same as a request of the API, with its answer as a value.
    pub(crate) async fn call(
        &self,
        who: (Ticket, Caller),
        (method, target): (&str, &str),
        headers: HeaderMap,
        body: Body,
    ) -> Result<Value, Problem> {
        Ok(self.reply(who, (method, target), headers, body).await?.value())
    }

    /// Carries out a call whose answer a browser stores as a file.
    pub(crate) async fn download(
        &self,
        who: (Ticket, Caller),
        target: &str,
        headers: HeaderMap,
    ) -> Result<Response, Problem> {
        let reply = self.reply(who, ("GET", target), headers, Body::empty());
        Ok(reply.await?.into_response())
    }

    async fn reply(
        &self,
        who: (Ticket, Caller),
        (method, target): (&str, &str),
        headers: HeaderMap,
        body: Body,
    ) -> Result<Reply, Problem> {
        let unknown = |_| Problem::new(Code::UnknownPath, "there is nothing at this path");
        let uri = Uri::try_from(target).map_err(unknown)?;
        let call = api::find(method, uri.path())?;
        self.run(who, call, uri, headers, body).await
    }

    async fn dispatch(&self, asked: Asked) -> Result<Reply, Problem> {
        match asked.call.operation().op {
            Op::People => people::list(self),
            Op::AddPerson => people::add(self, asked).await,
            Op::ChangePerson => people::change(self, asked).await,
            Op::RemovePerson => people::remove(self, asked).await,
            Op::Audit => audits::list(self, asked).await,
            Op::Describe => Ok(Reply::text("application/json", api::describe())),
            Op::Products => products::list(self, asked).await,
            Op::AddProduct => products::add(self, asked).await,
            Op::Product => products::show(self, asked).await,
            Op::RemoveProduct => products::remove(self, asked).await,
            Op::Registration => products::registration(self, asked).await,
            Op::ChangeRegistration => products::change_registration(self, asked).await,
            Op::Modules => modules::list(self, asked).await,
            Op::AddModule => modules::add(self, asked).await,
            Op::ChangeModule => modules::change(self, asked).await,
            Op::RemoveModule => modules::remove(self, asked).await,
            Op::Rekey => rekey::run(self, asked).await,
            Op::Keys => keys::list(self).await,
            Op::AddKey => keys::add(self, asked).await,
            Op::RemoveKey => keys::remove(self, asked).await,
            Op::Settings => settings::show(self),
            Op::Webhooks => hooks::list(self).await,
            Op::AddWebhook => hooks::add(self, asked).await,
            Op::RemoveWebhook => hooks::remove(self, asked).await,
            Op::TestWebhook => hooks::test(self, asked).await,
            Op::Devices => devices::list(self, asked).await,
            Op::AddDevices if asked.is_csv => devices::add_many(self, asked).await,
            Op::AddDevices => devices::add(self, asked).await,
            Op::Device => devices::show(self, asked).await,
            Op::ChangeDevice => devices::change(self, asked).await,
            Op::RemoveDevice => devices::remove(self, asked).await,
            Op::History => devices::history(self, asked).await,
            Op::Refused => devices::refused(self, asked).await,
            Op::Tasks => updates::list(self, asked).await,
            Op::StartUpdate => updates::start(self, asked).await,
            Op::Cancel | Op::Retry | Op::Confirm | Op::Push => updates::act(self, asked).await,
            Op::Batches => batches::list(self, asked).await,
            Op::StartBatch => batches::start(self, asked).await,
            Op::Batch => batches::show(self, asked).await,
            Op::BatchDevices => batches::devices(self, asked).await,
            Op::BatchResults => batches::results(self, asked).await,
            Op::CloneBatch => batches::again(self, asked).await,
            Op::CancelBatch => batches::cancel(self, asked).await,
            Op::RehearseBatch => batches::rehearse(self, asked).await,
            Op::ChangeBatch => batches::change(self, asked).await,
            Op::PauseBatch | Op::ResumeBatch | Op::NextWave | Op::RetryBatch => {
                batches::operate(self, asked).await
            }
            Op::FirmwareList => firmware::list(self, asked).await,
            Op::Firmware => firmware::show(self, asked).await,
            Op::ChangeFirmware => firmware::change(self, asked).await,
            Op::RemoveFirmware => firmware::remove(self, asked).await,
            Op::Image => firmware::download(self, asked).await,
            Op::Events => events::follow(self, asked).await,
            // A call of a later `ota-cloud`.
            _ => Err(Problem::new(Code::UnknownPath, "there is nothing at this path")),
        }
    }

    /// Authenticates the caller by the presented key, or by the session of a page that shows its
    /// token.
    fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(Ticket, Caller), Problem> {
        let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let key = value("authorization").and_then(KeyText::of_header).map(Ticket::Key);
        let page = || {
            let session = cookies::session_of(headers, self.is_secure())?;
            let shown = value("x-form-token").is_some_and(|token| session.takes(token));
            shown.then_some(Ticket::Session(session))
        };
        let ticket = if headers.contains_key(header::AUTHORIZATION) { key } else { page() };
        let found = ticket.and_then(|ticket| self.who(&ticket).map(|caller| (ticket, caller)));
        let now = self.0.journal.clock.now();
        let Some((ticket, caller)) = found else {
            self.budgets(|budgets| budgets.stranger(now, peer.ip()))?;
            let what = "send a key: Authorization: Bearer ota1.…";
            return Err(Problem::new(Code::NoKey, what));
        };
        self.budgets(|budgets| budgets.key(now, caller.id()))?;
        Ok((ticket, caller))
    }

    /// Counts a request of a page.
    pub(crate) fn count(&self, caller: &Caller) -> Result<(), Problem> {
        let now = self.0.journal.clock.now();
        self.budgets(|budgets| budgets.key(now, caller.id()))
    }

    /// Takes one of the concurrent streams.
    pub(crate) fn stream_place(&self, caller: &Caller) -> Option<limits::Place> {
        self.0.streams.take(caller.id())
    }

    /// Changes when an event was written to the journal.
    pub(crate) fn news(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.handle.news.clone()
    }

    pub(crate) fn log(&self, what: What) {
        self.0.journal.write(None, what);
    }

    /// Whether the listener uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.secure || self.public_url().is_some_and(|url| url.starts_with("https:"))
    }

    /// The URL under which others reach the listener.
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.0.public_url.as_deref()
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.0.journal.clock.unix_micros()
    }

    /// How long a peer may be silent.
    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// The owner of a credential, now.
    pub(crate) fn who(&self, ticket: &Ticket) -> Option<Caller> {
        self.0.known.caller_of(ticket, self.0.journal.clock.unix_micros())
    }

    /// Whether the credential is still valid once the body of its call has come, which may take its
    /// time.
    fn is_still(&self, grant: &Grant, ticket: &Ticket) -> Result<(), Problem> {
        let is_same = self.who(ticket).is_some_and(|caller| caller.id() == grant.caller().id());
        is_same.then_some(()).ok_or_else(|| Problem::new(Code::NoKey, "the key was removed"))
    }

    async fn is_known(&self, product: &str) -> Result<bool, Problem> {
        let id = product.to_owned();
        if id.is_empty() || ota_proto::Identity::new(&id, "device").is_err() {
            return Ok(false);
        }
        self.read(move |read| Ok(read.item(Kind::PRODUCT, &id)?.is_some())).await
    }

    async fn body(&self, most: usize, body: Body) -> Result<Bytes, Problem> {
        let read = tokio::time::timeout(self.0.patience, to_bytes(body, most));
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => {
                let mut what = format!("the body is incomplete or exceeds {most} bytes");
                if most == MAX_NAMES {
                    what.push_str(&format!(": a batch has at most {} devices", Batch::MOST));
                }
                Err(Problem::new(Code::TooLarge, what))
            }
            Err(_) => Err(Problem::new(Code::Invalid, "the body did not come in time")),
        }
    }

    /// Reads outside the hub's loop, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.read_by(|inner| &inner.reader, run).await
    }

    async fn read_by<T: Send + 'static>(
        &self,
        reader: fn(&Inner) -> &Mutex<Box<dyn Read + Send>>,
        run: impl FnOnce(&dyn Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            run(&**reader(&api.0).lock().unwrap_or_else(PoisonError::into_inner))
        });
        read.await.map_err(|_| stopped())?.map_err(|why| self.store(&why))
    }

    /// Reads one step of a long read. It uses a reader of its own, so that other calls are not
    /// delayed, and long reads take turns.
    async fn walk<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let _turn = self.0.turn.acquire().await.map_err(|_| stopped())?;
        self.read_by(|inner| &inner.walker, run).await
    }

    /// Runs a command on the hub. It is answered when its changes are durable.
    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Hub, Instant) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Problem> {
        match self.0.handle.ask(run).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Failed::Refused(problem))) => Err(problem),
            Ok(Err(Failed::Store(why))) => Err(self.store(&why)),
            Err(_) => Err(stopped()),
        }
    }

    /// Logs the cause, which the caller must not see.
    fn store(&self, why: &StoreError) -> Problem {
        self.0.journal.write(None, What::Store { why: Some(why.to_string()) });
        match why {
            StoreError::Conflict(_) => {
                Problem::new(Code::Conflict, "it was changed at the same time: try again")
            }
            StoreError::Full { .. } => {
                Problem::new(Code::Full, "the disk is full; nothing was changed")
            }
            StoreError::Corrupt { .. } | StoreError::Invalid { .. } => {
                Problem::new(Code::Internal, "internal error; see the log of the service")
            }
            _ => Problem::new(Code::Unavailable, "the store does not answer; try again"),
        }
    }

    fn budgets<T>(&self, run: impl FnOnce(&mut Budgets) -> T) -> T {
        run(&mut self.0.budgets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The product of an upload place.
fn product_of(place: &str) -> &str {
    place.split_once('/').map_or(place, |(product, _)| product)
}

/// Why a command failed; it changed nothing.
enum Failed {
    Refused(Problem),
    Store(StoreError),
}

impl From<Problem> for Failed {
    fn from(why: Problem) -> Self {
        Self::Refused(why)
    }
}

impl From<StoreError> for Failed {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl From<crate::cycle::CommandError> for Failed {
    fn from(why: crate::cycle::CommandError) -> Self {
        use crate::cycle::{CommandError, Refused};
        match why {
            CommandError::Store(why) => Self::Store(why),
            CommandError::Refused(Refused::Peer(why)) => Self::Refused(why.into()),
            CommandError::Refused(Refused::Command(why)) => Self::Refused(why.into()),
            CommandError::Refused(Refused::Catalog(why)) => Self::Refused(why.into()),
            CommandError::Refused(Refused::Row(why)) => Self::Store(corrupt(&why)),
            CommandError::Refused(why @ Refused::Ambiguous) => {
                Self::Refused(Problem::new(Code::Exists, why.to_string()))
            }
        }
    }
}

fn corrupt(why: &dyn ToString) -> StoreError {
    StoreError::Corrupt { why: why.to_string() }
}

fn stopped() -> Problem {
    Problem::new(Code::Unavailable, "the service stops")
}

/// A line of the audit log that is no call's.
fn audit_of(now: Instant, who: &str, what: &str, of: &str, asker: &Asker) -> NewAudit {
    let body = json!({
        "key": who, "call": what, "product": "", "of": of, "request": asker.request,
        "from": asker.ip.to_string(),
    });
    NewAudit { at: now.as_micros(), body: body.to_string().into_bytes() }
}

/// A line of the audit log.
fn audit(now: Instant, asked: &Asked, of: &str) -> NewAudit {
    let operation = asked.call.operation();
    let body = json!({
        "key": asked.grant.caller().id(),
        "call": format!("{:?}", operation.op),
        "product": asked.grant.product(),
        "of": of,
        "request": asked.id,
        "from": text_of(&asked.headers, &FROM),
    });
    NewAudit { at: now.as_micros(), body: body.to_string().into_bytes() }
}
