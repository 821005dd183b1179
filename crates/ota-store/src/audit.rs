//! Tamper-evident audit lines: an HMAC chains each to the one before it.
//!
//! Without the master key nobody can create or change a line, or remove one from the middle. A user
//! who can write to the database can remove the newest lines unnoticed: compare the head with a
//! copy that is stored elsewhere.

use std::fmt;

use hmac::Mac as _;
use zeroize::Zeroizing;

use crate::chain::kept_key;
use crate::error::StoreError;
use crate::row::{AuditLine, KeyId, Link};
use crate::seal::{Ring, SealError};
use crate::store::Read;

pub use crate::chain::AuditKey;

/// Lines per read.
const BATCH: usize = 500;

/// The newest line; store a copy of it elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first.
    pub seq: u64,
    /// Its link.
    pub link: Link,
}

/// Why the audit is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditError {
    /// This line, or the one before it, was changed.
    Changed {
        /// The line.
        seq: u64,
    },
    /// Lines are missing before this one.
    Missing {
        /// The line after the gap.
        seq: u64,
    },
    /// A line was linked under an unknown master key.
    UnknownKey {
        /// The line.
        seq: u64,
        /// The key.
        key: KeyId,
    },
    /// The key of older lines cannot be opened.
    Seal(SealError),
    /// The lines cannot be read.
    Store(StoreError),
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => {
                write!(f, "the audit was changed at line {seq} or before it: compare a backup")
            }
            Self::Missing { seq } => {
                write!(f, "lines of the audit are missing before line {seq}: compare a backup")
            }
            Self::UnknownKey { seq, key } => write!(
                f,
                "line {seq} of the audit is linked under the master key {key}, which is not in \
                 the key file: add that key"
            ),
            Self::Seal(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuditError {}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Verifies the chain from the last pruned line to its head.
///
/// # Errors
/// [`AuditError`], by the first line that does not fit.
pub fn verify(read: &dyn Read, ring: &Ring) -> Result<Head, AuditError> {
    let (seq, link) = read.audit_anchor()?;
    let mut head = Head { seq, link };
    let mut key: Option<AuditKey> = None;
    loop {
        let lines = read.audit(head.seq, BATCH)?;
        if lines.is_empty() {
            return Ok(head);
        }
        for line in lines {
            if line.seq != head.seq.saturating_add(1) {
                return Err(AuditError::Missing { seq: line.seq });
            }
            let known = match key.take().filter(|key| key.id() == line.key) {
                Some(key) => key,
                None => key_of(read, ring, &line)?,
            };
            let mac = known.link(&head.link, line.seq, &line.what);
            if mac.verify_slice(&line.link).is_err() {
                return Err(AuditError::Changed { seq: line.seq });
            }
            key = Some(known);
            head = Head { seq: line.seq, link: line.link };
        }
    }
}

/// The key of a line: derived from an available master key, or sealed under one by a rotation.
fn key_of(read: &dyn Read, ring: &Ring, line: &AuditLine) -> Result<AuditKey, AuditError> {
    if let Some(key) = ring.audit_key_of(line.key) {
        return Ok(key);
    }
    let unknown = AuditError::UnknownKey { seq: line.seq, key: line.key };
    let id = kept_key(line.key);
    let Some(sealed) = read.secret(&id)? else { return Err(unknown) };
    let opened = ring.open(&id, &sealed).map_err(AuditError::Seal)?;
    let bytes: [u8; 32] = opened.expose().try_into().map_err(|_| unknown)?;
    Ok(AuditKey::new(line.key, Zeroizing::new(bytes)))
}
