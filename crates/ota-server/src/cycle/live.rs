//! The batches that are not over, in memory: which devices wait, the counts of each wave, and
//! whether offers are held back.
//!
//! A turn that changes counts of a batch decides before it publishes whether the batch goes on.
//! That decision is written by the batch's next step; if the process ends before, the next one
//! decides the same from the same counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ota_cloud::alert::stopped;
use ota_cloud::batch::Batch;
use ota_cloud::campaign::{
    Campaign, CampaignInput, CampaignState, CloseReason, Course, Hold, Point, Scale, Tally,
    WaveCounts, count_prefix, read_count,
};
use ota_cloud::{Device, Module};
use ota_proto::{Identity, Instant};
use ota_store::{Kind, Read, Store, StoreError};

use super::Engine;

/// The most batches that are not over.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct LiveBatches(BTreeMap<String, Live>);

impl LiveBatches {
    /// Whether a stop rule paused one of them.
    pub(super) fn are_some_stopped(&self) -> bool {
        self.0.values().any(|live| stopped(live.campaign.state()))
    }
}

#[derive(Debug)]
struct Live {
    product: String,
    number: u32,
    module: Module,
    version: String,
    campaign: Campaign,
    course: Course,
    /// If devices may join it.
    door: Option<Door>,
    tallies: Vec<Tally>,
    waiting: Vec<u64>,
    /// Whether a step of it has something to do now.
    due: bool,
    /// Whether the row has work besides the campaign.
    busy: bool,
    wake: Option<Instant>,
    /// The turn of its last step.
    turn: u64,
}

/// Devices that join a batch.
#[derive(Debug)]
struct Door {
    /// The batch, which decides who joins. It has no devices here.
    batch: Box<Batch>,
    /// The names of all its devices, also of those that are joining.
    members: BTreeSet<String>,
    /// Those that are joining, in the order of their reports. They are in no row yet: after a stop
    /// they join with their next report.
    joining: VecDeque<String>,
}

/// The most devices that are joining a batch. Another one joins with its next report.
const MOST_JOINING: usize = 10_000;

impl Live {
    fn counts(&self) -> Vec<WaveCounts> {
        let waiting = self.waiting.iter().copied().chain(std::iter::repeat(0));
        self.tallies.iter().zip(waiting).map(|(tally, waiting)| tally.counts(waiting)).collect()
    }

    fn is_joined(&self) -> bool {
        self.door.as_ref().is_some_and(|door| !door.joining.is_empty())
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due || self.wake.is_some_and(|at| at <= now) || self.is_joined()
    }
}

/// The counts of a batch's waves.
pub(crate) fn tallies(read: &dyn Read, batch: &Batch) -> Result<Vec<Tally>, StoreError> {
    let mut tallies = vec![Tally::default(); batch.campaign.waves()];
    for (name, count) in read.counts(&count_prefix(&batch.product, batch.number))? {
        let Some((_, of, slot)) = read_count(&name) else { continue };
        if let Some(tally) = tallies.get_mut(usize::from(of.wave)) {
            tally.add(slot, count);
        }
    }
    Ok(tallies)
}

impl<S: Store> Engine<S> {
    /// Reads the batches that are not over. An unreadable one affects no other.
    pub(super) fn read_batches(&mut self) -> Result<(), StoreError> {
        let far = u64::try_from(i64::MAX).unwrap_or(u64::MAX);
        for id in self.store.due_items(Kind::CAMPAIGN, far, MOST)? {
            let Some(item) = self.store.read().item(Kind::CAMPAIGN, &id)? else { continue };
            let Ok(batch) = Batch::from_bytes(&item.body) else { continue };
            let tallies = tallies(self.store.read(), &batch)?;
            self.wait_for_waves(&batch)?;
            let mut live = live_of(&batch, tallies);
            live.door = self.door_of(&batch)?;
            live.due = true;
            // Until its first step nothing leaves that its state may forbid.
            let held = batch.campaign.hold(Instant::ZERO);
            let windows = !batch.campaign.plan().windows.is_empty();
            let hold = held.or(windows.then_some(Hold::Window));
            self.shelf.catalog.set_hold(&batch.product, batch.number, hold);
            self.batches.0.insert(id, live);
        }
        Ok(())
    }

    /// Devices that wait for their wave are told so.
    fn wait_for_waves(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.waits() == 0 {
            return Ok(());
        }
        for piece in batch.begun / Batch::PIECE..batch.all.div_ceil(Batch::PIECE) {
            let id = batch.piece_id(piece);
            let Some(item) = self.store.read().item(Kind::CAMPAIGN_DEVICES, &id)? else { continue };
            // An unreadable one ends the batch's next step.
            let Ok(entries) = Batch::piece_from_bytes(&item.body) else { continue };
            let begun = batch.begun.saturating_sub(piece.saturating_mul(Batch::PIECE));
            for entry in entries.into_iter().skip(begun) {
                let (product, module) = (&batch.product, &batch.options.module);
                self.shelf.catalog.set_waiting(product, &entry.name, batch.number, module);
            }
        }
        Ok(())
    }

