//! The firmware catalogue, and the standing rules of products.

use core::cmp::Ordering;
use std::collections::BTreeMap;

use ota_proto::{Identity, Md5, Order, Version};
use serde::{Deserialize, Serialize};

use crate::campaign::Hold;
use crate::error::BadState;
use crate::error::{CatalogError, TaskError};
use crate::module::{Module, is_word};
use crate::options::{Rollout, TaskOptions, offer_text};

/// An image in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Firmware {
    /// The product whose devices it is for.
    pub product_id: String,
    /// Its version, unique in the product and module: 1 to 32 of `[A-Za-z0-9._-]`.
    pub version: String,
    /// The digest in offers.
    pub md5: Md5,
    /// The size in bytes in offers, 1 to [`Firmware::MAX_SIZE`].
    pub size: u64,
    /// The path of its URL, from `/`, not percent-encoded.
    pub path: String,
    /// The image's URL on another web server, which offers contain unchanged instead of a signed
    /// one. At most [`Firmware::MAX_URL`] bytes.
    pub url: Option<String>,
    /// A text for the device, at most [`Firmware::MAX_USER_DEFINED`] bytes. `Some("")` is sent as
    /// an empty text: EXP-C devices ignore an offer without it.
    pub user_defined: Option<String>,
    /// Its module in offers: `mcu`, `module`, or a name of the product; `None` means the device's
    /// own.
    pub fw_type: Option<String>,
}

impl Firmware {
    /// Checks that its text and that of a task fit into an offer together.
    ///
    /// # Errors
    /// [`CatalogError::UserDefinedTooLong`].
    pub fn check_text(&self, options: &TaskOptions) -> Result<(), CatalogError> {
        let both = offer_text(self.user_defined.as_deref(), options.user_defined.as_deref());
        let fits = both.is_none_or(|text| text.len() <= Self::MAX_USER_DEFINED);
        if fits { Ok(()) } else { Err(CatalogError::UserDefinedTooLong) }
    }

    /// The largest image in bytes: 2,048 MiB (docs/protocol.md, The cloud's side).
    pub const MAX_SIZE: u64 = 2_048 * 1_024 * 1_024;
    /// The longest `user_defined` in bytes (docs/protocol.md, Cloud to device).
    pub const MAX_USER_DEFINED: usize = 1_536;
    /// The longest `url` in bytes that a device accepts.
    pub const MAX_URL: usize = 1_024;
    /// The longest path in bytes.
    pub const MAX_PATH: usize = 512;

    /// Makes a firmware at the platform's path, `/{product}_{version}`, without the optional
    /// fields.
    #[must_use]
    pub fn new(product_id: &str, version: &str, md5: Md5, size: u64) -> Self {
        Self {
            product_id: product_id.into(),
            version: version.into(),
            md5,
            size,
            path: format!("/{product_id}_{version}"),
            url: None,
            user_defined: None,
            fw_type: None,
        }
    }

    /// Its module. An invalid name, which no catalogue accepts, counts as the device's own.
    #[must_use]
    pub fn module(&self) -> Module {
        Module::new(self.fw_type.as_deref()).unwrap_or_default()
    }

