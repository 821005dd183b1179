//! Result codes and the reasons behind them.

use core::fmt;

use crate::error::{TlsError, TransportError};
use crate::response::Coding;

/// The result code of a `fail` report (docs/protocol.md, Result codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResultCode {
    /// `-1`: the download timed out.
    Timeout,
    /// `-2`: the file does not exist.
    NotFound,
    /// `-3`: the signature in the URL expired or was refused.
    Unauthorized,
    /// `-4`: the digest of the stored image differs from the offered one.
    Digest,
    /// `-5`: the update failed in another way.
    Failed,
}

impl ResultCode {
    /// The number on the wire, −5 to −1.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Timeout => -1,
            Self::NotFound => -2,
            Self::Unauthorized => -3,
            Self::Digest => -4,
            Self::Failed => -5,
        }
    }
}

/// Declares [`Reason`] with its stored number, its result code and its text in one place, so that
/// the three stay consistent.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $code:ident, $text:literal;)*) => {
        /// Why an attempt failed. Stored in the journal as one byte; the text is derived.
        ///
        /// ```
        /// use ota_proto::{Reason, ResultCode};
        ///
        /// assert_eq!(Reason::Vetoed.code(), ResultCode::Failed);
        /// assert_eq!(Reason::Vetoed.code().number(), -5);
        /// assert_eq!(Reason::Vetoed.text(), "image refused by application");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number in the journal, 1 to 255. It never changes between releases.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// The reason with this number in the journal.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The code for the cloud (docs/protocol.md, Result codes).
            #[must_use]
            pub const fn code(self) -> ResultCode {
                match self { $(Self::$name => ResultCode::$code,)* }
            }

            /// The text for `result_msg`: ASCII without quotes and backslashes, at most 48 bytes.
            #[must_use]
            pub const fn text(self) -> &'static str {
                // A table of texts would take 8 more bytes for each.
                let mut lengths: &[u8] = &[$($text.len() as u8,)*];
                let mut texts = concat!($($text,)*).as_bytes();
                let mut before = self as u8;
                while let [length, more @ ..] = lengths {
                    let Some((text, behind)) = texts.split_at_checked(*length as usize) else {
                        break;
                    };
                    if before == 0 {
                        return match core::str::from_utf8(text) {
                            Ok(text) => text,
                            Err(_) => break,
                        };
                    }
                    (lengths, texts, before) = (more, behind, before.wrapping_sub(1));
                }
                ""
            }
        }
    };
}

