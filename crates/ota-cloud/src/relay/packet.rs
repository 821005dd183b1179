//! Parses and builds the packets that matter to a relay.

use bytes::BytesMut;
use mqttbytes::QoS;
use mqttbytes::v4::{self, Packet, Publish};
use ota_proto::Md5;
use ota_proto::message::{CloudMessage, DeviceMessage, OfferMessage, ProgressState};

/// The largest parsed packet in bytes; larger ones pass.
pub(super) const MAX: usize = 64 * 1_024;
/// The largest built message.
const MESSAGE: usize = 8 * 1_024;

/// The kind of a packet.
pub(super) enum Kind {
    /// An answer to CONNECT.
    ConnAck,
    /// An acknowledgement of this packet.
    PubAck(u16),
    /// A message.
    Publish(Publish),
    /// A packet that passes unchanged.
    Other,
}

/// Returns the kind of a complete packet.
pub(super) fn read(bytes: &[u8]) -> Kind {
    match v4::read(&mut BytesMut::from(bytes), MAX) {
        Ok(Packet::ConnAck(_)) => Kind::ConnAck,
        Ok(Packet::PubAck(ack)) => Kind::PubAck(ack.pkid),
        Ok(Packet::Publish(publish)) => Kind::Publish(publish),
        _ => Kind::Other,
    }
}

/// Builds a PUBLISH at QoS 0; empty if that is impossible.
pub(super) fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Vec<u8> {
    write(&Publish::new(topic, QoS::AtMostOnce, payload))
}

/// Builds the packet of a message with another payload.
pub(super) fn with(publish: &Publish, payload: Vec<u8>) -> Vec<u8> {
    let mut other = Publish::new(publish.topic.as_str(), publish.qos, payload);
    other.pkid = publish.pkid;
    write(&other)
}

fn write(publish: &Publish) -> Vec<u8> {
    let mut out = BytesMut::new();
    match publish.write(&mut out) {
        Ok(_) => out.to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Returns the kind of a message on a device's own topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Version,
    Downloading,
    Result,
    Reply,
    Offer,
    Other,
}

/// The kind of a message.
pub(super) fn said(publish: &Publish) -> Said {
    if publish.topic.starts_with("$ota/report/") {
        return match DeviceMessage::decode(&publish.payload) {
            Ok(DeviceMessage::ReportVersion { .. }) => Said::Version,
            Ok(DeviceMessage::ReportProgress { progress, .. }) => match progress.state {
                ProgressState::Downloading => Said::Downloading,
                ProgressState::Done | ProgressState::Fail => Said::Result,
                _ => Said::Other,
            },
            _ => Said::Other,
        };
    }
    if !publish.topic.starts_with("$ota/update/") {
        return Said::Other;
    }
    match CloudMessage::decode(&publish.payload) {
        Ok(CloudMessage::VersionReply { .. }) => Said::Reply,
        Ok(CloudMessage::Offer(_)) => Said::Offer,
        _ => Said::Other,
    }
}

/// Returns the changed message, or the original if it does not parse or becomes too long.
fn change(payload: &[u8], change: impl FnOnce(&mut CloudMessage<'_>)) -> Vec<u8> {
    let Ok(mut message) = CloudMessage::decode(payload) else { return payload.into() };
    change(&mut message);
    let mut out = vec![0; MESSAGE];
    let len = message.encode(&mut out).ok();
    len.and_then(|len| out.get(..len)).unwrap_or(payload).into()
}

fn change_offer(payload: &[u8], change_it: impl FnOnce(&mut OfferMessage<'_>)) -> Vec<u8> {
    change(payload, |message| {
        if let CloudMessage::Offer(offer) = message {
            change_it(offer);
        }
    })
}

/// The reply changed to a refusal.
pub(super) fn refusal(payload: &[u8]) -> Vec<u8> {
    change(payload, |message| {
        if let CloudMessage::VersionReply { result_code, result_msg, .. } = message {
            *result_code = 1;
            *result_msg = "refused by a fault".into();
        }
    })
}

/// The offer of another version, with a digest that no image has.
pub(super) fn another(payload: &[u8]) -> Vec<u8> {
    change_offer(payload, |offer| {
        let version: String = offer.version.chars().take(30).chain("-0".chars()).collect();
        offer.version = version.into();
        offer.md5sum = offer.md5sum.map(|Md5(bytes)| Md5(bytes.map(|byte| !byte)));
    })
}

/// The offer with another's URL.
pub(super) fn with_url_of(payload: &[u8], other: &[u8]) -> Vec<u8> {
    let Ok(CloudMessage::Offer(other)) = CloudMessage::decode(other) else {
        return payload.into();
    };
    let url = other.url.into_owned();
    change_offer(payload, |offer| offer.url = url.into())
}

/// The offer with a size that the object does not have.
pub(super) fn larger(payload: &[u8]) -> Vec<u8> {
    change_offer(payload, |offer| {
        offer.file_size = offer.file_size.map(|size| size.saturating_add(1_024));
    })
}

/// The offer with its digest in upper case.
pub(super) fn upper_case(payload: &[u8]) -> Vec<u8> {
    let Ok(CloudMessage::Offer(OfferMessage { md5sum: Some(md5), .. })) =
        CloudMessage::decode(payload)
    else {
        return payload.into();
    };
    let text = String::from_utf8_lossy(payload);
    text.replace(&md5.to_string(), &md5.to_string().to_ascii_uppercase()).into_bytes()
}

/// The offer with its URL escaped as far as JSON allows.
pub(super) fn escaped(payload: &[u8]) -> Vec<u8> {
    let Ok(CloudMessage::Offer(offer)) = CloudMessage::decode(payload) else {
        return payload.into();
    };
    let text = String::from_utf8_lossy(payload);
    let url = offer.url.replace('/', r"\/").replace('&', r"\u0026").replace('=', r"\u003d");
    text.replace(offer.url.as_ref(), &url).into_bytes()
}

/// An offer that must be ignored, with this in an unknown key.
pub(super) fn bogus(extra: &str) -> String {
    format!(
        r#"{{"extra":{extra},"file_size":1,"md5sum":"00000000000000000000000000000000","type":"update_firmware","url":"http://127.0.0.1:9/bogus","version":"bogus"}}"#
    )
}

/// Malformed payloads.
pub(super) const GARBAGE: [&[u8]; 5] = [
    b"\xff\xfe\x00",
    b"",
    br#"{"type":"update_firmware","version":"9.9.9","url":"http://127.0.0.1:9/"#,
    br#"{"type":"update_firmware","version":9,"url":[],"md5sum":{},"file_size":"x"}"#,
    br#"{"type":"format_flash"}"#,
];
