use alloc::string::String;
use alloc::vec::Vec;

use ota_proto::Rng;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

/// A CA certificate, and one that the CA has issued.
fn certificates() -> [Vec<u8>; 2] {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([String::from("a.example")]).unwrap();
    let server = params.signed_by(&key, &authority).unwrap();
    [authority.der().to_vec(), server.der().to_vec()]
}

fn with(act: impl FnOnce(&mut Verifier<'_, Rng>, &[u8])) {
    let [authority, server] = certificates();
    let authority = Authority::read(&authority).unwrap();
    let rng = RefCell::new(Rng::new(1));
    act(&mut Verifier::new(&authority, "a.example", 1_780_000_000, &rng), &server);
}

fn show(verifier: &mut Verifier<'_, Rng>, certificates: &[&[u8]]) -> bool {
    let mut sent = CertificateRef::with_context(&[]);
    for der in certificates {
        sent.add(CertificateEntryRef::X509(der)).unwrap();
    }
    verifier.verify_certificate(&Sha256::new(), sent).is_ok()
}

fn prove(verifier: &mut Verifier<'_, Rng>, signature: &[u8]) -> bool {
    let signature_scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    verifier.verify_signature(CertificateVerifyRef { signature_scheme, signature }).is_ok()
}

const UNTRUSTED: Result<u64, TransportError> = Err(TransportError::Tls(TlsError::Untrusted));

/// embedded-tls ends such a handshake as a good one.
#[test]
fn a_handshake_without_a_certificate_is_refused() {
    with(|verifier, _| assert_eq!(verifier.judge(Ok(())), UNTRUSTED));
}

#[test]
fn a_handshake_without_a_proof_is_refused() {
    with(|verifier, server| {
        assert!(show(verifier, &[server]));
        assert_eq!(verifier.judge(Ok(())), UNTRUSTED);
    });
}

/// embedded-tls's own check panics.
#[test]
fn a_proof_before_the_certificate_is_refused() {
    with(|verifier, server| {
        assert!(!prove(verifier, &[0; 70]));
        assert!(!show(verifier, &[server]));
        assert_eq!(verifier.judge(Ok(())), Err(TransportError::Tls(TlsError::Handshake)));
    });
}

#[test]
fn a_second_certificate_is_refused() {
    with(|verifier, server| {
        assert!(show(verifier, &[server]));
        assert!(!show(verifier, &[server]));
        assert_eq!(verifier.judge(Ok(())), Err(TransportError::Tls(TlsError::Handshake)));
    });
}

#[test]
fn a_wrong_proof_and_no_proof_at_all_are_refused() {
    for signature in [&[][..], &[0x30, 6, 2, 1, 1, 2, 1, 1]] {
        with(|verifier, server| {
            assert!(show(verifier, &[server]));
            assert!(!prove(verifier, signature));
            assert_eq!(verifier.judge(Ok(())), UNTRUSTED);
        });
    }
}

#[test]
fn an_empty_list_is_refused() {
    with(|verifier, _| {
        assert!(!show(verifier, &[]));
        assert_eq!(verifier.judge(Ok(())), UNTRUSTED);
    });
}

/// A peer's choice that was not offered has the same error as in rustls.
#[test]
fn a_choice_that_was_not_offered_is_told_apart_from_a_broken_handshake() {
    with(|verifier, _| {
        for (error, why) in [
            (Error::InvalidCipherSuite, TlsError::Algorithm),
            (Error::InvalidSignatureScheme, TlsError::Algorithm),
            (Error::InvalidKeyShare, TlsError::Algorithm),
            (Error::InvalidHandshake, TlsError::Handshake),
        ] {
            assert_eq!(verifier.judge(Err(error)), Err(TransportError::Tls(why)));
        }
    });
}
