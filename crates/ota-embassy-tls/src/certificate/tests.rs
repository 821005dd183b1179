use alloc::string::String;
use alloc::vec::Vec;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use ota_proto::TlsError;

use super::{Certificate, Der, GENERAL_TIME, SEQUENCE, UTC_TIME, fault};

fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params =
        CertificateParams::new([String::from("a.example"), String::from("10.1.2.3")]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2060, 2, 29);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn a_certificate_says_whose_it_is_and_how_long() {
    let der = der(|_| {});
    let certificate = Certificate::read(&der).unwrap();
    assert_eq!(certificate.valid, (1_735_689_600, 2_845_238_400));
    assert_eq!((certificate.key.len(), certificate.key[0]), (65, 4));
    assert!(certificate.is_server() && !certificate.is_authority());
    assert_eq!(certificate.issuer, certificate.subject);
    for name in ["a.example", "A.EXAMPLE", "10.1.2.3"] {
        assert!(certificate.names(name), "{name}");
    }
    for name in ["", "a.example.", "b.example", "example", "x.a.example", "10.1.2.4", "10.1.2"] {
        assert!(!certificate.names(name), "{name}");
    }
}

#[test]
fn an_authority_may_sign_certificates() {
    let authority = |usages: &[KeyUsagePurpose]| {
        let der = der(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = usages.to_vec();
        });
        let certificate = Certificate::read(&der).unwrap();
        assert!(!certificate.is_server());
        certificate.is_authority()
    };
    assert!(authority(&[]) && authority(&[KeyUsagePurpose::KeyCertSign]));
    assert!(!authority(&[KeyUsagePurpose::DigitalSignature]));
}

#[test]
fn what_is_critical_and_unknown_is_refused() {
    let extension = |critical| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], [5, 0].into());
        extension.set_criticality(critical);
        extension
    };
    let with = |critical| der(|params| params.custom_extensions = [extension(critical)].into());
    assert!(Certificate::read(&with(false)).is_some());
    assert!(Certificate::read(&with(true)).is_none());
}

#[test]
fn other_keys_are_refused() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let der = CertificateParams::new([]).unwrap().self_signed(&key).unwrap().der().to_vec();
    assert!(Certificate::read(&der).is_none());
    assert_eq!(fault(&der), TlsError::Algorithm);
}

#[test]
fn a_certificate_of_the_first_version_is_told_apart_from_an_invalid_one() {
    // Number, algorithm, issuer, validity, subject, key: and no version before them.
    let first = [SEQUENCE, 7, SEQUENCE, 5, 2, 1, 9, SEQUENCE, 0];
    assert_eq!(fault(&first), TlsError::Version1);
    for other in [&b""[..], b"-----BEGIN CERTIFICATE-----", &[SEQUENCE, 2, SEQUENCE, 0]] {
        assert_eq!(fault(other), TlsError::Unfit, "{other:?}");
    }
    // Unreadable, and of the right kind.
    let mut wrong = der(|_| {});
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    assert_eq!(fault(&wrong), TlsError::Unfit);
}

#[test]
fn no_cut_and_no_wrong_bit_is_a_panic() {
    let whole = der(|_| {});
    for len in 0..whole.len() {
        assert!(Certificate::read(&whole[..len]).is_none(), "{len} bytes");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut wrong = whole.clone();
            wrong[at] ^= 1 << bit;
            if let Some(certificate) = Certificate::read(&wrong) {
                certificate.names("a.example");
            }
        }
    }
    assert!(Certificate::read(&[&whole[..], &[0]].concat()).is_none());
}

#[test]
fn moments_are_seconds_since_1970() {
    let time = |tag: u8, text: &str| {
        let len = u8::try_from(text.len()).unwrap();
        Der(&[&[tag, len], text.as_bytes()].concat()).time()
    };
    for (tag, text, seconds) in [
        (UTC_TIME, "700101000000Z", Some(0)),
        (UTC_TIME, "500101000000Z", Some(0)),
        (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
        (UTC_TIME, "000229120000Z", Some(951_825_600)),
        (GENERAL_TIME, "21000301000000Z", Some(4_107_542_400)),
        (GENERAL_TIME, "99991231235959Z", Some(253_402_300_799)),
        (GENERAL_TIME, "00000101000000Z", Some(0)),
        (UTC_TIME, "701301000000Z", None),
        (UTC_TIME, "700100000000Z", None),
        (UTC_TIME, "7001010000Z", None),
        (UTC_TIME, "70010100000xZ", None),
        (GENERAL_TIME, "20250101000000+0800", None),
        (GENERAL_TIME, "", None),
    ] {
        assert_eq!(time(tag, text), seconds, "{text}");
    }
}
