//! Changes of devices by a person, other than tasks: columns that no device decides.

use std::collections::{BTreeMap, BTreeSet};

use ota_cloud::alert::News;
use ota_cloud::device::Write;
use ota_cloud::{CloudError, Device, EventKind};
use ota_proto::{Identity, Instant};
use ota_store::{Commit, Item, Kind, NewAudit, NewEvent, SecretWrite, Store, StoreError};

use super::work::{self, Work};
use super::{CommandError, DISABLED, Engine, GONE, Input, Outcome, Refused, live, tasks};

/// Changes that are committed together with a command, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rider {
    /// Secrets.
    pub secrets: Vec<SecretWrite>,
    /// New items.
    pub items: Vec<Item>,
    /// Removed items.
    pub gone_items: Vec<(Kind, String, u64)>,
    /// Audit lines.
    pub audit: Vec<NewAudit>,
    /// Differences of counts.
    pub counts: BTreeMap<String, i64>,
    /// What an operator should know.
    pub alerts: Vec<(Instant, News)>,
    /// Tags of devices that the same turn creates.
    pub tags: BTreeMap<Identity, BTreeMap<String, String>>,
    /// Those of them that must not log in.
    pub disabled: BTreeSet<Identity>,
}

impl Rider {
    /// Adds it to a commit, and returns the alerts to tell once that is durable.
    pub(super) fn mount(self, commit: &mut Commit) -> Vec<News> {
        commit.secrets.extend(self.secrets);
        commit.items.extend(self.items);
        commit.gone_items.extend(self.gone_items);
        commit.audit.extend(self.audit);
        for (name, by) in self.counts {
            let count = commit.counts.entry(name).or_default();
            *count = count.saturating_add(by);
        }
        commit.events.extend(self.alerts.iter().map(|(at, news)| alert(*at, news)));
        self.alerts.into_iter().map(|(_, news)| news).collect()
    }
}

/// The event of an alert. One of a batch is of its product, any other is of the whole cloud.
pub(crate) fn alert(at: Instant, news: &News) -> NewEvent {
    let product = news.batch.as_ref().map(|(product, _)| product.clone()).unwrap_or_default();
    let (name, kind) = (String::new(), News::KIND.to_owned());
    NewEvent { at: at.as_micros(), product, name, kind, body: news.body() }
}

/// A change of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edit {
    /// Whether it may log in.
    pub disabled: Option<bool>,
    /// All its tags.
    pub tags: Option<BTreeMap<String, String>>,
}

