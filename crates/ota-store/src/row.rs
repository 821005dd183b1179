//! Stored data: rows, events, secrets, audit lines.

use std::collections::BTreeMap;
use std::fmt;

/// The most rows of a kind in one load, commit, or batch of due rows.
pub(crate) const MAX_EACH: usize = 1_000;
/// The largest number that every store holds.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;

/// Microseconds since the Unix epoch, at most 2⁶³ − 1.
pub type Micros = u64;

/// The key of a device. Ordered by product, then name, by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey {
    /// The product's id, 1 to 64 bytes.
    pub product: String,
    /// The device's name, 1 to 64 bytes.
    pub name: String,
}

impl DeviceKey {
    /// Takes both.
    #[must_use]
    pub fn new(product: impl Into<String>, name: impl Into<String>) -> Self {
        Self { product: product.into(), name: name.into() }
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.product.escape_debug(), self.name.escape_debug())
    }
}

/// A device. `Debug` shows the length of its state.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its key.
    pub key: DeviceKey,
    /// The loaded revision; 0 for a row that was never committed.
    pub rev: u64,
    /// The earliest time at which it needs a turn.
    pub wake: Option<Micros>,
    /// The state of its task, in its owner's numbers.
    pub task: Option<u8>,
    /// The reported version of each module: 1 to 64 bytes, and 1 to 256.
    pub versions: BTreeMap<String, String>,
    /// Names of 1 to 64 bytes, values of at most 256.
    pub tags: BTreeMap<String, String>,
    /// Whether it must not log in.
    pub disabled: bool,
    /// The device in its owner's format, at most 1 MiB.
    pub state: Vec<u8>,
}

impl DeviceRow {
    /// Makes a row that was never committed.
    #[must_use]
    pub const fn new(key: DeviceKey) -> Self {
        Self {
            key,
            rev: 0,
            wake: None,
            task: None,
            versions: BTreeMap::new(),
            tags: BTreeMap::new(),
            disabled: false,
            state: Vec::new(),
        }
    }
}

impl fmt::Debug for DeviceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRow")
            .field("key", &self.key)
            .field("rev", &self.rev)
            .field("wake", &self.wake)
            .field("task", &self.task)
            .field("versions", &self.versions)
            .field("tags", &self.tags)
            .field("disabled", &self.disabled)
            .field("state", &format_args!("{} bytes", self.state.len()))
            .finish()
    }
}

/// The kind of an [`Item`]. The store only distinguishes kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// A product; its id is the product's.
    pub const PRODUCT: Self = Self(1);
    /// A firmware.
    pub const FIRMWARE: Self = Self(2);
    /// A batch.
    pub const CAMPAIGN: Self = Self(3);
    /// An API key. Its secret is a sealed one, not in the body.
    pub const API_KEY: Self = Self(4);
    /// The answer to a repeatable call. Its wake-up is its expiry.
    pub const IDEMPOTENCY: Self = Self(5);
    /// An upload place. Its wake-up is its expiry.
    pub const UPLOAD: Self = Self(6);
    /// A module that a product names.
    pub const MODULE: Self = Self(7);
    /// A used signature. Its wake-up is its expiry.
    pub const REPLAY: Self = Self(8);
    /// A call that created a batch. Its wake-up is its expiry.
    pub const CALL: Self = Self(9);
    /// The settings of a product; the id is the product's. Its secret is sealed elsewhere.
    pub const SETTINGS: Self = Self(10);
    /// A person who may sign in; its id is the name.
    pub const PERSON: Self = Self(11);
    /// A session of a person. Its wake-up is its latest end.
    pub const SESSION: Self = Self(12);
    /// A used link of an admin. Its wake-up is its expiry.
    pub const LINK: Self = Self(13);
    /// A webhook. Its secret is a sealed one.
    pub const HOOK: Self = Self(14);
    /// A piece of the devices of a batch.
    pub const CAMPAIGN_DEVICES: Self = Self(15);
}

/// A row other than a device. `Debug` shows the length of its body.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
    /// Its id within its kind, 1 to 256 bytes.
    pub id: String,
    /// The loaded revision; 0 for a row that was never committed.
    pub rev: u64,
    /// The earliest time at which it needs a turn.
    pub wake: Option<Micros>,
    /// The rest in its owner's format, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Item {
    /// Makes a row that was never committed.
    #[must_use]
    pub fn new(kind: Kind, id: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { kind, id: id.into(), rev: 0, wake: None, body: body.into() }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("rev", &self.rev)
            .field("wake", &self.wake)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// An event without a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its time.
    pub at: Micros,
    /// The product concerned, or empty.
    pub product: String,
    /// The device concerned, or empty.
    pub name: String,
    /// The kind of event, 1 to 64 bytes.
    pub kind: String,
    /// The content in its owner's format, at most 1 MiB. No secrets.
    pub body: Vec<u8>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: 1 for the first, without gaps.
    pub seq: u64,
    /// The rest.
    pub what: NewEvent,
}

/// The place of a secret. It is part of the seal: a sealed value is valid only in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId {
    /// The table, 1 to 64 bytes.
    pub table: String,
    /// The column, 1 to 64 bytes.
    pub column: String,
    /// The row, 1 to 256 bytes.
    pub row: String,
}

impl SecretId {
    /// Takes all three.
    #[must_use]
    pub fn new(
        table: impl Into<String>,
        column: impl Into<String>,
        row: impl Into<String>,
    ) -> Self {
        Self { table: table.into(), column: column.into(), row: row.into() }
    }
}

/// The id of a master key, derived from it, so that a wrong key is detected before its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// Makes it from its number, at most 2⁶³ − 1; the highest bit is dropped.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number & (u64::MAX >> 1))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A sealed secret. `Debug` shows its key and its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the sealing key.
    pub key: KeyId,
    /// Random for each seal.
    pub nonce: [u8; 24],
    /// The secret and its tag, at most 1 MiB.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(under {}, {} bytes)", self.key, self.bytes.len())
    }
}

/// An audit line without a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// Its time.
    pub at: Micros,
    /// Who did what, in its owner's format, at most 1 MiB. No secrets.
    pub body: Vec<u8>,
}

/// The link to the previous line.
pub type Link = [u8; 32];

/// An audit line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number: 1 for the first, without gaps.
    pub seq: u64,
    /// The rest.
    pub what: NewAudit,
    /// The master key whose audit key made the link.
    pub key: KeyId,
    /// HMAC-SHA256 of the previous link, its number, its time and its body.
    pub link: Link,
}
