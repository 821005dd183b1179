//! Secrets that must be readable: sealed under a master key that is not in the database.
//!
//! XChaCha20-Poly1305 with the caller's nonce, and the secret's place as associated data.

use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use hmac::Mac as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::chain::{self, AuditKey};
use crate::commit::{Commit, SecretWrite};
use crate::error::StoreError;
use crate::private::{self, Unfit};
use crate::row::{Sealed, SecretId};
use crate::store::Store;

pub use crate::row::KeyId;

/// The most keys in a file: a rotation has two.
const MAX_KEYS: usize = 8;
/// Bytes of a line: 64 digits and its end.
const LINE: usize = 65;

/// An opened secret. `Debug` hides it; its memory is erased when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a key file or a seal is rejected. No text contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The database has secrets, but the key file does not exist.
    MissingKey {
        /// The file.
        path: String,
        /// The required key.
        wanted: KeyId,
    },
    /// The key file has other keys.
    WrongKey {
        /// The required key.
        wanted: KeyId,
    },
    /// Users other than its owner may read the key file.
    Exposed {
        /// The file.
        path: String,
    },
    /// The key file has no keys, or must not be trusted.
    BadFile {
        /// The file.
        path: String,
        /// The fault.
        why: &'static str,
    },
    /// The seal is invalid: the bytes were changed, or belong elsewhere.
    Broken {
        /// The secret.
        id: SecretId,
    },
    /// The secret is too long to be sealed.
    TooLong,
    /// The key file or the store cannot be read or written.
    Store(StoreError),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingKey { path, wanted } => write!(
                f,
                "{path} is missing, and the database's secrets are sealed under the key {wanted}: \
                 put the file back; nothing was changed"
            ),
            Self::WrongKey { wanted } => write!(
                f,
                "the key file does not have the key {wanted} that the database's secrets are \
                 sealed under: put the right file back; nothing was changed"
            ),
            Self::Exposed { path } => {
                write!(f, "{path} can be read by others than its owner: chmod 600 {path}")
            }
            Self::BadFile { path, why } => write!(f, "{path} is not a key file: {why}"),
            Self::Broken { id } => write!(
                f,
                "the seal of {}.{} of {:?} is broken: set this secret again",
                id.table, id.column, id.row
            ),
            Self::TooLong => f.write_str("the secret is too long to be sealed"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SealError {}

impl From<StoreError> for SealError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A master key: 32 random bytes. `Debug` shows its id.
#[derive(Clone)]
pub struct MasterKey {
    key: Zeroizing<[u8; 32]>,
    id: KeyId,
}

impl MasterKey {
    /// Makes a key from 32 random bytes.
    #[must_use]
    pub fn new(mut bytes: [u8; 32]) -> Self {
        let key = Zeroizing::new(bytes);
        bytes.zeroize();
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(derive(&key, b"ota-store key id").iter()) {
            *to = *from;
        }
        Self { key, id: KeyId::new(u64::from_be_bytes(id)) }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    fn link_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.key, b"ota-store admin link")
    }

    fn audit_key(&self) -> AuditKey {
        AuditKey::new(self.id, derive(&self.key, b"ota-store audit"))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, …)", self.id)
    }
}

