//! Rate limits of keys and of unauthenticated addresses, and limits of concurrent work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ota_cloud::api::{Attempts, Budget, Code, Problem};
use ota_proto::Instant;

use crate::listen::network;

/// The most keys, and the most addresses, with separate budgets. Further ones share one.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Budgets {
    keys: BTreeMap<String, Budget>,
    strangers: BTreeMap<IpAddr, Budget>,
    claims: BTreeMap<(IpAddr, String), Budget>,
    /// Attempts to sign in, by address and by name.
    addresses: BTreeMap<IpAddr, Attempts>,
    names: BTreeMap<String, Attempts>,
}

impl Budgets {
    /// Counts a call of a valid key.
    pub(super) fn key(&mut self, now: Instant, id: &str) -> Result<(), Problem> {
        trim(&mut self.keys, now);
        let budget = self.keys.entry(id.to_owned()).or_insert_with(|| Budget::of_key(now));
        budget.take(now).map_err(|_| too_many())
    }

    /// Counts a call from an address without a valid key. Valid keys from there are not affected.
    pub(super) fn stranger(&mut self, now: Instant, from: IpAddr) -> Result<(), Problem> {
        trim(&mut self.strangers, now);
        let budget = self.strangers.entry(network(from));
        budget.or_insert_with(|| Budget::of_stranger(now)).take(now).map_err(|_| too_many())
    }

    /// Counts an attempt to sign in. One with a link has no name.
    pub(super) fn sign_in(
        &mut self,
        now: Instant,
        from: IpAddr,
        name: &str,
    ) -> Result<(), Problem> {
        if self.addresses.len() >= MOST {
            self.addresses.retain(|_, attempts| !attempts.is_over(now));
        }
        if self.names.len() >= MOST {
            self.names.retain(|_, attempts| !attempts.is_over(now));
        }
        if self.addresses.len() >= MOST || self.names.len() >= MOST || name.len() > 256 {
            return Err(too_many());
        }
        let rest = |wait: std::time::Duration| {
            let seconds = wait.as_secs().saturating_add(1);
            let what = format!("too many failed attempts: wait {seconds} seconds");
            Problem::new(Code::TooMany, what)
        };
        let address = self.addresses.entry(network(from)).or_insert_with(|| Attempts::new(now));
        address.take(now).map_err(rest)?;
        if name.is_empty() {
            return Ok(());
        }
        let name = self.names.entry(name.to_owned()).or_insert_with(|| Attempts::new(now));
        name.take(now).map_err(rest)
    }

    /// The attempt succeeded.
    pub(super) fn signed_in(&mut self, from: IpAddr, name: &str) {
        self.addresses.remove(&network(from));
        self.names.remove(name);
    }

    /// Returns what was counted for the address before the caller was known.
    pub(super) fn no_stranger(&mut self, from: IpAddr) {
        if let Some(budget) = self.strangers.get_mut(&network(from)) {
            budget.give_back();
        }
    }

    /// Counts a call that names a known key, before the caller has proved it.
    pub(super) fn claim(&mut self, now: Instant, from: IpAddr, id: &str) -> Result<(), Problem> {
        trim(&mut self.claims, now);
        let budget = self.claims.entry((network(from), id.to_owned()));
        budget.or_insert_with(|| Budget::of_claim(now)).take(now).map_err(|_| too_many())
    }

    /// The caller has proved the key.
    pub(super) fn proved(&mut self, from: IpAddr, id: &str) {
        if let Some(budget) = self.claims.get_mut(&(network(from), id.to_owned())) {
            budget.give_back();
        }
    }
}

/// Limits concurrent long work per owner, a key or a product. Each owner may always have one;
/// further ones are allowed only while the total is below its limit.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
    of_one: usize,
    of_all: usize,
}

/// A permit, returned when dropped.
#[derive(Debug)]
pub(crate) struct Place(Places, String);

impl Places {
    pub(super) fn new(of_one: usize, of_all: usize) -> Self {
        Self { taken: Arc::default(), of_one, of_all }
    }

    pub(super) fn take(&self, owner: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(owner).copied().unwrap_or(0);
        if own >= self.of_one || own > 0 && taken.values().sum::<usize>() >= self.of_all {
            return None;
        }
        taken.insert(owner.to_owned(), own.saturating_add(1));
        Some(Place(self.clone(), owner.to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.1) {
            Some(own) if *own > 1 => *own = own.saturating_sub(1),
            _ => drop(taken.remove(&self.1)),
        }
    }
}

fn trim<K: Ord + Clone>(budgets: &mut BTreeMap<K, Budget>, now: Instant) {
    if budgets.len() >= MOST {
        budgets.retain(|_, budget| !budget.is_whole(now));
        while budgets.len() >= MOST {
            budgets.pop_first();
        }
    }
}

fn too_many() -> Problem {
    Problem::new(Code::TooMany, "too many requests: wait some seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let mut budgets = Budgets::default();
        let from = |text: &str| text.parse::<IpAddr>().unwrap_or_else(|why| panic!("{why}"));
        for host in 0..20 {
            let host = from(&format!("2001:db8::{host}"));
            assert!(budgets.stranger(Instant::ZERO, host).is_ok());
        }
        assert!(budgets.stranger(Instant::ZERO, from("2001:db8::ffff")).is_err());
        assert!(budgets.stranger(Instant::ZERO, from("2001:db8:0:1::")).is_ok());
        for _ in 0..20 {
            assert!(budgets.stranger(Instant::ZERO, from("192.0.2.1")).is_ok());
        }
        assert!(budgets.stranger(Instant::ZERO, from("::ffff:192.0.2.1")).is_err());
        assert!(budgets.stranger(Instant::ZERO, from("192.0.2.2")).is_ok());
    }

    #[test]
    fn what_is_proved_costs_an_address_nothing() {
        let (mut budgets, from) = (Budgets::default(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..1_000 {
            assert!(budgets.claim(Instant::ZERO, from, "id").is_ok());
            budgets.proved(from, "id");
        }
        for _ in 0..200 {
            assert!(budgets.claim(Instant::ZERO, from, "id").is_ok());
        }
        assert!(budgets.claim(Instant::ZERO, from, "id").is_err());
        assert!(budgets.claim(Instant::ZERO, from, "other").is_ok());
    }

    #[test]
    fn an_owner_never_takes_the_first_place_of_another() {
        let places = Places::new(3, 4);
        let mut taken: Vec<_> = (0..3).map(|_| places.take("a")).collect();
        assert!(taken.iter().all(Option::is_some) && places.take("a").is_none());
        taken.push(places.take("b"));
        assert!(places.take("b").is_none());
        let first = places.take("c");
        assert!(first.is_some() && places.take("c").is_none());
        taken.clear();
        assert!(places.take("c").is_some());
    }
}
