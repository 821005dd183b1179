//! Peers that are to be trusted and peers that are not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ota_host::{BadTls, Certificate, Clock, Job, Tls, Work};
use ota_proto::journal::Record;
use ota_proto::{BUILT, Event as Update, Outcome, Peer, Reason, TlsError, TransportError};
use ota_wire::client::{ClientEvent as Client, Disconnect};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version;

use super::front::{Front, HERE, Party, params, server};
use super::proxy::Proxy;
use super::raw::{End, answer, store};
use super::{Rig, cloud, device_config, image, is_update, wire_config};
use crate::adapter::Driver;
use crate::adapter::{ClientConfig, DriverEvent, Options};

/// What a device has that trusts these, and may have a certificate.
fn trust(authorities: &str, own: Option<&Party>) -> Options {
    let key = own.map(|own| own.key.serialize_pem());
    let certificate = own
        .zip(key.as_ref())
        .map(|(own, key)| Certificate { chain: own.pem.as_bytes(), key: key.as_bytes() });
    let mut options = Options::default();
    options.tls = Some(Tls::new(Some(authorities.as_bytes()), certificate).unwrap());
    options
}

fn secure(broker: SocketAddr) -> ClientConfig {
    let mut config = wire_config(broker);
    config.tls = true;
    config
}

/// Why a broker is not talked to, and how long until the next try.
async fn broker_refused(broker: &Front, options: Options) -> (TransportError, Duration) {
    let mut rig = Rig::with_options(secure(broker.addr), device_config(), options);
    let gone = |e: &DriverEvent| matches!(e, DriverEvent::Client(Client::Disconnected { .. }));
    rig.until(&[], gone).await;
    let Some(DriverEvent::Client(Client::Disconnected { cause, retry_at })) = rig.events.pop()
    else {
        panic!("{:?}", rig.events)
    };
    let Disconnect::Transport(why) = cause else { panic!("{cause:?}") };
    (why, retry_at.since(rig.driver.clock().now()))
}

/// The result of an update whose firmware server is not contacted.
async fn store_refused(store: &Front, options: Options) -> Reason {
    let mut config = device_config();
    config.allow_http = false;
    update_refused(store, config, options).await
}

/// The result of an update that this device does not get from this firmware server.
async fn update_refused(store: &Front, mut config: ota_proto::Config, options: Options) -> Reason {
    let cloud = cloud(&image(1000), Some(format!("https://{}", store.addr))).await;
    config.timing.retry_cap = ota_proto::Micros::from_millis(1);
    config.timing.violation = ota_proto::Micros::from_millis(1);
    let mut rig = Rig::with_options(wire_config(cloud.mqtt_addr()), config, options);
    rig.until(&[], |e| is_update(e, |e| matches!(e, Update::Finished { .. }))).await;
    let Some(DriverEvent::Client(Client::Device { event, .. })) = rig.events.pop() else {
        panic!()
    };
    let Update::Finished { outcome: Outcome::Failed(reason), .. } = event else { panic!() };
    reason
}

#[tokio::test]
async fn an_update_runs_over_tls_alone() {
    let ca = Party::authority("ours");
    let image = image(1 << 20);
    for version in [&version::TLS12, &version::TLS13] {
        let server_of = || server(&ca.from(params(HERE)), None, version);
        let broker_tls = server_of();
        let store_tls = server_of();
        // The store's address must be known before the cloud, whose store it is, has one.
        let inner = Proxy::start(None).await;
        let store = Front::with(store_tls, Some(inner.addr)).await;
        let cloud = cloud(&image, Some(format!("https://{}", store.addr))).await;
        inner.aim(cloud.http_addr());
        let broker = Front::with(broker_tls, Some(cloud.mqtt_addr())).await;
        let mut config = device_config();
        config.allow_http = false;
        let mut rig = Rig::with_options(secure(broker.addr), config, trust(&ca.pem, None));
        rig.prove(&cloud, &image).await;
        assert_eq!((broker.opened(), store.opened()), (1, 1), "{version:?}");
    }
}

