//! Servers that have certificates, and whoever signs those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::ring, version,
};

/// Somebody with a certificate and its key.
pub(crate) struct Party {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
    params: CertificateParams,
}

impl Party {
    /// Signs itself.
    pub(crate) fn root(params: CertificateParams) -> Self {
        Self::root_with(params, KeyPair::generate().unwrap())
    }

    pub(crate) fn root_with(params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], pem: certificate.pem(), key, params }
    }

    pub(crate) fn authority(name: &str) -> Self {
        Self::authority_with(name, KeyPair::generate().unwrap())
    }

    pub(crate) fn authority_with(name: &str, key: KeyPair) -> Self {
        let mut params = params("unused.example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self::root_with(params, key)
    }

    /// Is signed by another one, whose chain comes with it.
    pub(crate) fn from(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let chain = [&[certificate.der().clone()], &self.chain[..]].concat();
        Self { chain, pem: certificate.pem(), key, params }
    }
}

/// A server of this name, now.
pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) const HERE: &str = "127.0.0.1";

/// TLS in front of something that has none.
pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    pub(crate) opened: Arc<AtomicUsize>,
}

impl Front {
    pub(crate) async fn start(party: &Party, target: Option<SocketAddr>) -> Self {
        Self::with(server(party, None, &version::TLS13), target).await
    }

    pub(crate) async fn with(config: ServerConfig, target: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Some(target) = target else { return };
                    let mut target = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut target).await;
                });
            }
        });
        Self { addr, opened }
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

pub(crate) type Version = &'static SupportedProtocolVersion;

/// A server that wants certificates of these clients, if any are named.
pub(crate) fn server(party: &Party, clients: Option<&Party>, version: Version) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.chain[0].clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(party.key.serialize_der()).unwrap();
    builder.with_single_cert(party.chain.clone(), key).unwrap()
}
