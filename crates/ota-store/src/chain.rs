//! The links of the audit: an HMAC chains each line to the one before it.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::row::{AuditLine, KeyId, Link, NewAudit, SecretId};

/// The key of the chain, derived from a master key. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditKey {
    id: KeyId,
    key: Zeroizing<[u8; 32]>,
}

impl AuditKey {
    pub(crate) const fn new(id: KeyId, key: Zeroizing<[u8; 32]>) -> Self {
        Self { id, key }
    }

    /// The master key from which it is derived.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.key.as_slice()
    }

    pub(crate) fn link(&self, before: &Link, seq: u64, what: &NewAudit) -> Hmac<Sha256> {
        let mut mac = keyed(self.bytes());
        mac.update(before);
        mac.update(&seq.to_be_bytes());
        mac.update(&what.at.to_be_bytes());
        mac.update(&what.body);
        mac
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({}, …)", self.id)
    }
}

/// Keys of 32 bytes are shorter than a block, so HMAC accepts them.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new((&*block).into())
}

/// The line after `head`.
pub(crate) fn next(key: &AuditKey, head: (u64, Link), what: &NewAudit) -> AuditLine {
    let seq = head.0.saturating_add(1);
    let link = key.link(&head.1, seq, what).finalize().into_bytes().into();
    AuditLine { seq, what: what.clone(), key: key.id, link }
}

/// The place of an earlier master key's audit key.
pub(crate) fn kept_key(key: KeyId) -> SecretId {
    SecretId::new("audit", "key", key.to_string())
}
