//! The line to the broker and the whole peer, on hostile bytes.
#![allow(clippy::unwrap_used)]

use ota_cloud::fault::{Fault, FaultPlan, Place, Rule};
use ota_cloud::origin::{Origin, OriginConfig};
use ota_cloud::peer::{ConnId, Peer, Port};
use ota_cloud::relay::{Connection, End, Relay};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{Cloud, CloudConfig, Secret};
use ota_proto::{Identity, Instant};
use proptest::collection::vec;
use proptest::prelude::*;

/// PUBLISH packets at QoS 0, and noise.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let packet = (0..3_usize, vec(any::<u8>(), 0..60)).prop_map(|(topic, payload)| {
        let topic = ["$ota/update/P/d", "$ota/report/P/d", "P/d/x"][topic];
        let mut packet = vec![0x30, u8::try_from(2 + topic.len() + payload.len()).unwrap(), 0];
        packet.push(u8::try_from(topic.len()).unwrap());
        packet.extend(topic.bytes());
        packet.extend(payload);
        packet
    });
    vec(prop_oneof![packet, vec(any::<u8>(), 0..20)], 0..8).prop_map(|parts| parts.concat())
}

fn all_faults() -> FaultPlan {
    let faults = Fault::at(Place::Broker).into_iter();
    faults.fold(FaultPlan::new(1), |plan, fault| plan.with(Rule::new(fault)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn without_a_fault_every_byte_passes_once_it_is_a_packets(
        up in bytes(), down in bytes(), step in 1_usize..40,
    ) {
        let (mut relay, mut line) = (Relay::new(&FaultPlan::new(0)), Connection::new());
        for (from, to, bytes) in [(End::Device, End::Broker, &up), (End::Broker, End::Device, &down)] {
            for piece in bytes.chunks(step) {
                line.handle_received(&mut relay, Instant::ZERO, from, piece);
            }
            let passed = line.transmit(to);
            prop_assert!(bytes.starts_with(passed));
        }
        prop_assert!(!line.is_closing() && line.deadline().is_none());
    }

    #[test]
    fn any_bytes_under_every_fault(up in bytes(), down in bytes(), step in 1_usize..40) {
        let (mut relay, mut line) = (Relay::new(&all_faults()), Connection::new());
        for (n, (up, down)) in up.chunks(step).zip(down.chunks(step)).enumerate() {
            let now = Instant::from_secs(n as u64);
            line.handle_received(&mut relay, now, End::Device, up);
            line.handle_received(&mut relay, now, End::Broker, down);
            line.handle_timeout(now);
            prop_assert!(line.deadline().is_none_or(|at| at > now));
            line.handle_sent(End::Device, 7);
            line.handle_sent(End::Broker, 7);
        }
    }

    #[test]
    fn any_bytes_at_the_peer(bytes in bytes(), step in 1_usize..40) {
        let signer = UrlSigner::new("http://h", *b"key", UrlSigner::LIFE);
        let origin = Origin::new(OriginConfig::new(Some(signer.clone()), 0));
        let cloud = Cloud::new(CloudConfig::new(signer, 0));
        let mut peer = Peer::new(cloud, origin, all_faults(), 0);
        peer.add_device(&Identity::new("P", "d").unwrap(), Secret::new(*b"secret")).unwrap();
        let mut now = Instant::ZERO;
        let ids = [peer.accept(now, Port::Mqtt), peer.accept(now, Port::Http)];
        for piece in bytes.chunks(step) {
            for id in ids {
                prop_assert!(peer.handle_received(now, id, piece) <= piece.len());
                let sent = peer.transmit(now, id).len();
                peer.handle_sent(now, id, sent);
                if peer.closing(id).is_some() {
                    peer.handle_closed(now, id);
                }
            }
            now = peer.deadline().unwrap_or(now);
            peer.handle_timeout(now);
        }
    }
}

#[test]
fn what_comes_late_comes() {
    let plan = FaultPlan::new(1).with(Rule::new(Fault::LateReply));
    let (mut relay, mut line) = (Relay::new(&plan), Connection::new());
    let reply =
        br#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"1"}"#;
    let topic = b"$ota/update/P/d";
    let mut packet = vec![0x30, u8::try_from(2 + topic.len() + reply.len()).unwrap(), 0, 15];
    packet.extend(topic);
    packet.extend(reply);
    line.handle_received(&mut relay, Instant::ZERO, End::Broker, &packet);
    assert_eq!(relay.next_struck(), Some(Fault::LateReply));
    assert!(line.transmit(End::Device).is_empty());
    assert_eq!(line.deadline(), Some(Instant::from_secs(12)));
    line.handle_timeout(Instant::from_secs(12));
    assert_eq!(line.transmit(End::Device), packet);
    assert_eq!(line.deadline(), None);
}

/// The vendor's own login, as captured.
const LOGIN: &[u8] = b"\x10\x80\x01\0\x06MQIsdp\x03\xc2\0\x3c\
    \0\x10TESTPROD01dev001\
    \0\x2dTESTPROD01dev001;21010406;5QY3H;1795431582795\
    \0\x319d1323f890a6176cba73c6a87adce4bca61fa512;hmacsha1";

#[test]
fn a_late_end_of_an_old_connection_takes_nobody_offline() {
    let signer = UrlSigner::new("http://h", *b"key", UrlSigner::LIFE);
    let origin = Origin::new(OriginConfig::new(Some(signer.clone()), 0));
    let mut peer = Peer::new(Cloud::new(CloudConfig::new(signer, 0)), origin, FaultPlan::new(0), 0);
    let device = Identity::new("TESTPROD01", "dev001").unwrap();
    peer.add_device(&device, Secret::new(*b"0123456789abcdef")).unwrap();
    let topic = device.update_topic().as_bytes();
    let length = u8::try_from(topic.len()).unwrap();
    let subscribe = [&[0x82, length + 5, 0, 1, 0, length], topic, &[0]].concat();
    let now = Instant::from_secs(1);
    let mut come = || {
        let id = peer.accept(now, Port::Mqtt);
        for bytes in [LOGIN, &subscribe] {
            assert_eq!(peer.handle_received(now, id, bytes), bytes.len());
            let sent = peer.transmit(now, id).len();
            peer.handle_sent(now, id, sent);
        }
        id
    };
    let (old, new) = (come(), come());
    peer.handle_closed(now, old);
    assert!(peer.cloud.device(&device).unwrap().online);
    peer.handle_closed(now, new);
    assert!(!peer.cloud.device(&device).unwrap().online);
}

/// A PUBLISH at QoS 0, or at QoS 1 with this id.
fn publish(topic: &str, id: Option<u8>, payload: &str) -> Vec<u8> {
    let head = if id.is_some() { 0x32 } else { 0x30 };
    let left = 2 + topic.len() + id.map_or(0, |_| 2) + payload.len();
    let (low, high) = (u8::try_from(left % 128).unwrap() | 0x80, u8::try_from(left / 128).unwrap());
    let mut packet = vec![head, low, high, 0, u8::try_from(topic.len()).unwrap()];
    packet.extend(topic.bytes());
    packet.extend(id.into_iter().flat_map(|id| [0, id]));
    packet.extend(payload.bytes());
    packet
}

const REPORTS: &str = "$ota/report/P/d";
const UPDATES: &str = "$ota/update/P/d";
const VERSION: &str = r#"{"type":"report_version","report":{"version":"1"}}"#;
const REPLY: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"1"}"#;
const OFFER: &str = r#"{"file_size":9,"md5sum":"f2f1b3317d4f1ef7f512bfae5050563b","type":"update_firmware","url":"http://h/p?a=1&b=2","version":"2"}"#;

fn progress(state: &str) -> String {
    format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"{state}","percent":"0","result_code":"0","result_msg":""}},"version":"2"}}}}"#
    )
}

