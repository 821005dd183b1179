//! TLS at both listeners, with a plain client of rustls.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use mqttbytes::QoS;
use mqttbytes::v4::{Connect, Login};
use ota_cloud::alert::Alert;
use ota_cloud::{Rollout, TaskOptions};
use ota_proto::message::CloudMessage;
use ota_server::{
    ApiConfig, BadTls, ClientTls, HandleError, Log, NewFirmware, Running, ServerTls, ServiceConfig,
    What,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Client, PRODUCT, device, http, secret, start_with};

const VERSION: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

/// An authority of the tests.
pub(crate) struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two authorities have two names.
        let name = format!("{:?}", &key.public_key_raw()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { chain, key: key.serialize_pem() }
    }
}

impl Issued {
    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap();
        (vec![chain], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }
}

/// A server of rustls for a fake broker.
pub(crate) fn acceptor(issued: &Issued) -> TlsAcceptor {
    let (chain, key) = issued.der();
    let config = ServerConfig::builder_with_provider(Arc::new(ring()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

fn ring() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// A connection that trusts `ca` and shows `shown`.
async fn connect(
    addr: SocketAddr,
    ca: &Authority,
    shown: Option<&Issued>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown.map(Issued::der) {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
    };
    let name = ServerName::try_from(addr.ip().to_string()).unwrap();
    let socket = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A service whose certificate is of `ca`.
async fn serve(ca: &Authority, clients: Option<&Authority>) -> Running {
    let issued = ca.issue(&["127.0.0.1"]);
    let clients = clients.map(Authority::pem);
    let (chain, key) = (issued.chain.as_bytes(), issued.key.as_bytes());
    let tls = ServerTls::new(chain, key, clients.as_deref().map(str::as_bytes)).unwrap();
    start_with(ServiceConfig { tls: Some(tls), ..ServiceConfig::default() }).await
}

/// A CONNECT as in the platform's certificate mode: a user name without a password.
fn bare_login(name: &str) -> BytesMut {
    let mut connect = Connect::new(format!("{PRODUCT}{name}"));
    let user = format!("{PRODUCT}{name};12010126;AbC12;4102444800");
    connect.login = Some(Login { username: user, password: String::new() });
    let mut packet = BytesMut::new();
    connect.write(&mut packet).unwrap();
    packet
}

#[tokio::test]
async fn an_update_over_mqtts_and_https() {
    let ca = Authority::new();
    let running = serve(&ca, None).await;
    let handle = running.handle();
    // More than a socket's buffer, so that TLS records wait.
    let image: Vec<u8> = (0..6_000_000_u32).map(|i| (i % 251) as u8).collect();
    handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", image.clone())).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    let mut client = Client::on(connect(running.mqtt_addr(), &ca, None).await.unwrap());
    let mut login = BytesMut::new();
    crate::login("dev001").write(&mut login).unwrap();
    assert_eq!(client.log_in(&login).await, 0);
    client.subscribe(device("dev001").update_topic(), QoS::AtMostOnce).await;
    let topic = device("dev001").report_topic().to_owned();
    client.publish(&topic, QoS::AtMostOnce, VERSION.as_bytes()).await;
    client.message().await;
    let (_, payload) = client.message().await;
    let CloudMessage::Offer(offer) = CloudMessage::decode(&payload).unwrap() else { panic!() };
    assert!(offer.url.starts_with(&format!("https://{}/", running.http_addr())));
    let stream = connect(running.http_addr(), &ca, None).await.unwrap();
    let got = http::request_on(stream, "GET", &offer.url, "Range: bytes=1000-\r\n").await;
    assert_eq!((got.status, got.body == image[1000..]), (206, true));
}

#[tokio::test]
async fn whoever_speaks_no_tls_or_trusts_somebody_else_is_told_apart() {
    let ca = Authority::new();
    let running = serve(&ca, None).await;
    let mut log = running.handle().log();
    let mut plain = Client::open(running.mqtt_addr()).await;
    plain.send(&bare_login("dev001")).await;
    let What::Closed { why, .. } = log.next().await.unwrap().what else { panic!() };
    assert!(why.starts_with("no TLS: "), "{why}");
    let other = Authority::new();
    assert!(connect(running.mqtt_addr(), &other, None).await.is_err());
    let What::Closed { why, .. } = log.next().await.unwrap().what else { panic!() };
    assert!(why.contains("UnknownCA"), "{why}");
}

#[tokio::test]
async fn in_certificate_mode_the_certificate_is_the_login() {
    let (ca, devices, other) = (Authority::new(), Authority::new(), Authority::new());
    let running = serve(&ca, Some(&devices)).await;
    let (handle, addr) = (running.handle(), running.mqtt_addr());
    let (mine, yours, foreign) = (devices.issue(&[]), devices.issue(&[]), other.issue(&[]));
    for (name, issued) in [("mine", &mine), ("yours", &yours)] {
        let pem = issued.chain.as_bytes();
        handle.add_device_with_certificate(&device(name), pem).await.unwrap();
    }
    let open = |shown| connect(addr, &ca, shown);
    let mut client = Client::on(open(Some(&mine)).await.unwrap());
    assert_eq!(client.log_in(&bare_login("mine")).await, 0);
    client.subscribe(device("mine").update_topic(), QoS::AtMostOnce).await;
    handle.wait_for(&device("mine"), |record| record.online).await.unwrap();

    // Another device's certificate, is rejected even with a good chain.
    let mut client = Client::on(open(Some(&yours)).await.unwrap());
    assert_eq!(client.log_in(&bare_login("mine")).await, 4);
    // A device with a secret still needs its password, whatever it shows.
    let mut client = Client::on(open(Some(&yours)).await.unwrap());
    assert_eq!(client.log_in(&bare_login("dev001")).await, 4);

    let mut log = handle.log();
    for (shown, words) in [(None, "peer sent no certificates"), (Some(&foreign), "UnknownIssuer")] {
        // With TLS 1.3 the client hears of it when it first reads.
        if let Ok(stream) = open(shown).await {
            Client::on(stream).closed().await;
        }
        let why = loop {
            match log.next().await.unwrap().what {
                What::Closed { why, .. } if why.contains("TLS") => break why,
                _ => {}
            }
        };
        assert!(why.contains(words), "{why}");
    }
    // Firmware is for anybody with a signed URL.
    assert!(connect(running.http_addr(), &ca, None).await.is_ok());
    // A secret takes the certificate's place again.
    handle.add_device(&device("mine"), &secret()).await.unwrap();
    let mut client = Client::on(open(Some(&mine)).await.unwrap());
    assert_eq!(client.log_in(&bare_login("mine")).await, 4);
    let none = handle.start_task(&device("mine"), "1", TaskOptions::default()).await;
    assert!(matches!(none, Err(HandleError::Task(_))));
}

#[test]
fn what_is_no_certificate_is_named() {
    let ca = Authority::new();
    let (one, two) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let new = |chain: &str, key: &str, clients: Option<&str>| {
        ServerTls::new(chain.as_bytes(), key.as_bytes(), clients.map(str::as_bytes)).err()
    };
    assert_eq!(new(&one.chain, &one.key, Some(&ca.pem())), None);
    assert_eq!(new("", &one.key, None), Some(BadTls::Chain));
    assert_eq!(new(&one.chain, "", None), Some(BadTls::Key));
    assert_eq!(new(&one.chain, &two.key, None), Some(BadTls::Mismatch));
    assert_eq!(new(&one.chain, &one.key, Some("x")), Some(BadTls::Authorities));
    assert_eq!(ClientTls::new(Some(b"")).err(), Some(BadTls::Authorities));
    let tls = ServerTls::new(one.chain.as_bytes(), one.key.as_bytes(), None).unwrap();
    assert_eq!(format!("{tls:?}"), "ServerTls { .. }");
}

/// A certificate in files that the service follows.
struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, issued: &Issued) {
        std::fs::write(self.path("chain"), &issued.chain).unwrap();
        std::fs::write(self.path("key"), &issued.key).unwrap();
    }
}

/// Waits until the service says that it looked at another certificate.
async fn looked(log: &mut Log) -> Option<String> {
    loop {
        if let What::Certificate { why } = log.next().await.unwrap().what {
            return why;
        }
    }
}

#[tokio::test]
async fn a_changed_certificate_is_used_on_every_listener_and_a_broken_one_is_told() {
    let (old, new, ip) = (Authority::new(), Authority::new(), ["127.0.0.1"]);
    let folder = Folder(tempfile::tempdir().unwrap());
    let issued = old.issue(&ip);
    folder.write(&issued);
    let tls = ServerTls::new(issued.chain.as_bytes(), issued.key.as_bytes(), None).unwrap();
    let tls = Some(tls.follow(folder.path("chain"), folder.path("key"), None));
    let mut api = ApiConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    (api.key_file, api.open_metrics) = (Some(folder.path("first")), true);
    let tls_check = std::time::Duration::from_millis(20);
    let (api, alert_check) = (Some(api), tls_check);
    let config = ServiceConfig { tls, tls_check, alert_check, api, ..ServiceConfig::default() };
    let running = start_with(config).await;
    let all = [running.mqtt_addr(), running.http_addr(), running.api_addr().unwrap()];
    let mut log = running.handle().log();
    let shown = async |by: &Authority, other: &Authority| {
        for addr in all {
            assert!(connect(addr, by, None).await.is_ok(), "{addr}");
            assert!(connect(addr, other, None).await.is_err(), "{addr}");
        }
    };
    shown(&old, &new).await;

    // A key of another certificate: the old pair stays.
    std::fs::write(folder.path("key"), new.issue(&ip).key).unwrap();
    let why = looked(&mut log).await.unwrap();
    assert!(why.contains("not that of the certificate"), "{why}");
    shown(&old, &new).await;

    std::fs::remove_file(folder.path("key")).unwrap();
    let why = looked(&mut log).await.unwrap();
    assert!(why.contains("cannot read"), "{why}");
    shown(&old, &new).await;

    folder.write(&new.issue(&ip));
    assert_eq!(looked(&mut log).await, None);
    shown(&new, &old).await;

    let stream = connect(all[2], &new, None).await.unwrap();
    let url = format!("https://{}/metrics", all[2]);
    let got = http::request_on(stream, "GET", &url, "").await;
    let text = String::from_utf8(got.body).unwrap();
    let end = text.lines().find_map(|line| line.strip_prefix("ota_certificate_end_seconds "));
    // The end that the tests' certificates have.
    assert_eq!(end, Some("67090118400"), "{text}");

    // One that has ended is used all the same, and is told of.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(ip.map(str::to_owned)).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let chain = params.signed_by(&key, &new.issuer).unwrap().pem();
    folder.write(&Issued { chain, key: key.serialize_pem() });
    let (alert, text) = loop {
        if let What::Alert { alert, raised: true, text } = log.next().await.unwrap().what {
            break (alert, text);
        }
    };
    assert_eq!((alert, text.as_str()), (Alert::Certificate, "the certificate has ended"));
}
