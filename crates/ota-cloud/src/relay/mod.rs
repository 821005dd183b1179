//! The faults of messages and of the broker's connection, IO-free: a relay between a device and a
//! broker that follows the plan.
//!
//! [`Relay`] is shared by all connections; [`Connection`] is one of them. It takes bytes of either
//! end and returns bytes for the other, packet by packet. Bytes that are not packets pass
//! unchanged. It works with any broker.

mod act;
mod connection;
mod line;
mod packet;

use std::collections::{BTreeMap, VecDeque};

use crate::fault::{Fault, FaultPlan, Kind, Rule};

pub use connection::{Connection, End};
pub use line::Line;

/// The most devices whose first offer is stored.
const MAX_OFFERS: usize = 64;
/// The most pending notes; the oldest are dropped.
const MAX_STRUCK: usize = 64;

/// The plan and the shared state of all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Relay {
    rules: Vec<Count>,
    /// The first offer on each topic.
    offers: BTreeMap<String, Vec<u8>>,
    struck: VecDeque<Fault>,
}

/// A rule, with the number of its occasions and of its faults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Count {
    rule: Rule,
    seen: u32,
    used: u32,
}

impl Relay {
    /// Makes a relay for the plan's faults of messages and of the broker's connection.
    #[must_use]
    pub fn new(plan: &FaultPlan) -> Self {
        let rules = plan.rules.iter().filter(|rule| rule.fault.kind() == Kind::Broker);
        Self {
            rules: rules.map(|rule| Count { rule: rule.clone(), seen: 0, used: 0 }).collect(),
            ..Self::default()
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the next fault that happened, for a log.
    pub fn next_struck(&mut self) -> Option<Fault> {
        self.struck.pop_front()
    }

    /// Counts an occasion for this fault; returns its rule if the fault happens.
    fn strike(&mut self, fault: Fault) -> Option<Rule> {
        let count = self.rules.iter_mut().find(|count| count.rule.fault == fault)?;
        let seen = count.seen;
        count.seen = seen.saturating_add(1);
        if seen < count.rule.skip || count.used >= count.rule.times {
            return None;
        }
        count.used = count.used.saturating_add(1);
        self.struck.push_back(fault);
        if self.struck.len() > MAX_STRUCK {
            self.struck.pop_front();
        }
        Some(count.rule.clone())
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        self.strike(fault).is_some()
    }

    /// The first offer on this topic, if this is a later one.
    fn first_offer(&mut self, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let first = self.offers.get(topic).cloned();
        if first.is_none() && self.offers.len() < MAX_OFFERS {
            self.offers.insert(topic.into(), payload.into());
        }
        first
    }

    /// The first offer to the device of this report topic, with its topic.
    fn offer_of(&self, report: &str) -> Option<(String, Vec<u8>)> {
        let topic = format!("$ota/update/{}", report.strip_prefix("$ota/report/")?);
        let payload = self.offers.get(&topic)?.clone();
        Some((topic, payload))
    }
}
