//! TLS: trust, and the meaning of a refusal. Peers are always checked; no option turns that off.

mod leaf;
mod refusal;
mod setup;

use std::fmt;
use std::sync::Arc;

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, RootCertStore};
use ota_proto::{TlsError, TransportError};
use ota_wire::client::LinkKind;

use crate::driver::clock::Clock;
use crate::driver::stream::{Stream, transport_error};

pub(crate) use refusal::refusal;
pub use setup::{BadTls, Certificate};

/// The certificates that a device trusts in TLS, and its own one. Certificates and host names are
/// always checked; TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls {
    broker: Arc<ClientConfig>,
    store: Arc<ClientConfig>,
}

impl Tls {
    /// Sets the trusted CAs and, for brokers that require one, a client certificate.
    ///
    /// `authorities` is a PEM text of CA certificates. With it, the broker's certificate must come
    /// from one of these CAs, and the firmware server's from one of these or a public CA: a
    /// platform may run a private CA for its brokers and store firmware with a public service.
    /// Without it, both must come from a public CA.
    ///
    /// The text may also contain a self-signed server certificate. A CA certificate is rejected as
    /// a server certificate.
    ///
    /// # Errors
    /// [`BadTls`] names the part that cannot be used.
    pub fn new(
        authorities: Option<&[u8]>,
        certificate: Option<Certificate<'_>>,
    ) -> Result<Self, BadTls> {
        let mut web = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let Some(pem) = authorities else {
            let web = Arc::new(web);
            let store = setup::config(Arc::clone(&web), None)?;
            return Ok(Self { broker: setup::config(web, certificate)?, store });
        };
        let own = setup::roots(pem)?;
        web.extend(own.roots.iter().cloned());
        let broker = setup::config(Arc::new(own), certificate)?;
        Ok(Self { broker, store: setup::config(Arc::new(web), None)? })
    }
}

/// Hides the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Updates the trusted certificates while a device runs: certificates expire and are replaced on
/// disk.
///
/// ```
/// use ota_host::{Options, Renewal, Tls};
///
/// let mut options = Options::default();
/// options.renewal = Some(Renewal::new(|| {
///     let pem = std::fs::read("ca.pem").ok()?;
///     // What cannot be used changes nothing.
///     Tls::new(Some(&pem), None).ok()
/// }));
/// ```
#[derive(Clone)]
pub struct Renewal(Arc<dyn Fn() -> Option<Tls> + Send + Sync>);

impl Renewal {
    /// Calls this before each connection. It may read small files; open connections stay open.
    pub fn new(changed: impl Fn() -> Option<Tls> + Send + Sync + 'static) -> Self {
        Self(Arc::new(changed))
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
    }
}

/// The TLS settings of a driver. The default ones are built when they are first needed.
#[derive(Debug)]
pub(crate) struct Trust(Option<Tls>, Option<Renewal>);

impl Trust {
    pub(crate) const fn new(tls: Option<Tls>, renewal: Option<Renewal>) -> Self {
        Self(tls, renewal)
    }

    /// Returns the current configuration for another link.
    pub(crate) fn renew(&mut self) {
        if let Some(new) = self.1.as_ref().and_then(|renewal| (renewal.0)()) {
            self.0 = Some(new);
        }
    }

    /// Returns the TLS settings for this host. `least` is the earliest plausible time, in Unix
    /// seconds.
    pub(crate) fn secure(
        &mut self,
        kind: LinkKind,
        host: &str,
        least: u64,
    ) -> Result<Secure, TlsError> {
        if Clock::unix_time().is_none_or(|unix| unix < least) {
            return Err(TlsError::ClockNotSet);
        }
        let tls = match &mut self.0 {
            Some(tls) => tls,
            none => none.insert(Tls::new(None, None).map_err(|_| TlsError::Unavailable)?),
        };
        let config = match kind {
            LinkKind::Broker => &tls.broker,
            LinkKind::Store => &tls.store,
        };
        // No certificate matches an invalid name.
        let name = ServerName::try_from(host).map_err(|_| TlsError::WrongHost)?.to_owned();
        Ok(Secure { config: Arc::clone(config), name })
    }
}

/// The TLS of one link.
pub(crate) struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secure {
    /// Returns the inner stream, and the start of validity of the peer's own certificate, in Unix
    /// seconds.
    pub(crate) async fn shake_hands(
        self,
        stream: Box<dyn Stream>,
    ) -> Result<(Box<dyn Stream>, Option<u64>), TransportError> {
        match TlsConnector::from(self.config).connect(self.name, stream).await {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let own = connection.peer_certificates().and_then(<[_]>::first);
                let valid_from = own.and_then(|own| leaf::valid_from(own));
                Ok((Box::new(stream), valid_from))
            }
            Err(error) => Err(match refusal::kind(&error) {
                Some(why) => TransportError::Tls(why),
                None => transport_error(&error),
            }),
        }
    }
}
