//! The loop around the engine: it waits, gathers, and hands out.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use ota_proto::{Identity, Instant};
use ota_store::{Store, StoreError};

use super::{Engine, Input, Outcome};

/// The most inputs of one turn.
pub const MOST: usize = 256;
/// How long inputs are gathered while more keep arriving.
pub const GATHER: Duration = Duration::from_millis(5);
/// How long the loop waits for an input before it looks for what is due.
const IDLE: Duration = Duration::from_millis(50);

/// An input, and what whoever sent it is known by.
#[derive(Debug)]
pub struct Arrival<T> {
    /// For which device.
    pub device: Identity,
    /// What.
    pub input: Input,
    /// Comes back with the answer.
    pub ticket: T,
}

/// What a turn came to, with the tickets of its inputs in their order.
#[derive(Debug)]
pub struct Done<T> {
    /// One for each input.
    pub tickets: Vec<T>,
    /// What it came to; on an error nothing has happened, and nobody may be told otherwise:
    /// no acknowledgement, no "unknown", no "refused".
    pub outcome: Result<Outcome, StoreError>,
}

/// Gathers inputs until there are [`MOST`], [`GATHER`] has passed, or nothing waits; takes a
/// turn; hands out what it came to. Ends when all senders are gone and everything was taken.
///
/// `now` is the clock, in microseconds since the Unix epoch.
pub fn run<S: Store, T>(
    engine: &mut Engine<S>,
    arrivals: &Receiver<Arrival<T>>,
    now: &mut dyn FnMut() -> Instant,
    done: &mut dyn FnMut(Done<T>),
) {
    let mut open = true;
    while open {
        let (mut inputs, mut tickets) = (Vec::new(), Vec::new());
        let mut take = |arrival: Arrival<T>| {
            inputs.push((arrival.device, arrival.input));
            tickets.push(arrival.ticket);
            tickets.len() < MOST
        };
        match arrivals.recv_timeout(IDLE) {
            Ok(arrival) => {
                let mut more = take(arrival);
                let until = now() + GATHER;
                while more {
                    match arrivals.try_recv() {
                        Ok(arrival) => more = take(arrival) && now() < until,
                        Err(TryRecvError::Empty) => more = false,
                        Err(TryRecvError::Disconnected) => (more, open) = (false, false),
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => open = false,
        }
        let outcome = engine.turn(now(), &inputs);
        done(Done { tickets, outcome });
    }
}
