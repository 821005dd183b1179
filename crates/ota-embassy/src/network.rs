//! Connections: a trait for transports, and TCP over embassy-net.

use core::cell::{RefCell, RefMut};

use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{ConnectError, Error, TcpSocket};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use ota_proto::{TlsError, TransportError};
use ota_wire::adapter::{LinkTarget, Reach};
use ota_wire::client::LinkKind;

/// The time that the addresses of a name share: the default limit of an attempt.
const TRY: Duration = Duration::from_secs(10);

/// Opens connections. This is a handle: copies share the sockets. [`Tcp`] implements it over
/// embassy-net; your own implementation can wrap its streams in TLS, or use a modem.
#[allow(async_fn_in_trait, reason = "an executor for microcontrollers has one thread")]
pub trait Network: Copy {
    /// An open connection. Cancelling `read` must have no side effects, as its trait requires;
    /// `write` and `flush` are cancelled only by the end of the connection. Dropping it resets the
    /// connection.
    type Stream: Read + Write;

    /// Whether it can open connections with TLS.
    const TLS: bool;

    /// Opens a connection. With `tls` the peer's certificate is checked against `host`, and a clock
    /// before `earliest_time` is rejected. There is one connection of a kind at a time. It needs no
    /// time-out: the client drops the future at its deadline.
    ///
    /// # Errors
    /// The [`TransportError`] that happened.
    async fn open(self, target: LinkTarget) -> Result<Self::Stream, TransportError>;

    /// Returns the start of validity, in Unix seconds, of the peer's own certificate, which was
    /// accepted for the right host; `None` without TLS, or if the TLS does not report it (a
    /// modem's). The journal keeps it and passes it back as `earliest_time`.
    fn valid_from(self, _: &Self::Stream) -> Option<u64> {
        None
    }

    /// Closes the connection in order. The future is dropped after one second.
    async fn close(self, stream: Self::Stream);
}

/// Two TCP sockets of an embassy-net stack, one for the broker and one for the firmware server, in
/// the caller's memory. It has no TLS: see [`Network`] for how to wrap it.
///
/// The addresses of a name share the 10 s of an attempt (the default). smoltcp keeps one address
/// and asks one name server unless its features allow more, for example `dns-max-result-count-4`
/// and `dns-max-server-count-3`.
///
/// The application's stack needs resources for two more sockets, and for DNS a third.
pub struct Tcp<'s> {
    stack: Stack<'s>,
    sockets: [RefCell<TcpSocket<'s>>; 2],
    reach: RefCell<Reach>,
}

/// Receive and send buffer of a TCP socket, in bytes: the window is at most the first one's length.
/// 2 KiB each are enough.
pub type SocketBuffers<'s> = (&'s mut [u8], &'s mut [u8]);

impl<'s> Tcp<'s> {
    /// Creates sockets for both links, with these buffers.
    pub fn new(stack: Stack<'s>, broker: SocketBuffers<'s>, store: SocketBuffers<'s>) -> Self {
        let socket = |(receive, send): SocketBuffers<'s>| {
            let mut socket = TcpSocket::new(stack, receive, send);
            socket.set_nagle_enabled(false);
            RefCell::new(socket)
        };
        Self { stack, sockets: [socket(broker), socket(store)], reach: RefCell::default() }
    }

    /// Refuses firmware servers whose address is loopback, link-local, private or otherwise not on
    /// the internet, at each redirect: an offer must not make the device send requests into its own
    /// network. The broker's own address is exempt. Your own [`Network`] must use [`Reach`] itself.
    #[must_use]
    pub fn public_store_only(self) -> Self {
        Self { reach: RefCell::new(Reach::new(true)), ..self }
    }
}

impl<'n, 's> Network for &'n Tcp<'s> {
    type Stream = TcpStream<'n, 's>;

    const TLS: bool = false;

    async fn open(self, target: LinkTarget) -> Result<TcpStream<'n, 's>, TransportError> {
        let LinkTarget { link, host, port, tls, .. } = target;
        if tls {
            return Err(TransportError::Tls(TlsError::Handshake));
        }
        let [broker, store] = &self.sockets;
        let socket = if link.kind == LinkKind::Broker { broker } else { store };
        // It is missing only if the caller keeps a stream beyond its link.
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
        // Waits for the peer's end, so that the peer gets no reset. Other bytes that it sends are
        // not waited for.
        let _ = stream.0.read(&mut [0; 16]).await;
    }
}

/// A connection of [`Tcp`]. Dropping it frees its socket for the next one.
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

    /// Does nothing: the stack sends what it has accepted.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for TcpStream<'_, '_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