/// A line with these faults.
struct World {
    relay: Relay,
    line: Connection,
}

impl World {
    fn new(faults: &[Fault]) -> Self {
        let plan = faults.iter().fold(FaultPlan::new(1), |plan, f| plan.with(Rule::new(*f)));
        Self { relay: Relay::new(&plan), line: Connection::new() }
    }

    /// Puts bytes in at one end at this second; returns what comes out at the other.
    fn pass(&mut self, secs: u64, from: End, bytes: &[u8]) -> Vec<u8> {
        self.line.handle_received(&mut self.relay, Instant::from_secs(secs), from, bytes);
        self.take(if from == End::Device { End::Broker } else { End::Device })
    }

    fn take(&mut self, at: End) -> Vec<u8> {
        let bytes = self.line.transmit(at).to_vec();
        self.line.handle_sent(at, bytes.len());
        bytes
    }

    fn offer(&mut self) -> Vec<u8> {
        self.pass(0, End::Broker, &publish(UPDATES, None, OFFER))
    }
}

#[test]
fn no_more_is_wanted_of_an_end_while_64_kib_wait_for_the_other() {
    let mut world = World::new(&[]);
    // 1,024 packets of 64 bytes.
    let packet = publish("P/d/x", None, &"x".repeat(54));
    assert_eq!(packet.len(), 64);
    let now = Instant::ZERO;
    for _ in 0..1_024 {
        assert!(world.line.wants_read(End::Device));
        world.line.handle_received(&mut world.relay, now, End::Device, &packet);
    }
    assert_eq!(world.line.transmit(End::Broker).len(), 65_536);
    assert!(!world.line.wants_read(End::Device) && world.line.wants_read(End::Broker));
    world.line.handle_sent(End::Broker, 1);
    assert!(world.line.wants_read(End::Device));
    // The other way has its own.
    for _ in 0..1_024 {
        world.line.handle_received(&mut world.relay, now, End::Broker, &packet);
    }
    assert!(!world.line.wants_read(End::Broker) && world.line.wants_read(End::Device));
}

