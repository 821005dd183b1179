//! Topic names and topic filters (MQTT 3.1.1 §4.7).

/// Whether messages may be published to `topic`: 1 to 65,535 bytes without NUL and wildcards.
#[must_use]
pub fn topic_is_valid(topic: &str) -> bool {
    fits(topic) && !topic.bytes().any(|byte| matches!(byte, 0 | b'+' | b'#'))
}

/// Whether `filter` may be subscribed to: 1 to 65,535 bytes without NUL, each wildcard alone in
/// its level, `#` only in the last one.
#[must_use]
// Inlined it would widen its caller's frame, and cost flash.
#[inline(never)]
pub fn filter_is_valid(filter: &str) -> bool {
    // By bytes: searching for characters costs flash.
    let mut levels = filter.as_bytes().split(|byte| *byte == b'/').peekable();
    let mut good = fits(filter);
    while let Some(level) = levels.next() {
        good &= match level {
            b"+" => true,
            b"#" => levels.peek().is_none(),
            other => !other.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')),
        };
    }
    good
}

/// Whether a message to `topic` matches a subscription of `filter`. Both must be valid.
///
/// `+` is one level, `#` is the rest and the level above it (`a/#` matches `a`), and a filter
/// that starts with a wildcard does not match a topic that starts with `$`.
///
/// ```
/// use ota_wire::mqtt::matches;
///
/// assert!(matches("plant/+/temperature", "plant/7/temperature"));
/// assert!(!matches("#", "$ota/update/TESTPROD01/dev001"));
/// ```
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

fn fits(text: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_by_levels() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("+", "/", false),
            ("+/+", "/", true),
            ("/+", "/a", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "b/a", false),
            ("#", "a/b", true),
            ("+/b/#", "a/b/c", true),
            ("#", "$ota/update/P/D", false),
            ("+/update/P/D", "$ota/update/P/D", false),
            ("$ota/#", "$ota/update/P/D", true),
            ("$ota/update/+/+", "$ota/update/P/D", true),
            ("设备/+", "设备/一", true),
            ("设备", "设", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn judges_names_and_filters() {
        for good in ["a", "/", "#", "+", "a/#", "+/+/#", "$ota/update/P/D", "设备/+"] {
            assert!(filter_is_valid(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a+", "+a/b", "a/#/b", "a\0b"] {
            assert!(!filter_is_valid(bad), "{bad}");
        }
        for bad in ["", "a/+", "#", "a\0"] {
            assert!(!topic_is_valid(bad), "{bad}");
        }
        assert!(topic_is_valid("$ota/report/P/D"));
        let long = "a".repeat(65_536);
        assert!(!topic_is_valid(&long) && !filter_is_valid(&long));
        assert!(topic_is_valid(&long[1..]));
    }
}
