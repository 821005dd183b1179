//! Products, firmware and rules, changed between two turns: each change is first written to a row.

use std::collections::BTreeMap;
use std::ops::Bound;

use ota_cloud::BadState;
use ota_cloud::{
    Catalog, CatalogError, CloudConfig, Firmware, Listed, Module, Product, Rollout, Status,
};
use ota_proto::{Identity, Instant};
use ota_store::{Commit, Filter, Item, Kind, Query, Store, StoreError};

use super::{CommandError, Engine, Input, Outcome, Refused, Rider, work};

/// Rows per page of a list.
const PAGE: usize = 100;
/// The most pages in the search for open tasks.
const MOST_PAGES: usize = 20;
/// The states of open tasks.
const OPEN: [Status; 7] = [
    Status::Offline,
    Status::Pending,
    Status::Delivered,
    Status::Downloading,
    Status::Burning,
    Status::AwaitingConfirm,
    Status::Downloaded,
];

/// The data besides devices.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) catalog: Catalog,
    /// All products with a row, each with the last event before it was made.
    products: BTreeMap<String, u64>,
}

impl Shelf {
    pub(super) fn read(store: &impl Store) -> Result<Self, StoreError> {
        let corrupt = |why: &dyn ToString| StoreError::Corrupt { why: why.to_string() };
        let mut shelf = Self::default();
        for item in all(store, Kind::FIRMWARE)? {
            let listed = Listed::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
            shelf.catalog.restore(listed).map_err(|why| corrupt(&why))?;
        }
        for item in all(store, Kind::PRODUCT)? {
            let product = Product::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
            for rule in product.rules {
                shelf.catalog.set_rule(&item.id, rule).map_err(|why| corrupt(&why))?;
            }
            shelf.products.insert(item.id, product.events_after);
        }
        Ok(shelf)
    }

    fn knows(&self, product_id: &str) -> bool {
        self.products.contains_key(product_id)
    }

    /// Whether this id is a prefix of another product's, or the reverse.
    fn is_ambiguous(&self, product_id: &str) -> bool {
        let after = (Bound::Excluded(product_id), Bound::Unbounded);
        let next = self.products.range::<str, _>(after).next();
        let begins = next.is_some_and(|(next, _)| next.starts_with(product_id));
        let parts = (1..product_id.len()).filter_map(|end| product_id.get(..end));
        begins || parts.into_iter().any(|part| self.products.contains_key(part))
    }

    fn forget(&mut self, product_id: &str) {
        self.products.remove(product_id);
    }

    fn learn(&mut self, product_id: &str, events_after: u64) {
        self.products.insert(product_id.to_owned(), events_after);
    }

    /// The last event before a product was made.
    pub(super) fn events_after(&self, product_id: &str) -> u64 {
        self.products.get(product_id).copied().unwrap_or(0)
    }
}

fn all(store: &impl Store, kind: Kind) -> Result<Vec<Item>, StoreError> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.id.as_str());
        let page = store.read().items(kind, "", after, PAGE)?;
        if page.is_empty() {
            return Ok(items);
        }
        items.extend(page);
    }
}

