//! The cloud's side of TLS: rustls, driven in memory.

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use super::hostile::{Hostile, Trick};
use ota_proto::Rng;
use rand_core::{CryptoRng, RngCore};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

/// An authority and its key.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The holder of a certificate of this one, who plays the authority, and that certificate.
    pub fn issue(&self, params: CertificateParams) -> (Self, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let issued = CertifiedIssuer::signed_by(params, key, &self.0).unwrap();
        let der = issued.der().to_vec();
        (Self(issued), der)
    }

    /// Its certificate.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }
}

/// A server's certificate as it should be: 2025 to 2034, for the only name and the only address.
pub fn params() -> CertificateParams {
    let mut params = CertificateParams::new(["cloud.example".into(), "10.0.0.1".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2034, 12, 31);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// What the cloud does with its connections, and whom the device believes.
#[derive(Clone)]
pub struct Tls {
    pub server: Arc<ServerConfig>,
    pub authority: Vec<u8>,
    /// Seconds since 1970 on the device's clock.
    pub clock: Option<u64>,
    /// One bit of this byte of what the cloud sends is wrong.
    pub wrong: Option<usize>,
    /// This is all that it says, whatever it hears.
    pub talk: Option<&'static [u8]>,
    /// It is not the cloud that answers.
    pub trick: Option<Trick>,
    /// Bytes that the device's records may have, received and sent ones.
    pub room: (usize, usize),
    /// Bytes that the cloud has sent with TLS.
    pub sent: Rc<Cell<usize>>,
    /// Of them, those of a handshake.
    pub flight: Rc<Cell<usize>>,
}

impl Tls {
    /// A server with this certificate of the authority's.
    pub fn new(authority: &Authority, params: CertificateParams) -> Self {
        Self::chain(authority, params, &[], &[&rustls::version::TLS13])
    }

    pub fn chain(
        authority: &Authority,
        params: CertificateParams,
        more: &[Vec<u8>],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::made(authority, params, &KeyPair::generate().unwrap(), more, versions)
    }

    /// A server with this key.
    pub fn with_key(authority: &Authority, params: CertificateParams, key: &KeyPair) -> Self {
        Self::made(authority, params, key, &[], &[&rustls::version::TLS13])
    }

    fn made(
        authority: &Authority,
        params: CertificateParams,
        key: &KeyPair,
        more: &[Vec<u8>],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let own = params.signed_by(key, &authority.0).unwrap();
        let chain = [own.der().clone()].into_iter().chain(more.iter().cloned().map(Into::into));
        let server = ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(chain.collect(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Self {
            server: Arc::new(server),
            authority: authority.der(),
            clock: Some(super::desk::UNIX),
            wrong: None,
            talk: None,
            trick: None,
            room: (16_640, 1_024),
            sent: Rc::default(),
            flight: Rc::default(),
        }
    }
}

/// One connection.
pub struct Seal {
    tls: Tls,
    connection: ServerConnection,
    hostile: Hostile,
    out: Vec<u8>,
    broken: bool,
    closed: bool,
}

impl Seal {
    pub fn new(tls: &Tls) -> Self {
        let connection = ServerConnection::new(Arc::clone(&tls.server)).unwrap();
        let hostile = Hostile::default();
        Self {
            tls: tls.clone(),
            connection,
            hostile,
            out: Vec::new(),
            broken: false,
            closed: false,
        }
    }

    /// What came over the wire; what was in it is appended.
    pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) {
        if let Some(talk) = self.tls.talk.take() {
            self.out.extend_from_slice(talk);
            self.broken = true;
        }
        if let Some(trick) = self.tls.trick {
            self.out.extend(self.hostile.receive(trick, bytes));
            return;
        }
        while !bytes.is_empty() && !self.broken {
            self.connection.read_tls(&mut bytes).unwrap();
            self.broken = self.connection.process_new_packets().is_err();
            let _ = self.connection.reader().read_to_end(plain);
        }
    }

    /// How much of it was taken.
    pub fn send(&mut self, plain: &[u8]) -> usize {
        // No more than is soon gone.
        if self.broken || self.closed || self.connection.is_handshaking() || self.out.len() > 8_192
        {
            return 0;
        }
        self.connection.writer().write(plain).unwrap()
    }

    /// Sends `close_notify` once; returns whether it is on the wire.
    pub fn close(&mut self) -> bool {
        if !std::mem::replace(&mut self.closed, true) {
            self.connection.send_close_notify();
        }
        self.wire().is_empty()
    }

    /// What is to go over the wire.
    pub fn wire(&mut self) -> &[u8] {
        while self.connection.wants_write() {
            let mut bytes = Vec::new();
            self.connection.write_tls(&mut bytes).unwrap();
            let before = self.tls.sent.replace(self.tls.sent.get() + bytes.len());
            if self.connection.is_handshaking() {
                self.tls.flight.set(self.tls.sent.get());
            }
            let wrong = self.tls.wrong.and_then(|at| at.checked_sub(before));
            if let Some(byte) = wrong.and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1 << (before % 8);
            }
            self.out.append(&mut bytes);
        }
        &self.out
    }

    pub fn sent(&mut self, count: usize) {
        self.out.drain(..count);
    }

    pub fn is_broken(&self) -> bool {
        self.broken && self.out.is_empty()
    }
}

/// Chance by a seed.
pub struct Dice(pub Rng);

impl RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next_u64() as u8;
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Dice {}
