//! Where bytes may be put, once: the second of three steps by which firmware comes in.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, Code};
use crate::batch::Batch;
use crate::catalog::Firmware;
use crate::device::BadState;
use crate::module::Module;

/// How long bytes may be put, in seconds.
const OPEN: u64 = 3_600;
/// How long bytes that came are kept, in seconds.
const KEPT: u64 = 24 * 3_600;

/// What the bytes are.
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
    /// Names of devices, a line for each.
    List {
        /// What it is called.
        name: String,
    },
}

/// Bytes that came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Came {
    /// Their MD5, in hexadecimal.
    pub md5: String,
    /// How many.
    pub size: u64,
    /// The name under which an image is kept, where that is a folder.
    #[serde(default)]
    pub image: Option<String>,
    /// The names of a list.
    #[serde(default)]
    pub names: Vec<String>,
}

impl Came {
    /// Bytes with this digest.
    #[must_use]
    pub const fn new(md5: String, size: u64) -> Self {
        Self { md5, size, image: None, names: Vec::new() }
    }
}

/// A place for bytes, as it is kept: JSON, whose fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Slot {
    /// The product.
    pub product: String,
    /// What the bytes are.
    pub subject: Subject,
    /// How many, where that was said.
    pub size: Option<u64>,
    /// Until when it is open, or what came is kept: Unix seconds.
    pub until: u64,
    /// What came.
    #[serde(default)]
    pub came: Option<Came>,
    /// SHA-256 of what the URL shows, in hexadecimal.
    token: String,
}

impl Slot {
    /// The largest list in bytes.
    pub const MAX_LIST: u64 = 256 * 1_024;
    /// The most places of a product to which nothing was put yet.
    pub const MOST_OPEN: usize = 100;
    /// The most places of a product, with those whose bytes are kept.
    pub const MOST: usize = 500;

    /// An open place, at a moment in Unix seconds.
    ///
    /// # Errors
    /// [`Code::InvalidParameterValue`]: no such firmware can be.
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

    /// Whether a product may have another place, by those that it has.
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

    /// The name of its row: one for each product, module and version.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.subject {
            Subject::Firmware { module, version } => format!("{}/{module}/{version}", self.product),
            Subject::List { name } => format!("{}/~/{name}", self.product),
        }
    }

    /// The most bytes that may be put.
    #[must_use]
    pub const fn most(&self) -> u64 {
        match (&self.subject, self.size) {
            (Subject::List { .. }, _) => Self::MAX_LIST,
            (Subject::Firmware { .. }, Some(size)) => size,
            (Subject::Firmware { .. }, None) => Firmware::MAX_SIZE,
        }
    }

    /// Whether bytes may be put with this token. All of it is looked at, wherever it differs.
    #[must_use]
    pub fn takes(&self, token: &str, now: u64) -> bool {
        let (ours, theirs) = (self.token.as_bytes(), hash(token));
        let differ = ours.iter().zip(theirs.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        differ == 0 && ours.len() == theirs.len() && self.came.is_none() && now <= self.until
    }

    /// Takes bytes that came: nothing more may be put.
    pub fn fill(&mut self, came: Came, now: u64) {
        (self.came, self.until) = (Some(came), now.saturating_add(KEPT));
    }

    /// What came, when it is what was meant.
    ///
    /// # Errors
    /// [`Code::FailedOperation`]: nothing came, or something else.
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

    /// As it is kept.
    ///
    /// # Errors
    /// [`BadState`]; none is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// From what was kept.
    ///
    /// # Errors
    /// [`BadState`] when these are not the bytes of one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }
}

/// The names of a list: a line for each, blank ones passed over.
///
/// # Errors
/// [`Code::InvalidParameterValue`].
pub fn names_of_list(bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let bad = |what: &str| ApiError::new(Code::InvalidParameterValue, what);
    let text = core::str::from_utf8(bytes).map_err(|_| bad("the list is no UTF-8 text"))?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    let names: Vec<String> = lines
        .map(|line| line.trim().trim_matches(',').to_owned())
        .filter(|n| !n.is_empty())
        .collect();
    if names.is_empty() {
        return Err(bad("the list has no name"));
    }
    if names.len() > Batch::MOST {
        return Err(bad("the list has more names than a batch may have"));
    }
    if names.iter().any(|name| ota_proto::Identity::new("P", name).is_err()) {
        return Err(bad("the list has a line that is no name of a device"));
    }
    Ok(names)
}

fn hash(token: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(token.as_bytes()))
}
