//! Reads and writes cells and lines.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::api::is_hidden;

/// Whether a spreadsheet would treat a cell that begins with this as a formula, including the wide
/// forms that some accept.
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

/// Formats a text as a cell.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.starts_with(|c| runs(c) || c == '\'') {
        return Cow::Owned(format!("'{text}"));
    }
    Cow::Borrowed(text)
}

/// Parses the text of a cell.
pub(super) fn unescaped(cell: &str) -> &str {
    let behind = cell.strip_prefix('\'');
    behind.filter(|text| text.starts_with(|c| runs(c) || c == '\'')).unwrap_or(cell)
}

/// Formats a tag's name or value: characters with a meaning in a cell, invisible ones, and spaces
/// that a program may drop are written as `%` and two digits per byte. At the start of a tag the
/// same is done with characters that would start a formula in programs that end cells at `;`.
pub(super) fn tag(text: &str, begins: bool) -> String {
    let mut written = String::new();
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let drops = c.is_whitespace() && (at == 0 || at == last);
        let runs = begins && at == 0 && (runs(c) || c == '\'');
        if matches!(c, '%' | ';' | '=') || drops || runs || is_hidden(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(written, "%{byte:02X}");
            }
        } else {
            written.push(c);
        }
    }
    written
}

/// Formats cells as a line without its end.
pub(crate) fn line(cells: &[&str]) -> Option<String> {
    written(cells, csv::QuoteStyle::Necessary)
}

/// The same with quotes around each cell.
pub(crate) fn quoted(cells: &[&str]) -> Option<String> {
    written(cells, csv::QuoteStyle::Always)
}

fn written(cells: &[&str], quotes: csv::QuoteStyle) -> Option<String> {
    let mut writer = csv::WriterBuilder::new().quote_style(quotes).from_writer(Vec::new());
    writer.write_record(cells).ok()?;
    let mut line = String::from_utf8(writer.into_inner().ok()?).ok()?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Some(line)
}
