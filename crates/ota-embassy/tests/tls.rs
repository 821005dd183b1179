//! Whole updates over TLS 1.3 against rustls, and what must be refused.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::FaultPlan;
use ota_embassy::Tcp;
use ota_embassy_tls::EmbeddedTls;
use ota_proto::{Rng, TlsError, TransportError};
use ota_wire::client::{ClientEvent, Disconnect};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use world::hostile::Trick;
use world::link::Weather;
use world::seal::{Authority, Dice, Tls, params};
use world::{End, FROM, TO, World};

fn world(tls: Tls, seed: u64) -> World {
    World::over(Weather::FAIR, FaultPlan::new(0), seed, Some(tls))
}

/// The device's error when it cannot connect.
fn refusal(tls: Tls, host: &str) -> Disconnect {
    let mut world = world(tls, 1);
    world.device.config.host = host.into();
    let end = world.boot(60_000_000, |desk, events| !events.is_empty() || desk.sessions > 0);
    assert_eq!(end, End::Over);
    assert_eq!(world.device.desk.borrow().sessions, 0, "no login was sent");
    let events = world.device.events.borrow();
    let [ClientEvent::Disconnected { cause, .. }] = &events[..] else { panic!("{events:?}") };
    *cause
}

fn assert_refused(tls: Tls, why: TlsError) {
    let cause = Disconnect::Transport(TransportError::Tls(why));
    assert_eq!(refusal(tls, "cloud.example"), cause);
}

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Tls {
    let mut params = params();
    change(&mut params);
    Tls::new(&Authority::new("ours"), params)
}

#[test]
fn a_whole_update_goes_over_tls() {
    for seed in 0..3 {
        let tls = certificate(|_| {});
        let sent = tls.sent.clone();
        let mut world = world(tls, seed);
        world.update();
        assert_eq!(world.device.running(), TO);
        let desk = world.device.desk.borrow();
        assert_eq!((desk.requests.len(), desk.sessions), (1, 2));
        assert_eq!(desk.results().len(), 1);
        assert!(sent.get() > world.device.new.len(), "the image went over TLS, too");
    }
}

#[test]
fn futures_that_are_dropped_and_foul_weather_lose_nothing_of_a_record() {
    for micros in [37, 900, 7_001] {
        for weather in [Weather::FAIR, Weather::FOUL] {
            let tls = certificate(|_| {});
            let mut world = World::over(weather, FaultPlan::new(0), 3, Some(tls));
            world.device.impatience = Some(micros);
            world.update();
            assert_eq!(world.device.running(), TO, "{micros} µs");
            let desk = world.device.desk.borrow();
            // A connection may break in foul weather, and TLS goes on in the next one.
            if weather.lost == 0 {
                assert_eq!((desk.requests.len(), desk.sessions), (1, 2), "{micros} µs");
            }
            assert_eq!(desk.results().len(), 1);
        }
    }
}

#[test]
fn a_redirect_out_of_tls_is_refused() {
    let faults = FaultPlan::from_names(1, ["redirect-downgrade"]).unwrap();
    let mut world = World::over(Weather::FAIR, faults, 1, Some(certificate(|_| {})));
    world.update();
    assert_eq!(world.device.running(), FROM);
    let results = world.device.desk.borrow().results();
    assert_eq!(results.len(), 1);
    assert!(
        results[0].contains("\"-5\"") && results[0].contains("redirect refused"),
        "{results:?}"
    );
}

#[test]
fn the_broker_may_be_named_or_addressed() {
    for host in ["10.0.0.1", "cloud.example"] {
        let mut world = world(certificate(|_| {}), 4);
        world.device.config.host = host.into();
        world.update();
        assert_eq!(world.device.running(), TO);
    }
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let other = |name: &str| {
        let names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        certificate(|params| params.subject_alt_names = names)
    };
    for name in ["other.example", "cloud.example.com", "10.0.0.2", "*.example"] {
        assert_refused(other(name), TlsError::WrongHost);
    }
    // Nobody looks at the subject.
    let mut named = params();
    named.subject_alt_names.clear();
    named.distinguished_name.push(rcgen::DnType::CommonName, "cloud.example");
    assert_refused(Tls::new(&Authority::new("ours"), named), TlsError::WrongHost);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    // Of the same name, too.
    for name in ["theirs", "ours"] {
        let theirs = Tls::new(&Authority::new(name), params());
        let authority = Authority::new("ours").der();
        assert_refused(Tls { authority, ..theirs }, TlsError::Untrusted);
    }
}

