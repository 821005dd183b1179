//! A list of words and phrases that readers stumble over, each with a plain one. They are rejected
//! in code, comments, texts and pages.

use std::fs;
use std::path::Path;

/// The rejected phrases, and better ones. Lower case matches any case; a phrase with a capital
/// matches exactly.
const WORDS: [(&str, &str); 47] = [
    ("a lie", "a violation"),
    ("are none of", "are not"),
    ("at the floor", "after the minimum interval"),
    ("authorities of the web", "public CAs"),
    ("authority of the web", "public CA"),
    ("by chance", "at random"),
    ("for ever", "forever"),
    ("gone on with", "continued"),
    ("good-bye", "disconnect, or close_notify"),
    ("has no use for", "does not need, or does not expect"),
    ("has not its", "does not have its"),
    ("has not yet its", "does not have its ... yet"),
    ("have not their", "do not have their"),
    ("inlined it would widen", "not inlined: that would widen"),
    ("is gone on with", "continues"),
    ("is none of", "is not one of, or is not a"),
    ("is the store's to say", "the store decides"),
    ("is theirs to say", "they decide"),
    ("is worth nothing", "does not count"),
    ("it is none", "it is invalid, or there is none"),
    ("its copies would cost", "not inlined: each copy costs"),
    ("let_sent", "mark_sent"),
    ("liar", "a peer that violates the protocol"),
    ("lies", "is, or violates the protocol"),
    ("makes way", "is replaced, or is removed"),
    ("no fault of", "not the fault of"),
    ("none of a cloud", "not from a cloud"),
    ("none of the attempt's", "not part of the attempt"),
    ("none of the cloud's", "not a cloud message"),
    ("none of the messages", "not a known message"),
    ("of a sudden", "suddenly"),
    ("of its own accord", "by itself"),
    ("put the program to", "install the program to"),
    ("put up with", "tolerate, or the limit on"),
    ("so many bytes", "this many bytes"),
    ("so much as", "even"),
    ("speaks of", "names, or is about"),
    ("that are none", "that are invalid"),
    ("that is none", "that is invalid, or that is not a"),
    ("the web's authorities", "public CAs"),
    ("wait_aloud", "report_while_waiting"),
    ("what is none", "what is invalid"),
    ("what was handed out", "the taken, or the image"),
    ("which is none", "which is invalid"),
    ("who cannot be asked", "if it cannot be asked"),
    ("enum Say", "what is said: Report, or Progress"),
    ("Told", "what is told: Event, Reply, or Reported"),
];

/// Paths that may contain these words.
const EXEMPT: [&str; 1] = ["crates/xtask/src/words.rs"];

/// Fails with the place of each rejected word.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut faults = Vec::new();
    for part in ["README.md", "deny.toml", "docs", "crates", "examples", "fuzz"] {
        walk(root, &root.join(part), &mut faults)?;
    }
    crate::faults("words that a reader stumbles over", &faults)
}

fn walk(root: &Path, path: &Path, faults: &mut Vec<String>) -> Result<(), String> {
    let fail = |error| format!("{}: {error}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                walk(root, &entry.path(), faults)?;
            }
        }
    } else if path.extension().is_some_and(|end| end == "rs" || end == "md" || end == "toml") {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        if !EXEMPT.iter().any(|exempt| name.starts_with(exempt)) {
            let text = fs::read_to_string(path).map_err(fail)?;
            let found = find(&text).into_iter();
            faults.extend(found.map(|(line, word, better)| {
                format!("{name}:{line}: `{word}`: write \"{better}\"")
            }));
        }
    }
    Ok(())
}

/// Returns the line, the word and the better one of each hit. A phrase may continue in the next
/// line of a comment, and the words of a name are read like others: `tried_for_ever`.
fn find(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let (mut joined, mut starts) = (String::from(" "), Vec::new());
    for line in text.lines() {
        starts.push(joined.len());
        joined.push_str(line.trim().trim_start_matches(['/', '!', '*', '>']).trim());
        joined.push(' ');
    }
    let lower = joined.to_ascii_lowercase();
    let spoken = lower.replace('_', " ");
    let mut found = Vec::new();
    for (word, better) in WORDS {
        let text = if word != word.to_ascii_lowercase() {
            &joined
        } else if word.contains('_') {
            &lower
        } else {
            &spoken
        };
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let inside = |char: Option<char>| char.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if !inside(before) && !inside(after) {
                found.push((starts.partition_point(|start| *start <= at), word, better));
            }
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::find;

    fn words(text: &str) -> Vec<(usize, &'static str)> {
        find(text).into_iter().map(|(line, word, _)| (line, word)).collect()
    }

    #[test]
    fn a_phrase_is_found_in_any_case_and_over_the_end_of_a_line() {
        let text = "/// How much is put\n    /// up with.\nlet a = 1; // Lies.\n";
        assert_eq!(words(text), [(1, "put up with"), (3, "lies")]);
    }

    #[test]
    fn a_part_of_a_word_is_not_a_hit() {
        assert_eq!(words("supplies, replies, families; Saying untold; a lieutenant"), []);
    }

    #[test]
    fn a_name_in_code_is_found_as_it_stands() {
        assert_eq!(words("fn say(told: Told); enum Say"), [(1, "Told"), (1, "enum Say")]);
    }

    #[test]
    fn the_words_of_a_name_are_read_with_spaces() {
        assert_eq!(words("fn it_is_tried_for_ever() {}"), [(1, "for ever")]);
        assert_eq!(words("fn let_sent() {}\nlet sent = a;"), [(1, "let_sent")]);
    }

    #[test]
    fn the_pages_and_the_code_have_none_of_them() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        assert_eq!(super::run(std::path::Path::new(root)), Ok(()));
    }
}
