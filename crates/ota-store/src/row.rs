//! What is stored: rows, events, secrets, lines of the audit.

use std::collections::BTreeMap;
use std::fmt;

use crate::seal::KeyId;

/// Microseconds since the Unix epoch, at most 2⁶³ − 1.
pub type Micros = u64;

/// Who a device is. Ordered by product, then name, by bytes.
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
    /// Who it is.
    pub key: DeviceKey,
    /// The revision that was loaded; 0 for a row that was never committed.
    pub rev: u64,
    /// The earliest moment at which it needs a turn.
    pub wake: Option<Micros>,
    /// The state of its task, as its owner numbers them.
    pub task: Option<u8>,
    /// The reported version of each module: 1 to 64 bytes, and 1 to 256.
    pub versions: BTreeMap<String, String>,
    /// Names of 1 to 64 bytes, values of at most 256.
    pub tags: BTreeMap<String, String>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// The device as its owner writes it, at most 1 MiB.
    pub state: Vec<u8>,
}

impl DeviceRow {
    /// A row that was never committed.
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

/// What sort of row an [`Item`] is. The store tells kinds apart and knows no more of them.
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
    /// The answer to a call that may be repeated. Its wake-up is when it may go.
    pub const IDEMPOTENCY: Self = Self(5);
    /// A place where bytes may be put. Its wake-up is when it goes.
    pub const UPLOAD: Self = Self(6);
    /// A module that a product names.
    pub const MODULE: Self = Self(7);
    /// A signature that was used. Its wake-up is when it may go.
    pub const REPLAY: Self = Self(8);
    /// A call that made a batch. Its wake-up is when it may go.
    pub const CALL: Self = Self(9);
    /// What is set of a product; its id is the product's. Its secret is a sealed one.
    pub const SETTINGS: Self = Self(10);
}

/// A row that is no device. `Debug` shows the length of its body.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name among its kind, 1 to 256 bytes.
    pub id: String,
    /// The revision that was loaded; 0 for a row that was never committed.
    pub rev: u64,
    /// The earliest moment at which it needs a turn.
    pub wake: Option<Micros>,
    /// The rest, as its owner writes it, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Item {
    /// A row that was never committed.
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

/// Something that happened, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When.
    pub at: Micros,
    /// The product concerned, or empty.
    pub product: String,
    /// The device concerned, or empty.
    pub name: String,
    /// What sort of event, 1 to 64 bytes.
    pub kind: String,
    /// What is told, as its owner writes it, at most 1 MiB. No secrets.
    pub body: Vec<u8>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: 1 for the first, and no gaps.
    pub seq: u64,
    /// The rest.
    pub what: NewEvent,
}

/// Where a secret belongs. It is part of the seal: a sealed value is good in its place only.
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

/// A sealed secret. `Debug` shows its key and its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key it is sealed under.
    pub key: KeyId,
    /// Drawn anew for each seal.
    pub nonce: [u8; 24],
    /// The secret and its tag, at most 1 MiB.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(under {}, {} bytes)", self.key, self.bytes.len())
    }
}

/// A line of the audit, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// When.
    pub at: Micros,
    /// Who did what, as its owner writes it, at most 1 MiB. No secrets.
    pub body: Vec<u8>,
}

/// What chains a line to the one before it.
pub type Link = [u8; 32];

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number: 1 for the first, and no gaps.
    pub seq: u64,
    /// The rest.
    pub what: NewAudit,
    /// The master key whose audit key made the link.
    pub key: KeyId,
    /// HMAC-SHA256 over the link before it, its number, its moment and its body.
    pub link: Link,
}