/// embedded-tls's own check takes it.
#[test]
fn a_certificate_issued_with_a_servers_is_refused() {
    let authority = Authority::new("ours");
    let (server, der) = authority.issue(params());
    let (mut forged, ours) = (Tls::new(&server, params()), Tls::new(&authority, params()));
    forged.authority = ours.authority.clone();
    assert_refused(forged, TlsError::Untrusted);
    let chain = Tls::chain(&server, params(), &[der], &[&rustls::version::TLS13]);
    assert_refused(Tls { authority: ours.authority, ..chain }, TlsError::Untrusted);
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let ends = certificate(|params| params.not_after = rcgen::date_time_ymd(2026, 5, 28));
    assert_refused(ends, TlsError::Expired);
    let begins = certificate(|params| params.not_before = rcgen::date_time_ymd(2026, 5, 29));
    assert_refused(begins, TlsError::NotYetValid);
}

#[test]
fn nothing_is_judged_by_a_clock_that_is_not_set() {
    for clock in [None, Some(0), Some(ota_proto::BUILT - 1)] {
        assert_refused(Tls { clock, ..certificate(|_| {}) }, TlsError::ClockNotSet);
    }
}

/// A reset keeps what the newest certificates said: a clock that is behind takes no old one for
/// valid. Nobody but the driver sees to it.
#[test]
fn the_clocks_floor_outlives_a_reset() {
    let authority = Authority::new("ours");
    let (mut fresh, mut expired) = (params(), params());
    fresh.not_before = rcgen::date_time_ymd(2026, 5, 20);
    expired.not_after = rcgen::date_time_ymd(2026, 5, 10);
    let (new, old) = (Tls::new(&authority, fresh), Tls::new(&authority, expired));
    let mut world = world(new, 1);
    world.update();
    assert_eq!(world.device.running(), TO);
    let from = 1_779_235_200;
    for (clock, why) in [
        (from - 15 * 86_400, TlsError::ClockNotSet),
        (from - 1, TlsError::ClockNotSet),
        (from, TlsError::Expired),
    ] {
        let tls = Tls { clock: Some(clock), ..old.clone() };
        world.device.desk.borrow_mut().present(tls.clone());
        world.device.tls = Some(tls);
        world.device.events.borrow_mut().clear();
        let before = world.device.desk.borrow().sessions;
        let end =
            world.boot(60_000_000, |desk, events| !events.is_empty() || desk.sessions > before);
        assert_eq!(end, End::Over);
        let events = world.device.events.borrow();
        let cause = Disconnect::Transport(TransportError::Tls(why));
        let refused = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { cause: was, .. } if *was == cause);
        assert!(events.iter().any(refused), "{why:?}: {events:?}");
    }
}

#[test]
fn a_certificate_for_another_purpose_is_refused() {
    let client = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_refused(certificate(|params| params.extended_key_usages = client), TlsError::Unfit);
    let agreement = vec![KeyUsagePurpose::KeyAgreement];
    assert_refused(certificate(|params| params.key_usages = agreement), TlsError::Unfit);
    let unconstrained = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_refused(certificate(|params| params.is_ca = unconstrained), TlsError::Authority);
}

