//! One cell, and one line.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::api::is_hidden;

/// Whether a program for tables would take a cell that begins with this for a formula, the wide
/// forms among them, which some take for the same.
const fn runs(c: char) -> bool {
    matches!(
        c,
        '=' | '+'
            | '-'
            | '@'
            | '\t'
            | '\r'
            | '\n'
            | '\u{ff1d}'
            | '\u{ff0b}'
            | '\u{ff0d}'
            | '\u{ff20}'
    )
}

/// A text as it stands in a cell.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if text.starts_with(|c| runs(c) || c == '\'') {
        return Cow::Owned(format!("'{text}"));
    }
    Cow::Borrowed(text)
}

/// The text of a cell.
pub(super) fn unescaped(cell: &str) -> &str {
    let behind = cell.strip_prefix('\'');
    behind.filter(|text| text.starts_with(|c| runs(c) || c == '\'')).unwrap_or(cell)
}

/// A tag's name or value as it stands in a cell: what has a meaning there, what is not seen, and a
/// space that a program may drop, are written as `%` and two digits for each byte. So is, in
/// a text that begins a tag, what would run where a program takes `;` for the end of a cell.
pub(super) fn tag(text: &str, begins: bool) -> String {
    let mut written = String::new();
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let drops = c.is_whitespace() && (at == 0 || at == last);
        let runs = begins && at == 0 && (runs(c) || c == '\'');
        if matches!(c, '%' | ';' | '=') || drops || runs || is_hidden(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // A string takes everything.
                let _ = write!(written, "%{byte:02X}");
            }
        } else {
            written.push(c);
        }
    }
    written
}

/// Cells as a line without its end.
pub(super) fn line(cells: &[&str]) -> Option<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).ok()?;
    let mut line = String::from_utf8(writer.into_inner().ok()?).ok()?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Some(line)
}
