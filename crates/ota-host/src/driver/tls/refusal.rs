//! Maps errors of rustls to the core's.

use std::io;

use futures_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use ota_proto::TlsError;

/// Maps an error of a handshake; `None` if it comes from the connection below.
pub(super) fn kind(error: &io::Error) -> Option<TlsError> {
    Some(match tls(error)? {
        Error::InvalidCertificate(why) => certificate(why),
        Error::NoCertificatesPresented => TlsError::Untrusted,
        // The first byte is not a TLS record's.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsError::NotTls,
        // Neither side's fault: they have no common kind of key, signature or group.
        Error::PeerIncompatible(_)
        | Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        ) => TlsError::Algorithm,
        _ => refusal(error).unwrap_or(TlsError::Handshake),
    })
}

/// Whether an error means that the peer refuses our certificate, or requires one.
pub(crate) fn refusal(error: &io::Error) -> Option<TlsError> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, UnknownCA, UnsupportedCertificate,
    };
    match tls(error)? {
        Error::AlertReceived(
            AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | UnknownCA
            | UnsupportedCertificate,
        ) => Some(TlsError::ClientRefused),
        _ => None,
    }
}

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate(error: &CertificateError) -> TlsError {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => TlsError::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => TlsError::NotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => TlsError::WrongHost,
        E::UnknownIssuer | E::BadSignature | E::Revoked => TlsError::Untrusted,
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => TlsError::Algorithm,
        E::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::EndEntityUsedAsCa) => TlsError::NotAuthority,
            Some(webpki::Error::CaUsedAsEndEntity) => TlsError::Authority,
            Some(webpki::Error::UnsupportedCertVersion) => TlsError::Version1,
            _ => TlsError::Unfit,
        },
        _ => TlsError::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_an_algorithm_that_is_not_known_is_told_apart() {
        let signature_algorithm_id = Vec::new();
        let unknown = CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: signature_algorithm_id.clone(),
            supported_algorithms: Vec::new(),
        };
        let other_key = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id: Vec::new(),
        };
        for (why, told) in [
            (unknown, TlsError::Algorithm),
            (other_key, TlsError::Algorithm),
            (CertificateError::BadSignature, TlsError::Untrusted),
            (CertificateError::BadEncoding, TlsError::Unfit),
        ] {
            let error = io::Error::other(Error::InvalidCertificate(why));
            assert_eq!(kind(&error), Some(told), "{error}");
        }
    }
}
