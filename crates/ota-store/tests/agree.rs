//! Random calls: memory and SQLite answer alike, errors included.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeMap;

use ota_store::seal::{KeyId, MasterKey, Ring};
use ota_store::{
    Commit, DataFolder, DeviceKey, DeviceRow, EventQuery, Filter, Item, Kind, Memory, NewAudit,
    NewEvent, Query, Read, Sealed, SecretId, SecretWrite, Sqlite, Store, StoreError, VersionFilter,
    audit,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// Few names, so that calls meet; some that sort or search badly.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "a1",
        "a10",
        "a2",
        "b",
        "ab",
        "ä",
        "\u{10ffff}",
        "a\u{10ffff}",
        "A",
        "a b",
        "%",
        "_",
        "a\0b",
        "'",
    ])
    .prop_map(str::to_owned)
}

fn product() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["P1", "P2", "P"]).prop_map(str::to_owned)
}

fn key() -> impl Strategy<Value = DeviceKey> {
    (product(), name()).prop_map(|(product, name)| DeviceKey::new(product, name))
}

fn short() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["mcu", "module", "1.0.0", "2.0.0", "ü"]).prop_map(str::to_owned)
}

/// A change of a device: how its revision is off, and what becomes of it.
#[derive(Clone, Debug)]
enum DeviceChange {
    Put { key: DeviceKey, off: u64, row: DeviceRow },
    Gone { key: DeviceKey, off: u64 },
}

fn off() -> impl Strategy<Value = u64> {
    prop_oneof![9 => Just(0_u64), 1 => 1_u64..3]
}

fn row() -> impl Strategy<Value = DeviceRow> {
    (
        key(),
        option::of(prop_oneof![20 => 0_u64..20, 1 => Just(u64::MAX)]),
        option::of(0_u8..4),
        btree_map(short(), prop_oneof![30 => short(), 1 => Just(String::new())], 0..3),
        btree_map(short(), prop_oneof![short(), Just(String::new())], 0..3),
        any::<bool>(),
        vec(any::<u8>(), 0..4),
    )
        .prop_map(|(key, wake, task, versions, tags, disabled, state)| DeviceRow {
            wake,
            task,
            versions,
            tags,
            disabled,
            state,
            ..DeviceRow::new(key)
        })
}

fn device_change() -> impl Strategy<Value = DeviceChange> {
    prop_oneof![
        4 => (row(), off()).prop_map(|(row, off)| DeviceChange::Put { key: row.key.clone(), off, row }),
        1 => (key(), off()).prop_map(|(key, off)| DeviceChange::Gone { key, off }),
    ]
}

fn item() -> impl Strategy<Value = (Item, u64, bool)> {
    let id = prop_oneof![9 => name(), 1 => Just(String::new())];
    (1_u8..3, id, option::of(0_u64..20), vec(any::<u8>(), 0..3), off(), any::<bool>()).prop_map(
        |(kind, id, wake, body, off, put)| {
            (Item { wake, ..Item::new(Kind(kind), id, body) }, off, put)
        },
    )
}

fn secret() -> impl Strategy<Value = SecretWrite> {
    let id = name().prop_map(|row| SecretId::new("device", "psk", row));
    (id, option::of((0_u64..3, vec(any::<u8>(), 0..3)))).prop_map(|(id, sealed)| match sealed {
        Some((key, bytes)) => {
            SecretWrite::Put(id, Sealed { key: KeyId::new(key), nonce: [7; 24], bytes })
        }
        None => SecretWrite::Remove(id),
    })
}

fn event() -> impl Strategy<Value = NewEvent> {
    let kind = prop_oneof![20 => short(), 1 => Just(String::new())];
    (0_u64..9, product(), name(), kind, vec(any::<u8>(), 0..3))
        .prop_map(|(at, product, name, kind, body)| NewEvent { at, product, name, kind, body })
}

