//! Texts for people: each error has its own text, none contains a secret; and the `Debug` output.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Display;

use ota_proto::credentials::{BadLogin, BadSecret, LoginError, Secret};
use ota_proto::journal::JournalError;
use ota_proto::message::Malformed;
use ota_proto::url::BadUrl;
use ota_proto::{
    BadName, BadVersion, BufferTooSmall, ConfigError, Digester, FetchError, MessageError, Micros,
    Misuse, Reason, StorageError, TlsError, TransportError,
};

/// One kind of error: each case has its own text, which fits into a log line.
fn read(cases: &[&dyn Display]) -> Vec<String> {
    let words: Vec<String> = cases.iter().map(ToString::to_string).collect();
    for text in &words {
        assert!(!text.is_empty() && text.len() <= 100, "{text:?}");
        assert!(!text.contains('\n'), "{text:?}");
    }
    let different: BTreeSet<&String> = words.iter().collect();
    assert_eq!(different.len(), words.len(), "two errors in the same words: {words:?}");
    words
}

#[test]
fn the_peers_faults() {
    let malformed = [Malformed::Syntax, Malformed::Shape, Malformed::Unknown, Malformed::Value];
    let whole = malformed.map(MessageError::Malformed);
    let mut cases: Vec<&dyn Display> = vec![&MessageError::ForeignTopic, &MessageError::TooLong];
    cases.extend(whole.iter().map(|case| case as &dyn Display));
    let words = read(&cases);
    // The text names the cause.
    for (text, why) in words[2..].iter().zip(malformed) {
        assert!(text.ends_with(&why.to_string()), "{text}");
    }
    read(&[&FetchError::Stale, &FetchError::Refused]);
    read(&[&BadUrl::Scheme, &BadUrl::Host, &BadUrl::Port, &BadUrl::Bytes, &BadUrl::TooLong]);
}

#[test]
fn the_environments_faults() {
    let tls = [
        TlsError::WrongHost,
        TlsError::Untrusted,
        TlsError::Expired,
        TlsError::ClockNotSet,
        TlsError::ClientRefused,
        TlsError::Handshake,
    ];
    let through = tls.map(TransportError::Tls);
    let mut cases: Vec<&dyn Display> = vec![
        &TransportError::Resolve,
        &TransportError::Refused,
        &TransportError::TimedOut,
        &TransportError::Closed,
        &TransportError::Malformed,
    ];
    cases.extend(through.iter().map(|case| case as &dyn Display));
    let words = read(&cases);
    for (text, why) in words[5..].iter().zip(tls) {
        assert_eq!(*text, format!("TLS: {why}"));
    }
    read(&[
        &StorageError::NoSpace,
        &StorageError::NoSecondSpace,
        &StorageError::ReadOnly,
        &StorageError::Gone,
        &StorageError::Failed,
    ]);
    read(&[
        &JournalError::Magic,
        &JournalError::Format,
        &JournalError::Checksum,
        &JournalError::Field,
    ]);
}

#[test]
fn the_callers_faults() {
    read(&[
        &ConfigError::Version,
        &ConfigError::Storage,
        &ConfigError::Timing,
        &ConfigError::Limits,
    ]);
    let words = read(&[&BadName::ProductId, &BadName::DeviceName]);
    assert!(words[0].contains("product id") && words[1].contains("48"), "{words:?}");
    read(&[&BadVersion, &Misuse, &BufferTooSmall { needed: 123 }]);
    assert!(BufferTooSmall { needed: 123 }.to_string().contains("123"), "what would suffice");
    read(&[&BadLogin::AppId, &BadLogin::ConnId]);
    read(&[&BadSecret::Base64, &BadSecret::Length]);
}

#[test]
fn the_clouds_refusals() {
    read(&[
        &LoginError::Username,
        &LoginError::ClientId,
        &LoginError::Algorithm,
        &LoginError::Password,
        &LoginError::Expired,
    ]);
}

#[test]
fn rule_5_each_reason_has_words_of_its_own_and_one_code() {
    let reasons: Vec<&dyn Display> = Reason::ALL.iter().map(|reason| reason as _).collect();
    let words = read(&reasons);
    for (reason, text) in Reason::ALL.iter().zip(&words) {
        assert_eq!(text, reason.text());
        let code = match reason {
            Reason::Network | Reason::Broken | Reason::NoName | Reason::Unreachable => -1,
            Reason::Closed | Reason::ServerError | Reason::TryLater => -1,
            Reason::NotFound => -2,
            Reason::Unauthorized => -3,
            // Also with the label of the body.
            _ if text.starts_with("md5 ") => -4,
            _ => -5,
        };
        assert_eq!(reason.code().number(), code, "{reason:?}");
    }
}

#[test]
fn rule_15_debug_shows_what_is_no_secret() {
    let mut digester = Digester::new();
    digester.update(b"abc");
    assert_eq!(format!("{digester:?}"), "Digester(..)");
    assert_eq!(format!("{:?}", digester.finish()), "Md5(900150983cd24fb0d6963f7d28e17f72)");
    assert_eq!(format!("{:?}", Micros::from_millis(1_500)), "1.5s");
    assert_eq!(format!("{:?}", Secret::from_bytes(b"abc").unwrap()), "Secret(..)");
}
