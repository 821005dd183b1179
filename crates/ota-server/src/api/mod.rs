//! REST under `/api/v1`, on its own listener. This module decodes requests and writes answers;
//! [`ota_cloud::api`] decides permissions and errors.
//!
//! A call that changes something is a command of the hub, between two turns: earlier inputs are
//! durable, and the call is answered after its own commit. Lists and history are read outside the
//! hub's loop.

mod batches;
mod devices;
mod events;
mod firmware;
mod first;
mod image;
mod keys;
mod known;
mod limits;
mod once;
mod products;
mod reply;
mod updates;
mod vendor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ota_cloud::api::{self, Call, Caller, Code, Grant, KeyText, Once, Op, Problem, Query};
use ota_proto::Instant;
use ota_store::{Kind, NewAudit, Read, Store, StoreError};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::ApiConfig;
use crate::handle::Handle;
use crate::hub::Hub;
use crate::keys::Keys;
use crate::log::Journal;
use crate::log::What;
use crate::store::Image;
use crate::stream::Stream;
use known::Known;
use limits::{Budgets, Places};
use reply::Reply;

pub(crate) use batches::{finish, go_on};
pub(crate) use first::first_key;
pub use first::{KeyError, add_key};
pub(crate) use vendor::sweep;

/// The largest JSON body in bytes.
const MAX_JSON: usize = 64 * 1024;
/// The largest list of devices in bytes, as CSV or JSON.
const MAX_LIST: usize = 256 * 1024;
/// The largest head of a request in bytes.
const MAX_HEAD: usize = 16 * 1024;

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
}

/// The readers for calls outside the hub's loop.
pub(crate) struct Readers {
    reader: Box<dyn Read + Send>,
    walker: Box<dyn Read + Send>,
    known: Known,
}

impl Readers {
    pub(crate) fn new(store: &dyn Store, keys: &Keys) -> Result<Self, StoreError> {
        let known = Known::read(store.read(), keys.clone())?;
        Ok(Self { reader: store.reader()?, walker: store.reader()?, known })
    }
}

