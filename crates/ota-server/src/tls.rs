//! TLS by rustls: for the listeners, and for the way to a broker. A peer that must show a
//! certificate is always checked; there is no switch.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ota_cloud::certificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::log::What;
use super::stream::{Peer, Socket, Stream};

/// What the listeners show and whom they take.
#[derive(Clone)]
pub struct ServerTls {
    now: Arc<RwLock<Pair>>,
    /// The digest of the texts that it was made of.
    digest: [u8; 32],
    files: Option<Files>,
}

/// What the listeners use for the next connection.
struct Pair {
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970.
    end: Option<u64>,
}

/// Where the texts are.
#[derive(Clone, Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    clients: Option<PathBuf>,
}

/// Whom the cloud trusts as a broker.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

/// Why certificates cannot be used: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadTls {
    /// There is no certificate in the authorities' text, or one that cannot be read.
    Authorities,
    /// There is no certificate in its text, or one that cannot be read.
    Chain,
    /// There is no key in its text, or one that cannot be used.
    Key,
    /// The key is not that of the certificate.
    Mismatch,
    /// The cryptography cannot be used.
    Cryptography,
}

impl ServerTls {
    /// Shows a certificate to whoever connects: `chain` is a PEM text of it and those between it
    /// and the authority, `key` one of its private key (PKCS #8, PKCS #1 or SEC 1) without a
    /// passphrase.
    ///
    /// `clients`: a PEM text of authorities. With it, MQTT clients must show a certificate of one
    /// of them, as in the platform's certificate mode; firmware is still served to anybody.
    ///
    /// # Errors
    /// [`BadTls`]: what of it cannot be used.
    pub fn new(chain: &[u8], key: &[u8], clients: Option<&[u8]>) -> Result<Self, BadTls> {
        let digest = digest(chain, key, clients);
        let now = Arc::new(RwLock::new(Self::pair(chain, key, clients)?));
        Ok(Self { now, digest, files: None })
    }

    /// Reads these files again when they change, and uses them from the next connection on. Files
    /// that cannot be used change nothing, and are logged.
    #[must_use]
    pub fn follow(self, chain: PathBuf, key: PathBuf, clients: Option<PathBuf>) -> Self {
        Self { files: Some(Files { chain, key, clients }), ..self }
    }

    fn pair(chain: &[u8], key: &[u8], clients: Option<&[u8]>) -> Result<Pair, BadTls> {
        let http = Self::config(chain, key, None)?;
        let mqtt = match clients {
            Some(pem) => Self::config(chain, key, Some(roots(pem)?))?,
            None => Arc::clone(&http),
        };
        let end = leaf(chain).ok().and_then(|leaf| certificate::not_after(&leaf));
        Ok(Pair { mqtt, http, end })
    }

