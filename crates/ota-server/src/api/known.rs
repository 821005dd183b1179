//! The API keys, in memory: credentials are checked without the loop and the store, so that
//! unauthenticated clients load neither.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use ota_cloud::api::{Caller, Key, KeyText};
use ota_store::{Kind, Read, Sealed, StoreError};

use crate::keys::{Keys, key_place};

/// Rows per read.
const PAGE: usize = 100;

/// The data of the key rows.
#[derive(Debug)]
pub(super) struct Known {
    keys: RwLock<BTreeMap<String, (Key, Option<Sealed>)>>,
    ring: Keys,
}

impl Known {
    /// Reads the rows. An unreadable one is not a key.
    pub(super) fn read(read: &dyn Read, ring: Keys) -> Result<Self, StoreError> {
        let mut keys = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = read.items(Kind::API_KEY, "", after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for item in &page {
                if let Ok(key) = Key::from_bytes(&item.body) {
                    let sealed = read.secret(&key_place(&item.id))?;
                    keys.insert(item.id.clone(), (key, sealed));
                }
            }
        }
        Ok(Self { keys: RwLock::new(keys), ring })
    }

    /// Adds a new key with stored rows. The rows are not read again: a failed read would make the
    /// key unknown.
    pub(super) fn made(&self, key: Key, sealed: Sealed) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.id.clone(), (key, Some(sealed)));
    }

    /// Removes a key.
    pub(super) fn removed(&self, id: &str) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The owner of this text.
    pub(super) fn caller(&self, text: &KeyText) -> Option<Caller> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(text.id()).and_then(|(key, _)| key.clone().opens(text))
    }

    /// The owner of the key with this id, and its text, which is the signing secret.
    pub(super) fn signer(&self, id: &str) -> Result<Option<(Caller, KeyText)>, StoreError> {
        let found = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.get(id).cloned()
        };
        let Some((key, Some(sealed))) = found else { return Ok(None) };
        let text = self.ring.open_key(id, &sealed)?;
        Ok(text.and_then(|text| key.opens(&text).map(|caller| (caller, text))))
    }
}
