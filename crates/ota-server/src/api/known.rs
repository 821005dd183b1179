//! The API keys, people and sessions, in memory: credentials are checked without the loop and the
//! store, so that unauthenticated clients load neither, and a change is effective at once.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ota_cloud::api::{Caller, Key, KeyText, Person, Session, SessionText};
use ota_proto::Instant;
use ota_store::{Kind, Read, Sealed, StoreError};

use super::rows::all;
use crate::keys::{Keys, key_place};

/// The credential of a request.
#[derive(Clone, Debug)]
pub(crate) enum Ticket {
    Key(KeyText),
    Session(SessionText),
}

/// The data of the rows of keys, people and sessions.
#[derive(Debug)]
pub(super) struct Known {
    keys: RwLock<BTreeMap<String, (Key, Option<Sealed>)>>,
    people: RwLock<People>,
    ring: RwLock<Keys>,
}

#[derive(Debug, Default)]
struct People {
    by_name: BTreeMap<String, Person>,
    /// Each with the time of its last request. After a start that is the start.
    sessions: BTreeMap<String, (Session, Instant)>,
}

impl Known {
    /// Reads the rows. An unreadable one is not a key.
    pub(super) fn read(read: &dyn Read, ring: Keys, now: Instant) -> Result<Self, StoreError> {
        let mut keys = BTreeMap::new();
        for item in all(read, Kind::API_KEY)? {
            if let Ok(key) = Key::from_bytes(&item.body) {
                let sealed = read.secret(&key_place(&item.id))?;
                keys.insert(item.id, (key, sealed));
            }
        }
        let mut people = People::default();
        for item in all(read, Kind::PERSON)? {
            if let Ok(person) = Person::from_bytes(&item.body) {
                people.by_name.insert(item.id, person);
            }
        }
        for item in all(read, Kind::SESSION)? {
            if let Ok(session) = Session::from_bytes(&item.body) {
                people.sessions.insert(item.id, (session, now));
            }
        }
        Ok(Self { keys: RwLock::new(keys), people: RwLock::new(people), ring: RwLock::new(ring) })
    }

    /// The owner of a credential. A request of a session counts as its use.
    pub(super) fn caller_of(&self, ticket: &Ticket, now: Instant) -> Option<Caller> {
        match ticket {
            Ticket::Key(text) => self.caller(text),
            Ticket::Session(text) => {
                let mut people = self.people_mut();
                let (session, seen) = people.sessions.get_mut(&text.id())?;
                if session.is_over(now, *seen) {
                    return None;
                }
                *seen = now.max(*seen);
                let name = session.person.clone();
                people.by_name.get(&name)?.caller()
            }
        }
    }

    /// Replaces the master keys. They must include the present ones, which seal the rows in memory.
    pub(super) fn set_ring(&self, keys: Keys) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Reads the sealed secrets of API keys again.
    pub(super) fn reseal(&self, read: &dyn Read) -> Result<(), StoreError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for (id, (_, sealed)) in keys.iter_mut() {
            *sealed = read.secret(&key_place(id))?;
        }
        Ok(())
    }

    fn ring(&self) -> RwLockReadGuard<'_, Keys> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that sign links of admins.
    pub(super) fn link_keys(&self) -> Vec<[u8; 32]> {
        self.ring().link_keys()
    }

    /// A person.
    pub(super) fn person(&self, name: &str) -> Option<Person> {
        self.people().by_name.get(name).cloned()
    }

    /// All people, in order.
    pub(super) fn everybody(&self) -> Vec<Person> {
        self.people().by_name.values().cloned().collect()
    }

    /// Whether somebody other than `besides` is an admin of all products.
    pub(super) fn has_admin(&self, besides: &str) -> bool {
        self.people().by_name.values().any(|person| person.name != besides && person.is_root())
    }

    /// The sessions of a person, the oldest first.
    pub(super) fn sessions_of(&self, name: &str) -> Vec<String> {
        let people = self.people();
        let own = people.sessions.iter().filter(|(_, (session, _))| session.person == name);
        let mut own: Vec<(u64, &String)> = own.map(|(id, (own, _))| (own.made, id)).collect();
        own.sort_unstable();
        own.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// Sets a person with a stored row.
    pub(super) fn joined(&self, person: Person) {
        self.people_mut().by_name.insert(person.name.clone(), person);
    }

    /// Removes a person.
    pub(super) fn left(&self, name: &str) {
        self.people_mut().by_name.remove(name);
    }

    /// Adds a session with a stored row.
    pub(super) fn began(&self, id: String, session: Session, now: Instant) {
        self.people_mut().sessions.insert(id, (session, now));
    }

    /// Removes sessions.
    pub(super) fn ended(&self, ids: &[String]) {
        let mut people = self.people_mut();
        for id in ids {
            people.sessions.remove(id);
        }
    }

    fn people(&self) -> RwLockReadGuard<'_, People> {
        self.people.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn people_mut(&self) -> RwLockWriteGuard<'_, People> {
        self.people.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a new key with stored rows. The rows are not read again: a failed read would make the
    /// key unknown.
    pub(super) fn made(&self, key: Key, sealed: Sealed) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.id.clone(), (key, Some(sealed)));
    }

    /// Removes a key.
    pub(super) fn removed(&self, id: &str) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The owner of this text.
    pub(super) fn caller(&self, text: &KeyText) -> Option<Caller> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(text.id()).and_then(|(key, _)| key.clone().opens(text))
    }

    /// The owner of the key with this id, and its text, which is the signing secret.
    pub(super) fn signer(&self, id: &str) -> Result<Option<(Caller, KeyText)>, StoreError> {
        let found = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.get(id).cloned()
        };
        let Some((key, Some(sealed))) = found else { return Ok(None) };
        let text = self.ring().open_key(id, &sealed)?;
        Ok(text.and_then(|text| key.opens(&text).map(|caller| (caller, text))))
    }
}
