//! The range of an index with texts that begin with a prefix and come after a text.

use rusqlite::types::Value;

/// From `low` to below `high`. SQLite uses only one lower bound: of two it takes the first and
/// reads all rows up to the second.
pub(super) struct Range {
    pub(super) low: String,
    pub(super) high: Value,
}

impl Range {
    /// The texts that begin with `prefix` and are above `after`.
    pub(super) fn new(prefix: &str, after: Option<&str>) -> Self {
        let low = match after {
            // The least text above a text has an additional NUL.
            Some(after) if after >= prefix => format!("{after}\0"),
            _ => prefix.to_owned(),
        };
        // In SQLite every blob is above every text.
        let high = above(prefix).map_or(Value::Blob(Vec::new()), Value::Text);
        Self { low, high }
    }
}

/// The least text above every text that begins with `prefix`; `None` if there is none.
fn above(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let mut after = char::from_u32(u32::from(last).wrapping_add(1));
        if last == '\u{d7ff}' {
            after = Some('\u{e000}');
        }
        if let Some(after) = after {
            text.push(after);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn the_text_above_a_prefix_is_above_all_that_begin_with_it_and_no_other() {
        assert_eq!(above("dev").as_deref(), Some("dew"));
        assert_eq!(above("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(above("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(above("\u{10ffff}"), None);
        assert_eq!(above(""), None);
    }
}
