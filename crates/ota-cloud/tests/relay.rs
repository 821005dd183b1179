//! The line to the broker and the whole peer, on hostile bytes.
#![allow(clippy::unwrap_used)]

use ota_cloud::fault::{Fault, FaultPlan, Place, Rule};
use ota_cloud::origin::{Origin, OriginConfig};
use ota_cloud::peer::{Peer, Port};
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
