//! Builds the configurations of rustls.

use std::fmt;
use std::sync::Arc;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::client::Resumption;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// The number of resumable sessions; each costs some KiB, and there are two peers.
const SESSIONS: usize = 4;

/// The device's own certificate, for a broker that requires one.
#[derive(Clone, Copy)]
pub struct Certificate<'a> {
    /// A PEM text: the certificate and the intermediate ones up to the CA.
    pub chain: &'a [u8],
    /// A PEM text: its private key (PKCS #8, PKCS #1 or SEC 1), without a passphrase.
    pub key: &'a [u8],
}

/// Hides the key.
impl fmt::Debug for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// Why certificates cannot be used: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadTls {
    /// The text of CA certificates has none, or one that cannot be read.
    Authorities,
    /// The text of our own certificate has none, or one that cannot be read.
    Chain,
    /// The text has no key, or one that cannot be used.
    Key,
    /// The key does not fit the certificate.
    Mismatch,
    /// The cryptography cannot be used.
    Cryptography,
}

impl fmt::Display for BadTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorities => "no usable CA certificate; it must be PEM",
            Self::Chain => "no usable client certificate; it must be PEM",
            Self::Key => "no usable private key; it must be PEM, without a passphrase",
            Self::Mismatch => "the private key is not that of the client certificate",
            Self::Cryptography => "the cryptography cannot be used",
        })
    }
}

impl std::error::Error for BadTls {}

/// Reads the trusted certificates of a PEM text.
pub(super) fn roots(pem: &[u8]) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or(BadTls::Authorities)? {
        roots.add(certificate).map_err(|_| BadTls::Authorities)?;
    }
    Ok(roots)
}

/// Builds a configuration that trusts these.
pub(super) fn config(
    roots: Arc<RootCertStore>,
    certificate: Option<Certificate<'_>>,
) -> Result<Arc<ClientConfig>, BadTls> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| BadTls::Cryptography)?
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(Certificate { chain, key }) => {
            let chain = certificates(chain).ok_or(BadTls::Chain)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadTls::Key)?;
            builder.with_client_auth_cert(chain, key).map_err(|why| match why {
                Error::InconsistentKeys(_) => BadTls::Mismatch,
                Error::InvalidCertificate(_) => BadTls::Chain,
                _ => BadTls::Key,
            })?
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

/// At least one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}
