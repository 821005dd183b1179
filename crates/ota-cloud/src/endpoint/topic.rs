//! Topics and filters. The codec's own match is always false below `$` and panics on some first
//! characters, so this one replaces it.

use ota_proto::Identity;

/// Whether `topic` is valid in a PUBLISH: 1 to 255 bytes (docs/protocol.md, The cloud's side), no
/// wildcard, no NUL.
#[must_use]
pub fn is_topic(topic: &str) -> bool {
    (1..=MAX_TOPIC).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

/// Whether `filter` is valid in a SUBSCRIBE: 1 to 255 bytes, `+` alone in a level, `#` alone in the
/// last one, no NUL.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    if !(1..=MAX_TOPIC).contains(&filter.len()) || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        match level {
            "+" => {}
            "#" if last => {}
            _ if level.contains(['+', '#']) => return false,
            _ => {}
        }
    }
    true
}

/// Whether `filter` matches `topic` (MQTT 3.1.1 §4.7). A filter that starts with a wildcard
/// matches no topic that starts with `$`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

/// Whether a device may subscribe to this.
///
/// Its own `$ota/update/…`; what is below its own `{product}/{device}`, as on the platform; and its
/// own address under other services (`$thing/down/property/{product}/{device}` and the like), where
/// this cloud never speaks: an SDK that wants them all before it starts can still be a client.
pub(super) fn may_subscribe(device: &Identity, filter: &str) -> bool {
    filter == device.update_topic() || may_use(device, filter)
}

/// Whether a device may publish to this, besides its own `$ota/report/…`.
pub(super) fn may_use(device: &Identity, topic: &str) -> bool {
    if let Some(rest) = topic.strip_prefix('$') {
        let Some((service, rest)) = rest.split_once('/') else { return false };
        let mut tail = rest.rsplitn(3, '/');
        let own = tail.next() == Some(device.device_name())
            && tail.next() == Some(device.product_id())
            && !topic.contains(['+', '#']);
        return own && service != "ota";
    }
    // A wildcard in one of the two would match the product's other devices.
    let mut levels = topic.split('/');
    levels.next() == Some(device.product_id()) && levels.next() == Some(device.device_name())
}

/// The platform's longest topic in bytes (docs/protocol.md, The cloud's side).
pub(super) const MAX_TOPIC: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_as_the_standard_has_it() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("+/+", "/b"),
            ("+", "é"),
            ("$ota/+/p/d", "$ota/update/p/d"),
            ("$ota/#", "$ota/report/p/d"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a"),
            ("a", "a/b"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("#", "$ota/report/p/d"),
            ("+/report/p/d", "$ota/report/p/d"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn filters_and_topics_of_the_right_form() {
        for good in ["a", "/", "+", "#", "a/+/b", "a/#", "+/#", "$ota/update/p/d"] {
            assert!(is_filter(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "a+", "a/b#", "#/a", "a\0", long.as_str()] {
            assert!(!is_filter(bad), "{bad:?}");
        }
        for bad in ["", "+", "a/#", "a\0b", long.as_str()] {
            assert!(!is_topic(bad), "{bad:?}");
        }
        assert!(is_topic("é/$"));
    }

    #[test]
    fn a_device_has_its_own_topics_only() {
        let device = Identity::new("PROD000001", "dev").unwrap();
        for own in [
            "$ota/update/PROD000001/dev",
            "$thing/down/property/PROD000001/dev",
            "PROD000001/dev",
            "PROD000001/dev/control",
            "PROD000001/dev/#",
            "PROD000001/dev/+/event",
        ] {
            assert!(may_subscribe(&device, own), "{own}");
        }
        for foreign in [
            "#",
            "+/dev/x",
            "OTHER/dev/control",
            "PROD000001",
            "PROD000001/#",
            "PROD000001/+",
            "PROD000001/+/event",
            "PROD000001/+/#",
            "PROD000001/other/control",
            "PROD000001/other/#",
            "PROD000001//dev",
            "/PROD000001/dev",
            "$share/g/PROD000001/#",
            "$share/g/PROD000001/other/control",
            "$ota/update/PROD000001/other",
            "$ota/update/PROD000001/+",
            "$ota/update/#",
            "$ota/report/PROD000001/dev",
            "$ota/x/PROD000001/dev",
            "$thing/+/PROD000001/dev",
            "$PROD000001/dev",
            "$",
        ] {
            assert!(!may_subscribe(&device, foreign), "{foreign}");
        }
    }
}
