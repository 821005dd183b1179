//! Accepts connections, a bounded number at a time.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::log::What;
use super::stream::{self, Peer};
use super::tls::Acceptor;
use super::vitals::Listener;

/// The number of a connection; never reused.
pub(super) type ConnId = u64;

/// What a listener needs to take connections.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) name: Listener,
    pub(super) listener: TcpListener,
    /// With it every connection is TLS.
    pub(super) tls: Option<Acceptor>,
    /// The most connections at a time.
    pub(super) most: usize,
    /// The most of them from one network: others must still get in.
    pub(super) share: Share,
}

/// The most connections from one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// From another machine.
    of_one: usize,
    /// From this one, where a proxy may bring everybody's.
    of_here: usize,
}

impl Share {
    /// The same for all.
    pub(super) const fn equal(of_one: usize) -> Self {
        Self { of_one, of_here: of_one }
    }

    /// The asked one, or else three quarters of `most`, which does not concern this machine.
    pub(super) fn or_default(asked: Option<usize>, most: usize) -> Self {
        let rest = most.checked_div(4).unwrap_or(0);
        asked.map_or(Self { of_one: most.saturating_sub(rest), of_here: most }, Self::equal)
    }

    fn of(self, peer: IpAddr) -> usize {
        if peer.to_canonical().is_loopback() { self.of_here } else { self.of_one }
    }
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
    let Door { name, listener, tls, most, share } = door;
    let vitals = journal.vitals.clone();
    let _up = vitals.up(name);
    let count = |open: usize| {
        if let Some(number) = vitals.connections(name) {
            number.set(open as u64);
        }
    };
    let mut tasks = JoinSet::new();
    let mut open: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut next: ConnId = 0;
    loop {
        count(tasks.len());
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer))
                    if tasks.len() < most && held(&open, peer.ip()) < share.of(peer.ip()) =>
                {
                    next = next.wrapping_add(1);
                    let from = network(peer.ip());
                    open.insert(from, held(&open, from).saturating_add(1));
                    let (tls, serve, journal) = (tls.clone(), serve.clone(), journal.clone());
                    let (id, stop) = (next, stop.clone());
                    tasks.spawn(async move {
                        let greeted = match tls {
                            None => Ok(plain(stream)),
                            // Its state is as large as TLS, and not to stay a part of each task.
                            Some(tls) => Box::pin(greet(stream, tls, &stop)).await,
                        };
                        match greeted {
                            Ok(client) => serve(client, peer, id).await,
                            Err(why) => journal.write(None, What::Closed { peer, why }),
                        }
                        from
                    });
                }
                Ok((_, peer)) => {
                    let most = if tasks.len() < most { share.of(peer.ip()) } else { most };
                    journal.write(None, What::TurnedAway { peer, most });
                }
                // No descriptors, most likely: accept would fail again at once.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            // A panic is a bug of ours, and may cost its network a place.
            Some(ended) = tasks.join_next() => if let Ok(from) = ended {
                match held(&open, from).saturating_sub(1) {
                    0 => drop(open.remove(&from)),
                    left => drop(open.insert(from, left)),
                }
            },
            () = stop.cancelled() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
    count(0);
}

fn held(open: &BTreeMap<IpAddr, usize>, from: IpAddr) -> usize {
    open.get(&network(from)).copied().unwrap_or(0)
}

/// Who has one address of IPv6 has its whole /64.
pub(super) fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
        four => four,
    }
}

const PAUSE: Duration = Duration::from_millis(50);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

fn plain(socket: TcpStream) -> Peer {
    stream::hurry(&socket);
    Peer::plain(socket)
}

/// Brings TLS up.
async fn greet(socket: TcpStream, tls: Acceptor, stop: &CancellationToken) -> Result<Peer, String> {
    stream::hurry(&socket);
    tokio::select! {
        done = timeout(HANDSHAKE, tls.accept(socket)) => match done {
            Ok(Ok(peer)) => Ok(peer),
            Ok(Err(error)) => Err(format!("no TLS: {error}")),
            Err(_) => Err("no TLS in time".to_owned()),
        },
        () = stop.cancelled() => Err("the service stops".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn one_network_has_three_quarters_and_this_machine_all() {
        let share = Share::or_default(None, 1_024);
        let of = |share: Share, peer: &str| share.of(peer.parse().unwrap());
        assert_eq!((of(share, "192.0.2.1"), of(share, "2001:db8::1")), (768, 768));
        assert_eq!((of(share, "127.0.0.1"), of(share, "::1")), (1_024, 1_024));
        assert_eq!(of(share, "::ffff:127.0.0.2"), 1_024);
        assert_eq!(of(Share::or_default(None, 1), "192.0.2.1"), 1);
        let asked = Share::or_default(Some(9), 1_024);
        assert_eq!((of(asked, "192.0.2.1"), of(asked, "127.0.0.1")), (9, 9));
    }
}
