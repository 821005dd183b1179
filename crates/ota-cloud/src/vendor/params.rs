//! The parameters of a request: a JSON object, or a query whose lists are flattened.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::action::Filter;
use super::error::{ApiError, Code};

/// The longest query in bytes, as the vendor's.
const MAX_QUERY: usize = 32 * 1_024;
/// The most elements of a list in a query: each costs one parameter at least.
const MAX_INDEX: usize = 10_000;
/// How deep a flattened name may go: `Filters.0.Key`.
const MAX_DEPTH: usize = 4;

/// Parameters by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Map<String, Value>);

impl Params {
    /// From the body of a POST: one JSON object. The caller bounds its length.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`].
    pub fn from_json(body: &[u8]) -> Result<Self, ApiError> {
        let bad = |what| ApiError::new(Code::InvalidParameter, what);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(bad("the body is not a JSON object")),
            Err(_) => Err(bad("the body is not JSON, or is nested too deep")),
        }
    }

    /// From the query of a GET, as it was sent: `DeviceNames.0=d1&Filters.0.Key=Status`.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`].
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        Self::from_form(query, MAX_QUERY)
    }

    /// From a form of at most so many bytes.
    pub(super) fn from_form(query: &str, most: usize) -> Result<Self, ApiError> {
        let bad = |what: &str| ApiError::new(Code::InvalidParameter, what);
        if query.len() > most {
            return Err(bad(&format!("the query or form has over {} KiB", most / 1_024)));
        }
        let mut fields = Value::Object(Map::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| decode(text).ok_or_else(|| bad("the query is not UTF-8"));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if name.split('.').count() > MAX_DEPTH {
                return Err(bad("a name in the query has too many parts"));
            }
            insert(&mut fields, name.split('.'), value.into_owned())
                .ok_or_else(|| bad("a name in the query contradicts another, or skips a place"))?;
        }
        match fields {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Ok(Self::default()),
        }
    }

    /// The product, where one is named.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.get("ProductId").and_then(Value::as_str)
    }

    /// A parameter; `null` counts as none, and `ProductID` is `ProductId`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let other = match name {
            "ProductId" => "ProductID",
            "ProductID" => "ProductId",
            other => other,
        };
        self.0.get(name).or_else(|| self.0.get(other)).filter(|value| !value.is_null())
    }
}

/// `+` is a space: the SDKs write queries as forms.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// Puts a value where its name says; `None` when something else is there.
fn insert<'a>(
    place: &mut Value,
    mut parts: impl Iterator<Item = &'a str>,
    value: String,
) -> Option<()> {
    let Some(part) = parts.next() else {
        return place.is_null().then(|| *place = Value::String(value));
    };
    if let Ok(index) = part.parse::<usize>() {
        if place.is_null() {
            *place = Value::Array(Vec::new());
        }
        let list = place.as_array_mut()?;
        if index == list.len() && index < MAX_INDEX {
            list.push(Value::Null);
        }
        return insert(list.get_mut(index)?, parts, value);
    }
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    let field = place.as_object_mut()?.entry(part).or_insert(Value::Null);
    insert(field, parts, value)
}

/// A type that a parameter may have.
pub(super) trait Take: Sized {
    /// The parameter, or why it is refused.
    fn take(params: &Params, name: &str) -> Result<Self, ApiError>;
}

fn wrong(name: &str, what: &str) -> ApiError {
    ApiError::new(Code::InvalidParameter, format!("the parameter {name} is not {what}"))
}

fn text(name: &str, value: &Value) -> Result<String, ApiError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "a text"))
}

/// A number, or a text of digits: the vendor's own examples have both.
fn unsigned(name: &str, value: &Value) -> Result<u64, ApiError> {
    let number = match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.ok_or_else(|| wrong(name, "a whole number from 0 on"))
}

fn signed(name: &str, value: &Value) -> Result<i64, ApiError> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    number.ok_or_else(|| wrong(name, "a whole number"))
}

macro_rules! take {
    ($($type:ty = $read:ident),*) => {$(
        impl Take for $type {
            fn take(params: &Params, name: &str) -> Result<Self, ApiError> {
                $read(name, params.get(name).ok_or_else(|| ApiError::missing(name))?)
            }
        }

        impl Take for Option<$type> {
            fn take(params: &Params, name: &str) -> Result<Self, ApiError> {
                params.get(name).map(|value| $read(name, value)).transpose()
            }
        }
    )*};
}

take!(String = text, u64 = unsigned, i64 = signed);

fn list<T>(
    params: &Params,
    name: &str,
    read: impl Fn(&Value) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    let Some(value) = params.get(name) else { return Ok(Vec::new()) };
    value.as_array().ok_or_else(|| wrong(name, "a list"))?.iter().map(read).collect()
}

impl Take for Vec<String> {
    fn take(params: &Params, name: &str) -> Result<Self, ApiError> {
        list(params, name, |value| text(name, value))
    }
}

impl Take for Vec<Filter> {
    fn take(params: &Params, name: &str) -> Result<Self, ApiError> {
        list(params, name, |value| {
            let fields = value.as_object().ok_or_else(|| wrong(name, "a list of objects"))?;
            let fields = Params(fields.clone());
            Ok(Filter { key: Take::take(&fields, "Key")?, value: Take::take(&fields, "Value")? })
        })
    }
}
