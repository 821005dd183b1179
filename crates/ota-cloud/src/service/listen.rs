//! Accepts connections, a bounded number at a time.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hub::ConnId;

/// Runs `serve` for each connection, at most `most` at a time: more are closed at once, since a
/// queue of them would only hide the shortage. Ends with all of them when the service stops.
pub(super) async fn run<F>(
    listener: TcpListener,
    most: usize,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, ConnId) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut next: ConnId = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if tasks.len() < most => {
                    // Small packets both ways: waiting to fill a segment costs more than it saves.
                    let _ = stream.set_nodelay(true);
                    next = next.wrapping_add(1);
                    tasks.spawn(serve(stream, peer, next));
                }
                Ok(_) => {}
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
