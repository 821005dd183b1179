//! JSON to messages.

use alloc::borrow::Cow;
use alloc::string::String;
use core::{fmt, str};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{CloudMessage, DeviceMessage, Malformed, OfferMessage, Progress, ProgressState};
use crate::digest::Md5;
use crate::version::Version;

/// How deep a message may nest. The documented ones have three levels; the rest is for keys that
/// we do not know.
const MAX_DEPTH: usize = 32;

impl<'a> DeviceMessage<'a> {
    /// Decodes what a device published: either form of each number, unknown keys, any order.
    /// Texts are borrowed unless they have escapes.
    ///
    /// A missing `percent` is none, a missing `result_msg` empty, a missing `result_code` 0 (but
    /// with `fail` it must be there). Neither the version nor the numbers are checked for sense.
    ///
    /// # Errors
    /// [`Malformed`], by what is wrong. Never panics, whatever the bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let raw: RawDevice<'a> = parse(payload)?;
        let kind = raw.kind.text()?.ok_or(Malformed::Shape)?;
        match &*kind {
            "report_version" => {
                let Object(report) = raw.report.ok_or(Malformed::Shape)?;
                let version = report.version.text()?.ok_or(Malformed::Shape)?;
                Ok(Self::ReportVersion { version, fw_type: report.fw_type.text()? })
            }
            "report_progress" => {
                let Object(report) = raw.report.ok_or(Malformed::Shape)?;
                let version = report.version.text()?.ok_or(Malformed::Shape)?;
                let Object(progress) = report.progress.ok_or(Malformed::Shape)?;
                Ok(Self::ReportProgress { version, progress: progress.check()? })
            }
            _ => Err(Malformed::Unknown),
        }
    }
}

impl<'a> CloudMessage<'a> {
    /// Decodes what the cloud published: either form of each number, unknown keys, any order, any
    /// escape, a digest of either case. Texts are borrowed unless they have escapes.
    ///
    /// The version of an offer is a [`Version`]; its URL may be any text. A missing, null or empty
    /// `md5sum` or `file_size` is none.
    ///
    /// # Errors
    /// [`Malformed`], by what is wrong. Never panics, whatever the bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let raw: RawCloud<'a> = parse(payload)?;
        let kind = raw.kind.text()?.ok_or(Malformed::Shape)?;
        match &*kind {
            "report_version_rsp" => Ok(Self::VersionReply {
                result_code: raw.result_code.integer()?.ok_or(Malformed::Shape)?,
                result_msg: raw.result_msg.text()?.unwrap_or_default(),
                version: raw.version.text()?,
            }),
            "update_firmware" => {
                let version = raw.version.text()?.ok_or(Malformed::Shape)?;
                let url = raw.url.text()?.ok_or(Malformed::Shape)?;
                let md5sum = raw.md5sum.text()?.filter(|text| !text.is_empty());
                let md5sum = md5sum.map(|text| Md5::from_hex(&text).ok_or(Malformed::Value));
                Version::new(&version).map_err(|_| Malformed::Value)?;
                Ok(Self::Offer(OfferMessage {
                    version,
                    url,
                    md5sum: md5sum.transpose()?,
                    file_size: raw.file_size.natural()?,
                    user_defined: raw.user_defined.text()?,
                    fw_type: raw.fw_type.text()?,
                }))
            }
            _ => Err(Malformed::Unknown),
        }
    }
}

#[derive(Deserialize)]
struct RawCloud<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    version: Scalar<'a>,
    #[serde(borrow, default)]
    result_code: Scalar<'a>,
    #[serde(borrow, default)]
    result_msg: Scalar<'a>,
    #[serde(borrow, default)]
    url: Scalar<'a>,
    #[serde(borrow, default)]
    md5sum: Scalar<'a>,
    #[serde(borrow, default)]
    file_size: Scalar<'a>,
    #[serde(borrow, default)]
    user_defined: Scalar<'a>,
    #[serde(borrow, default)]
    fw_type: Scalar<'a>,
}