#[derive(Clone, Debug)]
enum Call {
    Commit {
        devices: Vec<DeviceChange>,
        items: Vec<(Item, u64, bool)>,
        secrets: Vec<SecretWrite>,
        events: Vec<NewEvent>,
        counts: BTreeMap<String, i64>,
        audit: Vec<u8>,
    },
    Load(Vec<DeviceKey>),
    List(Query),
    Count(Filter, u64),
    Due(u64, usize),
    Items(u8, String, Option<String>, usize),
    Events(u64, Option<DeviceKey>, usize),
    Counts(String),
    Secrets(u64, usize),
    Audit(u64, usize),
    PruneEvents(u64, usize),
    PruneAudit(u64, usize),
    MasterKey(u64),
    Reopen,
}

fn filter() -> impl Strategy<Value = Filter> {
    let version = prop_oneof![
        2 => (short(), short()).prop_map(|(module, version)| VersionFilter::Is { module, version }),
        1 => Just(VersionFilter::Unreported),
    ];
    let prefix = prop_oneof![3 => Just(String::new()), 2 => name()];
    let tag = (short(), prop_oneof![short(), Just(String::new())]);
    (product(), option::of(version), option::of(tag), option::of(option::of(0_u8..4)), prefix)
        .prop_map(|(product, version, tag, task, prefix)| Filter {
            product,
            version,
            tag,
            task,
            prefix,
        })
}

fn call() -> impl Strategy<Value = Call> {
    let count = prop_oneof![20 => -2_i64..3, 1 => Just(i64::MAX)];
    let commit = (
        vec(device_change(), 0..4),
        vec(item(), 0..3),
        vec(secret(), 0..2),
        vec(event(), 0..3),
        btree_map(name(), count, 0..3),
        vec(any::<u8>(), 0..3),
    )
        .prop_map(|(devices, items, secrets, events, counts, audit)| Call::Commit {
            devices,
            items,
            secrets,
            events,
            counts,
            audit,
        });
    prop_oneof![
        12 => commit,
        1 => vec(key(), 0..4).prop_map(Call::Load),
        4 => (filter(), option::of(name()), 0_usize..5)
            .prop_map(|(filter, after, limit)| Call::List(Query { filter, after, limit })),
        1 => (filter(), 0_u64..9).prop_map(|(filter, cap)| Call::Count(filter, cap)),
        2 => (0_u64..25, 0_usize..6).prop_map(|(now, limit)| Call::Due(now, limit)),
        1 => (1_u8..3, name(), option::of(name()), 0_usize..4)
            .prop_map(|(kind, prefix, after, limit)| Call::Items(kind, prefix, after, limit)),
        1 => (0_u64..9, option::of(key()), 0_usize..4)
            .prop_map(|(after, device, limit)| Call::Events(after, device, limit)),
        1 => name().prop_map(Call::Counts),
        1 => (0_u64..3, 0_usize..4).prop_map(|(key, limit)| Call::Secrets(key, limit)),
        1 => (0_u64..9, 0_usize..4).prop_map(|(after, limit)| Call::Audit(after, limit)),
        1 => (0_u64..9, 0_usize..4).prop_map(|(upto, limit)| Call::PruneEvents(upto, limit)),
        1 => (0_u64..9, 0_usize..4).prop_map(|(upto, limit)| Call::PruneAudit(upto, limit)),
        1 => (0_u64..9).prop_map(Call::MasterKey),
        1 => Just(Call::Reopen),
    ]
}

/// The commit with the revisions that are stored, off by what the call says.
fn commit_of(store: &dyn Read, call: &Call) -> Option<Commit> {
    let Call::Commit { devices, items, secrets, events, counts, audit } = call else { return None };
    let mut commit = Commit {
        secrets: secrets.clone(),
        events: events.clone(),
        counts: counts.clone(),
        audit: audit.iter().map(|byte| NewAudit { at: 5, body: vec![*byte] }).collect(),
        ..Commit::default()
    };
    for change in devices {
        let (DeviceChange::Put { key, off, .. } | DeviceChange::Gone { key, off }) = change;
        let rev = store.device(key).unwrap().map_or(0, |row| row.rev) + off;
        match change {
            DeviceChange::Put { row, .. } => {
                commit.devices.push(DeviceRow { rev, ..row.clone() });
            }
            DeviceChange::Gone { .. } => commit.gone_devices.push((key.clone(), rev)),
        }
    }
    for (item, off, put) in items {
        let rev = store.item(item.kind, &item.id).unwrap().map_or(0, |item| item.rev) + off;
        if *put {
            commit.items.push(Item { rev, ..item.clone() });
        } else {
            commit.gone_items.push((item.kind, item.id.clone(), rev));
        }
    }
    Some(commit)
}

