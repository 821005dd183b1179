//! Verifies the peer.

use core::cell::RefCell;

use embedded_io_async::ErrorKind;
use embedded_tls::alert::AlertDescription;
use embedded_tls::{
    Aes128GcmSha256, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider,
    CryptoRngCore, Sha256, SignatureScheme, TlsError as Error, TlsVerifier,
};
use ota_proto::{TlsError, TransportError};
use p256::ecdsa::signature::{Verifier as _, digest::Digest};
use p256::ecdsa::{DerSignature, VerifyingKey};
use rand_core::{CryptoRng, RngCore};

use super::certificate::{Certificate, fault};

/// The prefix of the bytes that a server signs (RFC 8446, 4.4.3).
const CONTEXT: (&[u8], &[u8]) = (&[b' '; 64], b"TLS 1.3, server CertificateVerify\0");

/// The trusted CA.
pub(super) struct Authority<'a> {
    name: &'a [u8],
    key: VerifyingKey,
}

impl<'a> Authority<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, TlsError> {
        let none = || match fault(der) {
            TlsError::Unfit => TlsError::NotAuthority,
            why => why,
        };
        let certificate = Certificate::read(der).ok_or_else(none)?;
        let key = VerifyingKey::from_sec1_bytes(certificate.key).ok();
        let key = key.filter(|_| certificate.is_authority()).ok_or(TlsError::NotAuthority)?;
        Ok(Self { name: certificate.subject, key })
    }

    /// Checks a certificate; returns the peer's key, and the start of validity.
    fn check(&self, der: &[u8], host: &str, now: u64) -> Result<(VerifyingKey, u64), TlsError> {
        let certificate = Certificate::read(der).ok_or_else(|| fault(der))?;
        let signature = DerSignature::try_from(certificate.signature);
        let signature = signature.map_err(|_| TlsError::Untrusted)?;
        let signed = self.key.verify(certificate.signed, &signature).is_ok();
        let (from, to) = certificate.valid;
        match () {
            // Most often a self-signed server certificate, whose own reason explains what to do.
            () if certificate.claims_authority() => Err(TlsError::Authority),
            () if !signed || certificate.issuer != self.name => Err(TlsError::Untrusted),
            () if now < from => Err(TlsError::NotYetValid),
            () if now > to => Err(TlsError::Expired),
            () if !certificate.is_server() => Err(TlsError::Unfit),
            () if !certificate.names(host) => Err(TlsError::WrongHost),
            () => {
                let key = VerifyingKey::from_sec1_bytes(certificate.key);
                key.map(|key| (key, from)).map_err(|_| TlsError::Unfit)
            }
        }
    }
}

/// Maps an error of a handshake that is neither the connection's nor about the peer's messages, to
/// the same texts as rustls' errors.
fn kind(error: &Error) -> TlsError {
    use AlertDescription as A;
    match error {
        Error::HandshakeAborted(_, alert) => match alert {
            A::HandshakeFailure | A::InsufficientSecurity => TlsError::Algorithm,
            A::AccessDenied
            | A::BadCertificate
            | A::CertificateExpired
            | A::CertificateRequired
            | A::CertificateRevoked
            | A::CertificateUnknown
            | A::DecryptError
            | A::UnknownCa
            | A::UnsupportedCertificate => TlsError::ClientRefused,
            _ => TlsError::Handshake,
        },
        Error::InvalidCipherSuite | Error::InvalidSignatureScheme | Error::InvalidKeyShare => {
            TlsError::Algorithm
        }
        _ => TlsError::Handshake,
    }
}

/// The messages that the peer has shown so far. embedded-tls calls in the order in which the peer
/// sends, and would accept a handshake without either message: the peer is verified only after both
/// have come, in order.
enum Shown {
    Nothing,
    /// A valid certificate, in a handshake with this hash.
    Certificate(VerifyingKey, Sha256),
    /// And the proof of its key.
    Key,
    Refused(TlsError),
}

/// Checks a peer, and lends the caller's random source to the handshake.
pub(super) struct Verifier<'a, R> {
    authority: &'a Authority<'a>,
    host: &'a str,
    now: u64,
    rng: SharedRng<'a, R>,
    shown: Shown,
    valid_from: u64,
}

