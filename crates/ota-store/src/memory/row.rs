//! A device's row in memory. There are thousands, and nearly all have one version and no tags: maps
//! would keep room for eleven of each, and the row its key a second time.

use crate::row::{DeviceKey, DeviceRow, Micros};

type Pairs = Box<[(Box<str>, Box<str>)]>;

/// A row without its key.
#[derive(Debug)]
pub(super) struct MemoryRow {
    pub(super) rev: u64,
    pub(super) wake: Option<Micros>,
    pub(super) task: Option<u8>,
    disabled: bool,
    versions: Pairs,
    tags: Pairs,
    state: Box<[u8]>,
}

impl MemoryRow {
    /// The row after its commit.
    pub(super) fn new(row: &DeviceRow) -> Self {
        let pairs =
            |(name, value): (&String, &String)| (name.as_str().into(), value.as_str().into());
        Self {
            rev: row.rev.saturating_add(1),
            wake: row.wake,
            task: row.task,
            disabled: row.disabled,
            versions: row.versions.iter().map(pairs).collect(),
            tags: row.tags.iter().map(pairs).collect(),
            state: row.state.as_slice().into(),
        }
    }

    pub(super) fn row(&self, key: &DeviceKey) -> DeviceRow {
        let pair = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), value.to_string());
        DeviceRow {
            key: key.clone(),
            rev: self.rev,
            wake: self.wake,
            task: self.task,
            versions: self.versions.iter().map(pair).collect(),
            tags: self.tags.iter().map(pair).collect(),
            disabled: self.disabled,
            state: self.state.to_vec(),
        }
    }

    /// The version of this module.
    pub(super) fn version(&self, module: &str) -> Option<&str> {
        of(&self.versions, module)
    }

    /// Whether no module reported a version.
    pub(super) fn is_silent(&self) -> bool {
        self.versions.is_empty()
    }

    /// The value of this tag.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        of(&self.tags, name)
    }
}

fn of<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
}
