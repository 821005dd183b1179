//! TLS by rustls: for the listeners, and for the way to a broker. A peer that must show a
//! certificate is always checked; there is no switch.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};

use super::stream::{Peer, Socket, Stream};

/// What the listeners show and whom they take.
#[derive(Clone)]
pub struct ServerTls {
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
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
        let http = Self::config(chain, key, None)?;
        let mqtt = match clients {
            Some(pem) => Self::config(chain, key, Some(roots(pem)?))?,
            None => Arc::clone(&http),
        };
        Ok(Self { mqtt, http })
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
        Acceptor(Arc::clone(&self.mqtt))
    }

    pub(super) fn http(&self) -> Acceptor {
        Acceptor(Arc::clone(&self.http))
    }
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
pub(super) struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<Peer> {
        let stream = TlsAcceptor::from(Arc::clone(&self.0)).accept(socket).await?;
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
