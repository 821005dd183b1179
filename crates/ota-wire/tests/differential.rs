//! Our MQTT codec against mqttbytes, both ways, on random input. The comparison and the written
//! list of differences are in `crates/ota-fuzz/src/mqtt_packet.rs`; the fuzz target searches
//! deeper.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(unreachable_pub)] // It is public where it belongs.
#[path = "../../ota-fuzz/src/mqtt_packet.rs"]
mod mqtt_packet;

use bytes::{Bytes, BytesMut};
use mqtt_packet::mqtt_packet;
use mqttbytes::QoS;
use mqttbytes::v4::{
    ConnAck, ConnectReturnCode, PingResp, PubAck, Publish, SubAck, SubscribeReasonCode, UnsubAck,
};
use ota_wire::mqtt::packet::decode;
use proptest::collection::vec;
use proptest::prelude::*;

/// What mqttbytes writes for a server.
fn theirs() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![
        Just(ConnectReturnCode::Success),
        Just(ConnectReturnCode::RefusedProtocolVersion),
        Just(ConnectReturnCode::BadClientId),
        Just(ConnectReturnCode::ServiceUnavailable),
        Just(ConnectReturnCode::BadUserNamePassword),
        Just(ConnectReturnCode::NotAuthorized),
    ];
    let grants = prop_oneof![
        Just(SubscribeReasonCode::Success(QoS::AtMostOnce)),
        Just(SubscribeReasonCode::Success(QoS::AtLeastOnce)),
        Just(SubscribeReasonCode::Failure),
    ];
    let publish = ("[^\0+#]{1,40}", vec(any::<u8>(), 0..300), any::<(bool, bool)>(), 0..=u16::MAX);
    prop_oneof![
        (codes, any::<bool>())
            .prop_map(|(code, present)| write(|out| ConnAck::new(code, present).write(out))),
        publish.prop_map(|(topic, payload, (dup, retain), pkid)| {
            let qos = if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            let payload = Bytes::from(payload);
            let dup = dup && pkid != 0;
            write(|out| Publish { dup, qos, retain, topic, pkid, payload }.write(out))
        }),
        (1..=u16::MAX).prop_map(|pkid| write(|out| PubAck::new(pkid).write(out))),
        (1..=u16::MAX, vec(grants, 1..4))
            .prop_map(|(pkid, codes)| write(|out| SubAck::new(pkid, codes).write(out))),
        (1..=u16::MAX).prop_map(|pkid| write(|out| UnsubAck::new(pkid).write(out))),
        Just(write(|out| PingResp.write(out))),
    ]
}

fn write(write: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out).unwrap();
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_they_write_we_read(bytes in theirs()) {
        let (_, len) = decode(&bytes).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        mqtt_packet(&bytes);
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
        }
    }

    #[test]
    fn a_changed_byte_means_the_same_to_both(
        mut bytes in theirs(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let at = at.index(bytes.len().min(12));
        bytes[at] = byte;
        mqtt_packet(&bytes);
    }

    #[test]
    fn random_bytes_mean_the_same_to_both(bytes in vec(any::<u8>(), 0..40)) {
        mqtt_packet(&bytes);
    }

    #[test]
    fn framed_random_bytes_mean_the_same_to_both(
        kind in any::<u8>(),
        body in vec(prop_oneof![0..4_u8, any::<u8>()], 0..12),
    ) {
        mqtt_packet(&[&[kind, u8::try_from(body.len()).unwrap()], &body[..]].concat());
    }

    #[test]
    fn what_we_write_they_read(
        fields in any::<[u8; 4]>(),
        front in "[ -~é一]{0,20}",
        back in "[ -~]{0,200}",
    ) {
        let cut = u8::try_from(front.len()).unwrap();
        mqtt_packet(&[&fields, &[cut][..], front.as_bytes(), back.as_bytes()].concat());
    }
}