reasons! {
    /// No byte came for too long, or too few did; or patience ended after faults of several kinds.
    Network = 1, Timeout, "download timed out";
    /// 404 or 410, also from a fresh URL.
    NotFound = 2, NotFound, "file does not exist";
    /// 401 or 403, also from fresh URLs.
    Unauthorized = 3, Unauthorized, "url expired or refused";
    /// The digest of the stored image is wrong, also after a clean restart.
    Digest = 4, Digest, "md5 does not match";
    /// The offer lacks a digest.
    NoDigest = 5, Failed, "offer without md5";
    /// The offer lacks a size, or its size is zero.
    NoSize = 6, Failed, "offer without size";
    /// The image is larger than the slot.
    TooLarge = 7, Failed, "image larger than the slot";
    /// The URL is invalid, or longer than the device can hold.
    BadUrl = 8, Failed, "url unusable";
    /// The URL is plain `http`, but the device requires TLS.
    PlainHttp = 9, Failed, "plain http refused";
    /// TLS failed: no common version, or not built in. Other kinds have their own reasons below.
    Tls = 10, Failed, "tls failed";
    /// Too many redirects, or one from https to http.
    Redirect = 11, Failed, "redirect refused";
    /// The body had no length and did not end with the image. Other contradictions have their own
    /// reasons below.
    Contradiction = 12, Failed, "server contradicts the offer";
    /// The slot has no room.
    NoSpace = 13, Failed, "no space";
    /// The slot could not be erased, written, synced or read.
    Storage = 14, Failed, "storage error";
    /// The installer failed.
    Install = 15, Failed, "install failed";
    /// The installer exceeded its limit and was stopped.
    InstallTimeout = 16, Failed, "install timed out";
    /// Resets interrupted the installation too often.
    InstallCut = 17, Failed, "install interrupted too often";
    /// The slot could not be switched.
    Activate = 18, Failed, "slot switch failed";
    /// The application refused the verified image: signature, anti-rollback.
    Vetoed = 19, Failed, "image refused by application";
    /// The application refused the offer.
    Refused = 20, Failed, "offer refused";
    /// The application cancelled the update.
    Cancelled = 21, Failed, "cancelled";
    /// The new image was not confirmed in time.
    NotConfirmed = 22, Failed, "rolled back: not confirmed";
    /// The application rolled the new image back.
    RolledBack = 23, Failed, "rolled back: asked for";
    /// The boot loader rolled the new image back.
    BootFailed = 24, Failed, "rolled back: did not start";
    /// The new image reports another version than the offered one.
    WrongVersion = 25, Failed, "wrong version";
    /// The offer is older than the running version, or cannot be compared.
    Downgrade = 26, Failed, "downgrade refused";
    /// This image failed too often on this device.
    Banned = 27, Failed, "image failed here before";
    /// After the switch the old image runs again.
    NotDurable = 28, Failed, "rolled back: old version runs";
    /// The text of the offer is longer than the device can hold.
    UserDefined = 30, Failed, "user_defined too long";
    /// [`TlsError::WrongHost`].
    TlsHost = 31, Failed, "tls: certificate is for another host";
    /// [`TlsError::Untrusted`].
    TlsUntrusted = 32, Failed, "tls: certificate is not trusted";
    /// [`TlsError::Expired`].
    TlsExpired = 33, Failed, "tls: certificate is expired";
    /// [`TlsError::NotYetValid`].
    TlsNotYetValid = 34, Failed, "tls: certificate is not yet valid";
    /// [`TlsError::NotAuthority`].
    TlsNotAuthority = 35, Failed, "tls: certificate is from no authority";
    /// [`TlsError::Unfit`].
    TlsUnfit = 36, Failed, "tls: certificate is not one of a server";
    /// [`TlsError::ClockNotSet`].
    ClockNotSet = 37, Failed, "tls: the clock is not set";
    /// [`TlsError::ClientRefused`].
    TlsClientRefused = 38, Failed, "tls: our certificate is refused";
    /// The installer could not run on this machine: the image gets no strike.
    Machine = 39, Failed, "this machine could not install it";
    /// The connection broke so often that three times the image's bytes came, but never the whole
    /// image.
    Broken = 40, Timeout, "download broke off too often";
    /// [`StorageError::NoSecondSpace`](crate::StorageError::NoSecondSpace).
    NoSecondSpace = 45, Failed, "no space for a second image";
    /// [`StorageError::ReadOnly`](crate::StorageError::ReadOnly).
    ReadOnly = 46, Failed, "storage may not be written";
    /// Over plain http something other than the image was answered: by a captive portal, a proxy or
    /// another server.
    SomethingElse = 50, Failed, "server answers with something else";
    /// The application confirmed the new image, but the cloud did not answer. The image gets no
    /// strike.
    NoAnswer = 51, Failed, "rolled back: no answer from the cloud";
    /// [`TlsError::Version1`].
    TlsVersion1 = 60, Failed, "tls: certificate is x509 version 1";
    /// [`TlsError::Authority`].
    TlsAuthority = 61, Failed, "tls: certificate is an authority's own";
    /// [`TlsError::Algorithm`].
    TlsAlgorithm = 62, Failed, "tls: key or signature kind not supported";
    /// [`TlsError::NotTls`].
    NotTls = 63, Failed, "tls: the server speaks no tls there";
    /// The body is compressed and does not have the offered length.
    Encoded = 80, Failed, "server sends it compressed";
    /// Like [`Reason::Digest`], for a body that the server labels as `gzip`. The next ones are for
    /// other labels.
    DigestGzip = 81, Digest, "md5 does not match, sent as gzip";
    /// `deflate`.
    DigestDeflate = 82, Digest, "md5 does not match, sent as deflate";
    /// `br`.
    DigestBrotli = 83, Digest, "md5 does not match, sent as br";
    /// `zstd`.
    DigestZstd = 84, Digest, "md5 does not match, sent as zstd";
    /// `compress`.
    DigestCompress = 85, Digest, "md5 does not match, sent as compress";
    /// `aws-chunked`.
    DigestAwsChunked = 86, Digest, "md5 does not match, sent as aws-chunked";
    /// A label that is not an HTTP coding.
    DigestLabelled = 87, Digest, "md5 does not match, sent as some coding";
    /// The address of the firmware server is loopback, link-local or private, and such addresses
    /// are refused.
    NotPublic = 88, Failed, "the store has no public address";
    /// [`TransportError::Resolve`].
    NoName = 89, Timeout, "host name of the store not found";
    /// [`TransportError::Refused`].
    Unreachable = 90, Timeout, "store cannot be reached";
    /// [`TransportError::Closed`], or a body that ended early.
    Closed = 91, Timeout, "connection to the store broke";
    /// 500 to 599.
    ServerError = 92, Timeout, "store answers with a server error";
    /// 408 or 429.
    TryLater = 93, Timeout, "store asks to try again later";
    /// [`TransportError::NotHttp`].
    NotHttp = 94, Failed, "the server speaks no http there";
    /// [`TransportError::HeadTooLong`].
    HeadTooLong = 95, Failed, "head of the answer too long";
    /// [`TransportError::Malformed`].
    Malformed = 96, Failed, "answer is malformed http";
    /// The server's file, or its stated length, does not have the offered size.
    OtherLength = 97, Failed, "server has another length than the offer";
    /// The server sends another part than the requested one, or none.
    OtherRange = 98, Failed, "server sends another range than asked for";
    /// A status that a download cannot have.
    OddStatus = 99, Failed, "server answers with an unusable status";
    /// The body is longer than the image.
    TooLong = 100, Failed, "server sends more than the image";
}

