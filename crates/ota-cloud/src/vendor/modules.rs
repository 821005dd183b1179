//! Named modules of products.

use ota_proto::Instant;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{ApiError, Code};
use crate::api::is_hidden;
use crate::error::BadState;
use crate::module::Module;

/// The longest name or remark in bytes.
const MAX_TEXT: usize = 256;

/// A stored named module: JSON, whose later versions only add fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NamedModule {
    /// Its product.
    pub product: String,
    /// The name in firmware and reports.
    pub fw_type: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub remark: String,
    /// When it was named, in microseconds since 1970.
    #[serde(default)]
    pub made: u64,
    #[serde(skip)]
    built_in: bool,
}

impl NamedModule {
    /// Makes a module, or replaces one.
    ///
    /// # Errors
    /// [`Code::InvalidParameterValue`]: a text is too long, or has control characters.
    pub fn new(
        product: &str,
        module: &Module,
        before: Option<Self>,
        name: Option<String>,
        remark: Option<String>,
        now: Instant,
    ) -> Result<Self, ApiError> {
        let bad = |text: &Option<String>| {
            text.as_ref().is_some_and(|t| t.len() > MAX_TEXT || t.chars().any(is_hidden))
        };
        if bad(&name) || bad(&remark) {
            let what = "Name and Remark have at most 256 bytes, and no control characters";
            return Err(ApiError::new(Code::InvalidParameterValue, what));
        }
        let mut named = before.unwrap_or_else(|| Self {
            product: product.to_owned(),
            fw_type: module.as_str().to_owned(),
            name: String::new(),
            remark: String::new(),
            made: now.as_micros(),
            built_in: false,
        });
        named.name = name.unwrap_or(named.name);
        named.remark = remark.unwrap_or(named.remark);
        Ok(named)
    }

    /// The stored form.
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

/// The modules of every product: `default` and `mcu` are the same one here.
#[must_use]
pub fn built_in(product: &str) -> Vec<NamedModule> {
    let of = |fw_type: &str| NamedModule {
        product: product.to_owned(),
        fw_type: fw_type.to_owned(),
        name: fw_type.to_owned(),
        remark: String::new(),
        made: 0,
        built_in: true,
    };
    vec![of("default"), of("mcu")]
}

/// `OtaModuleInfo`.
#[must_use]
pub fn module_info(module: &NamedModule) -> Value {
    json!({
        "CreateTime": module.made / 1_000_000,
        "ProductName": module.product,
        "Name": module.name,
        "ProductID": module.product,
        "FwType": module.fw_type,
        "IsBuildIn": module.built_in,
        "Remark": module.remark,
    })
}
