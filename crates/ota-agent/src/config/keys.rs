//! Reads keys of each type. Every error names its key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use crate::span;

/// The table, with readers for each type of key.
pub(super) struct Keys<'a> {
    pub(super) table: &'a Table,
    pub(super) folder: &'a Path,
}

impl<'a> Keys<'a> {
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(format!("{key}: must be a text, like {key} = \"…\"")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("{key}: must be true or false, without quotes")),
        }
    }

    /// A duration of at most a day.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<Duration>, String> {
        let time = self.span(key)?;
        if time.is_some_and(|time| time > Duration::from_secs(86_400)) {
            return Err(format!("{key}: must be at most a day"));
        }
        Ok(time)
    }

    /// A duration: a number of seconds, or a text as on the command line.
    pub(super) fn span(&self, key: &str) -> Result<Option<Duration>, String> {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let time = match self.table.get(key) {
            None => return Ok(None),
            Some(Value::Integer(whole)) => seconds(*whole as f64),
            Some(Value::Float(number)) => seconds(*number),
            Some(Value::String(text)) => span::parse_any(text).ok(),
            Some(_) => None,
        };
        let time = time.filter(|time| *time <= span::MOST);
        time.map(Some).ok_or_else(|| {
            format!(
                "{key}: must be a number of seconds, like {key} = 5, or a text like {key} = \
                 \"90s\", \"30m\" or \"2h\""
            )
        })
    }

    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, String> {
        Ok(self.text(key)?.map(|text| self.folder.join(text)))
    }

    /// Whole paths of folders.
    pub(super) fn folders(&self, key: &str) -> Result<Vec<PathBuf>, String> {
        let wrong = || format!("{key}: must be a list of folders, like {key} = [\"/srv/app\"]");
        let items = match self.table.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong()),
        };
        let folder = |item: &Value| {
            let text = item.as_str().filter(|text| !text.is_empty())?;
            std::path::absolute(self.folder.join(text)).ok()
        };
        items.iter().map(|item| folder(item).ok_or_else(wrong)).collect()
    }

    /// The words of a command. A program that is a path is relative like all others; a plain name
    /// is looked up in `PATH`.
    pub(super) fn command(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        self.command_with(key, &[])
    }

    /// Like [`Keys::command`], with `more` placeholders.
    pub(super) fn command_with(
        &self,
        key: &str,
        more: &[&'static str],
    ) -> Result<Option<Vec<String>>, String> {
        let wrong = || {
            format!(
                "{key}: must be a list of texts, like {key} = [\"/usr/bin/command\", \"argument\"]"
            )
        };
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let words: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                let words =
                    words.filter(|words| words.first().is_some_and(|word| !word.is_empty()));
                let mut words = words.ok_or_else(wrong)?;
                let known = [&NAMES[..], more].concat();
                words.iter().try_for_each(|word| only_known(key, word, &known))?;
                if let Some(program) = words.first_mut() {
                    // The placeholder of an image or a slot is an absolute path.
                    if program.contains('/') && !program.starts_with('{') {
                        let path = self.folder.join(&*program).into_os_string().into_string();
                        *program = path.map_err(|_| format!("{key}: write the whole path"))?;
                    }
                }
                Ok(Some(words))
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// The placeholders of every command.
const NAMES: [&str; 4] = ["image", "version", "size", "user_defined"];

/// An unknown placeholder would reach the command unchanged. Braces that a shell may use are left
/// alone: `${name}`, `{}`, `{a,b}`.
fn only_known(key: &str, word: &str, known: &[&'static str]) -> Result<(), String> {
    let mut pieces = word.split('{');
    let mut before = pieces.next().unwrap_or("");
    for piece in pieces {
        let name = piece.split_once('}').map_or("", |(name, _)| name);
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if is_name && !before.ends_with('$') && !known.contains(&name) {
            let hint = match nearest(name, known) {
                Some(known) => format!("did you mean {{{known}}}?"),
                None => format!("there are {{{}}}", known.join("}, {")),
            };
            return Err(format!("{key}: {{{name}}} is not a placeholder; {hint}"));
        }
        before = piece;
    }
    Ok(())
}

/// The known key that is most similar to this one, if any is.
pub(super) fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    let (distance, key) = known.iter().map(|key| (distance(unknown, key), *key)).min()?;
    (distance <= 1 + key.len() / 3).then_some(key)
}

/// How many letters must be changed, added or removed to turn one into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().map(|byte| byte.to_ascii_lowercase()).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            let best = (*above + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = *above;
            *above = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