#[tokio::test]
async fn each_certificate_that_is_not_right_is_refused_in_its_own_words_and_not_soon_again() {
    let (ca, other) = (Party::authority("ours"), Party::authority("another"));
    let leaf = ca.from(params(HERE));
    let mut expired = params(HERE);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = params(HERE);
    early.not_before = date_time_ymd(2100, 1, 1);
    let mut client = params(HERE);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut root = params(HERE);
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = Party::root(root);
    let root_pem = root.pem.clone();
    use TlsError::{Authority, Expired, NotAuthority, NotYetValid, Unfit, Untrusted, WrongHost};
    let own = ca.pem.as_str();
    for (party, trusted, why, reason) in [
        (ca.from(params("elsewhere.example")), own, WrongHost, Reason::TlsHost),
        (other.from(params(HERE)), own, Untrusted, Reason::TlsUntrusted),
        (Party::root(params(HERE)), own, Untrusted, Reason::TlsUntrusted),
        (ca.from(expired), own, Expired, Reason::TlsExpired),
        (ca.from(early), own, NotYetValid, Reason::TlsNotYetValid),
        (leaf.from(params(HERE)), own, NotAuthority, Reason::TlsNotAuthority),
        (ca.from(client), own, Unfit, Reason::TlsUnfit),
        // An authority is no server, even when it is trusted.
        (root, root_pem.as_str(), Authority, Reason::TlsAuthority),
    ] {
        let front = Front::start(&party, None).await;
        let (error, wait) = broker_refused(&front, trust(trusted, None)).await;
        assert_eq!(error, TransportError::Tls(why), "{reason:?}");
        assert!(wait > Duration::from_secs(200), "{wait:?}");
        assert_eq!(front.opened(), 1);
        assert_eq!(store_refused(&front, trust(trusted, None)).await, reason);
        assert_eq!(front.opened(), 4, "the store was tried three times, see rule 5");
    }
}

#[tokio::test]
async fn public_cas_do_not_know_ours_and_ours_do_not_hide_them() {
    let front = Front::start(&Party::authority("ours").from(params(HERE)), None).await;
    let (error, _) = broker_refused(&front, Options::default()).await;
    assert_eq!(error, TransportError::Tls(TlsError::Untrusted));
}

#[tokio::test]
async fn a_server_that_signed_itself_may_be_named_as_trusted() {
    let party = Party::root(params(HERE));
    let cloud = cloud(&image(1000), None).await;
    let front = Front::start(&party, Some(cloud.mqtt_addr())).await;
    let mut rig = Rig::with_options(secure(front.addr), device_config(), trust(&party.pem, None));
    rig.prove(&cloud, &image(1000)).await;
}

#[tokio::test]
async fn a_broker_that_wants_a_certificate_gets_one_or_says_no() {
    let (ca, clients) = (Party::authority("servers"), Party::authority("devices"));
    let leaf = ca.from(params(HERE));
    let device = clients.from(params("dev001"));
    let stranger = ca.from(params("dev001"));
    let cloud = cloud(&image(1000), None).await;
    for version in [&version::TLS12, &version::TLS13] {
        let config = server(&leaf, Some(&clients), version);
        let front = Front::with(config, Some(cloud.mqtt_addr())).await;
        for own in [None, Some(&stranger)] {
            let (error, wait) = broker_refused(&front, trust(&ca.pem, own)).await;
            assert_eq!(error, TransportError::Tls(TlsError::ClientRefused), "{version:?}");
            assert!(wait > Duration::from_secs(200), "{wait:?}");
        }
        let options = trust(&ca.pem, Some(&device));
        let mut rig = Rig::with_options(secure(front.addr), device_config(), options);
        rig.until(&[], |e| *e == DriverEvent::Client(Client::Connected)).await;
    }
}