    /// Checks the limits of docs/protocol.md, The cloud's side.
    fn check(&self) -> Result<(), CatalogError> {
        let path_char = |c: char| !c.is_control() && !matches!(c, '?' | '#' | '%');
        if Identity::new(&self.product_id, "device").is_err() {
            Err(CatalogError::BadProduct)
        } else if !is_word(&self.version, b"._-") {
            Err(CatalogError::BadVersion)
        } else if self.size == 0 || self.size > Self::MAX_SIZE {
            Err(CatalogError::BadSize)
        } else if !self.path.starts_with('/')
            || self.path.len() > Self::MAX_PATH
            || !self.path.chars().all(path_char)
        {
            Err(CatalogError::BadPath)
        } else if self.url.as_ref().is_some_and(|url| !is_url(url)) {
            Err(CatalogError::BadUrl)
        } else if self.user_defined.as_ref().is_some_and(|t| t.len() > Self::MAX_USER_DEFINED) {
            Err(CatalogError::UserDefinedTooLong)
        } else if self.fw_type.as_ref().is_some_and(|text| !is_word(text, b"_-")) {
            Err(CatalogError::BadFwType)
        } else {
            Ok(())
        }
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= Firmware::MAX_URL
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// A stored image of the catalogue: JSON, whose later versions only add fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// The image.
    pub firmware: Firmware,
    /// Why it is no longer offered.
    #[serde(default)]
    pub withdrawn: Option<String>,
    /// The name of its stored bytes, if they are stored.
    #[serde(default)]
    pub image: Option<String>,
    /// It is a draft.
    #[serde(default)]
    pub draft: bool,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// When it was added, in microseconds since 1970; 0 if unknown.
    #[serde(default)]
    pub made: u64,
    /// The least version from which a device may be updated to it.
    #[serde(default)]
    pub needs: Option<String>,
}

impl Listed {
    /// Makes an offered image whose bytes are stored under this name.
    #[must_use]
    pub fn new(firmware: Firmware, image: Option<String>) -> Self {
        let (name, description, needs) = (String::new(), String::new(), None);
        Self { firmware, withdrawn: None, image, draft: false, name, description, made: 0, needs }
    }

    /// The name of its row: product, module and version.
    #[must_use]
    pub fn id(firmware: &Firmware) -> String {
        format!("{}/{}/{}", firmware.product_id, firmware.module(), firmware.version)
    }

    /// Returns the stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }
}

/// A stored product: JSON, whose later versions only add fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Product {
    /// Its standing rules, at most one per module.
    #[serde(default)]
    pub rules: Vec<Rollout>,
    /// The last event before it was made. Earlier ones are of a removed product with its id.
    #[serde(default)]
    pub events_after: u64,
}

impl Product {
    /// Returns the stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }
}

/// The firmware and the standing rules of all products.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Catalog {
    products: BTreeMap<String, BTreeMap<Module, Shelf>>,
    /// The batches of each product that hold their devices back.
    batches: BTreeMap<String, Batches>,
}

/// What the batches of a product hold back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Batches {
    /// The batches whose devices get no offers.
    held: BTreeMap<u32, Hold>,
    /// The devices that wait for their wave, with the batch and its module.
    waiting: BTreeMap<String, (u32, Module)>,
}

/// The firmware and the rule of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Shelf {
    firmware: BTreeMap<String, Entry>,
    rule: Option<Rollout>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    firmware: Firmware,
    /// Why it is no longer offered.
    withdrawn: Option<String>,
    /// It is a draft.
    draft: bool,
    /// The least version from which a device may be updated to it.
    needs: Option<String>,
}

/// Whether a version is not below another: as Semantic Versioning, or else by its numbers. Versions
/// of other forms cannot be compared.
pub(crate) fn is_at_least(version: &str, least: &str) -> bool {
    let (Ok(version), Ok(least)) = (Version::new(version), Version::new(least)) else {
        return false;
    };
    let order = Order::SemVer.compare(&version, &least);
    let order = order.or_else(|| Order::Numeric.compare(&version, &least));
    order.is_some_and(Ordering::is_ge)
}

impl Catalog {
    /// Checks whether an image can be added, while its product has fewer than `most`.
    ///
    /// # Errors
    /// [`CatalogError`] names the fault.
    pub fn check(&self, firmware: &Firmware, most: usize) -> Result<(), CatalogError> {
        firmware.check()?;
        if self.get(&firmware.product_id, &firmware.module(), &firmware.version).is_some() {
            return Err(CatalogError::FirmwareAlreadyExist);
        }
        let shelves = self.products.get(&firmware.product_id).into_iter();
        let there = shelves.flat_map(BTreeMap::values).map(|shelf| shelf.firmware.len());
        if there.sum::<usize>() >= most {
            return Err(CatalogError::FirmwareExceedLimit);
        }
        Ok(())
    }

    /// Adds an image, while its product has fewer than `most`.
    ///
    /// # Errors
    /// [`CatalogError`], by what is wrong with it; nothing is added.
    pub fn add(&mut self, firmware: Firmware, most: usize) -> Result<(), CatalogError> {
        self.check(&firmware, most)?;
        let module = firmware.module();
        let shelf = self.products.entry(firmware.product_id.clone()).or_default();
        let shelf = shelf.entry(module).or_default();
        let entry = Entry { firmware, withdrawn: None, draft: false, needs: None };
        shelf.firmware.insert(entry.firmware.version.clone(), entry);
        Ok(())
    }

