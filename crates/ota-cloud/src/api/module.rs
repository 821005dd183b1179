//! Named modules: what people call the parts of a device that have their own firmware.

use serde::{Deserialize, Serialize};

use super::input::{read_json, text};
use super::problem::Problem;
use crate::module::Module;

/// The longest name or description in bytes.
const MAX_TEXT: usize = 256;

/// A module to be named.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewModule {
    /// Its name in firmware and reports.
    module: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
}

impl NewModule {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<(Module, Self), Problem> {
        let new: Self = read_json(body)?;
        text("name", &new.name, MAX_TEXT)?;
        text("description", &new.description, MAX_TEXT)?;
        let module = Module::new(Some(&new.module)).filter(|module| *module != Module::default());
        let what = "1 to 32 letters, digits, _ or -, and not default or mcu, which are built in";
        Ok((module.ok_or_else(|| Problem::field("module", what))?, new))
    }
}

/// A change of a named module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChangeModule {
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
}

impl ChangeModule {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let change: Self = read_json(body)?;
        text("name", change.name.as_deref().unwrap_or(""), MAX_TEXT)?;
        text("description", change.description.as_deref().unwrap_or(""), MAX_TEXT)?;
        Ok(change)
    }
}

/// A named module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamedModuleView<'a> {
    /// Its name in firmware and reports.
    pub module: &'a str,
    /// A name for people.
    pub name: &'a str,
    /// A description for people.
    pub description: &'a str,
    /// When it was named, in microseconds since 1970.
    pub made: u64,
}

impl<'a> NamedModuleView<'a> {
    /// The view of a module.
    #[must_use]
    pub const fn new(module: &'a str, (name, description): (&'a str, &'a str), made: u64) -> Self {
        Self { module, name, description, made }
    }
}
