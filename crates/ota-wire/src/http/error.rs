//! Errors of requests and answers.

use core::fmt;

use ota_proto::TransportError;

/// The peer's fault: the answer is unusable. Close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HttpError {
    /// The answer does not begin like HTTP/1.0 or 1.1.
    NotHttp,
    /// A malformed header: an invalid byte, an empty name, a CR without LF, or folding in a line
    /// that matters.
    Header,
    /// The head, or a line of it that matters, is longer than the limit.
    HeadTooLong,
    /// More interim answers than the limit.
    Informational,
    /// The peer switches to another protocol without a request for it (101).
    Upgraded,
    /// `Content-Length` is not a number below 2^64, or occurs with two different values.
    Length,
    /// The answer has both `Content-Length` and `Transfer-Encoding`, so the end of the body is
    /// ambiguous.
    Ambiguous,
    /// A transfer coding other than one `chunked`, or any at all in HTTP/1.0.
    TransferCoding,
    /// `Content-Range` is malformed or contradicts itself.
    ContentRange,
    /// A header that may occur once has two different values.
    Repeated,
    /// `Location` has a control character.
    Location,
    /// A chunk size is malformed or has more than 16 digits.
    ChunkSize,
    /// Chunk extensions are malformed or longer than the limit.
    ChunkExtension,
    /// A chunk is longer than its size says.
    ChunkEnd,
    /// The trailer section is malformed or longer than the limit.
    Trailer,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "not an HTTP/1 answer",
            Self::Header => "malformed header",
            Self::HeadTooLong => "head too long",
            Self::Informational => "too many interim answers",
            Self::Upgraded => "the server switched protocols without a request",
            Self::Length => "unusable Content-Length",
            Self::Ambiguous => "Content-Length together with Transfer-Encoding",
            Self::TransferCoding => "unusable Transfer-Encoding",
            Self::ContentRange => "unusable Content-Range",
            Self::Repeated => "a header with two different values",
            Self::Location => "unusable Location",
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkExtension => "malformed or too long chunk extension",
            Self::ChunkEnd => "chunk longer than its size",
            Self::Trailer => "malformed or too long trailer",
        })
    }
}

impl core::error::Error for HttpError {}

impl From<HttpError> for TransportError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::NotHttp => Self::NotHttp,
            HttpError::HeadTooLong => Self::HeadTooLong,
            _ => Self::Malformed,
        }
    }
}

/// The caller's fault: the URL cannot be used in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// The host is empty or has bytes that are invalid in a host name or address.
    Host,
    /// The target does not begin with `/` or `?`, or has a fragment, a control, a blank or a byte
    /// outside ASCII.
    Target,
    /// The URL has a user name, but the crate is built without `url-user`.
    User,
    /// The request would be longer than [`super::FetchLimits::request`] bytes.
    TooLong,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is missing or invalid",
            Self::Target => "the path or query is invalid",
            Self::User => "user names in URLs are not built in",
            Self::TooLong => "URL too long for a request",
        })
    }
}

impl core::error::Error for RequestError {}
