//! The parameters of a request: a JSON object, or a query whose lists are flattened.

use core::fmt;
use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{ApiError, Code};

/// The longest query in bytes, like the vendor's.
const MAX_QUERY: usize = 32 * 1_024;
/// The most elements of a list in a query: each needs at least one parameter.
const MAX_INDEX: usize = 10_000;
/// The deepest flattened name: `Filters.0.Key`.
const MAX_DEPTH: usize = 4;

/// Parameters by name. `Debug` shows only the names: a value may be a device's secret.
#[derive(Clone, Default, PartialEq)]
pub struct Params(pub(super) Map<String, Value>);

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A device's secret of a request, in Base64. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk(String);

impl Psk {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(…)")
    }
}

impl Params {
    /// Parses the body of a POST: one JSON object with unique names, and the product in at most one
    /// spelling. The caller limits its length.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`].
    pub fn from_json(body: &[u8]) -> Result<Self, ApiError> {
        let bad = |what| ApiError::new(Code::InvalidParameter, what);
        match serde_json::from_slice(body) {
            Ok(Once(Value::Object(fields))) => Self::of(fields),
            Ok(_) => Err(bad("the body is not a JSON object")),
            Err(why) if why.is_data() => Err(bad("a name occurs twice in an object")),
            Err(_) => Err(bad("the body is not JSON, or is nested too deep")),
        }
    }

    /// Two products are ambiguous.
    fn of(fields: Map<String, Value>) -> Result<Self, ApiError> {
        if fields.contains_key("ProductId") && fields.contains_key("ProductID") {
            let what = "ProductId and ProductID are the same: give one of them";
            return Err(ApiError::new(Code::InvalidParameter, what));
        }
        Ok(Self(fields))
    }

    /// Parses the raw query of a GET: `DeviceNames.0=d1&Filters.0.Key=Status`.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`].
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        Self::from_form(query, MAX_QUERY)
    }

    /// Parses a form of at most this many bytes.
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
            Value::Object(fields) => Self::of(fields),
            _ => Ok(Self::default()),
        }
    }

    /// The product, if one is named.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.get("ProductId").and_then(Value::as_str)
    }

    /// A parameter; `null` counts as missing, and `ProductID` as `ProductId`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let other = match name {
            "ProductId" => "ProductID",
            "ProductID" => "ProductId",
            other => other,
        };
        self.0.get(name).or_else(|| self.0.get(other)).filter(|value| !value.is_null())
    }
}

/// A JSON value with unique names in all objects: of two values another reader may take the other.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(is.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Once(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Once(value))) = object.next_entry::<String, Once>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(fields.into())
    }
}

/// `+` is a space: the SDKs write queries like forms.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// Inserts a value at its name; `None` if something else is there.
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
    /// The parameter, or the reason of its refusal.
    fn take(params: &Params, name: &str) -> Result<Self, ApiError>;
}

pub(super) fn wrong(name: &str, what: &str) -> ApiError {
    ApiError::new(Code::InvalidParameter, format!("the parameter {name} is not {what}"))
}

fn text(name: &str, value: &Value) -> Result<String, ApiError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "a text"))
}

/// A number, or a text of digits: the vendor's examples have both.
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

fn psk(name: &str, value: &Value) -> Result<Psk, ApiError> {
    text(name, value).map(Psk)
}

take!(String = text, u64 = unsigned, i64 = signed, Psk = psk);

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

/// A search by key. The vendor does not publish the keys; ours are distinguished later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Option<String>,
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
