//! The client half of MQTT 3.1.1, QoS 0 and 1, as far as the platform needs it (protocol.md §4.2).
//!
//! [`Session`] is one device's connection as a state machine: what to send is [`Session::transmit`],
//! what came is fed to [`Session::handle_received`], and [`Session::deadline`] says when to call
//! [`Session::handle_timeout`]. [`Reconnect`] says when the next connection may be opened.
//! [`packet`] is the codec below. It is not meant as a general MQTT library.

mod config;
pub mod packet;
mod reconnect;
mod session;
mod topic;

pub use config::{Config, ConfigError, Limits, Login, Secret, Timing};
pub use reconnect::{Attempt, Ended, Reconnect, ReconnectConfig};
pub use session::{
    AckId, Deadline, Found, Kind, Outgoing, Phase, PublishError, PublishHandle, Published,
    Received, Session, SessionError, SubId, SubscribeError, Timer, text,
};
pub use topic::{filter_is_valid, matches, topic_is_valid};
