//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

/// The `Content-Type` of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics, as they are written one after the other.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family. Its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A `String` takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// Writes a family with one sample.
    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.one("a_total", "counter", "Counts.", 1);
        text.sample("b", &[("x", "q\"\\\n"), ("y", "")], 0.5);
        let want = "# HELP a_total Counts.\n# TYPE a_total counter\na_total 1\n\
                    b{x=\"q\\\"\\\\\\n\",y=\"\"} 0.5\n";
        assert_eq!(text.into_string(), want);
    }
}
