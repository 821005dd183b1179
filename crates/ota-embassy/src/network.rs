//! Connections: the trait that an own transport implements, and TCP over embassy-net.

use core::cell::{RefCell, RefMut};

use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{ConnectError, Error, TcpSocket};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use ota_proto::{TlsError, TransportError};
use ota_wire::adapter::{Reach, Target};
use ota_wire::client::LinkKind;

/// What the addresses of a name share: as long as a try has by default.
const TRY: Duration = Duration::from_secs(10);

/// What opens connections. It is a handle: copies of it share the sockets. [`Tcp`] is one over
/// embassy-net; an own one wraps its streams in TLS, or talks to a modem.
#[allow(async_fn_in_trait, reason = "an executor for microcontrollers has one thread")]
pub trait Network: Copy {
    /// An open connection. `read` must be side-effect-free on cancel, as its trait calls it;
    /// `write` and `flush` are never cancelled but by the end of the connection. Dropping it
    /// resets the connection.
    type Stream: Read + Write;

    /// It can open connections with TLS.
    const TLS: bool;

    /// Opens a connection; with `tls` the peer's certificate is checked against `host`, and not by
    /// a clock that says less than `least_time`. There is one of a kind at a time. There is no need
    /// to end by itself: the client's deadline drops it.
    ///
    /// # Errors
    /// [`TransportError`] as it was.
    async fn open(self, target: Target) -> Result<Self::Stream, TransportError>;

    /// From which Unix second on the peer's own certificate is valid, which was accepted for the
    /// right host; `None` without TLS, or where TLS does not tell (a modem's). The journal keeps
    /// it, and it comes back as `least_time`.
    fn valid_from(self, _: &Self::Stream) -> Option<u64> {
        None
    }

    /// Closes the connection in order. The future is dropped after one second.
    async fn close(self, stream: Self::Stream);
}

/// Two TCP sockets of an embassy-net stack, one for the broker and one for the store, in memory
/// of the caller's. No TLS: see [`Network`] for a way to wrap it.
///
/// The addresses of a name share the 10 s that a try has by default. smoltcp keeps one address
/// and asks one name server unless its features say otherwise: `dns-max-result-count-4` and
/// `dns-max-server-count-3`, for example.
///
/// The application's stack needs resources for two sockets more, and for DNS a third.
pub struct Tcp<'s> {
    stack: Stack<'s>,
    sockets: [RefCell<TcpSocket<'s>>; 2],
    reach: RefCell<Reach>,
}

/// Receive and send buffer of a TCP socket, in bytes: the window that the peer sees is at most
/// the first one's length. 2 KiB each are enough.
pub type SocketBuffers<'s> = (&'s mut [u8], &'s mut [u8]);

impl<'s> Tcp<'s> {
    /// Sockets for both links, with these buffers.
    pub fn new(stack: Stack<'s>, broker: SocketBuffers<'s>, store: SocketBuffers<'s>) -> Self {
        let socket = |(receive, send): SocketBuffers<'s>| {
            let mut socket = TcpSocket::new(stack, receive, send);
            socket.set_nagle_enabled(false);
            RefCell::new(socket)
        };
        Self { stack, sockets: [socket(broker), socket(store)], reach: RefCell::default() }
    }

    /// Refuses stores whose address is loopback, link-local, private or otherwise none of the
    /// internet, at each redirect anew: an offer must not make the device ask what only its own
    /// network reaches. The broker's own address is exempt. An own [`Network`] asks [`Reach`]
    /// itself.
    #[must_use]
    pub fn public_store_only(self) -> Self {
        Self { reach: RefCell::new(Reach::new(true)), ..self }
    }
}

impl<'n, 's> Network for &'n Tcp<'s> {
    type Stream = TcpStream<'n, 's>;

    const TLS: bool = false;

    async fn open(self, target: Target) -> Result<TcpStream<'n, 's>, TransportError> {
        let Target { link, host, port, tls, .. } = target;
        if tls {
            return Err(TransportError::Tls(TlsError::Handshake));
        }
        let [broker, store] = &self.sockets;
        let socket = if link.kind == LinkKind::Broker { broker } else { store };
        // It is away only when the caller keeps a stream beyond its link.
        let Ok(socket) = socket.try_borrow_mut() else { return Err(TransportError::Refused) };
        let mut stream = TcpStream(socket);
        self.stack.wait_config_up().await;
        let mut failed = TransportError::Resolve;
        let addresses = self.stack.dns_query(&host, DnsQueryType::A).await.map_err(|_| failed)?;
        let share = TRY / addresses.len().max(1) as u32;
        for address in addresses {
            if !self.reach.borrow_mut().admits(link.kind, address.into()) {
                failed = TransportError::NotPublic;
                continue;
            }
            failed = match with_timeout(share, stream.0.connect((address, port))).await {
                Ok(Ok(())) => return Ok(stream),
                Err(_) | Ok(Err(ConnectError::TimedOut)) => TransportError::TimedOut,
                Ok(Err(_)) => TransportError::Refused,
            };
            stream.0.abort();
        }
        Err(failed)
    }

    async fn close(self, mut stream: TcpStream<'n, 's>) {
        stream.0.close();
        let _ = stream.0.flush().await;
        // The peer's own end, so that it is not told of a reset. What else it sends is not waited
        // for.
        let _ = stream.0.read(&mut [0; 16]).await;
    }
}

/// A connection of [`Tcp`]. Its socket is free for the next one when it is dropped.
pub struct TcpStream<'n, 's>(RefMut<'n, TcpSocket<'s>>);

impl ErrorType for TcpStream<'_, '_> {
    type Error = Error;
}

impl Read for TcpStream<'_, '_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.0.read(buf).await
    }
}

impl Write for TcpStream<'_, '_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.0.write(buf).await
    }

    /// Does nothing: what the stack has taken is on its way.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for TcpStream<'_, '_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