    /// Adds a stored image without checking for room.
    ///
    /// # Errors
    /// [`CatalogError`], by what is wrong with it; nothing is added.
    pub fn restore(&mut self, listed: Listed) -> Result<(), CatalogError> {
        self.add(listed.firmware.clone(), usize::MAX)?;
        self.set_state(&listed);
        Ok(())
    }

    /// The least version from which a device may be updated to an image.
    #[must_use]
    pub fn needs(&self, product_id: &str, module: &Module, version: &str) -> Option<&str> {
        self.entry(product_id, module, version)?.needs.as_deref()
    }

    /// Checks whether a device that runs this version may be updated to an image.
    ///
    /// # Errors
    /// [`TaskError::NeedsVersion`]; [`TaskError::DeviceHasNoFirmware`] if it never reported one.
    pub fn check_needs(
        &self,
        (product_id, module, version): (&str, &Module, &str),
        runs: Option<&str>,
    ) -> Result<(), TaskError> {
        let Some(least) = self.needs(product_id, module, version) else { return Ok(()) };
        let runs = runs.ok_or(TaskError::DeviceHasNoFirmware)?;
        if is_at_least(runs, least) { Ok(()) } else { Err(TaskError::NeedsVersion) }
    }

    /// Sets whether an image is a draft, offered or withdrawn. Returns whether it exists.
    pub fn set_state(&mut self, listed: &Listed) -> bool {
        let Some(entry) = self.entry_mut(&listed.firmware) else { return false };
        entry.withdrawn.clone_from(&listed.withdrawn);
        entry.draft = listed.draft;
        entry.needs.clone_from(&listed.needs);
        true
    }

    /// Removes an image. Returns whether it existed.
    pub fn remove(&mut self, firmware: &Firmware) -> bool {
        let shelf = self.products.get_mut(&firmware.product_id);
        let shelf = shelf.and_then(|product| product.get_mut(&firmware.module()));
        shelf.and_then(|shelf| shelf.firmware.remove(&firmware.version)).is_some()
    }

    /// Whether an image is a draft.
    #[must_use]
    pub fn is_draft(&self, product_id: &str, module: &Module, version: &str) -> bool {
        self.entry(product_id, module, version).is_some_and(|entry| entry.draft)
    }

    /// A product's standing rules.
    #[must_use]
    pub fn rules(&self, product_id: &str) -> Vec<Rollout> {
        let shelves = self.products.get(product_id).into_iter().flat_map(BTreeMap::values);
        shelves.filter_map(|shelf| shelf.rule.clone()).collect()
    }

    /// All images, by product, module and version.
    pub fn iter(&self) -> impl Iterator<Item = &Firmware> {
        let shelves = self.products.values().flat_map(BTreeMap::values);
        shelves.flat_map(|shelf| shelf.firmware.values()).map(|entry| &entry.firmware)
    }

    /// An image, withdrawn or not.
    #[must_use]
    pub fn get(&self, product_id: &str, module: &Module, version: &str) -> Option<&Firmware> {
        self.entry(product_id, module, version).map(|entry| &entry.firmware)
    }

    /// Why an image is no longer offered.
    #[must_use]
    pub fn withdrawn(&self, product_id: &str, module: &Module, version: &str) -> Option<&str> {
        self.entry(product_id, module, version)?.withdrawn.as_deref()
    }

    /// Stops the offers of an image, for this reason. Returns whether it exists.
    pub fn withdraw(
        &mut self,
        product_id: &str,
        module: &Module,
        version: &str,
        why: &str,
    ) -> bool {
        let shelf = self.products.get_mut(product_id).and_then(|product| product.get_mut(module));
        match shelf.and_then(|shelf| shelf.firmware.get_mut(version)) {
            Some(entry) => {
                entry.withdrawn = Some(why.into());
                true
            }
            None => false,
        }
    }

