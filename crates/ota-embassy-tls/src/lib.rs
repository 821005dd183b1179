//! TLS for `ota-embassy`: **TLS 1.3 only**, with embedded-tls, over the sockets of [`Tcp`], and
//! **only for servers of one private authority, which is given to it**. It is no client for the web.
//!
//! It always checks the peer: authority, time, purpose, host name, and the proof of the key; no
//! switch turns that off. The caller gives memory for records, a clock and a source of chance:
//!
//! | what | bytes |
//! |---|---:|
//! | a record that is received, for each link: 16,640, unless the servers send shorter ones | 33,280 |
//! | a record that is sent, for each link | 2,048 |
//! | heap, with both links open | 6,866 |
//!
//! ```no_run
//! use ota_embassy::{Buffers, Device, Storage, Tcp, Updates};
//! use ota_embassy_tls::EmbeddedTls;
//! # use rand_core::{CryptoRng, RngCore};
//!
//! # async fn run<'s>(
//! #     tcp: Tcp<'s>, authority: &'s [u8], chance: impl CryptoRng + RngCore, me: Device,
//! #     storage: impl Storage, buffers: Buffers<'_>, records: &'s mut [[u8; 16_640]; 4],
//! # ) -> Result<(), Box<dyn core::error::Error>> {
//! let [a, b, c, d] = records;
//! let unix_time = || Some(1_800_000_000); // a real-time clock
//! let tls = EmbeddedTls::new(tcp, authority, chance, unix_time, (a, b), (c, d))?;
//! let mut ota = Updates::new(&tls, me, "1.0.0", storage, buffers).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What the certificates say of the time is kept in the journal: a clock that lost it over a reset is
//! not believed. The authenticity of firmware must not rest on TLS: check a signature before you
//! approve an image.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod certificate;
mod records;
mod stream;
mod verify;

use core::cell::RefCell;

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use embedded_tls::CryptoRngCore;
use ota_embassy::{Network, Tcp, TcpStream};
use ota_proto::{TlsError, TransportError};
use ota_wire::adapter::Target;
use ota_wire::client::LinkKind;

use stream::{Lent, Sealed, Setup};
use verify::Authority;

/// Buffers for a record that is received and for one that is sent, in bytes.
///
/// The first must hold the longest record that the server sends: 16,640, unless the server is
/// known to send shorter ones. The second is at least 640; longer writes are cut to fit.
pub type RecordBuffers<'s> = (&'s mut [u8], &'s mut [u8]);

/// The least of them: a handshake's messages.
const LEAST: usize = 640;

/// TLS 1.3, and nothing older, for servers whose certificates come from **one private authority**.
/// It is no client for the web: servers there use other keys, chains and wildcards.
///
/// A peer is always checked, and there is no way to do without: its certificate must be issued
/// by the authority itself, be within its time, be a server's, and name the host (a DNS name or
/// an IPv4 address among its alternative names; no wildcards), and the peer must prove that it
/// has its key. Keys are ECDSA on P-256 with SHA-256, the cipher suite is
/// `TLS_AES_128_GCM_SHA256`. A device has no certificate of its own.
///
/// A connection that is asked for without TLS is a plain one: whether it may be is the client's
/// configuration (`Config::tls`, `Config::allow_http`).
///
/// The authority is trusted to issue names to their owners, and the server that it vouches for not
/// to misuse the protocol: embedded-tls panics when a server that has proved itself then sends
/// handshake messages that no server sends on purpose.
pub struct EmbeddedTls<'s, R, C> {
    tcp: Tcp<'s>,
    authority: Authority<'s>,
    chance: RefCell<R>,
    clock: C,
    records: [RefCell<RecordBuffers<'s>>; 2],
}

impl<'s, R: CryptoRngCore, C: Fn() -> Option<u64>> EmbeddedTls<'s, R, C> {
    /// TLS over these sockets. `authority` is its certificate in DER. `chance` must be a good
    /// source (a hardware generator, or one seeded by it): all secrecy rests on it. `clock` says
    /// how many seconds have passed since 1970, `None` as long as it is not set: then nothing is
    /// connected, nor when it says less than the journal knows (`Updater::least_time`).
    ///
    /// # Errors
    /// [`TlsError::NotAuthority`] when this is not an authority's certificate;
    /// [`TlsError::Version1`] and [`TlsError::Algorithm`] when it is one of a kind that is not
    /// read.
    pub fn new(
        tcp: Tcp<'s>,
        authority: &'s [u8],
        chance: R,
        clock: C,
        broker: RecordBuffers<'s>,
        store: RecordBuffers<'s>,
    ) -> Result<Self, TlsError> {
        let authority = Authority::read(authority)?;
        let records = [RefCell::new(broker), RefCell::new(store)];
        Ok(Self { tcp, authority, chance: RefCell::new(chance), clock, records })
    }
}

impl<'n, 's: 'n, R: CryptoRngCore, C: Fn() -> Option<u64>> Network for &'n EmbeddedTls<'s, R, C> {
    type Stream = TlsStream<'n, 's>;

    const TLS: bool = true;

    async fn open(self, target: Target) -> Result<TlsStream<'n, 's>, TransportError> {
        if !target.tls {
            let plain = (&self.tcp).open(target).await?;
            return Ok(TlsStream(Kind::Plain(plain)));
        }
        let now = (self.clock)().filter(|now| *now >= target.least_time);
        let now = now.ok_or(TransportError::Tls(TlsError::ClockNotSet))?;
        let [broker, store] = &self.records;
        let records = if target.link.kind == LinkKind::Broker { broker } else { store };
        // They are away only when the caller keeps a stream beyond its link.
        let lent = Lent(records.try_borrow_mut().map_err(|_| TransportError::Refused)?);
        if lent.0.0.len() < LEAST || lent.0.1.len() < LEAST {
            return Err(TransportError::Tls(TlsError::Unavailable));
        }
        let host = target.host.clone();
        let stream = (&self.tcp).open(Target { tls: false, ..target }).await?;
        let setup = Setup { authority: &self.authority, host, now, chance: &self.chance };
        Ok(TlsStream(Kind::Sealed(Sealed::open(stream, lent, setup).await?)))
    }

    fn valid_from(self, stream: &TlsStream<'n, 's>) -> Option<u64> {
        match &stream.0 {
            Kind::Plain(_) => None,
            Kind::Sealed(sealed) => Some(sealed.valid_from()),
        }
    }

    async fn close(self, stream: TlsStream<'n, 's>) {
        let below = match stream.0 {
            Kind::Plain(stream) => Ok(stream),
            Kind::Sealed(sealed) => sealed.close().await,
        };
        if let Ok(stream) = below {
            (&self.tcp).close(stream).await;
        }
    }
}

/// A connection of [`EmbeddedTls`]. Its socket and its buffers are free for the next one when it
/// is dropped.
pub struct TlsStream<'n, 's>(Kind<'n, 's>);

enum Kind<'n, 's> {
    Plain(TcpStream<'n, 's>),
    Sealed(Sealed<'n, 's>),
}

impl ErrorType for TlsStream<'_, '_> {
    type Error = ErrorKind;
}

impl<'n, 's: 'n> Read for TlsStream<'n, 's> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.read(buf).await.map_err(|error| error.kind()),
            Kind::Sealed(stream) => stream.read(buf).await,
        }
    }
}

impl<'n, 's: 'n> Write for TlsStream<'n, 's> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.write(buf).await.map_err(|error| error.kind()),
            Kind::Sealed(stream) => stream.write(buf).await,
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.flush().await.map_err(|error| error.kind()),
            Kind::Sealed(stream) => stream.flush().await,
        }
    }
}