impl<S: Store> Engine<S> {
    /// The firmware and the standing rules.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.shelf.catalog
    }

    /// The products that a command has created devices, firmware or rules for.
    pub fn products(&self) -> impl Iterator<Item = &str> {
        self.shelf.products.keys().map(String::as_str)
    }

    /// The stored firmware.
    ///
    /// # Errors
    /// What the store refuses, and a row that cannot be read as [`StoreError::Corrupt`].
    pub fn listed(&self) -> Result<Vec<Listed>, StoreError> {
        let items = all(&self.store, Kind::FIRMWARE)?.into_iter();
        items
            .map(|item| Listed::from_bytes(&item.body))
            .collect::<Result<_, _>>()
            .map_err(|why| StoreError::Corrupt { why: why.to_string() })
    }

    /// Registers a device. Registering it again changes nothing.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is changed.
    pub fn register(&mut self, now: Instant, identity: &Identity) -> Result<Outcome, CommandError> {
        self.know(identity.product_id())?;
        let mut outcome = self.turn(now, &[(identity.clone(), Input::Register)])?;
        match outcome.answers.pop() {
            Some(Err(refused)) => Err(refused.into()),
            _ => Ok(outcome),
        }
    }

    /// Adds an image to the catalogue; `image` is the name of its stored bytes.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is changed.
    pub fn add_firmware(
        &mut self,
        firmware: Firmware,
        image: Option<String>,
    ) -> Result<(), CommandError> {
        let listed = Listed::new(firmware, image);
        // A refused image creates no product.
        self.shelf.catalog.check(&listed.firmware, self.config.max_firmware)?;
        self.know(&listed.firmware.product_id)?;
        self.add_listed(&listed, Rider::default())
    }

    /// Adds an image of an existing product to the catalogue.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is changed.
    pub fn add_listed(&mut self, listed: &Listed, rider: Rider) -> Result<(), CommandError> {
        let (catalog, most) = (&mut self.shelf.catalog, self.config.max_firmware);
        catalog.check(&listed.firmware, most)?;
        self.list(listed, rider)?;
        // Already checked.
        Ok(self.shelf.catalog.restore(listed.clone())?)
    }

    /// A stored firmware.
    ///
    /// # Errors
    /// What the store refuses, and a row that cannot be read as [`StoreError::Corrupt`].
    pub fn one_listed(
        &self,
        product_id: &str,
        module: &Module,
        version: &str,
    ) -> Result<Option<Listed>, StoreError> {
        let id = format!("{product_id}/{module}/{version}");
        let item = self.store.read().item(Kind::FIRMWARE, &id)?;
        let read = item.map(|item| Listed::from_bytes(&item.body)).transpose();
        read.map_err(|why| StoreError::Corrupt { why: why.to_string() })
    }

    /// The URL of a firmware, signed now.
    #[must_use]
    pub fn url_of(&self, firmware: &Firmware, now: Instant) -> String {
        let CloudConfig { signer, unix_at_zero, .. } = &self.config;
        let unix = unix_at_zero.saturating_add(now.as_micros() / 1_000_000);
        firmware.url.clone().unwrap_or_else(|| signer.sign(&firmware.path, unix))
    }

    /// Changes an existing firmware: its state and its texts.
    ///
    /// # Errors
    /// What the store refuses; nothing is changed.
    pub fn change_listed(&mut self, listed: &Listed, rider: Rider) -> Result<(), StoreError> {
        self.list(listed, rider)?;
        self.shelf.catalog.set_state(listed);
        Ok(())
    }

    /// Removes a firmware. The caller removes the file of its bytes.
    ///
    /// # Errors
    /// What the store refuses; nothing is changed.
    pub fn remove_listed(&mut self, listed: &Listed, mut rider: Rider) -> Result<(), StoreError> {
        let id = Listed::id(&listed.firmware);
        let rev = self.store.read().item(Kind::FIRMWARE, &id)?.map_or(0, |item| item.rev);
        rider.gone_items.push((Kind::FIRMWARE, id, rev));
        self.put_rider(rider)?;
        self.shelf.catalog.remove(&listed.firmware);
        Ok(())
    }

    /// Whether a firmware is the target of a rule, of a batch that is not over, or of an open task. With too many open tasks the
    /// answer is yes.
    ///
    /// # Errors
    /// What the store refuses.
    pub fn is_used(&self, firmware: &Firmware) -> Result<bool, StoreError> {
        let (product, module) = (&firmware.product_id, firmware.module());
        let rule = self.shelf.catalog.rule(product, &module);
        if rule.is_some_and(|rule| rule.version == firmware.version) {
            return Ok(true);
        }
        if self.is_of_batch(product, &module, &firmware.version) {
            return Ok(true);
        }
        let mut pages = 0_usize;
        for status in OPEN {
            let filter =
                Filter { task: Some(Some(status.number())), ..Filter::product(product.clone()) };
            let mut after = None;
            loop {
                let query = Query { filter: filter.clone(), after, limit: PAGE };
                let page = self.store.read().list(&query)?;
                let targets = |row: &ota_store::DeviceRow| {
                    // An unreadable row may have any target.
                    let Ok(device) = ota_cloud::Device::from_bytes(&row.state) else { return true };
                    device.task.is_some_and(|task| {
                        task.finished.is_none()
                            && task.module == module
                            && task.target == firmware.version
                    })
                };
                pages = pages.saturating_add(1);
                if page.rows.iter().any(targets) || pages > MOST_PAGES {
                    return Ok(true);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Stops the offers of an image, for this reason.
    ///
    /// # Errors
    /// What the store refuses; nothing is changed.
    pub fn withdraw(&mut self, firmware: &Firmware, why: &str) -> Result<(), StoreError> {
        let item = self.store.read().item(Kind::FIRMWARE, &Listed::id(firmware))?;
        let kept = item.and_then(|item| Listed::from_bytes(&item.body).ok());
        let mut listed = kept.unwrap_or_else(|| Listed::new(firmware.clone(), None));
        listed.withdrawn = Some(why.to_owned());
        self.list(&listed, Rider::default())?;
        let Firmware { product_id, version, .. } = firmware;
        self.shelf.catalog.withdraw(product_id, &firmware.module(), version, why);
        Ok(())
    }

    /// Sets a product's standing rule, or ends all of them with `None`. Returns the connected
    /// devices: send [`Input::RuleSet`] for them. The others learn of it when they report.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is changed.
    pub fn set_rule(
        &mut self,
        product_id: &str,
        rule: Option<Rollout>,
    ) -> Result<Vec<Identity>, CommandError> {
        let mut next = self.shelf.catalog.clone();
        match rule {
            Some(rule) => next.set_rule(product_id, rule).map_err(Refused::Command)?,
            None => next.end_rules(product_id),
        }
        let events_after = self.begins_after(product_id)?;
        let product = Product { rules: next.rules(product_id), events_after };
        self.put(Kind::PRODUCT, product_id.to_owned(), product.to_bytes().map_err(invalid)?)?;
        self.shelf.learn(product_id, events_after);
        self.shelf.catalog = next;
        let online = self.online.iter().filter(|device| device.product_id() == product_id);
        Ok(online.cloned().collect())
    }

    /// A page of a product's devices, after a name; and the start of the next page.
    ///
    /// # Errors
    /// What the store refuses.
    pub fn devices(
        &self,
        product_id: &str,
        after: Option<String>,
    ) -> Result<(Vec<Identity>, Option<String>), StoreError> {
        let query = Query { filter: Filter::product(product_id), after, limit: PAGE };
        let page = self.store.read().list(&query)?;
        let devices = page.rows.iter().filter_map(|row| work::identity(&row.key)).collect();
        Ok((devices, page.next))
    }

    fn list(&mut self, listed: &Listed, mut rider: Rider) -> Result<(), StoreError> {
        let (id, body) = (Listed::id(&listed.firmware), listed.to_bytes().map_err(invalid)?);
        let rev = self.store.read().item(Kind::FIRMWARE, &id)?.map_or(0, |item| item.rev);
        rider.items.push(Item { rev, ..Item::new(Kind::FIRMWARE, id, body) });
        self.put_rider(rider)
    }

    /// A product has a row from its first device, firmware or rule on.
    pub(super) fn know(&mut self, product_id: &str) -> Result<(), CommandError> {
        self.add_product(product_id, Rider::default()).map(drop)
    }

    /// Creates a product, unless it exists. Returns whether it is new.
    ///
    /// # Errors
    /// [`Refused::Ambiguous`], or what the store refuses; nothing is changed.
    pub fn add_product(
        &mut self,
        product_id: &str,
        mut rider: Rider,
    ) -> Result<bool, CommandError> {
        if self.shelf.knows(product_id) {
            return Ok(false);
        }
        if self.shelf.is_ambiguous(product_id) {
            return Err(Refused::Ambiguous.into());
        }
        let events_after = self.begins_after(product_id)?;
        let product = Product { events_after, ..Product::default() };
        let body = product.to_bytes().map_err(invalid)?;
        let rev = self.store.read().item(Kind::PRODUCT, product_id)?.map_or(0, |item| item.rev);
        rider.items.push(Item { rev, ..Item::new(Kind::PRODUCT, product_id.to_owned(), body) });
        self.put_rider(rider)?;
        self.shelf.learn(product_id, events_after);
        Ok(true)
    }

    /// The last event that is not a product's own. If it has devices already, which were accepted
    /// at first sight, all are.
    fn begins_after(&self, product_id: &str) -> Result<u64, StoreError> {
        let read = self.store.read();
        match self.shelf.products.get(product_id) {
            Some(after) => Ok(*after),
            None if read.count_devices(&Filter::product(product_id), 1)? > 0 => Ok(0),
            None => read.last_event(),
        }
    }

    /// Removes a product's row. The caller must remove everything else of it before.
    ///
    /// # Errors
    /// What the store refuses; nothing is changed.
    pub fn remove_product(&mut self, product_id: &str, mut rider: Rider) -> Result<(), StoreError> {
        if let Some(item) = self.store.read().item(Kind::PRODUCT, product_id)? {
            rider.gone_items.push((Kind::PRODUCT, item.id, item.rev));
        }
        self.put_rider(rider)?;
        self.shelf.forget(product_id);
        Ok(())
    }

    fn put(&mut self, kind: Kind, id: String, body: Vec<u8>) -> Result<(), StoreError> {
        let rev = self.store.read().item(kind, &id)?.map_or(0, |item| item.rev);
        let item = Item { rev, ..Item::new(kind, id, body) };
        self.store.commit(&Commit { items: vec![item], ..Commit::default() }).map(drop)
    }
}

fn invalid(why: BadState) -> StoreError {
    StoreError::Invalid { what: why.to_string() }
}

impl From<CatalogError> for CommandError {
    fn from(why: CatalogError) -> Self {
        Refused::Catalog(why).into()
    }
}
