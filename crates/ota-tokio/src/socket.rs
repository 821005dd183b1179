//! One link's socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ota_host::{Engine, transport_error};
use ota_proto::TransportError;
use ota_wire::client::Link;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an address of a name has before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

type Opening = Pin<Box<dyn Future<Output = Result<Stream, TransportError>> + Send>>;

/// Where a link stands. All that is in progress is here, so that no future that is dropped takes
/// it along.
pub(crate) enum Socket {
    Closed,
    Opening(Link, Opening),
    Open(Link, Stream),
}

/// An open connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    // TLS goes here: one more variant, opened in `open`, and one more arm in each method below.
}

impl Socket {
    pub(crate) fn open(link: Link, host: String, port: u16) -> Self {
        Self::Opening(link, Box::pin(open(host, port)))
    }

    /// Says good-bye as far as that goes without waiting.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(_, stream) = self {
            let _ = stream.poll_shutdown(cx);
        }
        *self = Self::Closed;
    }

    /// Whether anything happened.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, engine: &mut Engine) -> bool {
        match self {
            Self::Closed => false,
            Self::Opening(link, opening) => {
                let link = *link;
                let Poll::Ready(opened) = opening.as_mut().poll(cx) else { return false };
                *self = match opened {
                    Ok(stream) => {
                        engine.handle_connected(link);
                        Self::Open(link, stream)
                    }
                    Err(error) => {
                        engine.handle_connect_failed(link, error);
                        Self::Closed
                    }
                };
                true
            }
            Self::Open(link, stream) => {
                let wrote = write(cx, engine, *link, stream);
                read(cx, engine, *link, stream) || wrote
            }
        }
    }
}

fn write(cx: &mut Context<'_>, engine: &mut Engine, link: Link, stream: &mut Stream) -> bool {
    let bytes = engine.transmit(link);
    if bytes.is_empty() {
        return false;
    }
    match stream.poll_write(cx, bytes) {
        Poll::Pending => return false,
        Poll::Ready(Ok(count)) if count > 0 => engine.handle_sent(link, count),
        Poll::Ready(_) => engine.handle_closed(link, false),
    }
    true
}

fn read(cx: &mut Context<'_>, engine: &mut Engine, link: Link, stream: &mut Stream) -> bool {
    let room = engine.receive_buffer(link);
    if room.is_empty() {
        return false;
    }
    let mut buf = ReadBuf::new(room);
    let Poll::Ready(result) = stream.poll_read(cx, &mut buf) else { return false };
    match (result, buf.filled().len()) {
        (Ok(()), 0) => engine.handle_closed(link, true),
        (Ok(()), count) => engine.handle_received(link, count),
        (Err(_), _) => engine.handle_closed(link, false),
    }
    true
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Resolves and connects; one name may have several addresses.
async fn open(host: String, port: u16) -> Result<Stream, TransportError> {
    let addresses =
        lookup_host((host.as_str(), port)).await.map_err(|_| TransportError::Resolve)?;
    first(addresses).await.map(Stream::Plain)
}

/// The first connection to succeed. The addresses are tried in their order, each beside the ones
/// before it once those have had a moment: one that does not answer must not cost the others the
/// time that there is for connecting.
async fn first(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, TransportError> {
    let mut tries = JoinSet::new();
    let mut error = TransportError::Resolve;
    for address in addresses {
        tries.spawn(connect(address));
        match timeout(HEAD_START, tries.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(why)))) => error = transport_error(&why),
            _ => {}
        }
    }
    while let Some(done) = tries.join_next().await {
        match done {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(why)) => error = transport_error(&why),
            Err(_) => {}
        }
    }
    Err(error)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("Closed"),
            Self::Opening(link, _) => write!(f, "Opening({link:?})"),
            Self::Open(link, _) => write!(f, "Open({link:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    /// An address where connecting hangs: the queue of connections is full.
    async fn hole() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(ANY.parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            queue.push(TcpStream::connect(address).await.unwrap());
        }
        (address, queue, listener)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hold_up_the_others() {
        let (hole, _queue, _listener) = hole().await;
        let refusing = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
        let listener = TcpListener::bind(ANY).await.unwrap();
        let good = listener.local_addr().unwrap();
        let stream = first([hole, refusing, good].into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(stream.nodelay().unwrap());
        let stream = first([refusing, good].into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn what_the_last_address_answers_is_told() {
        let refusing = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
        let error = first([refusing, refusing].into_iter()).await.unwrap_err();
        assert_eq!(error, TransportError::Refused);
        let error = first(std::iter::empty()).await.unwrap_err();
        assert_eq!(error, TransportError::Resolve);
    }
}
