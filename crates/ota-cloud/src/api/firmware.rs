//! Firmware, and updates of one device.

use core::time::Duration;

use ota_proto::Md5;
use serde::{Deserialize, Serialize};

use super::call::Query;
use super::input::{read_json, text};
use super::problem::{Code, Problem};
use crate::catalog::{Firmware, Listed, is_at_least};
use crate::module::{Module, is_word};
use crate::options::TaskOptions;

/// The longest name of a firmware in bytes.
const MAX_NAME: usize = 128;
/// The longest description in bytes.
const MAX_DESCRIPTION: usize = 1_024;
/// The most source versions of an update.
const MAX_FROM: usize = 50;
/// The reason of a withdrawal by a person.
const BY_HAND: &str = "by hand";

/// The state of a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FirmwareState {
    /// It is stored, and no device may be updated to it.
    Draft,
    /// Devices may be updated to it.
    Released,
    /// It is no longer offered.
    Withdrawn,
}

impl FirmwareState {
    /// The state of a firmware.
    #[must_use]
    pub const fn of(listed: &Listed) -> Self {
        if listed.withdrawn.is_some() {
            Self::Withdrawn
        } else if listed.draft {
            Self::Draft
        } else {
            Self::Released
        }
    }
}

/// The module of a query; the device's own if it names none.
///
/// # Errors
/// [`Code::Invalid`].
pub fn module(query: &Query) -> Result<Module, Problem> {
    let module = Module::new(query.get("module"));
    module.ok_or_else(|| Problem::field("module", "1 to 32 letters, digits, _ or -"))
}

/// A new firmware, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewFirmware {
    product: String,
    version: String,
    fw_type: Option<String>,
    user_defined: Option<String>,
    name: String,
    description: String,
    draft: bool,
    needs: Option<String>,
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
}

impl NewFirmware {
    /// Parses the version of a path, and a query.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(product: &str, version: &str, query: &Query) -> Result<Self, Problem> {
        let draft = match query.get("state") {
            None | Some("released") => false,
            Some("draft") => true,
            Some(_) => return Err(Problem::field("state", "draft or released")),
        };
        let owned = |name| query.get(name).map(str::to_owned);
        let of = |name| owned(name).unwrap_or_default();
        let (fw_type, user_defined) = (owned("module"), owned("user_defined"));
        let words = (of("name"), of("description"));
        let mut new = Self::new(product, version, fw_type, words.0, words.1, user_defined)?;
        new.draft = draft;
        new.needs = query.get("needs").map(least).transpose()?;
        new.md5 = query.get("md5").map(|text| digest("md5", text)).transpose()?;
        new.sha256 = query.get("sha256").map(|text| digest("sha256", text)).transpose()?;
        Ok(new)
    }

    /// Makes a released one from its parts.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn new(
        product: &str,
        version: &str,
        fw_type: Option<String>,
        name: String,
        description: String,
        user_defined: Option<String>,
    ) -> Result<Self, Problem> {
        if !is_word(version, b"._-") {
            let what = "a firmware version is 1 to 32 letters, digits or . _ -";
            return Err(Problem::field("version", what));
        }
        if Module::new(fw_type.as_deref()).is_none() {
            return Err(Problem::field("module", "1 to 32 letters, digits, _ or -"));
        }
        if user_defined.as_ref().is_some_and(|text| text.len() > Firmware::MAX_USER_DEFINED) {
            return Err(Problem::field("user_defined", "at most 1,536 bytes"));
        }
        check_words(&name, &description)?;
        let (product, version) = (product.to_owned(), version.to_owned());
        Ok(Self {
            product,
            version,
            fw_type,
            user_defined,
            name,
            description,
            draft: false,
            needs: None,
            md5: None,
            sha256: None,
        })
    }

    /// Checks whether a body of this length, if it is stated, is allowed.
    ///
    /// # Errors
    /// [`Code::Invalid`] for none, [`Code::TooLarge`].
    pub fn check_size(&self, size: u64) -> Result<(), Problem> {
        match size {
            0 => Err(Problem::new(Code::Invalid, "an image has at least one byte")),
            1..=Firmware::MAX_SIZE => Ok(()),
            _ => Err(Problem::new(Code::TooLarge, "an image has at most 2,048 MiB")),
        }
    }

    /// Checks whether the received bytes match.
    ///
    /// # Errors
    /// [`Code::Invalid`] with the digest that differs.
    pub fn check_digests(&self, md5: [u8; 16], sha256: [u8; 32]) -> Result<(), Problem> {
        let what = "the bytes that came have another digest: nothing is kept, send them again";
        if self.md5.is_some_and(|stated| stated != md5) {
            return Err(Problem::field("md5", what));
        }
        if self.sha256.is_some_and(|stated| stated != sha256) {
            return Err(Problem::field("sha256", what));
        }
        Ok(())
    }

    /// Makes the row, once the bytes are stored.
    #[must_use]
    pub fn listed(self, md5: [u8; 16], size: u64, image: Option<String>) -> Listed {
        let mut firmware = Firmware::new(&self.product, &self.version, Md5(md5), size);
        firmware.fw_type = self.fw_type;
        firmware.user_defined = self.user_defined;
        let module = firmware.module();
        if module != Module::default() {
            firmware.path = format!("/{}_{module}_{}", self.product, self.version);
        }
        let mut listed = Listed::new(firmware, image);
        (listed.draft, listed.name, listed.description) = (self.draft, self.name, self.description);
        listed.needs = self.needs;
        listed
    }
}

