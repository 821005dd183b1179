//! Products in the form of both consoles of the vendor.

use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::params::{Params, Psk, Take, wrong};
use crate::api::{ProductSecret, Registering, Registration, Settings, Studio};

const SECOND: u64 = 1_000_000;
/// The longest name in bytes.
const MAX_NAME: usize = 32;
/// The longest description, and the longest other text, in bytes.
const MAX_TEXT: usize = 256;

/// The relevant `ProductProperties` of a new product. `Debug` hides the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// `ProductDescription`
    pub description: Option<String>,
    /// `EncryptionType`
    pub encryption: Option<String>,
    /// `ProductType`
    pub kind: Option<u64>,
    /// `RegisterType`
    pub register: Option<u64>,
    /// `RegisterLimit`
    pub limit: Option<u64>,
    /// `ProductSecret`
    pub secret: Option<Psk>,
    /// The first unsupported property that is set.
    pub other: Option<&'static str>,
}

impl Take for Properties {
    fn take(params: &Params, name: &str) -> Result<Self, ApiError> {
        let Some(value) = params.get(name) else { return Ok(Self::default()) };
        let fields = value.as_object().ok_or_else(|| wrong(name, "an object"))?;
        let fields = Params(fields.clone());
        // A number also counts as a text.
        let asks = |other: &str, nothing: &[&str]| match fields.get(other) {
            None => false,
            Some(Value::String(text)) => !nothing.contains(&text.as_str()),
            Some(value) => !nothing.contains(&value.to_string().as_str()),
        };
        let other = OTHERS.iter().find(|(other, nothing)| asks(other, nothing));
        Ok(Self {
            description: Take::take(&fields, "ProductDescription")?,
            encryption: Take::take(&fields, "EncryptionType")?,
            kind: Take::take(&fields, "ProductType")?,
            register: Take::take(&fields, "RegisterType")?,
            limit: Take::take(&fields, "RegisterLimit")?,
            secret: Take::take(&fields, "ProductSecret")?,
            other: other.map(|(other, _)| *other),
        })
    }
}

/// The other `ProductProperties`, with their unset values.
const OTHERS: &[(&str, &[&str])] = &[
    ("Appeui", &[""]),
    ("AppEUI", &[""]),
    ("ModelId", &["", "-1"]),
    ("ModelName", &[""]),
    ("ProductKey", &[""]),
    ("OriginProductId", &[""]),
    ("PrivateCAName", &[""]),
    ("OriginUserId", &["", "0"]),
    ("DeviceLimit", &["", "0"]),
    ("ForbiddenStatus", &["", "0"]),
];

fn refuse(name: &str, why: &str) -> ApiError {
    ApiError::new(Code::UnsupportedOperation, format!("{name} is not supported here: {why}"))
}

fn bad(what: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidParameterValue, what)
}

/// The product's name is valid.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(sign) {
        return Ok(());
    }
    Err(bad("ProductName has 1 to 32 letters, digits or : _ -"))
}

/// Only products of devices with secrets are supported, not gateways.
pub(super) fn check_kind(encryption: Option<&str>, kind: Option<u64>) -> Result<(), ApiError> {
    match encryption {
        Some("2") => {}
        None | Some("" | "1") => {
            let why = "1, which none means too, is for certificates: write 2";
            return Err(refuse("EncryptionType", why));
        }
        Some(_) => return Err(refuse("EncryptionType", "write 2")),
    }
    match kind.unwrap_or(0) {
        0 => Ok(()),
        _ => Err(refuse("ProductType", "there are plain products, 0, alone")),
    }
}

pub(super) fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    if text.len() > MAX_TEXT || text.chars().any(crate::api::is_hidden) {
        return Err(bad(format!("{name} has at most 256 bytes, and no control characters")));
    }
    Ok(())
}

impl Properties {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        check_kind(self.encryption.as_deref(), self.kind)?;
        check_text("ProductDescription", self.description.as_deref().unwrap_or(""))?;
        self.registration()?;
        if let Some(other) = self.other {
            return Err(refuse(other, "a product has no such thing"));
        }
        if self.secret.as_ref().is_some_and(|secret| !secret.expose().is_empty()) {
            return Err(refuse("ProductSecret", "the REST API takes one"));
        }
        Ok(())
    }

    fn registration(&self) -> Result<Registration, ApiError> {
        registration(self.register.unwrap_or(0), self.limit.unwrap_or(0))
    }

    /// The stored settings, for a product of a checked request.
    ///
    /// # Errors
    /// [`Code::InvalidParameterValue`].
    pub fn settings(&self, name: &str, now: u64) -> Result<Settings, ApiError> {
        let description = self.description.clone().unwrap_or_default();
        Ok(Settings {
            name: name.to_owned(),
            description,
            made: now,
            registration: self.registration()?,
            studio: None,
        })
    }
}

/// The stored settings of a product of IoT Explorer.
#[must_use]
pub fn studio_settings(name: &str, description: &str, studio: Studio, now: u64) -> Settings {
    Settings {
        name: name.to_owned(),
        description: description.to_owned(),
        made: now,
        studio: Some(studio),
        ..Settings::default()
    }
}

impl Studio {
    /// IoT Explorer's additional fields of a product.
    #[must_use]
    pub fn new(category: i64, net: &str, protocol: i64, project: &str) -> Self {
        Self { category, net: net.to_owned(), protocol, project: project.to_owned() }
    }
}

/// `RegisterType` and `RegisterLimit`.
///
/// # Errors
/// [`Code::InvalidParameterValue`].
pub fn registration(kind: u64, limit: u64) -> Result<Registration, ApiError> {
    let mode = Registering::of_number(kind).ok_or_else(|| bad("RegisterType is 0, 1 or 2"))?;
    Registration::new(mode, limit).map_err(|_| {
        let most = Registration::MOST;
        bad(format!("RegisterLimit is 0 to {most}, and with RegisterType 2 not 0"))
    })
}

/// The answer of the actions about dynamic registration. The secret is only for callers who may add
/// devices.
#[must_use]
pub fn registration_info(of: Registration, secret: Option<&ProductSecret>) -> Value {
    json!({
        "RegisterType": of.mode.number(),
        "RegisterLimit": of.limit,
        "ProductSecret": secret.map_or("", ProductSecret::expose),
    })
}

/// A product with the fields of both consoles; fields without data are 0 or empty.
#[must_use]
pub fn product_info(id: &str, settings: &Settings, secret: Option<&ProductSecret>) -> Value {
    let Settings { description, made, registration, .. } = settings;
    let (name, made) = (settings.called(id), made / SECOND);
    let studio = settings.studio.clone().unwrap_or_default();
    json!({
        "ProductId": id,
        "ProductName": name,
        "ProductMetadata": { "CreationDate": made, "CreateUserId": 0, "UserId": 0 },
        "ProductProperties": {
            "ProductDescription": description, "EncryptionType": "2", "ProductType": 0,
            "RegisterType": registration.mode.number(), "RegisterLimit": registration.limit,
            "ProductSecret": secret.map_or("", ProductSecret::expose),
        },
        "Product": entry(id, name, made, description, &studio),
    })
}

/// A product of IoT Explorer's list.
fn entry(id: &str, name: &str, made: u64, description: &str, studio: &Studio) -> Value {
    json!({
        "ProductId": id, "ProductName": name, "CategoryId": studio.category,
        "EncryptionType": "2", "NetType": studio.net, "DataProtocol": studio.protocol,
        "ProductDesc": description, "DevStatus": "dev", "CreateTime": made, "UpdateTime": made,
        "Region": "", "ProductType": 0, "ProjectId": studio.project,
    })
}