/// A device with the columns of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The device after the last turn.
    pub device: Device,
    /// Whether it may not log in.
    pub disabled: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl<S: Store> Engine<S> {
    /// Like [`Engine::turn`]. If every input is accepted, `rider` is in the same commit, otherwise
    /// it is dropped.
    ///
    /// # Errors
    /// As [`Engine::turn`].
    pub fn turn_with(
        &mut self,
        now: Instant,
        inputs: &[(Identity, Input)],
        rider: Rider,
    ) -> Result<Outcome, StoreError> {
        self.rider = rider;
        let outcome = self.turn(now, inputs);
        self.rider = Rider::default();
        outcome
    }

    /// Whether a device has a row, which may be unreadable.
    ///
    /// # Errors
    /// The store's error.
    pub fn is_there(&self, identity: &Identity) -> Result<bool, StoreError> {
        let kept = self.kept.contains_key(identity);
        Ok(kept || self.store.read().device(&work::key(identity))?.is_some())
    }

    /// How many more devices are allowed.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.config.max_devices.saturating_sub(self.numbers.saturating_sub(self.gone))
    }

    /// A device with the columns of its row.
    ///
    /// # Errors
    /// As [`Engine::device`].
    pub fn seen(&mut self, identity: &Identity) -> Result<Option<Seen>, StoreError> {
        let kept = match self.kept.get(identity) {
            Some(kept) => Some(kept.clone()),
            None => self.stored(identity)?,
        };
        Ok(kept.map(|kept| Seen { disabled: kept.disabled, tags: kept.tags, device: kept.device }))
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_online(&self, identity: &Identity) -> bool {
        self.online.contains(identity)
    }

    /// How many devices are connected.
    #[must_use]
    pub fn online(&self) -> usize {
        self.online.len()
    }

    /// Whether a device must not log in. Free while no device is disabled.
    ///
    /// # Errors
    /// The store's error.
    pub fn is_disabled(&self, identity: &Identity) -> Result<bool, StoreError> {
        if self.disabled == 0 {
            return Ok(false);
        }
        if let Some(kept) = self.kept.get(identity) {
            return Ok(kept.disabled);
        }
        let row = self.store.read().device(&work::key(identity))?;
        Ok(row.is_some_and(|row| row.disabled))
    }

    /// Changes a device's row.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`], or the store's error; nothing is changed.
    pub fn edit(
        &mut self,
        now: Instant,
        identity: &Identity,
        edit: Edit,
        rider: Rider,
    ) -> Result<Outcome, CommandError> {
        let mut of = self.take_out(identity)?.ok_or_else(unknown)?;
        let (kept, mut outcome, mut commit) =
            (of.kept_mut(), Outcome::default(), Commit::default());
        if let Some(disabled) = edit.disabled.filter(|disabled| *disabled != kept.disabled) {
            kept.disabled = disabled;
            commit.counts.insert(DISABLED.to_owned(), if disabled { 1 } else { -1 });
            let kind = if disabled { EventKind::Disabled } else { EventKind::Enabled };
            commit.events.extend(work::journal(now, identity, &kind));
            outcome.events.push((identity.clone(), kind));
        }
        if let Some(tags) = edit.tags {
            kept.tags = tags;
        }
        of.note(Write::Now);
        let alerts = rider.mount(&mut commit);
        if let Err(why) = self.write_one(now, &mut of, &mut commit) {
            if let Some((identity, kept)) = of.undone() {
                self.kept.insert(identity, kept);
            }
            self.forget_old(identity, &why);
            return Err(why.into());
        }
        self.keep_one(of.done(now));
        self.forget();
        outcome.written = 1;
        self.told.extend(alerts);
        Ok(outcome)
    }

    /// Applies the rider to a device that the turn creates.
    pub(super) fn dress(
        &self,
        now: Instant,
        of: &mut Work,
        commit: &mut Commit,
        outcome: &mut Outcome,
    ) {
        let identity = of.device().identity.clone();
        if let Some(tags) = self.rider.tags.get(&identity) {
            of.kept_mut().tags = tags.clone();
        }
        if self.rider.disabled.contains(&identity) {
            of.kept_mut().disabled = true;
            let count = commit.counts.entry(DISABLED.to_owned()).or_default();
            *count = count.saturating_add(1);
            commit.events.extend(work::journal(now, &identity, &EventKind::Disabled));
            outcome.events.push((identity, EventKind::Disabled));
        }
    }

    /// Takes a device out of memory, or reads its row.
    fn take_out(&mut self, identity: &Identity) -> Result<Option<Work>, StoreError> {
        if let Some((identity, kept)) = self.kept.remove_entry(identity) {
            return Ok(Some(Work::new(identity, kept)));
        }
        let kept = self.stored(identity)?;
        Ok(kept.map(|kept| Work::new(identity.clone(), kept)))
    }

    fn write_one(
        &mut self,
        now: Instant,
        of: &mut Work,
        commit: &mut Commit,
    ) -> Result<(), StoreError> {
        if let Some(row) = of.row(now) {
            let row = row.map_err(|why| StoreError::Invalid { what: why.to_string() })?;
            commit.devices.push(row);
        }
        self.store.commit(commit)?;
        self.count(commit);
        Ok(())
    }

    /// The copy in memory of a device whose row was changed elsewhere is outdated.
    fn forget_old(&mut self, identity: &Identity, why: &StoreError) {
        if matches!(why, StoreError::Conflict(_)) {
            self.forget_one(identity);
        }
    }

    /// Removes a device. Its events stay, and its number is not used again. The caller has ended
    /// its session.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`], or the store's error; nothing is changed.
    pub fn remove(
        &mut self,
        now: Instant,
        identity: &Identity,
        rider: Rider,
    ) -> Result<Outcome, CommandError> {
        let mut commit = Commit::default();
        let key = work::key(identity);
        let (rev, disabled, task) = match self.kept.get(identity) {
            Some(kept) => {
                commit.counts.extend(live::leave(&kept.device));
                let task = kept.device.task.as_ref().map(|task| task.status.number());
                (kept.rev, kept.disabled, task)
            }
            // Reads only its columns: a row with an unreadable state can be removed too.
            None => {
                let row = self.store.read().device(&key)?.ok_or_else(unknown)?;
                let device = Device::from_bytes(&row.state).ok();
                commit.counts.extend(device.iter().flat_map(live::leave));
                (row.rev, row.disabled, row.task)
            }
        };
        commit.gone_devices.push((key.clone(), rev));
        commit.counts.insert(GONE.to_owned(), 1);
        if disabled {
            commit.counts.insert(DISABLED.to_owned(), -1);
        }
        // Only tasks in rows count.
        if let Some(task) = task {
            commit.counts.insert(tasks(identity, task), -1);
        }
        commit.events.extend(work::journal(now, identity, &EventKind::Removed));
        let alerts = rider.mount(&mut commit);
        if let Err(why) = self.store.commit(&commit) {
            self.forget_old(identity, &why);
            return Err(why.into());
        }
        self.count(&commit);
        self.told.extend(alerts);
        self.forget_one(identity);
        self.online.remove(identity);
        self.bad.remove(&key);
        let events = vec![(identity.clone(), EventKind::Removed)];
        Ok(Outcome { events, written: 1, ..Outcome::default() })
    }

    /// Commits changes without devices.
    ///
    /// # Errors
    /// What the store refuses; nothing is changed.
    pub fn put_rider(&mut self, rider: Rider) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        let alerts = rider.mount(&mut commit);
        self.store.commit(&commit)?;
        self.count(&commit);
        self.told.extend(alerts);
        Ok(())
    }

    /// What an operator should know, since the last call.
    pub fn take_told(&mut self) -> Vec<News> {
        std::mem::take(&mut self.told)
    }

    /// Whether a batch that is not over is paused by its stop rule.
    #[must_use]
    pub fn is_batch_stopped(&self) -> bool {
        self.batches.are_some_stopped()
    }

    pub(super) fn count(&mut self, commit: &Commit) {
        let of = |name| commit.counts.get(name).copied().unwrap_or(0);
        self.disabled = self.disabled.saturating_add_signed(of(DISABLED));
        self.gone = self.gone.saturating_add(u32::try_from(of(GONE)).unwrap_or(0));
        self.count_batches(self.now, commit.counts.iter());
    }
}

fn unknown() -> CommandError {
    Refused::Peer(CloudError::UnknownDevice).into()
}