    /// The standing rule of a module.
    #[must_use]
    pub fn rule(&self, product_id: &str, module: &Module) -> Option<&Rollout> {
        self.products.get(product_id)?.get(module)?.rule.as_ref()
    }

    /// Sets the standing rule of the module that it names.
    ///
    /// # Errors
    /// [`TaskError::FirmwareNotExist`] or [`TaskError::FirmwareIsDraft`]; nothing is changed.
    pub fn set_rule(&mut self, product_id: &str, rule: Rollout) -> Result<(), TaskError> {
        if self.is_draft(product_id, &rule.module, &rule.version) {
            return Err(TaskError::FirmwareIsDraft);
        }
        let shelf = self.products.get_mut(product_id).and_then(|p| p.get_mut(&rule.module));
        let shelf = shelf.filter(|shelf| shelf.firmware.contains_key(&rule.version));
        shelf.ok_or(TaskError::FirmwareNotExist)?.rule = Some(rule);
        Ok(())
    }

    /// Why the devices of a batch get no offers of its tasks.
    #[must_use]
    pub fn hold(&self, product_id: &str, batch: u32) -> Option<Hold> {
        self.batches.get(product_id)?.held.get(&batch).copied()
    }

    /// The batch in which a device waits for its wave.
    #[must_use]
    pub fn waits(&self, device: &Identity, module: &Module) -> Option<u32> {
        let batches = self.batches.get(device.product_id())?;
        let (batch, of) = batches.waiting.get(device.device_name())?;
        (of == module).then_some(*batch)
    }

    /// Sets whether the devices of a batch get offers.
    pub fn set_hold(&mut self, product_id: &str, batch: u32, hold: Option<Hold>) {
        if hold.is_none() && !self.batches.contains_key(product_id) {
            return;
        }
        let held = &mut self.batches.entry(product_id.to_owned()).or_default().held;
        match hold {
            Some(hold) => drop(held.insert(batch, hold)),
            None => drop(held.remove(&batch)),
        }
    }

    /// Adds a device that waits for its wave.
    pub fn set_waiting(&mut self, product_id: &str, name: &str, batch: u32, module: &Module) {
        let waiting = &mut self.batches.entry(product_id.to_owned()).or_default().waiting;
        waiting.insert(name.to_owned(), (batch, module.clone()));
    }

    /// Removes a device that waited for its wave of this batch.
    pub fn end_waiting(&mut self, product_id: &str, name: &str, batch: u32) {
        let Some(batches) = self.batches.get_mut(product_id) else { return };
        if batches.waiting.get(name).is_some_and(|(of, _)| *of == batch) {
            batches.waiting.remove(name);
        }
    }

    /// Removes a batch that is over.
    pub fn end_batch(&mut self, product_id: &str, batch: u32) {
        let Some(batches) = self.batches.get_mut(product_id) else { return };
        batches.held.remove(&batch);
        batches.waiting.retain(|_, (of, _)| *of != batch);
        if batches.held.is_empty() && batches.waiting.is_empty() {
            self.batches.remove(product_id);
        }
    }

    /// Ends all standing rules of a product.
    pub fn end_rules(&mut self, product_id: &str) {
        for shelf in self.products.get_mut(product_id).into_iter().flat_map(BTreeMap::values_mut) {
            shelf.rule = None;
        }
    }

    fn entry_mut(&mut self, firmware: &Firmware) -> Option<&mut Entry> {
        let product = self.products.get_mut(&firmware.product_id)?;
        product.get_mut(&firmware.module())?.firmware.get_mut(&firmware.version)
    }

    fn entry(&self, product_id: &str, module: &Module, version: &str) -> Option<&Entry> {
        self.products.get(product_id)?.get(module)?.firmware.get(version)
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, least) in
            [("1.10.0", "1.9.0"), ("1.9.0", "1.9.0"), ("v2.0", "1.9.9.9"), ("1.0.0", "1.0.0-rc.1")]
        {
            assert!(is_at_least(version, least), "{version} {least}");
        }
        for (version, least) in
            [("1.9.0", "1.10.0"), ("1.0.0-rc.1", "1.0.0"), ("nightly", "1.0.0"), ("1.0.0", "b7")]
        {
            assert!(!is_at_least(version, least), "{version} {least}");
        }
    }
}