impl Reason {
    /// The reason for a wrong digest of a body with this label.
    pub(crate) const fn wrong_digest(coding: Option<Coding>) -> Self {
        use Coding as C;
        match coding {
            None => Self::Digest,
            Some(C::Gzip) => Self::DigestGzip,
            Some(C::Deflate) => Self::DigestDeflate,
            Some(C::Brotli) => Self::DigestBrotli,
            Some(C::Zstd) => Self::DigestZstd,
            Some(C::Compress) => Self::DigestCompress,
            Some(C::AwsChunked) => Self::DigestAwsChunked,
            Some(C::Other) => Self::DigestLabelled,
        }
    }

    /// Whether the peer violates the protocol, so that an immediate retry gets the same answer.
    pub(crate) const fn is_violation(self) -> bool {
        let other = matches!(self, Self::Redirect | Self::NotPublic | Self::BadUrl);
        other || self.is_tls() || self.is_contradiction()
    }

    /// Whether an answer contradicts the offer, or itself, or HTTP.
    pub(crate) const fn is_contradiction(self) -> bool {
        use Reason as R;
        matches!(
            self,
            R::Contradiction
                | R::Encoded
                | R::NotHttp
                | R::HeadTooLong
                | R::Malformed
                | R::OtherLength
                | R::OtherRange
                | R::OddStatus
                | R::TooLong
        )
    }

    /// Whether the new version was activated and did not last: the old one runs again.
    #[must_use]
    pub const fn is_roll_back(self) -> bool {
        use Reason as R;
        matches!(
            self,
            R::NotConfirmed | R::RolledBack | R::BootFailed | R::NotDurable | R::NoAnswer
        )
    }

    /// Whether reports of this reason include the server's answer.
    #[must_use]
    pub const fn is_explained(self) -> bool {
        use Reason as R;
        matches!(
            self,
            R::SomethingElse
                | R::Contradiction
                | R::ServerError
                | R::OtherLength
                | R::OddStatus
                | R::TooLong
        )
    }

    /// Whether TLS was refused, by us or by the peer.
    pub(crate) const fn is_tls(self) -> bool {
        use Reason as R;
        matches!(
            self,
            R::Tls
                | R::TlsHost
                | R::TlsUntrusted
                | R::TlsExpired
                | R::TlsNotYetValid
                | R::TlsNotAuthority
                | R::TlsUnfit
                | R::TlsVersion1
                | R::TlsAuthority
                | R::TlsAlgorithm
                | R::NotTls
                | R::ClockNotSet
                | R::TlsClientRefused
        )
    }
}

impl From<TlsError> for Reason {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::WrongHost => Self::TlsHost,
            TlsError::Untrusted => Self::TlsUntrusted,
            TlsError::Expired => Self::TlsExpired,
            TlsError::NotYetValid => Self::TlsNotYetValid,
            TlsError::NotAuthority => Self::TlsNotAuthority,
            TlsError::Unfit => Self::TlsUnfit,
            TlsError::Version1 => Self::TlsVersion1,
            TlsError::Authority => Self::TlsAuthority,
            TlsError::Algorithm => Self::TlsAlgorithm,
            TlsError::NotTls => Self::NotTls,
            TlsError::ClockNotSet => Self::ClockNotSet,
            TlsError::ClientRefused => Self::TlsClientRefused,
            TlsError::Handshake | TlsError::Unavailable => Self::Tls,
        }
    }
}

impl From<TransportError> for Reason {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Resolve => Self::NoName,
            TransportError::Refused => Self::Unreachable,
            TransportError::TimedOut => Self::Network,
            TransportError::Closed => Self::Closed,
            TransportError::Tls(why) => why.into(),
            TransportError::NotHttp => Self::NotHttp,
            TransportError::HeadTooLong => Self::HeadTooLong,
            TransportError::Malformed => Self::Malformed,
            TransportError::BadUrl => Self::BadUrl,
            TransportError::NotPublic => Self::NotPublic,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_reversible() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            for other in &Reason::ALL[i + 1..] {
                assert_ne!(reason.number(), other.number());
            }
        }
        assert_eq!(Reason::from_number(0), None);
    }

    #[test]
    fn texts_need_no_escape_and_are_short() {
        for reason in Reason::ALL {
            assert!((1..=48).contains(&reason.text().len()));
            assert!(reason.text().bytes().all(|b| b.is_ascii() && b != b'"' && b != b'\\'));
        }
    }
}