/// What a call answers, as text.
fn answer(store: &mut dyn Store, call: &Call, commit: Option<&Commit>) -> String {
    fn shown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
        format!("{answer:?}")
    }
    match call {
        Call::Commit { .. } => shown(store.commit(commit.unwrap())),
        Call::Load(keys) => shown(store.load(keys)),
        Call::List(query) => shown(store.read().list(query)),
        Call::Count(filter, cap) => shown(store.read().count_devices(filter, *cap)),
        Call::Due(now, limit) => {
            let items = shown(store.due_items(Kind(1), *now, *limit));
            format!("{} {items}", shown(store.due(*now, *limit)))
        }
        Call::Items(kind, prefix, after, limit) => {
            shown(store.read().items(Kind(*kind), prefix, after.as_deref(), *limit))
        }
        Call::Events(after, device, limit) => {
            let query = EventQuery { after: *after, device: device.clone() };
            shown(store.read().events(&query, *limit))
        }
        Call::Counts(prefix) => {
            let faults = store.read().check_counts(prefix, &mut |row, count| {
                count(&row.key.name, 1);
            });
            format!("{} {}", shown(store.read().counts(prefix)), shown(faults))
        }
        Call::Secrets(key, limit) => {
            shown(store.read().secrets_not_under(KeyId::new(*key), *limit))
        }
        Call::Audit(after, limit) => {
            let anchor = shown(store.read().audit_anchor());
            format!("{} {anchor}", shown(store.read().audit(*after, *limit)))
        }
        Call::PruneEvents(upto, limit) => shown(store.prune_events(*upto, *limit)),
        Call::PruneAudit(upto, limit) => shown(store.prune_audit(*upto, *limit)),
        Call::MasterKey(key) => {
            shown(store.set_master_key(KeyId::new(*key))) + &shown(store.read().master_key())
        }
        Call::Reopen => String::new(),
    }
}

/// Everything that can be read.
fn everything(read: &dyn Read) -> String {
    let mut text = String::new();
    for product in ["P", "P1", "P2"] {
        let query = Query { filter: Filter::product(product), after: None, limit: 100 };
        text += &format!("{:?}", read.list(&query));
    }
    for kind in 1..3 {
        text += &format!("{:?}", read.items(Kind(kind), "", None, 100));
    }
    text += &format!("{:?}", read.events(&EventQuery::default(), 1_000));
    text += &format!("{:?}", read.counts(""));
    text += &format!("{:?}", read.secrets_not_under(KeyId::new(99), 1_000));
    text + &format!("{:?}{:?}{:?}", read.audit(0, 1_000), read.audit_anchor(), read.master_key())
}

/// Each case commits to a disk, which takes its time; `PROPTEST_CASES` goes further.
fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 24 };
    ProptestConfig { cases, ..default }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn memory_and_sqlite_answer_alike(calls in vec(call(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let ring = Ring::new(MasterKey::new([1; 32]));
        let mut memory = Memory::new();
        memory.set_audit_key(ring.audit_key());
        let mut sqlite = Sqlite::open(&folder).unwrap();
        sqlite.set_audit_key(ring.audit_key());
        for call in &calls {
            if matches!(call, Call::Reopen) {
                drop(sqlite);
                sqlite = Sqlite::open(&folder).unwrap();
                sqlite.set_audit_key(ring.audit_key());
            }
            let commit = commit_of(&memory, call);
            let wanted = answer(&mut memory, call, commit.as_ref());
            prop_assert_eq!(answer(&mut sqlite, call, commit.as_ref()), wanted, "{:?}", commit);
        }
        prop_assert_eq!(everything(sqlite.read()), everything(&memory));
        prop_assert_eq!(everything(&*sqlite.reader().unwrap()), everything(&memory));
        sqlite.check().unwrap();
        let head = audit::verify(sqlite.read(), &ring).unwrap();
        prop_assert_eq!(audit::verify(&memory, &ring).unwrap(), head);
    }
}