impl<'a, R> Verifier<'a, R> {
    /// `now` is in seconds since 1970.
    pub(super) fn new(
        authority: &'a Authority<'a>,
        host: &'a str,
        now: u64,
        rng: &'a RefCell<R>,
    ) -> Self {
        let shown = Shown::Nothing;
        Self { authority, host, now, rng: SharedRng(rng), shown, valid_from: 0 }
    }

    /// Returns the result of a handshake that embedded-tls reports like this: the start of validity
    /// of the peer's certificate.
    pub(super) fn judge(&self, opened: Result<(), Error>) -> Result<u64, TransportError> {
        match (&self.shown, opened) {
            (Shown::Refused(why), _) => Err(TransportError::Tls(*why)),
            (Shown::Key, Ok(())) => Ok(self.valid_from),
            (_, Ok(())) => Err(TransportError::Tls(TlsError::Untrusted)),
            // A record that is longer than the caller's buffer.
            (_, Err(Error::InsufficientSpace)) => Err(TransportError::Tls(TlsError::Unavailable)),
            (_, Err(Error::Io(ErrorKind::InvalidData))) => {
                Err(TransportError::Tls(TlsError::Handshake))
            }
            // Not a record: see `Records`.
            (_, Err(Error::Io(ErrorKind::Unsupported))) => {
                Err(TransportError::Tls(TlsError::NotTls))
            }
            (_, Err(Error::Io(_) | Error::IoError)) => Err(TransportError::Closed),
            (_, Err(error)) => Err(TransportError::Tls(kind(&error))),
        }
    }

    fn refuse(&mut self, why: TlsError) -> Result<(), Error> {
        self.shown = Shown::Refused(why);
        Err(Error::InvalidCertificate)
    }
}

impl<R> TlsVerifier<Aes128GcmSha256> for Verifier<'_, R> {
    /// Already reported.
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Only the peer's own certificate counts: with other certificates that it sends, a certificate
    /// issued to it could act as a CA.
    fn verify_certificate(&mut self, seen: &Sha256, sent: CertificateRef) -> Result<(), Error> {
        let Some(CertificateEntryRef::X509(der)) = sent.entries.first() else {
            return self.refuse(TlsError::Untrusted);
        };
        match (&self.shown, self.authority.check(der, self.host, self.now)) {
            (Shown::Nothing, Ok((key, from))) => {
                self.valid_from = from;
                self.shown = Shown::Certificate(key, seen.clone());
                Ok(())
            }
            (Shown::Nothing, Err(why)) => self.refuse(why),
            _ => self.refuse(TlsError::Handshake),
        }
    }

    fn verify_signature(&mut self, sent: CertificateVerifyRef) -> Result<(), Error> {
        let Shown::Certificate(key, seen) = &self.shown else {
            return self.refuse(TlsError::Handshake);
        };
        let hash = seen.clone().finalize();
        let message = [CONTEXT.0, CONTEXT.1, &hash].concat();
        if !matches!(sent.signature_scheme, SignatureScheme::EcdsaSecp256r1Sha256) {
            return self.refuse(TlsError::Algorithm);
        }
        let signature = DerSignature::try_from(sent.signature);
        if signature.is_ok_and(|signature| key.verify(&message, &signature).is_ok()) {
            self.shown = Shown::Key;
            return Ok(());
        }
        self.refuse(TlsError::Untrusted)
    }
}

impl<R: CryptoRngCore> CryptoProvider for Verifier<'_, R> {
    type CipherSuite = Aes128GcmSha256;
    /// A device has no certificate.
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        SharedRng(self.rng.0)
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, Error> {
        Ok(self)
    }
}

/// A random source that two connections share.
struct SharedRng<'a, R>(&'a RefCell<R>);

impl<R: CryptoRngCore> RngCore for SharedRng<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.borrow_mut().next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.borrow_mut().fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.borrow_mut().try_fill_bytes(bytes)
    }
}

impl<R: CryptoRngCore> CryptoRng for SharedRng<'_, R> {}

#[cfg(test)]
mod tests;
