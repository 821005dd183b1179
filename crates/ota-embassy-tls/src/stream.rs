//! A TLS connection: a future that lives as long as the connection, because embedded-tls loses the
//! bytes of a record when a read is dropped, and the driver drops reads.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell, RefMut};
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::pin::Pin;
use core::task::{Context, Poll};

use embassy_futures::select::{Either3, select3};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_tls::{
    Aes128GcmSha256, CryptoRngCore, TlsConfig, TlsConnection, TlsContext, TlsError as Error,
    TlsReader, TlsWriter,
};
use ota_embassy::TcpStream;
use ota_proto::TransportError;

use super::RecordBuffers;
use super::records::{Half, Records};
use super::verify::{Authority, Verifier};

/// Bytes per transfer, in either direction.
const PIECE: usize = 512;

/// The messages between the driver and the connection's future. No waker is needed: after a change
/// the future is polled next.
#[derive(Default)]
struct Mail {
    open: Cell<bool>,
    /// Seconds since 1970.
    valid_from: Cell<u64>,
    closing: Cell<bool>,
    received: RefCell<Vec<u8>>,
    to_send: RefCell<Vec<u8>>,
    /// The stack does not have all bytes to send yet.
    sending: Cell<bool>,
}

/// A connection's buffers, returned when it is dropped.
pub(super) struct Lent<'n, 's>(pub(super) RefMut<'n, RecordBuffers<'s>>);

/// The settings of a handshake.
pub(super) struct Setup<'n, R> {
    pub(super) authority: &'n Authority<'n>,
    pub(super) host: String,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) rng: &'n RefCell<R>,
}

/// The end of a connection: the lower one, if everything was sent.
type End<'n, 's> = Result<TcpStream<'n, 's>, TransportError>;

/// An open connection.
pub(super) struct Sealed<'n, 's> {
    mail: Rc<Mail>,
    life: Pin<Box<dyn Future<Output = End<'n, 's>> + 'n>>,
    end: Option<End<'n, 's>>,
}

impl<'n, 's: 'n> Sealed<'n, 's> {
    pub(super) async fn open<R: CryptoRngCore>(
        stream: TcpStream<'n, 's>,
        buffers: Lent<'n, 's>,
        setup: Setup<'n, R>,
    ) -> Result<Self, TransportError> {
        let mail = Rc::new(Mail::default());
        let life = Box::pin(live(stream, buffers, setup, Rc::clone(&mail)));
        let mut sealed = Self { mail, life, end: None };
        sealed.until(|mail| mail.open.get()).await;
        match sealed.end {
            Some(Err(why)) => Err(why),
            _ => Ok(sealed),
        }
    }

    /// The start of validity of the peer's certificate.
    pub(super) fn valid_from(&self) -> u64 {
        self.mail.valid_from.get()
    }

    /// Sends `close_notify` and closes the connection.
    pub(super) async fn close(mut self) -> End<'n, 's> {
        self.mail.closing.set(true);
        self.until(|_| false).await;
        self.end.unwrap_or(Err(TransportError::Closed))
    }

    /// Runs until this condition is met, or until the end.
    async fn until(&mut self, holds: impl Fn(&Mail) -> bool) {
        poll_fn(|cx| {
            self.run(cx);
            if holds(&self.mail) || self.end.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn run(&mut self, cx: &mut Context<'_>) {
        if self.end.is_none()
            && let Poll::Ready(end) = self.life.as_mut().poll(cx)
        {
            self.end = Some(end);
        }
    }

    fn ended(&self) -> Result<usize, ErrorKind> {
        match self.end {
            Some(Ok(_)) => Ok(0),
            _ => Err(ErrorKind::ConnectionReset),
        }
    }
}

impl ErrorType for Sealed<'_, '_> {
    type Error = ErrorKind;
}

impl<'n, 's: 'n> Read for Sealed<'n, 's> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        self.until(|mail| !mail.received.borrow().is_empty()).await;
        let mut received = self.mail.received.borrow_mut();
        if received.is_empty() {
            return self.ended();
        }
        let count = buf.len().min(received.len());
        for (to, byte) in buf.iter_mut().zip(received.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }
}

impl<'n, 's: 'n> Write for Sealed<'n, 's> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.flush().await?;
        let piece = buf.get(..PIECE).unwrap_or(buf);
        self.mail.to_send.borrow_mut().extend_from_slice(piece);
        self.mail.sending.set(!piece.is_empty());
        Ok(piece.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.until(|mail| !mail.sending.get()).await;
        if self.mail.sending.get() { self.ended().map(|_| ()) } else { Ok(()) }
    }
}

/// Runs the whole connection.
async fn live<'n, 's: 'n, R: CryptoRngCore>(
    stream: TcpStream<'n, 's>,
    mut buffers: Lent<'n, 's>,
    setup: Setup<'n, R>,
    mail: Rc<Mail>,
) -> End<'n, 's> {
    let records = RefCell::new(Records::new(stream));
    let (read, write) = &mut *buffers.0;
    let mut connection = TlsConnection::new(Half(&records), read, write);
    // A separate future, freed when it is done.
    mail.valid_from.set(Box::pin(shake_hands(&mut connection, &setup)).await?);
    mail.open.set(true);
    let (mut reader, mut writer) = connection.split();
    let closing = poll_fn(|_| if mail.closing.get() { Poll::Ready(()) } else { Poll::Pending });
    let said = match select3(receive(&mut reader, &mail), send(&mut writer, &mail), closing).await {
        // A `close_notify` of ours would not be encrypted now, and the peer would ignore it.
        Either3::First(Error::ConnectionClosed) => true,
        Either3::First(_) | Either3::Second(_) => false,
        Either3::Third(()) => Box::pin(connection.close()).await.is_ok(),
    };
    if said { Ok(records.into_inner().stream) } else { Err(TransportError::Closed) }
}

type Connection<'a, 'n, 's> = TlsConnection<'a, Half<'a, TcpStream<'n, 's>>, Aes128GcmSha256>;

async fn shake_hands<R: CryptoRngCore>(
    connection: &mut Connection<'_, '_, '_>,
    setup: &Setup<'_, R>,
) -> Result<u64, TransportError> {
    let mut config = TlsConfig::new();
    // An address is not sent as a server name (RFC 6066).
    if setup.host.parse::<Ipv4Addr>().is_err() {
        config = config.with_server_name(&setup.host);
    }
    let mut verifier = Verifier::new(setup.authority, &setup.host, setup.now, setup.rng);
    let opened = connection.open(TlsContext::new(&config, &mut verifier)).await;
    verifier.judge(opened)
}

async fn receive<'a, S: Read + 'a>(
    reader: &mut TlsReader<'a, S, Aes128GcmSha256>,
    mail: &Mail,
) -> Error {
    loop {
        let empty = |mail: &Mail| mail.received.borrow().is_empty();
        poll_fn(|_| if empty(mail) { Poll::Ready(()) } else { Poll::Pending }).await;
        match reader.read_buffered().await {
            Ok(mut data) => mail.received.borrow_mut().extend_from_slice(data.pop(PIECE)),
            Err(error) => return error,
        }
    }
}

async fn send<'a, S: Write + 'a>(
    writer: &mut TlsWriter<'a, S, Aes128GcmSha256>,
    mail: &Mail,
) -> Error {
    loop {
        poll_fn(|_| if mail.sending.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        let piece = mail.to_send.take();
        let sent = async {
            writer.write_all(&piece).await?;
            writer.flush().await
        };
        if let Err(error) = sent.await {
            return error;
        }
        mail.sending.set(false);
    }
}