/// What a handler knows of a request.
struct Asked {
    grant: Grant,
    call: Call,
    query: Query,
    is_csv: bool,
    headers: HeaderMap,
    body: Bytes,
    /// Its idempotency key, under which its answer is stored.
    once: Option<Once>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// Serves one connection until it ends or the service stops.
pub(crate) async fn serve(stream: Stream, peer: SocketAddr, api: Api, stop: CancellationToken) {
    let (patience, journal) = (api.0.patience, api.0.journal.clone());
    let router = Router::new().fallback(answer).layer(Extension(peer)).with_state(api);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    tokio::select! {
        ended = connection => if let Some(error) = ended.err().filter(|error| !error.is_timeout()) {
            journal.write(None, What::Closed { peer, why: error.to_string() });
        },
        () = stop.cancelled() => {}
    }
}

/// Answers a request. It runs to its end even if the client disconnects, so that a complete upload
/// gets its row.
async fn answer(
    State(api): State<Api>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
) -> Response {
    if request.uri().path() == "/" {
        return vendor::answer(api, peer, request).await;
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
    let what = What::Called { peer, key, method, path, status: reply.status() };
    api.0.journal.write(None, what);
    reply.into_response()
}

/// The log entry of a request. It contains nothing that the caller chose.
#[derive(Default)]
struct Line {
    key: Option<String>,
    call: Option<(&'static str, &'static str)>,
}

impl Api {
    pub(crate) fn new(
        handle: Handle,
        state: Readers,
        journal: Journal,
        patience: Duration,
        config: &ApiConfig,
        secure: bool,
    ) -> Self {
        let (public_url, old_signatures) = (config.public_url.clone(), config.old_signatures);
        Self(Arc::new(Inner {
            handle,
            reader: Mutex::new(state.reader),
            walker: Mutex::new(state.walker),
            turn: Semaphore::new(1),
            walks: Places::new(WALKS, usize::MAX),
            known: state.known,
            budgets: Mutex::default(),
            uploads: Places::new(UPLOADS, UPLOADS),
            streams: Places::new(STREAMS.0, STREAMS.1),
            journal,
            patience,
            secure,
            public_url,
            old_signatures,
            held: Mutex::default(),
        }))
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
        let caller = self.caller(peer, &head.headers)?;
        line.key = Some(caller.id().to_owned());
        let call = api::find(head.method.as_str(), head.uri.path())?;
        let operation = call.operation();
        line.call = Some((operation.method, operation.path));
        let known = self.is_known(call.product()).await?;
        let grant = caller.may(&call, known)?;
        let query = Query::read(head.uri.query().unwrap_or(""), operation.query)?;
        let headers = head.headers;
        let kind = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let is_csv = call.is_csv(kind)?;
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let named = |body: &[u8]| {
            let value = headers.get("idempotency-key").map(HeaderValue::as_bytes);
            Once::read((&call, grant.caller()), value, target, (is_csv, body))
        };
        if operation.op == Op::AddFirmware {
            let once = named(b"")?;
            let body_less = Asked { grant, call, query, is_csv, headers, body: Bytes::new(), once };
            return firmware::add(self, body_less, body).await;
        }
        let is_long = is_csv || operation.op == Op::StartBatch;
        let body = self.body(is_long, body).await?;
        let once = named(&body)?;
        self.is_still(&grant, &headers)?;
        let asked = Asked { grant, call, query, is_csv, headers, body, once };
        match once::before(self, &asked).await? {
            Some(answered) => Ok(answered),
            None => self.dispatch(asked).await,
        }
    }

    async fn dispatch(&self, asked: Asked) -> Result<Reply, Problem> {
        match asked.call.operation().op {
            Op::Describe => Ok(Reply::text("application/json", api::describe())),
            Op::Products => products::list(self, asked).await,
            Op::AddProduct => products::add(self, asked).await,
            Op::Product => products::show(self, asked).await,
            Op::RemoveProduct => products::remove(self, asked).await,
            Op::Registration => products::registration(self, asked).await,
            Op::ChangeRegistration => products::change_registration(self, asked).await,
            Op::Keys => keys::list(self).await,
            Op::AddKey => keys::add(self, asked).await,
            Op::RemoveKey => keys::remove(self, asked).await,
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
            Op::CancelBatch => batches::cancel(self, asked).await,
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

    /// Authenticates the caller by the presented key.
    fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
        let now = self.0.journal.clock.now();
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let found = value.and_then(KeyText::of_header).and_then(|text| self.0.known.caller(&text));
        let Some(caller) = found else {
            self.budgets(|budgets| budgets.stranger(now, peer.ip()))?;
            let what = "send a key: Authorization: Bearer ota1.…";
            return Err(Problem::new(Code::NoKey, what));
        };
        self.budgets(|budgets| budgets.key(now, caller.id()))?;
        Ok(caller)
    }

    /// Whether the key is still there once the body of its call has come, which may take its time.
    fn is_still(&self, grant: &Grant, headers: &HeaderMap) -> Result<(), Problem> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let found = value.and_then(KeyText::of_header).and_then(|text| self.0.known.caller(&text));
        let is_same = found.is_some_and(|caller| caller.id() == grant.caller().id());
        is_same.then_some(()).ok_or_else(|| Problem::new(Code::NoKey, "the key was removed"))
    }

    async fn is_known(&self, product: &str) -> Result<bool, Problem> {
        let id = product.to_owned();
        if id.is_empty() || ota_proto::Identity::new(&id, "device").is_err() {
            return Ok(false);
        }
        self.read(move |read| Ok(read.item(Kind::PRODUCT, &id)?.is_some())).await
    }

    async fn body(&self, is_long: bool, body: Body) -> Result<Bytes, Problem> {
        let most = if is_long { MAX_LIST } else { MAX_JSON };
        let read = tokio::time::timeout(self.0.patience, to_bytes(body, most));
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => {
                let what = format!("the body is incomplete or exceeds {most} bytes");
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

/// A line of the audit log.
fn audit(now: Instant, asked: &Asked, of: &str) -> NewAudit {
    let operation = asked.call.operation();
    let body = json!({
        "key": asked.grant.caller().id(),
        "call": format!("{:?}", operation.op),
        "product": asked.grant.product(),
        "of": of,
    });
    NewAudit { at: now.as_micros(), body: body.to_string().into_bytes() }
}
