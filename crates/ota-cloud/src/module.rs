//! The parts of a device with separate firmware.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A module: the value of `fw_type` in a report or a firmware.
///
/// Nothing, `default` and `mcu` name the same one, the device's own; `moudule`, as the platform's
/// API has it, is `module` (docs/cloud-design.md, Values).
///
/// ```
/// use ota_cloud::Module;
///
/// assert_eq!(Module::new(None), Module::new(Some("mcu")));
/// assert_eq!(Module::new(Some("moudule")), Module::new(Some("module")));
/// assert_ne!(Module::new(None), Module::new(Some("bms")));
/// assert_eq!(Module::new(Some("a b")), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Module(String);

impl Module {
    /// The longest name in bytes.
    pub const MAX: usize = 32;

    /// The module of this `fw_type`; `None` when that is not 1 to 32 letters, digits, `_` or `-`.
    #[must_use]
    pub fn new(fw_type: Option<&str>) -> Option<Self> {
        match fw_type {
            None | Some("" | "default" | "mcu") => Some(Self::default()),
            Some("moudule") => Some(Self("module".into())),
            Some(text) => is_word(text, b"_-").then(|| Self(text.into())),
        }
    }

    /// Its name: `default` for the device's own.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "default" } else { &self.0 }
    }
}

/// Whether the text is 1 to 32 letters, digits or `more`.
pub(crate) fn is_word(text: &str, more: &[u8]) -> bool {
    (1..=Module::MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for Module {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(Some(&text)).ok_or("no name of a module")
    }
}

impl From<Module> for String {
    fn from(module: Module) -> Self {
        module.as_str().into()
    }
}
