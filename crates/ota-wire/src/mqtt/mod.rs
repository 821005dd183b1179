//! The client half of MQTT 3.1.1, QoS 0 and 1, as far as the platform needs it (docs/protocol.md,
//! Connection).
//!
//! [`Session`] is one device's connection as a state machine. [`Session::transmit`] returns the
//! bytes to send, [`Session::handle_received`] takes received ones, and [`Session::deadline`]
//! returns when to call [`Session::handle_timeout`]. [`Reconnect`] decides when the next connection
//! may be opened. [`packet`] is the codec. This module is not a general MQTT library.
//!
//! ```
//! use ota_proto::{Instant, QoS};
//! use ota_wire::mqtt::{SessionConfig, SessionFound, Purpose, ConnectLogin, Session};
//!
//! let login = ConnectLogin::new("client".into(), "user".into(), "password".into());
//! let mut session = Session::<()>::new(SessionConfig::new(login))?;
//! let now = Instant::ZERO;
//! session.handle_connected(now);
//! let connect = session.transmit().len();
//! assert_eq!(session.transmit()[0], 0x10); // CONNECT
//! session.handle_sent(now, connect);
//!
//! let received = session.handle_received(now, &[0x20, 2, 0, 0])?; // CONNACK
//! assert_eq!((received.consumed, received.found), (4, SessionFound::Accepted));
//! session.subscribe(now, Purpose::Application, "plant/+", QoS::AtLeastOnce)?;
//! assert_eq!(session.transmit()[0], 0x82); // SUBSCRIBE
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod expiry;
pub mod packet;
mod reconnect;
mod session;
mod topic;

pub use config::{
    ConfigError, ConnectLogin, Password, SessionConfig, SessionLimits, SessionTiming,
};
pub use expiry::Expiry;
pub use reconnect::{Attempt, AttemptEnd, Reconnect, ReconnectConfig};
pub use session::{
    AckId, Deadline, Outgoing, PublishError, PublishHandle, Published, Purpose, Session,
    SessionError, SessionFound, SessionPhase, SessionReceived, SessionTimer, SubId, SubscribeError,
    text,
};
pub use topic::{filter_is_valid, topic_is_valid};
