//! TLS for `ota-embassy`: **TLS 1.3 only**, with embedded-tls, over the sockets of [`Tcp`], and
//! **only for servers of one private CA, which the caller provides**. It does not work with public
//! servers.
//!
//! It always checks the peer: the CA's signature, time, purpose, host name, and the proof of the
//! key. The caller provides memory for records, a clock and a random source:
//!
//! | what | bytes |
//! |---|---:|
//! | a received record for each link: 16,640, unless the servers send shorter ones | 33,280 |
//! | a sent record for each link | 2,048 |
//! | heap, with both links open | 6,866 |
//!
//! ```no_run
//! use ota_embassy::{Buffers, Device, Storage, Tcp, Updates};
//! use ota_embassy_tls::EmbeddedTls;
//! # use rand_core::{CryptoRng, RngCore};
//!
//! # async fn run<'s>(
//! #     tcp: Tcp<'s>, authority: &'s [u8], rng: impl CryptoRng + RngCore, me: Device,
//! #     storage: impl Storage, buffers: Buffers<'_>, records: &'s mut [[u8; 16_640]; 4],
//! # ) -> Result<(), Box<dyn core::error::Error>> {
//! let [a, b, c, d] = records;
//! let unix_time = || Some(1_800_000_000); // a real-time clock
//! let tls = EmbeddedTls::new(tcp, authority, rng, unix_time, (a, b), (c, d))?;
//! let mut ota = Updates::new(&tls, me, "1.0.0", storage, buffers).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The journal keeps the certificates' start of validity: a clock that shows an earlier time after
//! a reset is rejected. The authenticity of firmware must not depend on TLS: check a signature
//! before you approve an image.
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
use ota_wire::adapter::LinkTarget;
use ota_wire::client::LinkKind;

use stream::{Lent, Sealed, Setup};
use verify::Authority;

/// Buffers for a received and a sent record.
///
/// The first must hold the longest record that the server sends: 16,640 bytes, unless the server is
/// known to send shorter ones. The second needs at least 640 bytes; longer writes are split.
pub type RecordBuffers<'s> = (&'s mut [u8], &'s mut [u8]);

/// The minimum of the second: the handshake's messages.
const LEAST: usize = 640;

/// TLS 1.3, and no older version, for servers whose certificates come from **one private CA**. It
/// does not work with public servers, which use other keys, chains and wildcards.
///
/// The peer is always checked, and no option turns that off. Its certificate must be issued by the
/// CA directly, be valid now, be a server's, and name the host (a DNS name or an IPv4 address among
/// its alternative names; no wildcards), and the peer must prove that it has the key. Keys are
/// ECDSA on P-256 with SHA-256, the cipher suite is `TLS_AES_128_GCM_SHA256`. A device has no
/// certificate of its own.
///
/// A connection without TLS is plain: the client's configuration allows it or not (`Config::tls`,
/// `Config::allow_http`).
///
/// The CA is trusted to issue names only to their owners, and its servers are trusted to follow the
/// protocol: embedded-tls panics when a server that has proved itself then sends handshake messages
/// that no server sends on purpose.
pub struct EmbeddedTls<'s, R, C> {
    tcp: Tcp<'s>,
    authority: Authority<'s>,
    rng: RefCell<R>,
    clock: C,
    records: [RefCell<RecordBuffers<'s>>; 2],
}

impl<'s, R: CryptoRngCore, C: Fn() -> Option<u64>> EmbeddedTls<'s, R, C> {
    /// TLS over these sockets. `authority` is the CA certificate in DER. `rng` must be a good
    /// random source (a hardware generator, or one seeded by it): all secrecy depends on it.
    /// `clock` returns the seconds since 1970, or `None` while it is not set. Then, and if it shows
    /// an earlier time than the journal (`Updater::earliest_time`), nothing is connected.
    ///
    /// # Errors
    /// [`TlsError::NotAuthority`] if this is not a CA certificate; [`TlsError::Version1`] and
    /// [`TlsError::Algorithm`] if its kind is not supported.
    pub fn new(
        tcp: Tcp<'s>,
        authority: &'s [u8],
        rng: R,
        clock: C,
        broker: RecordBuffers<'s>,
        store: RecordBuffers<'s>,
    ) -> Result<Self, TlsError> {
        let authority = Authority::read(authority)?;
        let records = [RefCell::new(broker), RefCell::new(store)];
        Ok(Self { tcp, authority, rng: RefCell::new(rng), clock, records })
    }
}

impl<'n, 's: 'n, R: CryptoRngCore, C: Fn() -> Option<u64>> Network for &'n EmbeddedTls<'s, R, C> {
    type Stream = TlsStream<'n, 's>;

    const TLS: bool = true;

    async fn open(self, target: LinkTarget) -> Result<TlsStream<'n, 's>, TransportError> {
        if !target.tls {
            let plain = (&self.tcp).open(target).await?;
            return Ok(TlsStream(Kind::Plain(plain)));
        }
        let now = (self.clock)().filter(|now| *now >= target.earliest_time);
        let now = now.ok_or(TransportError::Tls(TlsError::ClockNotSet))?;
        let [broker, store] = &self.records;
        let records = if target.link.kind == LinkKind::Broker { broker } else { store };
        // They are missing only if the caller keeps a stream beyond its link.
        let lent = Lent(records.try_borrow_mut().map_err(|_| TransportError::Refused)?);
        if lent.0.0.len() < LEAST || lent.0.1.len() < LEAST {
            return Err(TransportError::Tls(TlsError::Unavailable));
        }
        let host = target.host.clone();
        let stream = (&self.tcp).open(LinkTarget { tls: false, ..target }).await?;
        let setup = Setup { authority: &self.authority, host, now, rng: &self.rng };
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

/// A connection of [`EmbeddedTls`]. Dropping it frees its socket and buffers for the next one.
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
