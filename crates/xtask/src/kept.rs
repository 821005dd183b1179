//! Numbers in a page of `docs/`, between two marks: printed, compared with the old ones, or
//! updated.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A table of numbers in a page.
pub(crate) struct Kept {
    /// The page, from the workspace's root.
    pub(crate) page: &'static str,
    /// The command that writes it, and the name of its marks.
    pub(crate) command: &'static str,
    /// The headings of the two columns.
    pub(crate) heads: [&'static str; 2],
    /// The allowed growth of a number in percent.
    pub(crate) growth: u64,
}

impl Kept {
    /// Prints the table; compares it with the page, or writes it there. `made_with` names the
    /// compiler: numbers of different ones are not compared.
    pub(crate) fn run(
        &self,
        root: &Path,
        made_with: &str,
        rows: &[(String, u64)],
        write: bool,
    ) -> Result<(), String> {
        let fail = |error| format!("{}: {error}", self.page);
        let path = root.join(self.page);
        let page = fs::read_to_string(&path).map_err(fail)?;
        let no_section = || format!("{}: no {}", self.page, self.begin().trim_end());
        let (before, old, after) = self.section(&page).ok_or_else(no_section)?;
        let new = self.table(made_with, rows);
        println!("{new}");
        if write {
            let page = [before, &self.begin(), &new, &self.end(), after].concat();
            return fs::write(&path, page).map_err(fail);
        }
        if old.lines().next() != new.lines().next() {
            println!("the page has numbers of another compiler: not compared");
            return Ok(());
        }
        let heading = format!("more than {} % above {}", self.growth, self.page);
        crate::faults(&heading, &self.grown(old, rows))
    }

    fn begin(&self) -> String {
        format!("<!-- written by `{}` -->\n", self.command)
    }

    fn end(&self) -> String {
        "<!-- end of what is written -->\n".to_owned()
    }

    fn section<'p>(&self, page: &'p str) -> Option<(&'p str, &'p str, &'p str)> {
        let (before, rest) = page.split_once(&self.begin())?;
        let (old, after) = rest.split_once(&self.end())?;
        Some((before, old, after))
    }

    fn table(&self, made_with: &str, rows: &[(String, u64)]) -> String {
        let [what, number] = self.heads;
        let mut text = format!("{made_with}\n\n| {what} | {number} |\n|---|---:|\n");
        for (name, count) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {count} |");
        }
        text
    }

    /// Rows that exceed the old table's limits, and rows that it does not have.
    fn grown(&self, old: &str, rows: &[(String, u64)]) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, count) in rows {
            let row = old.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")));
            let was: Option<u64> = row.and_then(|row| row.trim_end_matches(" |").parse().ok());
            match was {
                None => faults.push(format!("{name}: not in {}; write it with --write", self.page)),
                Some(was) if count.saturating_mul(100) > was.saturating_mul(100 + self.growth) => {
                    faults.push(format!("{name}: {count}, was {was}"));
                }
                Some(_) => {}
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept =
        Kept { page: "docs/x.md", command: "x --write", heads: ["step", "count"], growth: 10 };

    #[test]
    fn ten_per_cent_more_is_allowed_and_no_more() {
        let row = |count| vec![("decode".to_owned(), count)];
        let old = KEPT.table("cargo 1.0", &row(100));
        assert!(KEPT.grown(&old, &row(110)).is_empty());
        assert_eq!(KEPT.grown(&old, &row(111)), ["decode: 111, was 100"]);
        assert_eq!(KEPT.grown("", &row(1)).len(), 1);
    }

    #[test]
    fn the_section_is_found_between_its_marks() {
        let page = format!("a\n{}table\n{}b\n", KEPT.begin(), KEPT.end());
        assert_eq!(KEPT.section(&page), Some(("a\n", "table\n", "b\n")));
        assert_eq!(KEPT.section("a"), None);
    }
}
