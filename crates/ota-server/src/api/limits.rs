//! How often keys and strangers may ask.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ota_cloud::api::{Budget, Code, Problem};
use ota_proto::Instant;

/// The most keys, and the most addresses, whose budgets are kept. More of them at once are one.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Budgets {
    keys: BTreeMap<String, Budget>,
    strangers: BTreeMap<IpAddr, Budget>,
}

impl Budgets {
    /// Takes a call of a key that is good.
    pub(super) fn key(&mut self, now: Instant, id: &str) -> Result<(), Problem> {
        trim(&mut self.keys, now);
        let budget = self.keys.entry(id.to_owned()).or_insert_with(|| Budget::of_key(now));
        budget.take(now).map_err(|_| too_many())
    }

    /// Takes a call from an address that has shown no good key. Good keys from there are taken
    /// whatever others do.
    pub(super) fn stranger(&mut self, now: Instant, from: IpAddr) -> Result<(), Problem> {
        trim(&mut self.strangers, now);
        let budget = self.strangers.entry(from).or_insert_with(|| Budget::of_stranger(now));
        budget.take(now).map_err(|_| too_many())
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
