//! One suite for all adapters: each fault of [`ota_cloud::fault`], and its required outcome.
//!
//! An adapter implements a [`World`]: its device and a cloud, connected by real sockets or in
//! virtual time. The suite runs one [`Scenario`] after another, and checks the [`Outcome`]s against
//! [`table`], which follows from the rules of behaviour and not from the code.
//!
//! ```no_run
//! use ota_conformance::{Outcome, Scenario, World, suite};
//!
//! struct Mine;
//!
//! impl World for Mine {
//!     fn run(&self, scenario: &Scenario) -> Outcome {
//!         let device = scenario.device_config();
//!         let client = scenario.client_config("127.0.0.1", 1883);
//!         // Run the device against a cloud with `scenario.faults` until it is over.
//! #       let _ = (device, client);
//! #       unimplemented!()
//!     }
//! }
//!
//! suite::run(&Mine, 10);
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "host")]
pub mod host;
mod judge;
mod outcome;
mod scenario;
pub mod suite;
pub mod table;

pub use judge::judge;
pub use outcome::{Outcome, Report, Request};
pub use scenario::Scenario;

/// A device on an adapter, and a cloud.
pub trait World: Sync {
    /// The number of concurrent scenarios. More than one requires real time, in which they mostly
    /// wait.
    fn parallel(&self) -> usize {
        1
    }

    /// Whether the firmware uses TLS.
    fn tls(&self) -> bool {
        false
    }

    /// Runs a scenario until the device is idle and the cloud's task is over, or the offer is
    /// withdrawn, or [`Scenario::limit`] has passed.
    fn run(&self, scenario: &Scenario) -> Outcome;
}

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
