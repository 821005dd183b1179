//! Tables for people.

use crate::print::{clean, out};

/// Prints rows under their headings, with columns as wide as needed.
pub(super) fn write(heads: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        let head = heads.get(at).map_or(0, |head| head.chars().count());
        cells.chain([head]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(&heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>());
    for row in &rows {
        line(row);
    }
}
