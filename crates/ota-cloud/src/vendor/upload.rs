//! Upload places, the second of three steps to add firmware.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, Code};
use crate::catalog::Firmware;
use crate::error::BadState;
use crate::module::Module;

/// How long an upload is possible, in seconds.
const OPEN: u64 = 3_600;
/// How long uploaded bytes are kept, in seconds.
const KEPT: u64 = 24 * 3_600;
/// The most names of a list, as on the vendor's console.
const MOST_NAMES: usize = 10_000;

/// The purpose of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Subject {
    /// An image.
    Firmware {
        /// Its module.
        module: Module,
        /// Its version.
        version: String,
    },
    /// Names of devices, one per line.
    List {
        /// The list's name.
        name: String,
    },
}

/// Uploaded bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Came {
    /// Their MD5, in hexadecimal.
    pub md5: String,
    /// Their number.
    pub size: u64,
    /// The name of the stored image, if there is a folder.
    #[serde(default)]
    pub image: Option<String>,
    /// The names of a list.
    #[serde(default)]
    pub names: Vec<String>,
}

impl Came {
    /// Makes it of bytes with this digest.
    #[must_use]
    pub const fn new(md5: String, size: u64) -> Self {
        Self { md5, size, image: None, names: Vec::new() }
    }
}

/// A stored upload place: JSON, whose later versions only add fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UploadPlace {
    /// The product.
    pub product: String,
    /// The purpose of the bytes.
    pub subject: Subject,
    /// Their number, if announced.
    pub size: Option<u64>,
    /// Until when it is open, or its bytes are kept, in Unix seconds.
    pub until: u64,
    /// The uploaded bytes.
    #[serde(default)]
    pub came: Option<Came>,
    /// SHA-256 of the URL's token, in hexadecimal.
    token: String,
}

impl UploadPlace {
    /// The largest list in bytes.
    pub const MAX_LIST: u64 = 256 * 1_024;
    /// The most open places of a product without bytes.
    pub const MOST_OPEN: usize = 100;
    /// The most places of a product, including those with bytes.
    pub const MOST: usize = 500;

    /// Makes an open place at a time in Unix seconds.
    ///
    /// # Errors
    /// [`Code::InvalidParameterValue`]: the firmware is invalid.
    pub fn open(
        product: &str,
        subject: Subject,
        size: Option<u64>,
        token: &str,
        now: u64,
    ) -> Result<Self, ApiError> {
        if let Subject::Firmware { version, .. } = &subject
            && !crate::module::is_word(version, b"._-")
        {
            let what = "FirmwareVersion is 1 to 32 letters, digits or . _ -";
            return Err(ApiError::new(Code::InvalidParameterValue, what));
        }
        if size.is_some_and(|size| !(1..=Firmware::MAX_SIZE).contains(&size)) {
            let what = "FileSize is 1 byte to 2,048 MiB";
            return Err(ApiError::new(Code::InvalidParameterValue, what));
        }
        let (product, until) = (product.to_owned(), now.saturating_add(OPEN));
        Ok(Self { product, subject, size, until, came: None, token: hash(token) })
    }

    /// Checks whether a product may have another place.
    ///
    /// # Errors
    /// [`Code::LimitExceeded`].
    pub fn room(open: usize, all: usize) -> Result<(), ApiError> {
        let most = match (open, all) {
            (Self::MOST_OPEN.., _) => "100 URLs of the product wait for their bytes: put some, or",
            (_, Self::MOST..) => "the bytes of 500 URLs of the product are kept:",
            _ => return Ok(()),
        };
        let what = format!("{most} wait until some are too old");
        Err(ApiError::new(Code::LimitExceeded, what))
    }

    /// The id of its row: one per product, module and version.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.subject {
            Subject::Firmware { module, version } => format!("{}/{module}/{version}", self.product),
            Subject::List { name } => format!("{}/~/{name}", self.product),
        }
    }

    /// The longest upload.
    #[must_use]
    pub const fn most(&self) -> u64 {
        match (&self.subject, self.size) {
            (Subject::List { .. }, _) => Self::MAX_LIST,
            (Subject::Firmware { .. }, Some(size)) => size,
            (Subject::Firmware { .. }, None) => Firmware::MAX_SIZE,
        }
    }

    /// Whether an upload with this token is allowed. Compares in constant time.
    #[must_use]
    pub fn takes(&self, token: &str, now: u64) -> bool {
        let (ours, theirs) = (self.token.as_bytes(), hash(token));
        let differ = ours.iter().zip(theirs.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        differ == 0 && ours.len() == theirs.len() && self.came.is_none() && now <= self.until
    }

    /// Records uploaded bytes: no further upload is possible.
    pub fn fill(&mut self, came: Came, now: u64) {
        (self.came, self.until) = (Some(came), now.saturating_add(KEPT));
    }

    /// The uploaded bytes, if they are the expected ones.
    ///
    /// # Errors
    /// [`Code::FailedOperation`]: there are none, or others.
    pub fn claim(&self, md5: Option<&str>, size: Option<u64>) -> Result<&Came, ApiError> {
        let refused = |what: &str| ApiError::new(Code::FailedOperation, what);
        let came = self.came.as_ref().ok_or_else(|| {
            refused("no bytes were put to the URL that was given for this: put them first")
        })?;
        if size.is_some_and(|size| size != came.size) {
            return Err(refused("the bytes that were put are not as many as FileSize says"));
        }
        if md5.is_some_and(|md5| !md5.eq_ignore_ascii_case(&came.md5)) {
            return Err(refused("the bytes that were put have another MD5"));
        }
        Ok(came)
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }
}

/// Parses the names of a list: one per line, without empty ones.
///
/// # Errors
/// [`Code::InvalidParameterValue`].
pub fn names_of_list(bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let bad = |what: &str| ApiError::new(Code::InvalidParameterValue, what);
    let text = core::str::from_utf8(bytes).map_err(|_| bad("the list is not UTF-8 text"))?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    let names: Vec<String> = lines
        .map(|line| line.trim().trim_matches(',').to_owned())
        .filter(|n| !n.is_empty())
        .collect();
    if names.is_empty() {
        return Err(bad("the list has no name"));
    }
    if names.len() > MOST_NAMES {
        return Err(bad(&format!("the list has {} names, at most {MOST_NAMES} fit", names.len())));
    }
    if names.iter().any(|name| ota_proto::Identity::new("P", name).is_err()) {
        return Err(bad("the list has a line without a valid device name"));
    }
    Ok(names)
}

fn hash(token: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(token.as_bytes()))
}