fn check_words(name: &str, description: &str) -> Result<(), Problem> {
    text("name", name, MAX_NAME)?;
    text("description", description, MAX_DESCRIPTION)
}

/// The least version from which a device may be updated.
fn least(text: &str) -> Result<String, Problem> {
    // Nothing is comparable with a version that is not with itself.
    if is_word(text, b"._-") && is_at_least(text, text) {
        return Ok(text.to_owned());
    }
    Err(Problem::field("needs", "a version of numbers like 1.4.0, with an optional pre-release"))
}

fn digest<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let read = base16ct::mixed::decode(text, &mut bytes).map(<[u8]>::len);
    let whole = read == Ok(N);
    whole.then_some(bytes).ok_or_else(|| Problem::field(field, "a digest in hexadecimal"))
}

/// A change of a firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ChangeFirmware {
    /// The new state: `released` or `withdrawn`.
    pub state: Option<FirmwareState>,
    /// A name for people.
    pub name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The least version from which a device may be updated to it; empty for any.
    pub needs: Option<String>,
}

impl ChangeFirmware {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let change: Self = read_json(body)?;
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        check_words(&of(&change.name), &of(&change.description))?;
        match change.needs.as_deref() {
            None | Some("") => {}
            Some(needs) => drop(least(needs)?),
        }
        Ok(change)
    }

    /// Makes a change of only its texts.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn words(name: String, description: Option<String>) -> Result<Self, Problem> {
        check_words(&name, description.as_deref().unwrap_or(""))?;
        Ok(Self { name: Some(name), description, ..Self::default() })
    }

    /// Changes a row.
    ///
    /// # Errors
    /// [`Code::WrongState`]: a firmware that was offered cannot become a draft again, and a draft
    /// is removed, not withdrawn.
    pub fn apply(self, listed: &mut Listed) -> Result<(), Problem> {
        let wrong = |what: &str| Err(Problem::new(Code::WrongState, what));
        match (FirmwareState::of(listed), self.state) {
            (_, None) => {}
            (from, Some(to)) if from == to => {}
            (_, Some(FirmwareState::Draft)) => {
                return wrong("a released firmware cannot become a draft: withdraw it");
            }
            (FirmwareState::Draft, Some(FirmwareState::Withdrawn)) => {
                return wrong("a draft is not offered to any device: remove it");
            }
            (_, Some(FirmwareState::Released)) => {
                (listed.draft, listed.withdrawn) = (false, None);
            }
            (_, Some(FirmwareState::Withdrawn)) => listed.withdrawn = Some(BY_HAND.to_owned()),
        }
        if let Some(name) = self.name {
            listed.name = name;
        }
        if let Some(description) = self.description {
            listed.description = description;
        }
        if let Some(needs) = self.needs {
            listed.needs = Some(needs).filter(|needs| !needs.is_empty());
        }
        Ok(())
    }
}

