//! Requests of callers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ota_proto::Identity;
use ota_proto::credentials::Secret;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

use super::certificate::{certificate_line, pem_of_line};
use super::problem::{Code, Problem};
use super::role::Role;

/// The most tags of a device.
const MAX_TAGS: usize = 16;
/// The longest name of a tag, or of a key, in bytes.
const MAX_NAME: usize = 64;
/// The longest value of a tag in bytes.
const MAX_VALUE: usize = 256;
/// The first line of a CSV, of which it may have fewer columns.
const HEAD: &str = "name,secret,tags,disabled,certificate";
/// The most devices of one CSV.
pub(crate) const MAX_ROWS: usize = 500;

/// Reads a JSON body.
///
/// # Errors
/// [`Code::Invalid`], with the place in the body but never its content.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // serde also reads a list into a struct, field by field.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(Code::Invalid, "the body must be a JSON object, not a list"));
    }
    serde_json::from_slice(body).map_err(|why| {
        let what = match why.classify() {
            serde_json::error::Category::Data => "a field is missing, unknown or of another type",
            _ => "the body is not JSON",
        };
        let (line, column) = (why.line(), why.column());
        Problem::new(Code::Invalid, format!("{what}, at line {line}, column {column}"))
    })
}

/// Checks a text for people: no control characters, and none that change the direction of writing.
pub(super) fn text(field: &'static str, text: &str, most: usize) -> Result<(), Problem> {
    if text.len() > most {
        return Err(Problem::field(field, format!("at most {most} bytes")));
    }
    if text.chars().any(is_hidden) {
        return Err(Problem::field(field, "control characters are not taken"));
    }
    Ok(())
}

/// Invisible characters that change the visible text.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

pub(super) fn check_product(field: &'static str, product: &str) -> Result<(), Problem> {
    Identity::new(product, "device").map(drop).map_err(|why| Problem::field(field, why.to_string()))
}

/// A requested API key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewKey {
    /// A name for people.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its product; `None` for all.
    #[serde(default)]
    pub product: Option<String>,
}

impl NewKey {
    /// Makes one from its parts.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn new(name: &str, role: Role, product: Option<&str>) -> Result<Self, Problem> {
        let new = Self { name: name.to_owned(), role, product: product.map(str::to_owned) };
        new.check().map(|()| new)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let new: Self = read_json(body)?;
        new.check().map(|()| new)
    }

    fn check(&self) -> Result<(), Problem> {
        text("name", &self.name, MAX_NAME)?;
        self.product.as_deref().map_or(Ok(()), |product| check_product("product", product))
    }
}

/// A requested device.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewDevice {
    /// Its name: 1 to 48 letters, digits or `_ - : .`.
    pub name: String,
    /// Its secret in Base64; generated if missing.
    #[serde(default)]
    pub secret: Option<String>,
    /// Its certificate in PEM, instead of a secret.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Its tags.
    #[serde(default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
    /// Whether it may not log in.
    #[serde(default)]
    pub disabled: bool,
}

impl core::fmt::Debug for NewDevice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "NewDevice({:?})", self.name)
    }
}

impl NewDevice {
    /// Makes one of this name, without a secret and tags.
    #[cfg(feature = "table")]
    pub(crate) fn named(name: &str) -> Self {
        let (name, tags) = (name.to_owned(), BTreeMap::new());
        Self { name, secret: None, certificate: None, tags, disabled: false }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let new: Self = read_json(body)?;
        new.check().map(|()| new)
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        Identity::new("P", &self.name).map_err(|why| Problem::field("name", why.to_string()))?;
        let given = self.given()?.is_some();
        if let Some(pem) = &self.certificate {
            let why = match certificate_line(pem) {
                None => "it is not a certificate in PEM",
                Some(_) if given => "a device has a secret or a certificate",
                Some(_) => return check_tags(&self.tags),
            };
            return Err(Problem::field("certificate", why));
        }
        check_tags(&self.tags)
    }

    /// Sets the certificate of a cell: its Base64 in one line, as between the lines of a PEM text.
    pub(crate) fn set_certificate(&mut self, cell: &str) {
        self.certificate = Some(cell).filter(|cell| !cell.is_empty()).map(pem_of_line);
    }

    /// The given secret.
    ///
    /// # Errors
    /// [`Code::Invalid`]; the secret is not repeated.
    pub fn given(&self) -> Result<Option<Secret>, Problem> {
        let read = |text: &String| {
            Secret::from_base64(text).map_err(|why| Problem::field("secret", why.to_string()))
        };
        self.secret.as_ref().map(read).transpose()
    }
}