fn derive(key: &[u8; 32], what: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = chain::keyed(key);
    mac.update(what);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The available master keys. The first one seals, all of them open.
#[derive(Clone, Debug)]
pub struct Ring {
    first: MasterKey,
    others: Vec<MasterKey>,
}

impl Ring {
    /// Makes a ring of one key.
    #[must_use]
    pub const fn new(key: MasterKey) -> Self {
        Self { first: key, others: Vec::new() }
    }

    /// Makes the ring in which `key` seals and the present keys still open.
    #[must_use]
    pub fn with_new(&self, key: MasterKey) -> Self {
        let others = self.keys().filter(|old| old.id != key.id).cloned().collect();
        Self { first: key, others }
    }

    /// Makes the ring of the first key alone, once [`rekey`] has left nothing under the others.
    #[must_use]
    pub fn without_old(&self) -> Self {
        Self::new(self.first.clone())
    }

    /// Checks that it opens every secret of a store, also after a rotation that did not come to its
    /// end.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] with the first key that it does not have.
    pub fn check(&self, read: &dyn crate::store::Read) -> Result<(), SealError> {
        let mut keys = read.master_key()?.into_iter().chain(read.secret_keys()?);
        keys.find(|wanted| self.key(*wanted).is_none())
            .map_or(Ok(()), |wanted| Err(SealError::WrongKey { wanted }))
    }

    /// The sealing key.
    #[must_use]
    pub const fn sealing(&self) -> KeyId {
        self.first.id
    }

    /// The audit's key under the key that seals.
    #[must_use]
    pub fn audit_key(&self) -> AuditKey {
        self.first.audit_key()
    }

    /// The keys that sign links of admins, the one to make them with first.
    pub fn link_keys(&self) -> impl Iterator<Item = Zeroizing<[u8; 32]>> {
        self.keys().map(MasterKey::link_key)
    }

    pub(crate) fn audit_key_of(&self, id: KeyId) -> Option<AuditKey> {
        self.key(id).map(MasterKey::audit_key)
    }

    fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn key(&self, id: KeyId) -> Option<&MasterKey> {
        self.keys().find(|key| key.id == id)
    }

    /// Seals a secret for its place. A nonce must be random and used only once.
    ///
    /// # Errors
    /// [`SealError::TooLong`].
    pub fn seal(&self, nonce: [u8; 24], id: &SecretId, secret: &[u8]) -> Result<Sealed, SealError> {
        let cipher = XChaCha20Poly1305::new((&*self.first.key).into());
        let aad = place(id);
        let bytes = cipher
            .encrypt((&nonce).into(), Payload { msg: secret, aad: &aad })
            .map_err(|_| SealError::TooLong)?;
        Ok(Sealed { key: self.first.id, nonce, bytes })
    }

    /// Opens a secret in its place.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] if its key is not in the ring, [`SealError::Broken`] if the bytes
    /// were not sealed for this place.
    pub fn open(&self, id: &SecretId, sealed: &Sealed) -> Result<Secret, SealError> {
        let key = self.key(sealed.key).ok_or(SealError::WrongKey { wanted: sealed.key })?;
        let cipher = XChaCha20Poly1305::new((&*key.key).into());
        let aad = place(id);
        let opened = cipher
            .decrypt((&sealed.nonce).into(), Payload { msg: &sealed.bytes, aad: &aad })
            .map_err(|_| SealError::Broken { id: id.clone() })?;
        Ok(Secret(Zeroizing::new(opened)))
    }

    /// Reads a key file: one line of 64 hexadecimal digits per key, the sealing key first.
    ///
    /// # Errors
    /// [`SealError`]; `Ok(None)` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, SealError> {
        let shown = path.display().to_string();
        let mut file = match private::open(path) {
            Ok(file) => file,
            Err(Unfit::System(why)) if why.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(Unfit::System(why)) => return Err(StoreError::io("open", path, &why).into()),
            Err(Unfit::Exposed) => return Err(SealError::Exposed { path: shown }),
            Err(unfit) => return Err(SealError::BadFile { path: shown, why: unfit.text() }),
        };
        let io = |why| StoreError::io("read", path, &why);
        let metadata = file.metadata().map_err(io)?;
        let bad = |why| SealError::BadFile { path: shown.clone(), why };
        if metadata.len() > (LINE * MAX_KEYS) as u64 {
            return Err(bad("it has more than 8 lines of 64 hexadecimal digits"));
        }
        // Reads at once: a growing buffer would leave copies of the keys.
        let mut text = Zeroizing::new(vec![0; LINE * MAX_KEYS]);
        let mut filled = 0;
        while let Some(free) = text.get_mut(filled..).filter(|free| !free.is_empty()) {
            let read = file.read(free).map_err(io)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        let text = text.get(..filled).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let keys: Option<Vec<_>> = lines.map(|line| unhex(line).map(MasterKey::new)).collect();
        let mut keys = keys.ok_or_else(|| bad("a line is not 64 hexadecimal digits"))?.into_iter();
        let first = keys.next().ok_or_else(|| bad("it is empty"))?;
        Ok(Some(Self { first, others: keys.collect() }))
    }

    /// Writes the key file with mode 0600: under another name, synced, renamed. `replace` allows
    /// replacing an existing one.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if it exists and must not be replaced; or the system's error.
    pub fn write(&self, path: &Path, replace: bool) -> Result<(), SealError> {
        let mut text = Zeroizing::new(String::with_capacity(LINE * MAX_KEYS));
        for key in self.keys().take(MAX_KEYS) {
            for byte in key.key.iter() {
                // A String takes whatever is written to it.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        if !replace && path.exists() {
            return Err(StoreError::Exists { path: path.display().to_string() }.into());
        }
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|why| StoreError::io("write", &temporary, &why))?;
        crate::folder::publish(&temporary, path, replace)?;
        Ok(())
    }
}

/// 32 bytes of 64 digits.
fn unhex(line: &[u8]) -> Option<[u8; 32]> {
    if line.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut key = [0; 32];
    for (to, pair) in key.iter_mut().zip(line.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(key)
}

/// The associated data: each part with its length, so that different places have different data.
fn place(id: &SecretId) -> Vec<u8> {
    let mut text = Vec::new();
    for part in [&id.table, &id.column, &id.row] {
        text.extend((part.len() as u64).to_be_bytes());
        text.extend(part.as_bytes());
    }
    text
}

/// Returns the ring for a store. A store without secrets gets the key of the file, or a new file
/// with `fresh`, 32 random bytes. A store with secrets gets the key under which they are sealed, or
/// an error. Sets the audit key.
///
/// # Errors
/// [`SealError`]; file and store are unchanged then.
pub fn open_ring(store: &mut dyn Store, path: &Path, fresh: [u8; 32]) -> Result<Ring, SealError> {
    let wanted = store.read().master_key()?;
    let ring = match (Ring::read(path)?, wanted) {
        (None, Some(wanted)) => {
            return Err(SealError::MissingKey { path: path.display().to_string(), wanted });
        }
        (Some(ring), _) => {
            ring.check(store.read())?;
            ring
        }
        (None, None) => {
            let ring = Ring::new(MasterKey::new(fresh));
            ring.write(path, false)?;
            ring
        }
    };
    if wanted.is_none() {
        store.set_master_key(ring.sealing())?;
    }
    store.set_audit_key(ring.audit_key());
    Ok(ring)
}

/// Seals a number of secrets again under the ring's first key, in one commit. Returns how many;
/// after the last one it returns 0, and the store records the new key. `nonce` returns a random
/// nonce, or `None` if the system provides none.
///
/// # Errors
/// [`SealError`]; these secrets are unchanged then.
pub fn rekey(
    store: &mut dyn Store,
    ring: &Ring,
    limit: usize,
    nonce: &mut dyn FnMut() -> Option<[u8; 24]>,
) -> Result<usize, SealError> {
    let mut nonce = || {
        let why = || StoreError::Io { why: "the system provides no random numbers".to_owned() };
        nonce().ok_or_else(why)
    };
    let mut secrets = Vec::new();
    // Lines that were linked under an older key must stay verifiable without that key.
    for old in &ring.others {
        let id = chain::kept_key(old.id);
        if store.read().secret(&id)?.is_none() {
            let sealed = ring.seal(nonce()?, &id, old.audit_key().bytes())?;
            secrets.push(SecretWrite::Put(id, sealed));
        }
    }
    for (id, sealed) in store.read().secrets_not_under(ring.sealing(), limit.clamp(1, 500))? {
        let opened = ring.open(&id, &sealed)?;
        let sealed = ring.seal(nonce()?, &id, opened.expose())?;
        secrets.push(SecretWrite::Put(id, sealed));
    }
    let changed = secrets.len();
    if changed == 0 {
        store.set_master_key(ring.sealing())?;
    } else {
        store.commit(&Commit { secrets, ..Commit::default() })?;
    }
    store.set_audit_key(ring.audit_key());
    Ok(changed)
}