/// A firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FirmwareView<'a> {
    /// The product.
    pub product: &'a str,
    /// The version.
    pub version: &'a str,
    /// The module that it is for.
    pub module: String,
    /// Its state.
    pub state: FirmwareState,
    /// Why it was withdrawn.
    pub why: Option<&'a str>,
    /// Its bytes.
    pub size: u64,
    /// The digest in offers.
    pub md5: String,
    /// The digest that names its bytes in a data folder.
    pub sha256: Option<&'a str>,
    /// A name for people.
    pub name: &'a str,
    /// A description for people.
    pub description: &'a str,
    /// The text for devices.
    pub user_defined: Option<&'a str>,
    /// The least version from which a device may be updated to it.
    pub needs: Option<&'a str>,
}

impl<'a> FirmwareView<'a> {
    /// The view of a firmware.
    #[must_use]
    pub fn new(listed: &'a Listed) -> Self {
        let firmware = &listed.firmware;
        Self {
            product: &firmware.product_id,
            version: &firmware.version,
            module: firmware.module().to_string(),
            state: FirmwareState::of(listed),
            why: listed.withdrawn.as_deref(),
            size: firmware.size,
            md5: firmware.md5.to_string(),
            sha256: listed.image.as_deref(),
            name: &listed.name,
            description: &listed.description,
            user_defined: firmware.user_defined.as_deref(),
            needs: listed.needs.as_deref(),
        }
    }
}

/// An update of one device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewUpdate {
    /// The target version.
    pub version: String,
    /// The module; the device's own by default.
    #[serde(default)]
    module: Option<String>,
    /// The longest silence of the device in seconds.
    #[serde(default)]
    timeout: Option<u64>,
    /// A person must confirm first.
    #[serde(default)]
    confirm: bool,
    /// Only if the device runs one of these.
    #[serde(default)]
    from_versions: Vec<String>,
}

impl NewUpdate {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<(String, TaskOptions), Problem> {
        let new: Self = read_json(body)?;
        let options =
            task_options(&new.version, new.module, new.timeout, new.confirm, new.from_versions)?;
        Ok((new.version, options))
    }
}

pub(super) fn check_version(version: &str) -> Result<(), Problem> {
    let what = "a firmware version is 1 to 32 letters, digits or . _ -";
    if is_word(version, b"._-") { Ok(()) } else { Err(Problem::field("version", what)) }
}

/// The options of a task for a version.
pub(super) fn task_options(
    version: &str,
    module: Option<String>,
    timeout: Option<u64>,
    confirm: bool,
    mut from_versions: Vec<String>,
) -> Result<TaskOptions, Problem> {
    check_version(version)?;
    let module = Module::new(module.as_deref());
    let module = module.ok_or_else(|| Problem::field("module", "it is not a valid module name"))?;
    if timeout.is_some_and(|seconds| !(60..=3_600).contains(&seconds)) {
        return Err(Problem::field("timeout", "60 to 3,600 seconds"));
    }
    if from_versions.len() > MAX_FROM
        || from_versions.iter().any(|version| version.len() > Module::MAX)
    {
        return Err(Problem::field("from_versions", "at most 50, of at most 32 bytes each"));
    }
    from_versions.sort();
    from_versions.dedup();
    let timeout = timeout.map(Duration::from_secs);
    Ok(TaskOptions { timeout, confirm, from_versions, module, ..TaskOptions::default() })
}