    /// Whether a batch has something to do now.
    #[must_use]
    pub fn is_batch_due(&self, now: Instant, id: &str) -> bool {
        self.batches.0.get(id).is_some_and(|live| live.is_due(now))
    }

    /// The batch with something to do now whose last step is longest ago.
    #[must_use]
    pub fn due_batch(&self, now: Instant) -> Option<String> {
        let due = self.batches.0.iter().filter(|(_, live)| live.is_due(now));
        due.min_by_key(|(_, live)| live.turn).map(|(id, _)| id.clone())
    }

    pub(super) fn batch_deadline(&self) -> Option<Instant> {
        let at = |live: &Live| {
            if live.due || live.is_joined() { Some(self.now) } else { live.wake }
        };
        self.batches.0.values().filter_map(at).min()
    }

    /// The counts of a batch's waves, for its decider.
    ///
    /// # Errors
    /// The store's error.
    pub fn wave_counts(&self, batch: &Batch) -> Result<Vec<WaveCounts>, StoreError> {
        let tallies = match self.batches.0.get(&Batch::id(&batch.product, batch.number)) {
            Some(live) => live.tallies.clone(),
            None => tallies(self.store.read(), batch)?,
        };
        let waiting = batch.waiting_by_wave().into_iter().chain(std::iter::repeat(0));
        Ok(tallies.iter().zip(waiting).map(|(tally, waiting)| tally.counts(waiting)).collect())
    }

    /// The size of a batch's image.
    #[must_use]
    pub fn image_of(&self, product: &str, module: &Module, version: &str) -> u64 {
        self.shelf.catalog.get(product, module, version).map_or(0, |firmware| firmware.size)
    }

    /// Notes the row of a batch that was committed, after this turn.
    ///
    /// # Errors
    /// The store's error.
    pub fn note_batch(&mut self, now: Instant, batch: &Batch, turn: u64) -> Result<(), StoreError> {
        let id = Batch::id(&batch.product, batch.number);
        if batch.campaign.is_closed() && !batch.is_due() {
            self.forget_batch(&id);
            return Ok(());
        }
        let (tallies, door) = match self.batches.0.remove(&id) {
            Some(live) => (live.tallies, live.door),
            None => {
                self.wait_for_waves(batch)?;
                (tallies(self.store.read(), batch)?, self.door_of(batch)?)
            }
        };
        let mut live = live_of(batch, tallies);
        (live.turn, live.door) = (turn, door);
        if let Some(door) = &mut live.door {
            *door.batch = batch.clone();
        }
        self.batches.0.insert(id.clone(), live);
        self.judge(now, &id);
        Ok(())
    }

    /// Who is in a batch that devices may join.
    fn door_of(&self, batch: &Batch) -> Result<Option<Door>, StoreError> {
        if !batch.is_open() {
            return Ok(None);
        }
        let mut members = BTreeSet::new();
        for piece in 0..batch.all.div_ceil(Batch::PIECE) {
            let id = batch.piece_id(piece);
            let Some(item) = self.store.read().item(Kind::CAMPAIGN_DEVICES, &id)? else { continue };
            let Ok(entries) = Batch::piece_from_bytes(&item.body) else { continue };
            members.extend(entries.into_iter().map(|entry| entry.name));
        }
        Ok(Some(Door { batch: Box::new(batch.clone()), members, joining: VecDeque::new() }))
    }

    /// A device joins the batches that take it, in their order the first one.
    pub(super) fn let_in(
        &mut self,
        device: &Device,
        tags: &BTreeMap<String, String>,
        disabled: bool,
    ) {
        let (product, name) = (device.identity.product_id(), device.identity.device_name());
        for live in self.batches.0.values_mut().filter(|live| live.product == product) {
            let Some(door) = &mut live.door else { continue };
            if door.joining.len() < MOST_JOINING
                && door.batch.takes(device, tags, disabled, &self.shelf.catalog)
                && !door.members.contains(name)
            {
                door.members.insert(name.to_owned());
                door.joining.push_back(name.to_owned());
                return;
            }
        }
    }

    /// Whether devices may join a batch.
    pub(super) fn is_any_open(&self) -> bool {
        self.batches.0.values().any(|live| live.door.is_some())
    }

    /// The next devices that join a batch, at most this many.
    #[must_use]
    pub fn joining(&self, id: &str, most: usize) -> Vec<String> {
        let door = self.batches.0.get(id).and_then(|live| live.door.as_ref());
        door.map_or_else(Vec::new, |door| door.joining.iter().take(most).cloned().collect())
    }