    fn config(
        chain: &[u8],
        key: &[u8],
        clients: Option<RootCertStore>,
    ) -> Result<Arc<ServerConfig>, BadTls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| BadTls::Cryptography)?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|_| BadTls::Authorities)?,
            ),
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadTls::Key)?;
        let config = builder.with_single_cert(certificates(chain).ok_or(BadTls::Chain)?, key);
        config.map(Arc::new).map_err(|why| match why {
            Error::InconsistentKeys(_) => BadTls::Mismatch,
            Error::InvalidCertificate(_) => BadTls::Chain,
            _ => BadTls::Key,
        })
    }

    pub(super) fn mqtt(&self) -> Acceptor {
        Acceptor { now: Arc::clone(&self.now), asks: true }
    }

    pub(super) fn http(&self) -> Acceptor {
        Acceptor { now: Arc::clone(&self.now), asks: false }
    }

    /// Looks at the files until the service stops.
    pub(super) async fn watch(self, every: Duration, journal: Journal, stop: CancellationToken) {
        let told_end = || {
            let end = self.now.read().unwrap_or_else(PoisonError::into_inner).end;
            journal.vitals.certificate_end.set(end.unwrap_or(0));
        };
        told_end();
        let Some(files) = &self.files else { return };
        let (mut used, mut bad) = (self.digest, Bad::default());
        while stop.run_until_cancelled(sleep(every)).await.is_some() {
            let (files, now) = (files.clone(), Arc::clone(&self.now));
            let look = tokio::task::spawn_blocking(move || files.look(&used, &now));
            match look.await {
                Ok(Ok(None)) => bad = Bad::default(),
                Ok(Ok(Some(digest))) => {
                    (used, bad) = (digest, Bad::default());
                    told_end();
                    journal.write(None, What::Certificate { why: None });
                }
                Ok(Err(why)) => {
                    if bad.is_new(&why) {
                        journal.write(None, What::Certificate { why: Some(why) });
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// What is wrong with the files. It is told once, and when it is seen a second time: while a
/// certificate and its key are being replaced, they do not fit for a moment.
#[derive(Default)]
struct Bad {
    why: String,
    times: u8,
}

impl Bad {
    fn is_new(&mut self, why: &str) -> bool {
        if self.why != why {
            *self = Self { why: why.to_owned(), times: 0 };
        }
        self.times = self.times.saturating_add(1);
        self.times == 2
    }
}

impl Files {
    /// Uses the files if they changed. Returns their digest then. Blocking.
    fn look(&self, used: &[u8; 32], now: &RwLock<Pair>) -> Result<Option<[u8; 32]>, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))
        };
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        let clients = self.clients.as_deref().map(read).transpose()?;
        let clients = clients.as_deref();
        let digest = digest(&chain, &key, clients);
        if digest == *used {
            return Ok(None);
        }
        let pair = ServerTls::pair(&chain, &key, clients).map_err(|why| why.to_string())?;
        *now.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(Some(digest))
    }
}

fn digest(chain: &[u8], key: &[u8], clients: Option<&[u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [chain, key, clients.unwrap_or_default()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

impl ClientTls {
    /// Trusts the CAs of a PEM text, or the public ones.
    ///
    /// # Errors
    /// [`BadTls`]: what of it cannot be used.
    pub fn new(authorities: Option<&[u8]>) -> Result<Self, BadTls> {
        let roots = match authorities {
            Some(pem) => roots(pem)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| BadTls::Cryptography)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Makes TLS of a connection. The outer error is one of the connection below, the inner one
    /// says why the peer is not trusted.
    pub(super) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> io::Result<Result<Stream, String>> {
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return Ok(Err("no certificate is for such a host name".into()));
        };
        match TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await {
            Ok(stream) => Ok(Ok(Box::new(stream))),
            Err(error) => reason(&error).map_or(Err(error), |why| Ok(Err(why))),
        }
    }
}

/// Makes TLS of what a listener accepts.
#[derive(Clone)]
pub(super) struct Acceptor {
    now: Arc<RwLock<Pair>>,
    /// Whether clients are asked for certificates.
    asks: bool,
}

impl Acceptor {
    fn config(&self) -> Arc<ServerConfig> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(if self.asks { &now.mqtt } else { &now.http })
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<Peer> {
        let stream = TlsAcceptor::from(self.config()).accept(socket).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|certificate| certificate.to_vec());
        Ok(Peer { stream: Box::new(stream), certificate })
    }
}

impl Socket for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_at_end(&self) {
        self.get_ref().0.reset_at_end();
    }
}

impl Socket for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset_at_end(&self) {
        self.get_ref().0.reset_at_end();
    }
}

/// The certificate of a PEM text, as a peer shows it.
pub(super) fn leaf(pem: &[u8]) -> Result<Vec<u8>, BadTls> {
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| BadTls::Chain)?;
    Ok(certificate.to_vec())
}

/// What TLS has against a peer; `None` for a fault of the connection below.
fn reason(error: &io::Error) -> Option<String> {
    use CertificateError as E;
    let error: &Error = error.get_ref()?.downcast_ref()?;
    Some(match error {
        Error::InvalidCertificate(E::UnknownIssuer | E::BadSignature) => {
            "its certificate is of no authority that is trusted".into()
        }
        Error::InvalidCertificate(E::NotValidForName | E::NotValidForNameContext { .. }) => {
            "its certificate is for another name".into()
        }
        Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => {
            "its certificate has expired, or the clock here is wrong".into()
        }
        other => other.to_string(),
    })
}

/// The certificates of a PEM text as trusted ones.
fn roots(pem: &[u8]) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or(BadTls::Authorities)? {
        roots.add(certificate).map_err(|_| BadTls::Authorities)?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// Without the key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl fmt::Display for BadTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorities => "no usable certificate of an authority; it must be PEM",
            Self::Chain => "no usable certificate; it must be PEM",
            Self::Key => "no usable private key; it must be PEM, without a passphrase",
            Self::Mismatch => "the private key is not that of the certificate",
            Self::Cryptography => "the cryptography cannot be used",
        })
    }
}

impl std::error::Error for BadTls {}
