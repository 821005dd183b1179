//! Texts for people: each error has its own text; and what `Debug` hides (rule 15 of
//! docs/rules.md).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Display;

use ota_proto::{QoS, TransportError};
use ota_wire::client::{AddError, Disconnect};
use ota_wire::http::{HttpError, RequestError};
use ota_wire::mqtt::packet::{ConnectCode, EncodeError, PacketError, PacketId, Publish, Request};
use ota_wire::mqtt::{
    ConfigError, Outgoing, PublishError, Purpose, SessionError, SessionTimer, SubscribeError,
};
use ota_wire::record::RecordingError;

/// One kind of error: each case has its own text, which fits into a log line.
fn read(cases: &[&dyn Display]) -> Vec<String> {
    let words: Vec<String> = cases.iter().map(ToString::to_string).collect();
    for text in &words {
        assert!(!text.is_empty() && text.len() <= 100, "{text:?}");
        assert!(!text.ends_with('.') && !text.contains('\n'), "{text:?}");
    }
    let different: BTreeSet<&String> = words.iter().collect();
    assert_eq!(different.len(), words.len(), "two errors in the same words: {words:?}");
    words
}

fn all<T: Display>(cases: &[T]) -> Vec<String> {
    let cases: Vec<&dyn Display> = cases.iter().map(|case| case as _).collect();
    read(&cases)
}

const PACKET: [PacketError; 7] = [
    PacketError::Type,
    PacketError::Flags,
    PacketError::LengthEncoding,
    PacketError::Length,
    PacketError::PacketId,
    PacketError::Topic,
    PacketError::Code,
];

#[test]
fn a_session_ends_with_the_cause_in_words() {
    let causes = all(&PACKET);
    let words = all(&PACKET.map(SessionError::Packet));
    for (text, cause) in words.iter().zip(&causes) {
        assert_eq!(*text, format!("malformed packet: {cause}"));
    }
    let refused = all(&[
        SessionError::Refused(ConnectCode::Accepted),
        SessionError::Refused(ConnectCode::ProtocolVersion),
        SessionError::Refused(ConnectCode::Identifier),
        SessionError::Refused(ConnectCode::Unavailable),
        SessionError::Refused(ConnectCode::Credentials),
        SessionError::Refused(ConnectCode::NotAuthorized),
    ]);
    assert!(refused.iter().all(|text| text.starts_with("refused")), "{refused:?}");
    all(&[SessionError::TooLong, SessionError::Unexpected, SessionError::IdInUse]);
    all(&[
        SessionError::TimedOut(SessionTimer::ConnAck),
        SessionError::TimedOut(SessionTimer::SubAck),
        SessionError::TimedOut(SessionTimer::PubAck),
        SessionError::TimedOut(SessionTimer::PingResp),
        SessionError::TimedOut(SessionTimer::Write),
        SessionError::TimedOut(SessionTimer::Blocked),
        SessionError::TimedOut(SessionTimer::KeepAlive),
    ]);
}

#[test]
fn a_disconnect_passes_its_cause_on() {
    let transport = Disconnect::Transport(TransportError::Closed);
    assert_eq!(transport.to_string(), TransportError::Closed.to_string());
    let session = Disconnect::Session(SessionError::TooLong);
    assert_eq!(session.to_string(), SessionError::TooLong.to_string());
    assert_eq!(Disconnect::Planned.to_string(), "asked for");
    let config = AddError::Config(ota_proto::ConfigError::Storage);
    assert_eq!(config.to_string(), ota_proto::ConfigError::Storage.to_string());
    let twice = AddError::Subscribe(SubscribeError::Duplicate);
    assert_eq!(twice.to_string(), SubscribeError::Duplicate.to_string());
}

#[test]
fn the_callers_faults() {
    all(&[
        ConfigError::Login,
        ConfigError::Bytes,
        ConfigError::Window,
        ConfigError::KeepAlive,
        ConfigError::Time,
    ]);
    all(&[
        PublishError::BadTopic,
        PublishError::TooLong,
        PublishError::NotUp,
        PublishError::WindowFull,
        PublishError::BufferFull,
    ]);
    all(&[
        SubscribeError::BadFilter,
        SubscribeError::TooLong,
        SubscribeError::Full,
        SubscribeError::Duplicate,
    ]);
    all(&[RequestError::Host, RequestError::Target, RequestError::TooLong]);
    let small = Request::PingReq.encode(&mut [0; 1]).unwrap_err();
    assert_eq!(small.to_string(), "buffer too small: 2 bytes needed");
    assert_ne!(EncodeError::TooLong.to_string(), small.to_string());
}

#[test]
fn a_file_that_cannot_be_played_says_why() {
    all(&[RecordingError::Foreign, RecordingError::Version, RecordingError::Damaged]);
}

#[test]
fn an_answer_of_no_use_says_what_is_wrong_with_it() {
    let words = all(&[
        HttpError::NotHttp,
        HttpError::Header,
        HttpError::HeadTooLong,
        HttpError::Informational,
        HttpError::Upgraded,
        HttpError::Length,
        HttpError::Ambiguous,
        HttpError::TransferCoding,
        HttpError::ContentRange,
        HttpError::Repeated,
        HttpError::Location,
        HttpError::ChunkSize,
        HttpError::ChunkExtension,
        HttpError::ChunkEnd,
        HttpError::Trailer,
    ]);
    assert_eq!(words.len(), 15);
}

/// The payload of an offer holds a signed URL, and the application's may hold anything.
#[test]
fn rule_15_debug_of_a_message_shows_its_length_only() {
    let secret = "https://cos.example/a?sign=SECRET";
    let outgoing = Outgoing {
        kind: Purpose::Application,
        qos: QoS::AtLeastOnce,
        topic: "home/door",
        payload: secret.as_bytes(),
    };
    let publish = Publish {
        dup: false,
        retain: false,
        topic: "home/door",
        id: PacketId::new(7),
        payload: secret.as_bytes(),
    };
    for shown in [
        format!("{outgoing:?}"),
        format!("{publish:?}"),
        format!("{:?}", Request::Publish(publish)),
    ] {
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("home/door") && shown.contains("payload_len: 33"), "{shown}");
    }
}

#[test]
fn requests_without_secrets_are_shown_whole() {
    let id = PacketId::new(5).unwrap();
    let filter = "$ota/update/P/D";
    let subscribe = Request::Subscribe { id, filter, qos: QoS::AtLeastOnce };
    let shown = format!("{subscribe:?}");
    assert!(shown.starts_with("Subscribe") && shown.contains(filter), "{shown}");
    assert!(format!("{:?}", Request::Unsubscribe { id, filter }).contains(filter));
    assert!(format!("{:?}", Request::PubAck(id)).starts_with("PubAck"));
    assert_eq!(format!("{:?} {:?}", Request::PingReq, Request::Disconnect), "PingReq Disconnect");
}