    /// The first devices that [join](Self::joining) a batch are in its rows, or have no room in it.
    pub fn joined(&mut self, batch: &Batch, asked: usize, names: &[String]) {
        let (product, module) = (&batch.product, &batch.options.module);
        for name in names {
            self.shelf.catalog.set_waiting(product, name, batch.number, module);
        }
        let id = Batch::id(product, batch.number);
        let door = self.batches.0.get_mut(&id).and_then(|live| live.door.as_mut());
        if let Some(door) = door {
            door.joining.drain(..asked.min(door.joining.len()));
        }
    }

    /// These devices do not wait for their wave any more.
    pub fn end_waiting<'a>(&mut self, batch: &Batch, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.shelf.catalog.end_waiting(&batch.product, name, batch.number);
        }
    }

    /// Forgets a batch that is over, or whose row cannot be read.
    pub fn forget_batch(&mut self, id: &str) {
        if let Some(live) = self.batches.0.remove(id) {
            self.shelf.catalog.end_batch(&live.product, live.number);
        }
    }

    /// Whether the offers of a batch are held back.
    #[must_use]
    pub fn is_held(&self, device: &Identity, batch: u32) -> bool {
        self.shelf.catalog.hold(device.product_id(), batch).is_some()
    }

    /// Whether a batch that is not over has this target.
    #[must_use]
    pub fn is_of_batch(&self, product: &str, module: &Module, version: &str) -> bool {
        self.batches.0.values().any(|live| {
            live.product == product && live.module == *module && live.version == version
        })
    }

    /// Applies durable differences of counts, and decides about the batches concerned.
    pub(super) fn count_batches<'a>(
        &mut self,
        now: Instant,
        counts: impl Iterator<Item = (&'a String, &'a i64)>,
    ) {
        if self.batches.0.is_empty() {
            return;
        }
        let mut touched = BTreeSet::new();
        for (name, by) in counts {
            let Some((product, of, slot)) = read_count(name) else { continue };
            let id = Batch::id(product, of.number);
            let Some(live) = self.batches.0.get_mut(&id) else { continue };
            if let Some(tally) = live.tallies.get_mut(usize::from(of.wave)) {
                tally.add(slot, *by);
                touched.insert(id);
            }
        }
        for id in touched {
            self.judge(now, &id);
        }
    }

    /// Decides about the batches whose time has come, before anything of this turn is published.
    pub(super) fn judge_due(&mut self, now: Instant) {
        let due = self.batches.0.iter().filter(|(_, live)| live.is_due(now));
        for id in due.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.judge(now, &id);
        }
    }

    /// Decides whether the devices of a batch get offers, and whether a step of it is due.
    fn judge(&mut self, now: Instant, id: &str) {
        let Some(live) = self.batches.0.get_mut(id) else { return };
        let catalog = &mut self.shelf.catalog;
        let image = catalog.get(&live.product, &live.module, &live.version);
        let image = image.map_or(0, |firmware| firmware.size);
        let scale = Scale { image, at_most: 1, again: live.busy };
        let mut campaign = live.campaign.clone();
        let counts = live.counts();
        let change = campaign.apply(now, CampaignInput::Tick, &counts, scale);
        let point = Point::of(now, &counts);
        let moves = live.course.takes(point, campaign.state() != CampaignState::Running);
        // What it decides must be in its row, for example since when a gate is reached.
        live.due = live.busy || change.admit > 0 || campaign != live.campaign || moves;
        live.wake = change.wake;
        let ends = matches!(
            campaign.state(),
            CampaignState::Closed(reason) if reason != CloseReason::Complete
        );
        // The tasks of a closed one without an offer end with its next step.
        let hold = if ends { Some(Hold::Paused) } else { campaign.hold(now) };
        catalog.set_hold(&live.product, live.number, hold);
    }
}

fn live_of(batch: &Batch, tallies: Vec<Tally>) -> Live {
    Live {
        product: batch.product.clone(),
        number: batch.number,
        module: batch.options.module.clone(),
        version: batch.version.clone(),
        campaign: batch.campaign.clone(),
        course: batch.course.clone(),
        waiting: batch.waiting_by_wave(),
        tallies,
        door: None,
        due: false,
        busy: batch.is_due(),
        wake: None,
        turn: 0,
    }
}

/// The changes of counts of batches when a device is removed, by the names of the counts.
pub(super) fn leave(device: &Device) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (of, slot, by) in device.leave() {
        let name = ota_cloud::campaign::count_name(device.identity.product_id(), of, slot);
        let count = counts.entry(name).or_default();
        *count = count.saturating_add(i64::from(by));
    }
    counts
}
