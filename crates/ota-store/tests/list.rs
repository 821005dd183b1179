//! Pages of devices, on both stores.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeSet;

use ota_store::{
    Commit, DataFolder, DeviceKey, DeviceRow, Filter, Memory, Query, Sqlite, Store, VersionFilter,
};
use proptest::prelude::*;

fn both(test: impl Fn(&mut dyn Store)) {
    test(&mut Memory::new());
    let dir = tempfile::tempdir().unwrap();
    test(&mut Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap());
}

fn row(name: &str) -> DeviceRow {
    DeviceRow::new(DeviceKey::new("TESTPROD01", name))
}

fn put(store: &mut dyn Store, devices: Vec<DeviceRow>) {
    store.commit(&Commit { devices, ..Commit::default() }).unwrap();
}

fn names(store: &dyn Store, filter: &Filter) -> Vec<String> {
    let query = Query { filter: filter.clone(), after: None, limit: 100 };
    store.read().list(&query).unwrap().rows.into_iter().map(|row| row.key.name).collect()
}

#[test]
fn each_filter_finds_its_devices_and_all_of_them_together_too() {
    both(|store| {
        let mut reported = row("dev1");
        reported.versions.insert("mcu".into(), "1.0.0".into());
        reported.versions.insert("modem".into(), "7".into());
        let mut tagged = row("dev2");
        tagged.tags.insert("room".into(), "4".into());
        let mut busy = reported.clone();
        busy.key.name = "gate1".into();
        busy.task = Some(3);
        busy.tags = tagged.tags.clone();
        put(store, vec![reported, tagged, busy]);

        let all = Filter::product("TESTPROD01");
        assert_eq!(names(store, &all), ["dev1", "dev2", "gate1"]);
        assert!(names(store, &Filter::product("TESTPROD0")).is_empty());
        let is = |module: &str, version: &str| {
            Some(VersionFilter::Is { module: module.into(), version: version.into() })
        };
        let version = Filter { version: is("mcu", "1.0.0"), ..all.clone() };
        assert_eq!(names(store, &version), ["dev1", "gate1"]);
        let other = Filter { version: is("modem", "1.0.0"), ..all.clone() };
        assert!(names(store, &other).is_empty());
        let unreported = Filter { version: Some(VersionFilter::Unreported), ..all.clone() };
        assert_eq!(names(store, &unreported), ["dev2"]);
        let tag = Filter { tag: Some(("room".into(), "4".into())), ..all.clone() };
        assert_eq!(names(store, &tag), ["dev2", "gate1"]);
        assert_eq!(names(store, &Filter { task: Some(Some(3)), ..all.clone() }), ["gate1"]);
        assert_eq!(names(store, &Filter { task: Some(None), ..all.clone() }), ["dev1", "dev2"]);
        assert_eq!(names(store, &Filter { prefix: "dev".into(), ..all }), ["dev1", "dev2"]);
        let every = Filter { task: Some(Some(3)), prefix: "g".into(), tag: tag.tag, ..version };
        assert_eq!(names(store, &every), ["gate1"]);
        assert_eq!(store.read().count_devices(&every, 10).unwrap(), 1);
    });
}

#[test]
fn a_device_that_reports_is_found_by_its_new_version_and_not_by_the_old_one() {
    both(|store| {
        let mut device = row("dev1");
        put(store, vec![device.clone()]);
        for (rev, version) in [(1, "1.0.0"), (2, "2.0.0")] {
            device.rev = rev;
            device.versions.insert("mcu".into(), version.into());
            put(store, vec![device.clone()]);
        }
        let filter = |version| Filter { version: Some(version), ..Filter::product("TESTPROD01") };
        let is = |version: &str| {
            filter(VersionFilter::Is { module: "mcu".into(), version: version.into() })
        };
        assert!(names(store, &is("1.0.0")).is_empty());
        assert_eq!(names(store, &is("2.0.0")), ["dev1"]);
        assert!(names(store, &filter(VersionFilter::Unreported)).is_empty());
    });
}

#[test]
fn a_page_has_at_most_a_hundred_rows_and_at_least_one_and_says_whether_more_follow() {
    both(|store| {
        put(store, (0..101).map(|n| row(&format!("dev{n:03}"))).collect());
        let filter = Filter::product("TESTPROD01");
        let page = |after: Option<String>, limit| {
            let query = Query { filter: filter.clone(), after, limit };
            let page = store.read().list(&query).unwrap();
            (page.rows.len(), page.next)
        };
        assert_eq!(page(None, 1_000), (100, Some("dev099".into())));
        assert_eq!(page(Some("dev099".into()), 100), (1, None));
        assert_eq!(page(None, 0), (1, Some("dev000".into())));
        assert_eq!(page(Some("dev000".into()), 100), (100, None));
        assert_eq!(store.read().count_devices(&filter, 50).unwrap(), 50);
        assert_eq!(store.read().count_devices(&filter, 500).unwrap(), 101);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Rows that are there from the first page to the last are seen once each, whatever comes
    /// and goes between two pages.
    #[test]
    fn pages_are_stable_while_rows_come_and_go(
        stay in prop::collection::btree_set(0_u32..200, 1..40),
        moves in prop::collection::vec((200_u32..400, any::<bool>()), 0..60),
        limit in 1_usize..10,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap();
        let stores: [Box<dyn Store>; 2] = [Box::new(Memory::new()), Box::new(sqlite)];
        for mut store in stores {
            let store = &mut *store;
            // Names that interleave: those that stay and those that move share an order.
            let name = |n: u32| format!("{:03}-{n}", n % 200);
            put(store, stay.iter().map(|n| row(&name(*n))).collect());
            let (mut seen, mut after) = (Vec::new(), None);
            let mut moves = moves.iter();
            loop {
                let query = Query { filter: Filter::product("TESTPROD01"), after, limit };
                let page = store.read().list(&query).unwrap();
                seen.extend(page.rows.into_iter().map(|row| row.key.name));
                after = page.next;
                if after.is_none() {
                    break;
                }
                for (n, come) in moves.by_ref().take(3) {
                    let key = DeviceKey::new("TESTPROD01", name(*n));
                    let there = store.read().device(&key).unwrap();
                    match there {
                        Some(row) if !come => {
                            let gone_devices = vec![(key, row.rev)];
                            store.commit(&Commit { gone_devices, ..Commit::default() }).unwrap();
                        }
                        None if *come => put(store, vec![DeviceRow::new(key)]),
                        _ => {}
                    }
                }
            }
            let unique: BTreeSet<_> = seen.iter().cloned().collect();
            prop_assert_eq!(unique.len(), seen.len(), "a row came twice");
            prop_assert!(seen.is_sorted());
            prop_assert!(stay.iter().all(|n| unique.contains(&name(*n))), "a row was left out");
        }
    }
}