/// Parses the devices of a CSV: a line per device with `name,secret,tags,disabled,certificate` or
/// fewer fields. An empty secret is generated if there is no certificate, which is the Base64 of
/// its PEM in one line; a heading line is skipped. Tags are `NAME=VALUE;NAME=VALUE`, in
/// which `%` and two digits encode a byte. `disabled` is `true`, `false` or empty.
///
/// # Errors
/// [`Code::Invalid`] with the line; no line is accepted then.
pub fn devices_of_csv(body: &[u8]) -> Result<Vec<NewDevice>, Problem> {
    let body = core::str::from_utf8(body)
        .map_err(|_| Problem::new(Code::Invalid, "the body is not UTF-8 text"))?;
    let (mut devices, mut names) = (Vec::new(), BTreeSet::new());
    for (at, line) in body.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || at == 0 && is_heading(line) {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(unquoted).collect();
        let wrong = |why: &str| {
            let line = at.saturating_add(1);
            Problem::new(Code::Invalid, format!("line {line}: {why}"))
        };
        if fields.len() > 5 {
            return Err(wrong("write name,secret,tags,disabled,certificate, or less of it"));
        }
        let cell = |at: usize| fields.get(at).copied().unwrap_or("");
        let secret = Some(cell(1).to_owned()).filter(|secret| !secret.is_empty());
        let tags = tags_of_csv(cell(2)).ok_or_else(|| wrong("write tags NAME=VALUE;NAME=VALUE"))?;
        let disabled = flag(cell(3)).ok_or_else(|| wrong("disabled is true or false"))?;
        let (name, certificate) = (cell(0).to_owned(), None);
        let mut new = NewDevice { name, secret, certificate, tags, disabled };
        new.set_certificate(cell(4));
        new.check().map_err(|why| wrong(&why.detail))?;
        if !names.insert(new.name.clone()) {
            return Err(wrong("the name occurs twice"));
        }
        devices.push(new);
        if devices.len() > MAX_ROWS {
            return Err(Problem::new(Code::TooLarge, "more than 500 devices: send them in parts"));
        }
    }
    if devices.is_empty() {
        return Err(Problem::new(Code::Invalid, "it contains no device"));
    }
    Ok(devices)
}

/// Whether a line names the first columns.
fn is_heading(line: &str) -> bool {
    HEAD.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

/// Parses the tags of a line; names must be unique.
pub(crate) fn tags_of_csv(text: &str) -> Option<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in text.split(';').filter(|tag| !tag.is_empty()) {
        let (name, value) = tag.split_once('=')?;
        let decoded = |text| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
        if tags.insert(decoded(name)?, decoded(value)?).is_some() {
            return None;
        }
    }
    Some(tags)
}

/// Parses a boolean cell; spreadsheets write it in capitals.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "" => Some(false),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ => None,
    }
}

fn unquoted(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
}

/// A change of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ChangeDevice {
    /// Whether it may log in.
    pub disabled: Option<bool>,
    /// All its tags after the change.
    #[serde(deserialize_with = "some_tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl ChangeDevice {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let change: Self = read_json(body)?;
        if let Some(tags) = &change.tags {
            check_tags(tags)?;
        }
        Ok(change)
    }
}

/// Tags with unique names. (The fields of a structure are unique anyway.)
fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Tags;
    impl<'de> Visitor<'de> for Tags {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("tags by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut tags = BTreeMap::new();
            while let Some((name, value)) = object.next_entry()? {
                if tags.insert(name, value).is_some() {
                    return Err(A::Error::custom("a tag is named twice"));
                }
            }
            Ok(tags)
        }
    }
    from.deserialize_map(Tags)
}

fn some_tags<'de, D>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Some(#[serde(deserialize_with = "tags")] BTreeMap<String, String>);
    Ok(Option::<Some>::deserialize(from)?.map(|Some(tags)| tags))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Problem> {
    if tags.len() > MAX_TAGS {
        return Err(Problem::field("tags", "a device has at most 16 tags"));
    }
    for (name, value) in tags {
        text("tags", name, MAX_NAME)?;
        text("tags", value, MAX_VALUE)?;
        if name.is_empty() {
            return Err(Problem::field("tags", "a tag has a name"));
        }
    }
    Ok(())
}
