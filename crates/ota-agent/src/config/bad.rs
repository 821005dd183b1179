//! What is wrong with a configuration, and whether it may become better by itself.

use std::path::Path;

use crate::failure::Failure;

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) why: String,
    /// The fault is not in the configuration itself but in a file that it names, which another try
    /// may find: the disk that it is on is mounted later, the system has no memory.
    outside: bool,
}

impl Bad {
    pub(super) fn outside(why: impl Into<String>) -> Self {
        Self { why: why.into(), outside: true }
    }

    /// The same, with its key or its file before it.
    pub(super) fn of(self, what: &str) -> Self {
        Self { why: format!("{what}{}", self.why), ..self }
    }

    pub(super) fn failure(self, what: &str) -> Failure {
        let message = format!("{what}{}", self.why);
        if self.outside { Failure::environment(message) } else { Failure::usage(message) }
    }
}

impl From<String> for Bad {
    fn from(why: String) -> Self {
        Self { why, outside: false }
    }
}

impl From<&str> for Bad {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// The bytes of a file that an operator wrote. Without the mark that some editors put at its
/// begin: it belongs to no format that is read here.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, Bad> {
    let mut bytes = std::fs::read(path).map_err(|error| Bad::outside(error.to_string()))?;
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Bad::outside("it is UTF-16; save it as UTF-8"));
    }
    Ok(bytes)
}

/// Bytes as a text.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, Bad> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| "it is not UTF-8 text".into())
}
