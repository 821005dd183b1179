//! URLs and what joins them.

use ota_proto::url::Url;

/// A URL, a line end, and a `Location` that answers it: the result is a URL within the limit, and
/// joining it once more changes nothing.
///
/// # Panics
/// When it is not so.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (base, location) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(base) = Url::parse(base) else { return };
    assert!(!base.host.is_empty() && base.port != 0);
    for max in [40, 400] {
        let Ok(joined) = base.join(location, max) else { continue };
        assert!(joined.len() <= max);
        let (url, user) = Url::parse_with_user(&joined).expect("a joined URL is one");
        assert!(url.target.starts_with('/'));
        let path = url.target.split('?').next().unwrap_or("");
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        // A `Location`'s own user is for that hop only.
        if user.is_none() {
            assert_eq!(url.join("", max).as_ref(), Ok(&joined));
        }
        if location.starts_with(['?', '#', '.']) || location.is_empty() {
            assert_eq!((base.tls, base.host, base.port), (url.tls, url.host, url.port));
        }
    }
}