#[test]
fn a_line_that_closes_takes_nothing_more() {
    let mut world = World::new(&[Fault::Kick]);
    assert_eq!(world.pass(0, End::Device, &publish(REPORTS, Some(1), VERSION)), b"");
    assert!(world.line.is_closing() && world.line.deadline().is_none());
    assert!(!world.line.wants_read(End::Device) && !world.line.wants_read(End::Broker));
    assert_eq!(world.pass(0, End::Device, b"\xc0\0"), b"");
}

#[test]
fn a_frozen_line_is_open_and_dead() {
    let mut world = World::new(&[Fault::HalfOpen]);
    assert_eq!(world.pass(0, End::Device, &publish(REPORTS, Some(1), VERSION)), b"");
    assert!(!world.line.is_closing() && world.line.deadline().is_none());
    assert_eq!(world.pass(1, End::Device, b"\xc0\0"), b"");
    assert_eq!(world.pass(1, End::Broker, b"\xd0\0"), b"");
}

#[test]
fn a_login_is_refused_in_the_brokers_place() {
    let mut world = World::new(&[Fault::RefuseLogin]);
    // Nothing but the answer to a login is an occasion.
    assert_eq!(world.pass(0, End::Broker, b"\xd0\0"), b"\xd0\0");
    assert_eq!(world.pass(0, End::Broker, b"\x20\x02\0\0"), b"\x20\x02\0\x04");
    assert!(world.line.is_closing());
}

#[test]
fn only_a_results_acknowledgement_is_lost_and_only_once() {
    let mut world = World::new(&[Fault::LostAck]);
    let result = publish(REPORTS, Some(7), &progress("done"));
    let other = publish(REPORTS, Some(6), VERSION);
    assert_eq!(world.pass(0, End::Device, &other), other);
    assert_eq!(world.pass(0, End::Broker, b"\x40\x02\0\x06"), b"\x40\x02\0\x06");
    assert_eq!(world.pass(0, End::Device, &result), result);
    assert_eq!(world.pass(0, End::Broker, b"\x40\x02\0\x07"), b"");
    assert_eq!(world.relay.next_struck(), Some(Fault::LostAck));
    assert_eq!(world.pass(0, End::Device, &result), result);
    assert_eq!(world.pass(0, End::Broker, b"\x40\x02\0\x07"), b"\x40\x02\0\x07");
    assert_eq!(world.relay.next_struck(), None);
}