/// What is wrong is said in the words that the other adapters have.
#[test]
fn what_is_not_supported_is_said() {
    let authority = Authority::new("ours");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert_refused(Tls::with_key(&authority, params(), &key), TlsError::Algorithm);
    let ours = Tls::new(&authority, params());
    assert_refused(
        Tls { talk: Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ..ours.clone() },
        TlsError::NotTls,
    );
    for (alert, why) in [
        (40, TlsError::Algorithm),
        (71, TlsError::Algorithm),
        (116, TlsError::ClientRefused),
        (48, TlsError::ClientRefused),
        (80, TlsError::Handshake),
    ] {
        let talk = Vec::leak(vec![21, 3, 3, 0, 2, 2, alert]);
        assert_refused(Tls { talk: Some(talk), ..ours.clone() }, why);
    }
}

/// embedded-tls believes the first of these, and stumbles over others.
#[test]
fn a_stranger_without_a_certificate_is_refused() {
    for (trick, why) in [
        // Only a handshake that embedded-tls has ended well is told so here.
        (Trick::NoCertificate, TlsError::Untrusted),
        (Trick::ProofFirst, TlsError::Handshake),
        (Trick::EmptyRecord, TlsError::Handshake),
        (Trick::Unsealed, TlsError::Handshake),
    ] {
        assert_refused(Tls { trick: Some(trick), ..certificate(|_| {}) }, why);
    }
}

#[test]
fn tls_1_2_is_refused() {
    let authority = Authority::new("ours");
    let old = Tls::chain(&authority, params(), &[], &[&rustls::version::TLS12]);
    assert_refused(old, TlsError::Handshake);
}

#[test]
fn a_record_longer_than_its_buffer_is_told() {
    let names: Vec<String> = (0..40).map(|number| format!("host{number}.example")).collect();
    let names = CertificateParams::new(names).unwrap().subject_alt_names;
    let long = certificate(|params| params.subject_alt_names.extend(names));
    assert_refused(Tls { room: (700, 1_024), ..long }, TlsError::Unavailable);
    for room in [(639, 1_024), (16_640, 639)] {
        assert_refused(Tls { room, ..certificate(|_| {}) }, TlsError::Unavailable);
    }
}

#[test]
fn the_least_buffers_are_enough_to_connect() {
    let mut world = world(Tls { room: (640, 640), ..certificate(|_| {}) }, 1);
    let end = world.boot(60_000_000, |desk, _| desk.sessions > 0);
    assert_eq!((end, world.device.desk.borrow().sessions), (End::Over, 1));
}

/// Whatever is changed on the way: no login is sent, and nothing panics.
#[test]
fn no_wrong_bit_of_a_handshake_gets_through() {
    let authority = Authority::new("ours");
    let flight = {
        let tls = Tls::new(&authority, params());
        let flight = tls.flight.clone();
        let end = world(tls, 1).boot(60_000_000, |desk, _| desk.sessions > 0);
        assert_eq!(end, End::Over);
        flight.get()
    };
    assert!(flight > 600, "{flight} bytes");
    let mut kinds = std::collections::BTreeMap::new();
    // The heads of the first records, byte by byte, and then samples.
    for at in (0..140).chain((140..flight).step_by(13)) {
        let tls =
            Tls { wrong: Some(at), sent: Default::default(), ..Tls::new(&authority, params()) };
        let mut world = world(tls, 1);
        world.boot(60_000_000, |desk, events| !events.is_empty() || desk.sessions > 0);
        assert_eq!(world.device.desk.borrow().sessions, 0, "byte {at}");
        assert_eq!(world.device.running(), FROM);
        let cause = format!("{:?}", world.device.events.borrow().first());
        *kinds.entry(cause).or_insert(0) += 1;
    }
    println!("{kinds:#?}");
}

#[test]
fn what_is_no_authority_cannot_be_believed() {
    let authority = Authority::new("ours");
    let (_, server) = authority.issue(params());
    for der in [server, Vec::new(), authority.der()[1..].to_vec()] {
        world::bare(|stack| {
            let none = || (&mut [][..], &mut [][..]);
            let tcp = Tcp::new(stack, none(), none());
            let dice = Dice(Rng::new(1));
            let made = EmbeddedTls::new(tcp, &der, dice, || None, none(), none());
            assert_eq!(made.err(), Some(TlsError::NotAuthority));
        });
    }
}
