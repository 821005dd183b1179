//! The faults of messages and of the broker's connection, IO-free: what stands on the line
//! between a device and a broker and does what the plan says.
//!
//! [`Relay`] is what all lines share; [`Connection`] is one of them. Bytes of either end go in,
//! bytes for the other come out, packet by packet. Whatever is no packet passes as it is: the ends
//! judge it. Any broker will do, ours or another.

mod act;
mod connection;
mod line;
mod packet;

use std::collections::{BTreeMap, VecDeque};

use crate::fault::{Fault, FaultPlan, Kind, Rule};

pub use connection::{Connection, End};
pub use line::Line;

/// The most devices whose first offer is remembered.
const MAX_OFFERS: usize = 64;
/// The most strikes that wait to be asked for; the oldest goes first.
const MAX_STRUCK: usize = 64;

/// The plan, and what all lines share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Relay {
    rules: Vec<Count>,
    /// The first offer on each topic.
    offers: BTreeMap<String, Vec<u8>>,
    struck: VecDeque<Fault>,
}

/// A rule, with how often it could have struck and did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Count {
    rule: Rule,
    seen: u32,
    used: u32,
}

impl Relay {
    /// A relay that acts on the plan's faults of messages and of the broker's connection.
    #[must_use]
    pub fn new(plan: &FaultPlan) -> Self {
        let rules = plan.rules.iter().filter(|rule| rule.fault.kind() == Kind::Broker);
        Self {
            rules: rules.map(|rule| Count { rule: rule.clone(), seen: 0, used: 0 }).collect(),
            ..Self::default()
        }
    }

    /// Whether there is nothing to act on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    /// The next fault that struck, for a log.
    pub fn next_struck(&mut self) -> Option<Fault> {
        self.struck.pop_front()
    }

    /// An occasion for this fault: its rule, when it strikes.
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

    /// The first offer on this topic, when this one is not the first.
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