#[test]
fn a_lost_or_refused_reply_takes_its_offer_along() {
    let reply = publish(UPDATES, None, REPLY);
    let mut world = World::new(&[Fault::LostReply]);
    assert_eq!(world.pass(0, End::Broker, &reply), b"");
    assert_eq!(world.offer(), b"");
    assert_eq!(world.pass(0, End::Broker, &reply), reply);
    assert!(!world.offer().is_empty());
    let mut world = World::new(&[Fault::BadReply]);
    let bad = String::from_utf8_lossy(&world.pass(0, End::Broker, &reply)).into_owned();
    assert!(bad.contains(r#""result_code":1"#) && bad.contains("refused by a fault"), "{bad}");
    assert_eq!(world.offer(), b"");
}

#[test]
fn the_offer_of_a_late_reply_is_as_late() {
    let mut world = World::new(&[Fault::LateReply]);
    let reply = publish(UPDATES, None, REPLY);
    assert_eq!(world.pass(0, End::Broker, &reply), b"");
    assert_eq!(world.offer(), b"");
    world.line.handle_timeout(Instant::from_secs(11));
    assert_eq!(world.take(End::Device), b"");
    world.line.handle_timeout(Instant::from_secs(12));
    assert_eq!(world.take(End::Device), [reply, publish(UPDATES, None, OFFER)].concat());
}

#[test]
fn an_offer_that_is_replaced_follows_the_download_or_comes_after_10_s() {
    let own = publish(UPDATES, None, OFFER);
    for begun in [true, false] {
        let mut world = World::new(&[Fault::Supersede]);
        let other = String::from_utf8_lossy(&world.offer()).into_owned();
        assert!(other.contains(r#""version":"2-0""#), "{other}");
        assert_eq!(world.line.deadline(), Some(Instant::from_secs(10)));
        if begun {
            world.pass(1, End::Device, &publish(REPORTS, None, &progress("downloading")));
        } else {
            world.line.handle_timeout(Instant::from_millis(9_999));
            assert_eq!(world.take(End::Device), b"");
            world.line.handle_timeout(Instant::from_secs(10));
        }
        assert_eq!(world.take(End::Device), own);
        assert_eq!(world.line.deadline(), None);
    }
}

#[test]
fn a_copy_of_the_offer_comes_at_once_and_with_the_download() {
    let own = publish(UPDATES, None, OFFER);
    let mut world = World::new(&[Fault::DuplicateOffer]);
    assert_eq!(world.offer(), [own.clone(), own.clone()].concat());
    world.pass(1, End::Device, &publish(REPORTS, None, &progress("downloading")));
    assert_eq!(world.take(End::Device), own);
}

#[test]
fn a_result_brings_the_old_offer_back_to_its_own_device() {
    let mut world = World::new(&[Fault::ReplayedOffer]);
    world.pass(0, End::Device, &publish(REPORTS, Some(1), &progress("done")));
    assert_eq!(world.take(End::Device), b"");
    world.offer();
    world.pass(0, End::Device, &publish("$ota/report/P/e", Some(2), &progress("fail")));
    assert_eq!(world.take(End::Device), b"");
    world.pass(0, End::Device, &publish(REPORTS, Some(3), &progress("fail")));
    assert_eq!(world.take(End::Device), publish(UPDATES, None, OFFER));
}

#[test]
fn offers_are_changed_as_their_faults_say() {
    for (fault, words) in [
        (Fault::WrongSize, r#""file_size":1033"#),
        (Fault::UpperCaseDigest, r#""md5sum":"F2F1B3317D4F1EF7F512BFAE5050563B""#),
        (Fault::EscapedUrl, r#""url":"http:\/\/h\/p?a\u003d1\u0026b\u003d2""#),
    ] {
        let text = String::from_utf8_lossy(&World::new(&[fault]).offer()).into_owned();
        assert!(text.contains(words), "{fault}: {text}");
    }
    let mut world = World::new(&[Fault::SameUrlAgain]);
    assert_eq!(world.offer(), publish(UPDATES, None, OFFER));
    let fresh = OFFER.replace("a=1", "a=9");
    let again = world.pass(1, End::Broker, &publish(UPDATES, None, &fresh));
    assert!(String::from_utf8_lossy(&again).contains("http://h/p?a=1&b=2"));
    // The first offer passes, the second is the withdrawn one.
    let mut world = World::new(&[Fault::Withdraw]);
    assert!(!world.offer().is_empty());
    assert_eq!(world.offer(), b"");
    let mut world = World::new(&[Fault::BrokerDrop]);
    let own = publish(UPDATES, None, OFFER);
    assert_eq!(world.offer(), own[..own.len() / 2]);
    assert!(world.line.is_closing());
}

#[test]
fn what_is_no_packet_or_too_large_passes_as_it_is() {
    let mut world = World::new(&[Fault::Kick]);
    // A length of 2 MiB: the relay passes this and all that follows unchanged.
    let large = [&[0x30, 0x80, 0x80, 0x80, 0x01][..], &publish(REPORTS, Some(1), VERSION)].concat();
    assert_eq!(world.pass(0, End::Device, &large), large);
    let more = publish(REPORTS, Some(1), VERSION);
    assert_eq!(world.pass(0, End::Device, &more), more);
    let mut world = World::new(&[Fault::Kick]);
    let endless = b"\x30\xff\xff\xff\xff\xff";
    assert_eq!(world.pass(0, End::Device, endless), endless);
    // 64 KiB are looked at, whole.
    let mut world = World::new(&[Fault::Kick]);
    let half = [0x30, 0xfc, 0xff, 0x03];
    assert_eq!(world.pass(0, End::Device, &half), b"");
}

/// A peer with a device whose login is [`LOGIN`].
fn peer(faults: &[Fault], secret: [u8; 16]) -> (Peer, Identity) {
    let signer = UrlSigner::new("http://h", *b"key", UrlSigner::LIFE);
    let origin = Origin::new(OriginConfig::new(Some(signer.clone()), 0));
    let plan = faults.iter().fold(FaultPlan::new(1), |plan, fault| plan.with(Rule::new(*fault)));
    let mut peer = Peer::new(Cloud::new(CloudConfig::new(signer, 0)), origin, plan, 0);
    let device = Identity::new("TESTPROD01", "dev001").unwrap();
    peer.add_device(&device, Secret::new(secret)).unwrap();
    (peer, device)
}

/// What a peer sends now.
fn sent(peer: &mut Peer, now: Instant, id: ConnId) -> Vec<u8> {
    let bytes = peer.transmit(now, id).to_vec();
    peer.handle_sent(now, id, bytes.len());
    bytes
}

#[test]
fn a_peer_answers_its_device_with_and_without_a_relay() {
    for (faults, late) in
        [(&[][..], false), (&[Fault::LostAck], false), (&[Fault::LateReply], true)]
    {
        let (mut peer, device) = peer(faults, *b"0123456789abcdef");
        let mut now = Instant::from_secs(1);
        let id = peer.accept(now, Port::Mqtt);
        assert_eq!(peer.handle_received(now, id, LOGIN), LOGIN.len());
        // It stays until it has left.
        assert_eq!(peer.transmit(now, id), b"\x20\x02\0\0");
        peer.handle_sent(now, id, 1);
        assert_eq!(sent(&mut peer, now, id), b"\x02\0\0");
        let topic = device.update_topic().as_bytes();
        let length = u8::try_from(topic.len()).unwrap();
        let subscribe = [&[0x82, length + 5, 0, 1, 0, length], topic, &[0]].concat();
        assert_eq!(peer.handle_received(now, id, &subscribe), subscribe.len());
        assert_eq!(sent(&mut peer, now, id), b"\x90\x03\0\x01\0");
        let report = publish(device.report_topic(), Some(7), VERSION);
        assert_eq!(peer.handle_received(now, id, &report), report.len());
        let mut answer = sent(&mut peer, now, id);
        assert!(answer.starts_with(b"\x40\x02\0\x07"), "{answer:?}");
        if late {
            assert_eq!(answer.len(), 4);
            now = Instant::from_secs(13);
            assert!(peer.deadline().is_some_and(|at| at <= now));
            peer.handle_timeout(now);
            answer = sent(&mut peer, now, id);
        }
        assert!(answer.ends_with(REPLY.as_bytes()), "{answer:?}");
        assert_eq!((sent(&mut peer, now, id), peer.closing(id)), (Vec::new(), None));
        assert_eq!(peer.handle_received(now, id, b"\xe0\0"), 2);
        assert!(peer.closing(id).is_some());
    }
}

#[test]
fn a_connection_to_a_peer_ends_when_its_login_is_wrong_or_does_not_come() {
    for faults in [&[][..], &[Fault::LostAck]] {
        let (mut peer, _) = peer(faults, [0; 16]);
        let now = Instant::from_secs(1);
        let ids = [peer.accept(now, Port::Mqtt), peer.accept(now, Port::Mqtt)];
        assert_eq!(peer.handle_received(now, ids[0], LOGIN), LOGIN.len());
        assert_eq!(peer.closing(ids[0]), None, "the answer comes first");
        assert_eq!(sent(&mut peer, now, ids[0]), b"\x20\x02\0\x04");
        assert!(peer.closing(ids[0]).is_some());
        peer.handle_closed(now, ids[0]);
        let at = peer.deadline().unwrap();
        assert_eq!(peer.closing(ids[1]), None);
        peer.handle_timeout(at);
        assert!(peer.closing(ids[1]).is_some());
    }
}

#[test]
fn what_must_not_move_a_device_comes_before_a_reply() {
    let reply = publish(UPDATES, None, REPLY);
    for (fault, words) in [
        (Fault::ForeignTopic, "$ota/update/P/d-other"),
        (Fault::GarbagePayload, r#"{"type":"format_flash"}"#),
        (Fault::HugePayload, "xxxxxxxxxxxxxxxxxxxxxxxx"),
        (Fault::DeepJson, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
    ] {
        let mut world = World::new(&[fault]);
        let came = world.pass(0, End::Broker, &reply);
        let nonsense = came.strip_suffix(&reply[..]).unwrap();
        assert!(String::from_utf8_lossy(nonsense).contains(words), "{fault}");
    }
}
