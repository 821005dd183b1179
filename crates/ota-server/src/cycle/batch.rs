//! The devices of one turn.

#![allow(
    clippy::disallowed_types,
    reason = "looked up and taken from; nothing goes by their order"
)]

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use ota_cloud::BadState;
use ota_cloud::Device;
use ota_proto::{Identity, Instant};

use super::work::{Done, Kept, Work};

/// Devices that need not be read. Hashed, because each report looks one up among many thousands.
pub(super) type Memory = HashMap<Identity, Box<Kept>>;

/// The state of a device in this turn.
#[derive(Debug, Default)]
pub(super) enum Found {
    #[default]
    Unknown,
    /// Its row is unreadable.
    Bad(BadState),
    Known(Work),
}

/// Devices in the order of their first mention.
#[derive(Debug, Default)]
pub(super) struct Batch {
    devices: Vec<Identity>,
    found: Vec<Found>,
    /// The index of each input's device.
    slots: Vec<usize>,
    /// For unknown indices.
    none: Found,
}

impl Batch {
    pub(super) fn new<'a>(
        inputs: impl ExactSizeIterator<Item = &'a Identity>,
        due: BTreeSet<Identity>,
    ) -> Self {
        let mut batch = Self { slots: Vec::with_capacity(inputs.len()), ..Self::default() };
        let mut known: HashMap<&Identity, usize> = HashMap::with_capacity(inputs.len());
        for identity in inputs {
            let slot = *known.entry(identity).or_insert_with(|| {
                batch.devices.push(identity.clone());
                batch.devices.len().saturating_sub(1)
            });
            batch.slots.push(slot);
        }
        batch.devices.extend(due.into_iter().filter(|identity| !known.contains_key(identity)));
        batch.found.resize_with(batch.devices.len(), Found::default);
        batch
    }

    /// The index of an input's device.
    pub(super) fn slot(&self, input: usize) -> usize {
        self.slots.get(input).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn slots(&self) -> Range<usize> {
        0..self.devices.len()
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Identity> {
        self.devices.iter()
    }

    pub(super) fn device(&self, slot: usize) -> Option<&Identity> {
        self.devices.get(slot)
    }

    pub(super) fn put(&mut self, slot: usize, found: Found) {
        if let Some(place) = self.found.get_mut(slot) {
            *place = found;
        }
    }

    pub(super) fn is_unknown(&self, slot: usize) -> bool {
        matches!(self.found.get(slot), Some(Found::Unknown))
    }

    pub(super) fn get(&mut self, slot: usize) -> &mut Found {
        self.found.get_mut(slot).unwrap_or(&mut self.none)
    }

    pub(super) fn known(&self, slot: usize) -> Option<&Device> {
        match self.found.get(slot) {
            Some(Found::Known(of)) => Some(of.device()),
            _ => None,
        }
    }

    /// A known device with the columns of its row.
    pub(super) fn kept(&self, slot: usize) -> Option<&Kept> {
        match self.found.get(slot) {
            Some(Found::Known(of)) => Some(of.kept()),
            _ => None,
        }
    }

    /// The known devices, each with its index.
    pub(super) fn works(&mut self) -> impl Iterator<Item = (usize, &mut Work)> {
        self.found.iter_mut().enumerate().filter_map(|(slot, found)| match found {
            Found::Known(of) => Some((slot, of)),
            _ => None,
        })
    }

    fn into_works(self) -> impl Iterator<Item = Work> {
        self.found.into_iter().filter_map(|found| match found {
            Found::Known(of) => Some(of),
            _ => None,
        })
    }

    /// What stays in memory of them once the turn is durable.
    pub(super) fn done(self, now: Instant) -> impl Iterator<Item = Done> {
        self.into_works().map(move |of| of.done(now))
    }

    /// What stays in memory of them if the turn failed.
    pub(super) fn undone(self) -> impl Iterator<Item = (Identity, Box<Kept>)> {
        self.into_works().filter_map(Work::undone)
    }
}
