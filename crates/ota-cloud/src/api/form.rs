//! Forms of pages.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::problem::{Code, Problem};

/// What stays in a piece of a path.
const PIECE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Encodes a name as a piece of a path or query.
#[must_use]
pub fn encode(text: &str) -> String {
    // A piece of dots would be another path.
    if !text.is_empty() && text.bytes().all(|byte| byte == b'.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, PIECE).to_string()
}

/// Decodes a piece of a path; `None` if it is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// The fields of a form or of a query, decoded, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl core::fmt::Debug for Form {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // A field may be a password.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// The most fields.
    const MOST: usize = 500;

    /// Parses `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(text: &str) -> Result<Self, Problem> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let mut fields = Vec::new();
        for pair in pairs {
            if fields.len() == Self::MOST {
                return Err(Problem::new(Code::Invalid, "the form has more than 500 fields"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |text: &str| decode(&text.replace('+', " "));
            let field = text(name).zip(text(value));
            fields.push(field.ok_or_else(|| Problem::new(Code::Invalid, "the form is no text"))?);
        }
        Ok(Self(fields))
    }

    /// A field without blanks around it; empty if it is missing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field as it was sent; empty if it is missing.
    #[must_use]
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    /// A field that is not empty.
    #[must_use]
    pub fn some(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets a field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(of, _)| of != name);
        self.push(name, value);
    }

    /// Gives each field another name, or drops it.
    pub(crate) fn rename(&mut self, to: impl Fn(&str) -> Option<String>) {
        let fields = core::mem::take(&mut self.0);
        self.0 = fields.into_iter().filter_map(|(name, value)| Some((to(&name)?, value))).collect();
    }

    /// Adds a field.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }
}
