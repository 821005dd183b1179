//! Topic names and topic filters (MQTT 3.1.1 §4.7).

/// Whether messages may be published to `topic`: 1 to 65,535 bytes without NUL and wildcards.
#[must_use]
pub fn topic_is_valid(topic: &str) -> bool {
    fits(topic) && !topic.bytes().any(|byte| matches!(byte, 0 | b'+' | b'#'))
}

/// Whether `filter` may be subscribed to: 1 to 65,535 bytes without NUL, each wildcard alone in
/// its level, `#` only in the last one.
#[must_use]
// Not inlined: that would widen the caller's stack frame and cost flash.
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

fn fits(text: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

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
