//! The orders of versions, pair by pair.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::cmp::Ordering::{self, Equal, Greater, Less};

use ota_proto::{Order, Version};
use proptest::prelude::*;

fn compare(order: &Order, one: &str, other: &str) -> Option<Ordering> {
    order.compare(&Version::new(one).unwrap(), &Version::new(other).unwrap())
}

/// Both ways round.
#[track_caller]
fn check(order: &Order, pairs: &[(&str, &str, Option<Ordering>)]) {
    for (one, other, wanted) in pairs {
        assert_eq!(compare(order, one, other), *wanted, "{one} {other}");
        let turned = wanted.map(Ordering::reverse);
        assert_eq!(compare(order, other, one), turned, "{other} {one}");
    }
}

#[test]
fn semantic_versions_are_ordered_as_their_specification_says() {
    // The chains of the specification, clause 11.
    for chain in [
        &["1.0.0", "2.0.0", "2.1.0", "2.1.1"][..],
        &[
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
        ],
    ] {
        for (at, one) in chain.iter().enumerate() {
            for (place, other) in chain.iter().enumerate() {
                assert_eq!(compare(&Order::SemVer, one, other), Some(at.cmp(&place)));
            }
        }
    }
    check(
        &Order::SemVer,
        &[
            ("1.2.3", "1.2.3", Some(Equal)),
            ("v1.2.3", "1.2.3", Some(Equal)),
            ("1.2.3+build.1", "1.2.3+build.2", Some(Equal)),
            ("1.2.3+001", "1.2.3", Some(Equal)),
            ("1.2.3-rc+1", "1.2.3-rc", Some(Equal)),
            ("1.9.0", "1.10.0", Some(Less)),
            ("10.0.0", "9.99.99", Some(Greater)),
            ("1.0.0-rc.2", "1.0.0-rc.10", Some(Less)),
            ("1.0.0-9", "1.0.0-a", Some(Less)),
            ("1.0.0-A", "1.0.0-a", Some(Less)),
            ("1.0.0-a-b", "1.0.0-a", Some(Greater)),
            ("1.0.0-x-0", "1.0.0", Some(Less)),
            ("99999999999999999999999.0.0", "99999999999999999999998.0.0", Some(Greater)),
        ],
    );
}

#[test]
fn what_is_no_semantic_version_is_not_compared() {
    for bad in [
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3+",
        "1.2.3-a..b",
        "1.2.3+a..b",
        "1.2.3-a_b",
        "1..3",
        ".1.2",
        "1.2.",
        "vv1.2.3",
        "V1.2.3",
        "v",
        "beta",
        "1.2.x",
        "-1.2.3",
        "+1.2.3",
        "1.2.3+a+b",
    ] {
        check(&Order::SemVer, &[(bad, "1.2.3", None), (bad, bad, None)]);
    }
}

#[test]
fn numbers_are_ordered_field_by_field() {
    check(
        &Order::Numeric,
        &[
            ("1.2", "1.2", Some(Equal)),
            ("1.2", "1.2.0", Some(Equal)),
            ("1", "1.0.0.0", Some(Equal)),
            ("01.002", "1.2", Some(Equal)),
            ("v1.2", "1.2", Some(Equal)),
            ("0", "000", Some(Equal)),
            ("1.9", "1.10", Some(Less)),
            ("1.2", "1.2.0.1", Some(Less)),
            ("20261130", "20261201", Some(Less)),
            ("2.0", "1.99.99", Some(Greater)),
            ("1.010", "1.9", Some(Greater)),
            ("99999999999999999999999", "99999999999999999999998.9", Some(Greater)),
        ],
    );
    for bad in ["1.2-rc", "1..2", ".1", "1.", "v", "vv1", "V1", "a.b", "1.2a", "-1", "+1", "1,2"] {
        check(&Order::Numeric, &[(bad, "1.2", None), (bad, bad, None)]);
    }
}

#[test]
fn a_list_is_ordered_as_it_is_written() {
    let list = ["spring", "summer", "1.0", "autumn"].map(|text| Version::new(text).unwrap());
    check(
        &Order::Listed(list.to_vec()),
        &[
            ("spring", "spring", Some(Equal)),
            ("spring", "summer", Some(Less)),
            ("autumn", "1.0", Some(Greater)),
            // Nothing is read into a name.
            ("1.0.0", "1.0", None),
            ("v1.0", "1.0", None),
            ("winter", "autumn", None),
            ("winter", "winter", None),
        ],
    );
    assert_eq!(compare(&Order::Listed(Vec::new()), "1.0", "1.0"), None);
}

proptest! {
    /// An order is one: whichever two of three are compared, the third agrees.
    #[test]
    fn orders_are_total_over_what_they_compare(
        texts in prop::array::uniform3("v?[0-2]{1,2}(\\.[0-2]{1,2}){0,3}(-[0-2a]{1,2}(\\.[0-2a]{1,2})?)?"),
    ) {
        for order in [Order::SemVer, Order::Numeric] {
            let [a, b, c] = [0, 1, 2].map(|n| texts[n].as_str());
            let (ab, ba) = (compare(&order, a, b), compare(&order, b, a));
            prop_assert_eq!(ab, ba.map(Ordering::reverse));
            if let (Some(ab), Some(bc)) = (ab, compare(&order, b, c)) {
                let ac = compare(&order, a, c);
                prop_assert!(ac.is_some());
                if ab == bc || bc == Equal {
                    prop_assert_eq!(ac, Some(ab));
                } else if ab == Equal {
                    prop_assert_eq!(ac, Some(bc));
                }
            }
        }
    }
}
