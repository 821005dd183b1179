//! Who a request is from, behind proxies.

use core::net::{IpAddr, SocketAddr};

use super::hook::Net;

/// The most proxies in a row.
const MOST: usize = 32;

/// The address that a request is from. It is the peer's, unless that is a trusted proxy: then it is
/// the right-most address of `X-Forwarded-For` or `Forwarded` that no trusted proxy has, since each
/// proxy adds its peer at the right and a client can send anything to the left of that. If both
/// headers are there and differ, a proxy passed on what it does not write: the peer counts.
#[must_use]
pub fn client(
    peer: IpAddr,
    trusted: &[Net],
    x_forwarded_for: &[&str],
    forwarded: &[&str],
) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_of(trusted, peer) {
        return peer;
    }
    let one = walk(peer, trusted, x_forwarded_for, address);
    let other = walk(peer, trusted, forwarded, element);
    match (x_forwarded_for.is_empty(), forwarded.is_empty()) {
        (_, true) => one,
        (true, false) => other,
        (false, false) if one == other => one,
        (false, false) => peer,
    }
}

fn is_of(trusted: &[Net], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.has(address))
}

/// Goes from the right to the first address that is not trusted. Behind what is no address nothing
/// counts.
fn walk(
    peer: IpAddr,
    trusted: &[Net],
    values: &[&str],
    read: fn(&str) -> Option<IpAddr>,
) -> IpAddr {
    let mut found = peer;
    for part in values.iter().rev().flat_map(|value| value.rsplit(',')).take(MOST) {
        let Some(address) = read(part.trim()) else { break };
        found = address;
        if !is_of(trusted, address) {
            break;
        }
    }
    found
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = bare.parse::<IpAddr>().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

/// The `for` of an element of `Forwarded`.
fn element(text: &str) -> Option<IpAddr> {
    let mut pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> String {
        let trusted = [Net::parse("10.0.0.0/8").unwrap(), Net::parse("::1").unwrap()];
        client(peer.parse().unwrap(), &trusted, x_forwarded_for, forwarded).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_a_request_is_from() {
        for (peer, values, who) in [
            // Whoever is no proxy can write what it likes.
            ("9.9.9.9", &["1.1.1.1"][..], "9.9.9.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["1.1.1.1:80"], "1.1.1.1"),
            ("::1", &["[2600::1]:80"], "2600::1"),
            ("::1", &["[2600::1]"], "2600::1"),
            ("::1", &["::ffff:1.1.1.1"], "1.1.1.1"),
            // The client wrote the left ones.
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["10.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no address ends it.
            ("10.0.0.1", &["6.6.6.6, x, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["6.6.6.6,"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(of(peer, values, &[]), who, "{peer} {values:?}");
        }
        let long = "10.0.0.2,".repeat(10_000);
        assert_eq!(of("10.0.0.1", &[&format!("6.6.6.6,{long}10.0.0.2")], &[]), "10.0.0.2");
    }

    #[test]
    fn the_standard_header_counts_too_and_both_only_if_they_agree() {
        for (value, who) in [
            ("for=1.1.1.1", "1.1.1.1"),
            ("proto=https; For=\"[2600::1]:4711\" ;by=10.0.0.1", "2600::1"),
            ("for=6.6.6.6, for=1.1.1.1;proto=http", "1.1.1.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"a, for=_x\"", "10.0.0.1"),
            ("by=1.1.1.1", "10.0.0.1"),
        ] {
            assert_eq!(of("10.0.0.1", &[], &[value]), who, "{value}");
        }
        assert_eq!(of("10.0.0.1", &["1.1.1.1"], &["for=1.1.1.1"]), "1.1.1.1");
        assert_eq!(of("10.0.0.1", &["1.1.1.1"], &["for=6.6.6.6"]), "10.0.0.1");
    }
}