#[tokio::test]
async fn a_store_is_never_shown_the_devices_certificate() {
    let (ca, clients) = (Party::authority("servers"), Party::authority("devices"));
    let device = clients.from(params("dev001"));
    let config = server(&ca.from(params(HERE)), Some(&clients), &version::TLS13);
    let front = Front::with(config, None).await;
    let reason = store_refused(&front, trust(&ca.pem, Some(&device))).await;
    assert_eq!(reason, Reason::TlsClientRefused);
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused_and_nobody_is_asked_there() {
    let ca = Party::authority("ours");
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let location = format!("302 Found\r\nLocation: http://{}/i", plain.local_addr().unwrap());
    let answers = vec![(answer(&location, b""), End::Kept); 3];
    let (url, requests) = store(answers).await;
    let inner = url.strip_prefix("http://").unwrap().parse().unwrap();
    let front = Front::start(&ca.from(params(HERE)), Some(inner)).await;
    // Also where plain HTTP was asked for: whoever begins with TLS ends with it.
    let config = device_config();
    assert!(config.allow_http);
    let reason = update_refused(&front, config, trust(&ca.pem, None)).await;
    assert_eq!(reason, Reason::Redirect);
    assert_eq!(requests.lock().unwrap().len(), 3, "tried three times, see rule 5");
    assert_eq!(plain.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// A certificate that was accepted is newer than our clock: that one is not set.
#[tokio::test]
async fn a_clock_before_what_a_certificate_said_is_named_and_nobody_is_called() {
    let ca = Party::authority("ours");
    let front = Front::start(&ca.from(params(HERE)), None).await;
    let later = u32::try_from(Clock::unix_time().unwrap()).unwrap() + 3600;
    let temp = tempfile::tempdir().unwrap();
    let mut storage = super::storage(&temp);
    // The store's floor is no floor of the broker's.
    let record = Record { valid_from: [later, later + 3600], ..Record::default() };
    storage.run(Job::new((), Work::Persist(record.encode(1)))).result.unwrap();
    let mut driver = Driver::with_options(secure(front.addr), trust(&ca.pem, None)).unwrap();
    driver.add_device(device_config(), "0.1.0", storage).unwrap();
    let mut rig = Rig { driver, temp, events: Vec::new() };
    let not_set = |e: &DriverEvent| {
        let why = Disconnect::Transport(TransportError::Tls(TlsError::ClockNotSet));
        matches!(e, DriverEvent::Client(Client::Disconnected { cause, .. }) if *cause == why)
    };
    rig.until(&[], not_set).await;
    assert_eq!(front.opened(), 0);
}

/// Found in the field: a clock that ran ahead for one connection shut TLS out until that time had
/// come. The floor is what the peer's own certificate says, whatever the clock says.
#[tokio::test]
async fn the_floor_of_the_clock_is_from_when_the_brokers_own_certificate_is_valid() {
    let ca = Party::authority("ours");
    let cloud = cloud(&image(1000), None).await;
    let up = |e: &DriverEvent| *e == DriverEvent::Client(Client::Connected);
    let least = |rig: &Rig, peer| rig.driver.updater(super::FIRST).unwrap().earliest_time(peer);
    let mut plain = Rig::new(cloud.mqtt_addr());
    plain.until(&[], up).await;
    assert_eq!(least(&plain, Peer::Broker), BUILT);
    let mut leaf = params(HERE);
    leaf.not_before = date_time_ymd(2026, 2, 3);
    let front = Front::start(&ca.from(leaf), Some(cloud.mqtt_addr())).await;
    let mut rig = Rig::with_options(secure(front.addr), device_config(), trust(&ca.pem, None));
    rig.until(&[], up).await;
    assert_eq!(least(&rig, Peer::Broker), 1_770_076_800.max(BUILT));
    assert_eq!(least(&rig, Peer::Store), BUILT, "of the store nothing is known");
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart_from_what_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Front { addr: listener.local_addr().unwrap(), opened: Arc::default() };
    let talk = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    let (seen, _) = tokio::join!(broker_refused(&broker, Options::default()), talk);
    assert_eq!(seen.0, TransportError::Tls(TlsError::NotTls));
    let talk = async { drop(listener.accept().await.unwrap()) };
    let (seen, _) = tokio::join!(broker_refused(&broker, Options::default()), talk);
    assert_eq!(seen.0, TransportError::Closed);
}

/// Who has no kind of key, signature or version in common with us is at no fault that another
/// certificate of the same kind would mend.
#[tokio::test]
async fn an_algorithm_that_is_not_known_here_is_told_as_that() {
    // The names of ECDSA with SHA-256 and with SHA-224, as DER has them.
    const KNOWN: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    const UNKNOWN: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];
    let ca = Party::authority("ours");
    let mut signature = ca.from(params(HERE));
    let mut der = signature.chain[0].to_vec();
    let places = (0..der.len()).filter(|at| der[*at..].starts_with(KNOWN)).collect::<Vec<_>>();
    assert_eq!(places.len(), 2, "inside and outside of what is signed");
    places.iter().for_each(|at| der[*at..at + UNKNOWN.len()].copy_from_slice(UNKNOWN));
    signature.chain[0] = der.into();
    // One that calls itself as ours does, and has a key of another kind.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut key = Party::authority_with("ours", key).from(params(HERE));
    key.chain.truncate(1);
    for (what, party) in [("the signature's", signature), ("the key's", key)] {
        let front = Front::start(&party, None).await;
        let (error, wait) = broker_refused(&front, trust(&ca.pem, None)).await;
        assert_eq!(error, TransportError::Tls(TlsError::Algorithm), "{what}");
        assert!(wait > Duration::from_secs(200), "{wait:?}");
        assert_eq!(store_refused(&front, trust(&ca.pem, None)).await, Reason::TlsAlgorithm);
    }
    // What servers say that have nothing but such a key; and one that knows TLS 1.0 alone.
    let mut old = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 0x2f, 0]);
    for answer in [vec![21, 3, 3, 0, 2, 2, 40], vec![21, 3, 3, 0, 2, 2, 71], old] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Front { addr: listener.local_addr().unwrap(), opened: Arc::default() };
        let talk = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&answer).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        };
        let (seen, _) = tokio::join!(broker_refused(&broker, Options::default()), talk);
        assert_eq!(seen.0, TransportError::Tls(TlsError::Algorithm), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_tls_does_not_end_is_not_whole() {
    let ca = Party::authority("ours");
    let image = image(5000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor =
        TlsAcceptor::from(Arc::new(server(&ca.from(params(HERE)), None, &version::TLS13)));
    let cloud = cloud(&image, Some(url)).await;
    let answers = image.clone();
    tokio::spawn(async move {
        // First the connection below ends, then TLS itself. The body has no length.
        for (len, clean) in [(4000, false), (5000, true)] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            stream.write_all(&answers[..len]).await.unwrap();
            stream.flush().await.unwrap();
            if clean {
                stream.shutdown().await.unwrap();
            }
        }
    });
    let mut rig =
        Rig::with_options(wire_config(cloud.mqtt_addr()), device_config(), trust(&ca.pem, None));
    rig.prove(&cloud, &image).await;
    let cut = |e: &Update| matches!(e, Update::Retry { cause: Reason::Closed });
    assert_eq!(rig.count(|e| is_update(e, cut)), 1, "{:#?}", rig.events);
}

#[test]
fn what_cannot_be_used_is_said_at_once_and_no_key_is_shown() {
    let (one, other) = (Party::authority("one"), Party::authority("other"));
    let key = one.key.serialize_pem();
    let wrong = other.key.serialize_pem();
    let (chain, pem) = (one.pem.as_bytes(), key.as_bytes());
    let with = |chain, key| Tls::new(None, Some(Certificate { chain, key })).map(drop);
    assert_eq!(Tls::new(Some(b""), None).map(drop), Err(BadTls::Authorities));
    assert_eq!(Tls::new(Some(pem), None).map(drop), Err(BadTls::Authorities));
    assert_eq!(with(b"", pem), Err(BadTls::Chain));
    assert_eq!(with(chain, chain), Err(BadTls::Key));
    assert_eq!(with(chain, wrong.as_bytes()), Err(BadTls::Mismatch));
    assert_eq!(with(chain, pem), Ok(()));
    let shown = format!("{:?}", Certificate { chain, key: pem });
    assert_eq!(shown, "Certificate { .. }");
    let tls = Tls::new(None, Some(Certificate { chain, key: pem })).unwrap();
    assert_eq!(format!("{tls:?}"), "Tls { .. }");
}