#[derive(Deserialize)]
struct RawDevice<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow)]
    report: Option<Object<RawReport<'a>>>,
}

#[derive(Deserialize)]
struct RawReport<'a> {
    #[serde(borrow, default)]
    version: Scalar<'a>,
    #[serde(borrow, default)]
    fw_type: Scalar<'a>,
    #[serde(borrow)]
    progress: Option<Object<RawProgress<'a>>>,
}

#[derive(Deserialize)]
struct RawProgress<'a> {
    #[serde(borrow, default)]
    state: Scalar<'a>,
    #[serde(borrow, default)]
    percent: Scalar<'a>,
    #[serde(borrow, default)]
    result_code: Scalar<'a>,
    #[serde(borrow, default)]
    result_msg: Scalar<'a>,
}

impl<'a> RawProgress<'a> {
    fn check(self) -> Result<Progress<'a>, Malformed> {
        let state = match &*self.state.text()?.ok_or(Malformed::Shape)? {
            "downloading" => ProgressState::Downloading,
            "burning" => ProgressState::Burning,
            "done" => ProgressState::Done,
            "fail" => ProgressState::Fail,
            _ => return Err(Malformed::Unknown),
        };
        let code = self.result_code.integer()?;
        if state == ProgressState::Fail && code.is_none() {
            return Err(Malformed::Shape);
        }
        Ok(Progress {
            state,
            percent: self.percent.integer()?,
            result_code: code.unwrap_or(0),
            result_msg: self.result_msg.text()?.unwrap_or_default(),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Malformed> {
    let text = str::from_utf8(payload).map_err(|_| Malformed::Syntax)?;
    if !is_shallow(payload) {
        return Err(Malformed::Syntax);
    }
    match serde_json::from_str(text) {
        Ok(Object(value)) => Ok(value),
        // The parser stops at the first wrong type; what follows may not even be JSON.
        Err(error) if error.is_data() => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(Malformed::Shape),
            Err(_) => Err(Malformed::Syntax),
        },
        Err(_) => Err(Malformed::Syntax),
    }
}

/// Whether brackets outside of strings nest at most [`MAX_DEPTH`] deep. The parser skips what it
/// does not know without a limit of its own.
fn is_shallow(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// A JSON object and nothing else: a derived struct alone would also take an array.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Only<T>(core::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Only(core::marker::PhantomData))
    }
}

/// The value of a key that we know. Its type is judged only when the message's type is known,
/// which may stand behind it.
#[derive(Default)]
enum Scalar<'a> {
    /// Missing or null.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Natural(u64),
    Negative(i64),
    /// A fraction, or an integer beyond 64 bits.
    Fraction,
    /// A truth value, an array or an object.
    Other,
}

impl<'a> Scalar<'a> {
    fn text(self) -> Result<Option<Cow<'a, str>>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            _ => Err(Malformed::Shape),
        }
    }

    /// A number or a text that is one; an empty text is none.
    fn integer(self) -> Result<Option<i64>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => from_text(&text),
            Self::Natural(number) => i64::try_from(number).map(Some).map_err(|_| Malformed::Value),
            Self::Negative(number) => Ok(Some(number)),
            Self::Fraction => Err(Malformed::Value),
            Self::Other => Err(Malformed::Shape),
        }
    }

    /// The same without a sign.
    fn natural(self) -> Result<Option<u64>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => from_text(&text),
            Self::Natural(number) => Ok(Some(number)),
            Self::Negative(_) | Self::Fraction => Err(Malformed::Value),
            Self::Other => Err(Malformed::Shape),
        }
    }
}

/// Digits with a minus sign before them at most: no plus sign, no space.
fn from_text<T: str::FromStr>(text: &str) -> Result<Option<T>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('+') {
        return Err(Malformed::Value);
    }
    text.parse().map(Some).map_err(|_| Malformed::Value)
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(String::from(text))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Natural(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Scalar::Negative(number), Scalar::Natural))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Fraction)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
