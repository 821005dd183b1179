//! Accepts connections, a bounded number at a time.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::hub::{ConnId, Journal};
use super::log::What;
use super::stream::{self, Peer};
use super::tls::Acceptor;

/// What a listener needs to take connections.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// With it every connection is TLS.
    pub(super) tls: Option<Acceptor>,
    /// The most connections at a time.
    pub(super) most: usize,
}

/// Runs `serve` for each connection; more than the most at a time are closed at once, since a
/// queue of them would only hide the shortage. Ends with all of them when the service stops.
pub(super) async fn run<F>(
    door: Door,
    journal: Journal,
    stop: CancellationToken,
    serve: impl Fn(Peer, SocketAddr, ConnId) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let Door { listener, tls, most } = door;
    let mut tasks = JoinSet::new();
    let mut next: ConnId = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if tasks.len() < most => {
                    next = next.wrapping_add(1);
                    let (tls, serve, journal) = (tls.clone(), serve.clone(), journal.clone());
                    let (id, stop) = (next, stop.clone());
                    tasks.spawn(async move {
                        match greet(stream, tls, &stop).await {
                            Ok(client) => serve(client, peer, id).await,
                            Err(why) => journal.write(None, What::Closed { peer, why }),
                        }
                    });
                }
                Ok((_, peer)) => journal.write(None, What::TurnedAway { peer, most }),
                // No descriptors, most likely: accept would fail again at once.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = tasks.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
}

const PAUSE: Duration = Duration::from_millis(50);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Brings TLS up, where there is to be TLS.
async fn greet(
    socket: TcpStream,
    tls: Option<Acceptor>,
    stop: &CancellationToken,
) -> Result<Peer, String> {
    stream::hurry(&socket);
    let Some(tls) = tls else { return Ok(Peer::plain(socket)) };
    tokio::select! {
        done = timeout(HANDSHAKE, tls.accept(socket)) => match done {
            Ok(Ok(peer)) => Ok(peer),
            Ok(Err(error)) => Err(format!("no TLS: {error}")),
            Err(_) => Err("no TLS in time".to_owned()),
        },
        () = stop.cancelled() => Err("the service stops".to_owned()),
    }
}
