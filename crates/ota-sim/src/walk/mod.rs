//! An exhaustive walk over one machine: every state that a bounded number of faults can lead to.
//!
//! A step takes one thing that may happen (see [`Action`]) and drains the machine. States that
//! behave alike are one: see the module `key`. From each state all steps that are nobody's fault are taken,
//! in any order, and all faults while the run may still have some. In each state:
//!
//! * nothing panics, and the [`Invariants`](crate::Invariants) hold, the deadline after
//!   `handle_timeout` among them;
//! * a command that is a misuse has no effect;
//! * the calm run from there, in which nothing more goes wrong, ends idle within [`Bounds::calm`]
//!   steps: nothing owed, on trial or in progress, the task over.

mod act;
mod env;
mod key;
mod step;

use std::collections::BTreeMap;

use ota_proto::{Hold, Verify};

use crate::setup::{Image, Setup};
use crate::trace::Trace;

pub use act::{Action, Cut, Head};

use env::{Env, VERSIONS};

/// The bounds of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Faults per run.
    pub faults: u8,
    /// Only one state in this many, chosen by its key, gets a first fault.
    pub first: u64,
    /// The same for further faults.
    pub further: u64,
    /// The number of states after which no more faults are tried.
    pub states: usize,
    /// Steps of a calm run from any state.
    pub calm: u32,
}

/// The results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Different states.
    pub states: usize,
    /// Steps taken.
    pub transitions: u64,
    /// Steps of the longest path.
    pub depth: u32,
    /// Different final states.
    pub ends: usize,
    /// Steps of the longest calm run.
    pub calm: u32,
    /// Whether all states within the bound of faults were visited, without reaching the bound of
    /// states.
    pub complete: bool,
}

/// The setup of a walk: an image of two erase units, and another one of the same size.
#[must_use]
pub fn setup(hold: Hold, verify: Verify) -> Setup {
    let mut setup = Setup::new(16, 1);
    setup.images.push(Image::new(VERSIONS[2], 16, 3));
    setup.capacity = 16;
    setup.erase = 8;
    act::configure(&mut setup, hold, verify);
    setup
}

/// Walks.
///
/// # Errors
/// The violation, with the steps that lead there and their trace.
pub fn walk(setup: &Setup, bounds: Bounds) -> Result<Seen, String> {
    let mut walk =
        Walk { setup, bounds, states: Vec::new(), known: BTreeMap::new(), seen: Seen::default() };
    walk.search()?;
    walk.check_ends()?;
    let ends = walk.states.iter().enumerate().filter(|(index, state)| state.calm == *index);
    walk.seen.ends = ends.count();
    walk.seen.states = walk.states.len();
    walk.seen.complete = walk.states.len() < bounds.states;
    Ok(walk.seen)
}

/// The record of a state.
struct State {
    parent: usize,
    action: Option<Action>,
    /// Faults that a run through it may still have.
    left: u8,
    depth: u32,
    /// The successor of the calm step; itself at an end.
    calm: usize,
}

struct Walk<'a> {
    setup: &'a Setup,
    bounds: Bounds,
    states: Vec<State>,
    known: BTreeMap<u128, usize>,
    seen: Seen,
}

impl Walk<'_> {
    fn search(&mut self) -> Result<(), String> {
        let mut text = String::new();
        let start = Env::new(self.setup);
        self.known.insert(start.key(&mut text), 0);
        let left = self.bounds.faults;
        self.states.push(State { parent: 0, action: None, left, depth: 0, calm: usize::MAX });
        let mut stack = vec![(start, 0, left)];
        while let Some((env, index, left)) = stack.pop() {
            if self.states.get(index).is_none_or(|state| state.left > left) {
                // Visited meanwhile with more faults left.
                continue;
            }
            if env.is_end() {
                self.states[index].calm = index;
            }
            let calm = env.calm();
            let begun = left < self.bounds.faults;
            let every = if begun { self.bounds.further } else { self.bounds.first };
            let chosen = u64::try_from(env.key(&mut text) >> 64).unwrap_or(0) % every.max(1) == 0;
            let more = left > 0 && chosen && self.states.len() < self.bounds.states;
            let free = env.free().into_iter().map(|action| (action, left));
            let mut next: Vec<_> = free.collect();
            if more {
                next.extend(env.faults().into_iter().map(|action| (action, left - 1)));
            }
            for (place, (action, left)) in next.into_iter().enumerate() {
                let mut after = env.clone();
                after.apply(self.setup, action);
                self.seen.transitions += 1;
                if let Some(broken) = after.watch.broken().first() {
                    return Err(self.explain(index, Some(action), broken));
                }
                let key = after.key(&mut text);
                let (found, fresh) = self.meet(key, index, action, left);
                if place == 0 && Some(action) == calm {
                    self.states[index].calm = found;
                }
                if let Some(left) = fresh {
                    stack.push((after, found, left));
                }
            }
        }
        Ok(())
    }

    /// The state with this key, and its remaining faults if its successors must be visited.
    fn meet(&mut self, key: u128, parent: usize, action: Action, left: u8) -> (usize, Option<u8>) {
        let depth = self.states.get(parent).map_or(0, |state| state.depth).saturating_add(1);
        if let Some(index) = self.known.get(&key) {
            let state = &mut self.states[*index];
            if state.left >= left {
                return (*index, None);
            }
            // With more faults left, its successors must be visited again.
            state.left = left;
            return (*index, Some(left));
        }
        let index = self.states.len();
        self.known.insert(key, index);
        self.seen.depth = self.seen.depth.max(depth);
        self.states.push(State { parent, action: Some(action), left, depth, calm: usize::MAX });
        (index, Some(left))
    }

    /// The calm run from every state ends.
    fn check_ends(&mut self) -> Result<(), String> {
        const UNKNOWN: u32 = u32::MAX;
        let mut steps = vec![UNKNOWN; self.states.len()];
        for first in 0..self.states.len() {
            let mut path = Vec::new();
            let mut at = first;
            let mut count = loop {
                let Some(state) = self.states.get(at) else {
                    return Err(self.explain(first, None, "a calm run that was not walked"));
                };
                if steps[at] != UNKNOWN {
                    break steps[at];
                }
                if state.calm == at {
                    steps[at] = 0;
                    break 0;
                }
                if path.len() > self.bounds.calm as usize {
                    return Err(self.explain(first, None, "a calm run does not end"));
                }
                path.push(at);
                at = state.calm;
            };
            for at in path.into_iter().rev() {
                count += 1;
                steps[at] = count;
            }
            self.seen.calm = self.seen.calm.max(count);
            if count > self.bounds.calm {
                return Err(self.explain(first, None, "a calm run is too long"));
            }
        }
        Ok(())
    }

    /// The path to a state, and its trace; at the last state also its calm run.
    fn explain(&self, index: usize, last: Option<Action>, why: &str) -> String {
        let mut actions: Vec<_> = last.into_iter().collect();
        let mut at = index;
        while let Some(State { parent, action: Some(action), .. }) = self.states.get(at) {
            actions.push(*action);
            at = *parent;
        }
        actions.reverse();
        let mut env = Env::new(self.setup);
        env.trace = Some(Trace::default());
        for action in &actions {
            env.apply(self.setup, *action);
        }
        for _ in 0..if last.is_none() { 60 } else { 0 } {
            let Some(action) = env.calm() else { break };
            env.apply(self.setup, action);
        }
        let trace = env.trace.take().unwrap_or_default();
        format!("{why}\nafter {actions:?}\n{trace}")
    }
}
