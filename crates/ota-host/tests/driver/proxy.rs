//! A network in between that does what it is told.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast};

/// What becomes of one connection.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Bytes to the device before `then`.
    pub(crate) down: usize,
    pub(crate) then: Then,
    /// The most bytes that are moved at once.
    pub(crate) chunk: usize,
}

#[derive(Clone)]
pub(crate) enum Then {
    /// Both connections end.
    Cut,
    /// Nothing more comes, and nobody says so.
    Silence,
    /// The rest comes when this says so.
    Hold(Arc<Notify>),
}

impl Plan {
    pub(crate) fn after(down: usize, then: Then) -> Self {
        Self { down, then, chunk: 16 * 1024 }
    }

    pub(crate) fn chunks(chunk: usize) -> Self {
        Self { down: usize::MAX, then: Then::Cut, chunk }
    }
}

/// Passes connections on to another address.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: Mutex<Option<SocketAddr>>,
    plans: Mutex<VecDeque<Plan>>,
    cut: broadcast::Sender<()>,
    down: AtomicUsize,
    opened: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(target: Option<SocketAddr>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), target)
    }

    pub(crate) fn on(listener: TcpListener, target: Option<SocketAddr>) -> Self {
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: Mutex::new(target),
            plans: Mutex::default(),
            cut: broadcast::channel(1).0,
            down: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        });
        tokio::spawn(accept(listener, state.clone()));
        Self { addr, state }
    }

    pub(crate) fn aim(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap() = Some(target);
    }

    /// What becomes of the next connections, in their order; of later ones nothing.
    pub(crate) fn plan(&self, plan: Plan) {
        self.state.plans.lock().unwrap().push_back(plan);
    }

    /// Ends all connections of now.
    pub(crate) fn cut(&self) {
        let _ = self.state.cut.send(());
    }

    /// Bytes that went to the device.
    pub(crate) fn down(&self) -> usize {
        self.state.down.load(Ordering::SeqCst)
    }

    /// Connections that were opened.
    pub(crate) fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (device, _) = listener.accept().await.unwrap();
        state.opened.fetch_add(1, Ordering::SeqCst);
        let plan = state.plans.lock().unwrap().pop_front().unwrap_or(Plan::chunks(16 * 1024));
        let mut cut = state.cut.subscribe();
        let state = state.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = cut.recv() => {}
                _ = join(device, &plan, &state) => {}
            }
        });
    }
}

async fn join(mut device: TcpStream, plan: &Plan, state: &State) -> io::Result<()> {
    let target = state.target.lock().unwrap().unwrap();
    let mut server = TcpStream::connect(target).await?;
    device.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_device, to_device) = device.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        // The server may answer after the device has said its last word.
        end = async { up(from_device, to_server, plan.chunk).await?; std::future::pending().await } => end,
        end = down(from_server, to_device, plan, state) => end,
    }
}

async fn up(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, chunk: usize) -> io::Result<()> {
    let mut buf = vec![0; chunk];
    loop {
        let count = from.read(&mut buf).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buf[..count]).await?;
    }
}

async fn down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    plan: &Plan,
    state: &State,
) -> io::Result<()> {
    let mut buf = vec![0; plan.chunk];
    let mut left = plan.down;
    loop {
        if left == 0 {
            match &plan.then {
                Then::Cut => return Ok(()),
                Then::Silence => std::future::pending().await,
                Then::Hold(release) => release.notified().await,
            }
            left = usize::MAX;
        }
        let most = left.min(buf.len());
        let count = from.read(&mut buf[..most]).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buf[..count]).await?;
        left -= count;
        state.down.fetch_add(count, Ordering::SeqCst);
    }
}
