//! What certificates cannot be used, and what is said of each.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;

use ota_host::{BadTls, Certificate, Tls};

#[test]
fn each_reason_why_certificates_cannot_be_used_has_its_words() {
    let all =
        [BadTls::Authorities, BadTls::Chain, BadTls::Key, BadTls::Mismatch, BadTls::Cryptography];
    let words: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|words| words.contains(' ')), "{words:?}");
}

#[test]
fn a_certificate_is_whole_and_has_its_key() {
    let [one, other] = [(); 2].map(|()| {
        let made = rcgen::generate_simple_self_signed(["d.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (chain, key, bad) in [
        (&*one.0, &*one.1, None),
        (&one.0, &other.1, Some(BadTls::Mismatch)),
        (&one.0, "", Some(BadTls::Key)),
        ("", &one.1, Some(BadTls::Chain)),
        (no_certificate, &one.1, Some(BadTls::Chain)),
    ] {
        let certificate = Certificate { chain: chain.as_bytes(), key: key.as_bytes() };
        assert_eq!(Tls::new(Some(one.0.as_bytes()), Some(certificate)).err(), bad, "{chain}");
    }
    assert_eq!(Tls::new(Some(b""), None).err(), Some(BadTls::Authorities));
    assert_eq!(Tls::new(Some(no_certificate.as_bytes()), None).err(), Some(BadTls::Authorities));
}
