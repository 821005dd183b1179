//! Errors of a configuration, and whether a later attempt may succeed.

use std::path::Path;

use crate::failure::Failure;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigError {
    pub(super) why: String,
    /// The error is not in the configuration itself but in a file that it names, so a later attempt
    /// may succeed: its disk may be mounted later, or memory may be free again.
    outside: bool,
}

impl ConfigError {
    pub(super) fn outside(why: impl Into<String>) -> Self {
        Self { why: why.into(), outside: true }
    }

    /// Adds its key or its file in front.
    pub(super) fn of(self, what: &str) -> Self {
        Self { why: format!("{what}{}", self.why), ..self }
    }

    pub(super) fn failure(self, what: &str) -> Failure {
        let message = format!("{what}{}", self.why);
        if self.outside { Failure::environment(message) } else { Failure::usage(message) }
    }
}

impl From<String> for ConfigError {
    fn from(why: String) -> Self {
        Self { why, outside: false }
    }
}

impl From<&str> for ConfigError {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Reads a file that an operator wrote, without the byte order mark that some editors add.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = std::fs::read(path).map_err(|error| ConfigError::outside(error.to_string()))?;
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ConfigError::outside("it is UTF-16; save it as UTF-8"));
    }
    Ok(bytes)
}

/// Converts bytes to text.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, ConfigError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| "it is not UTF-8 text".into())
}
