//! Restricts the addresses of links.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::client::LinkKind;

/// Decides which addresses of a host may be connected to. An offer names its firmware server, and a
/// redirect another: either may be a service of this machine or of its network that is unreachable
/// from outside.
///
/// An adapter calls this for each link after name resolution, and connects only to the admitted
/// addresses; a redirect is a separate link.
///
/// ```
/// use ota_wire::adapter::Reach;
/// use ota_wire::client::LinkKind;
///
/// let mut reach = Reach::new(true);
/// let broker = "192.168.0.7".parse().unwrap();
/// assert!(reach.admits(LinkKind::Broker, broker), "it was configured");
/// assert!(!reach.admits(LinkKind::Store, "192.168.0.8".parse().unwrap()));
/// assert!(reach.admits(LinkKind::Store, broker), "it may have the firmware, too");
/// assert!(reach.admits(LinkKind::Store, "1.1.1.1".parse().unwrap()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    public_only: bool,
    /// The last addresses of the broker's name.
    broker: Vec<IpAddr>,
}

/// The number of stored addresses of a broker; further ones replace the newest.
const REMEMBERED: usize = 16;

impl Reach {
    /// With `public_only` a firmware server's address must be a public one, or the broker's own.
    /// Otherwise all are admitted.
    #[must_use]
    pub const fn new(public_only: bool) -> Self {
        Self { public_only, broker: Vec::new() }
    }

    /// Whether a link of this kind may use this address. The broker's are admitted and stored.
    pub fn admits(&mut self, kind: LinkKind, address: IpAddr) -> bool {
        if !self.public_only {
            return true;
        }
        let known = self.broker.contains(&address);
        if kind == LinkKind::Broker && !known {
            if self.broker.len() >= REMEMBERED {
                self.broker.remove(0);
            }
            self.broker.push(address);
        }
        kind == LinkKind::Broker || known || is_public(address)
    }
}

/// Whether the address is on the internet: not of this machine, link, site or provider, not
/// multicast and not reserved. An IPv6 address that contains an IPv4 one is treated like that one.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Mapped, compatible (with `::` and `::1`), translated, NAT64 and 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // Teredo, documentation, benchmarks; then what is not global unicast.
        [0x2001, 0 | 2 | 0x0db8, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_and_what_is_not() {
        for (text, public) in [
            ("1.1.1.1", true),
            ("9.255.255.255", true),
            ("10.0.0.1", false),
            ("11.0.0.1", true),
            ("0.0.0.0", false),
            ("100.63.0.1", true),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("127.255.0.1", false),
            ("169.254.169.254", false),
            ("169.253.0.1", true),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.0.0.9", false),
            ("192.0.1.1", true),
            ("192.168.1.1", false),
            ("192.169.1.1", true),
            ("198.17.0.1", true),
            ("198.18.0.1", false),
            ("223.255.255.255", true),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::10.0.0.1", false),
            ("::ffff:0:192.168.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::101:101", true),
            ("2002:7f00:1::", false),
            ("2002:101:101::", true),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2001:4860:4860::8888", true),
            ("2606:4700::1111", true),
            ("3fff:ffff::1", true),
            ("4000::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn the_brokers_addresses_are_remembered_and_not_without_end() {
        let mut reach = Reach::new(true);
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        for n in 0..=16 {
            assert!(reach.admits(LinkKind::Broker, at(n)));
        }
        assert!(!reach.admits(LinkKind::Store, at(0)), "the oldest");
        assert!(reach.admits(LinkKind::Store, at(1)));
        assert!(reach.admits(LinkKind::Store, at(16)));
        assert!(Reach::default().admits(LinkKind::Store, at(0)), "off by default");
    }
}
