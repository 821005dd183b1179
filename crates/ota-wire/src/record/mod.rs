//! The flight recorder: keeps the inputs of a [`Client`] in a bounded ring, to replay them
//! elsewhere.
//!
//! A client is a pure function of its inputs. [`Recorder`] is a client that records each input;
//! [`Recorder::recording`] makes a file of the latest ones, and [`Recording`] replays them: the
//! same states and outputs, one by one, on a desktop.
//!
//! * **Bounded.** Inputs that drop out of the ring are not lost: a second client handles them, and
//!   the file begins with its state. A recorder costs the ring and that client, and nothing when it
//!   is off.
//! * **Small.** Only framing and the cloud's messages are kept. Of an image and of an application's
//!   payload only the number of bytes affects the machine.
//! * **Without secrets.** The password, the query of each URL, application messages and unused
//!   headers are replaced by filler of the same length before they are kept; the second client gets
//!   only the filler. A query's filler shows only whether the query occurred before, because the
//!   machine compares queries.
//!
//! ```
//! # use ota_wire::client::ClientConfig;
//! # use ota_wire::mqtt::ConnectLogin;
//! use ota_proto::Instant;
//! use ota_wire::client::{Input, Output};
//! use ota_wire::record::{Recorder, Recording};
//!
//! # let login = ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "secret".into());
//! # let config = ClientConfig::new("broker.example".into(), 1883, false, login, 7);
//! let mut recorder = Recorder::new(Instant::ZERO, config, 64 * 1024)?;
//! let Output::Idle { deadline: Some(at), .. } = recorder.poll(Instant::ZERO) else { return Ok(()) };
//! recorder.handle(at, Input::Timeout);
//! assert!(matches!(recorder.poll(at), Output::Connect { .. }));
//!
//! let file = recorder.recording().unwrap();
//! let recording = Recording::read(&file)?;
//! let mut replay = recording.replay();
//! let mut last = None;
//! while let Some(step) = replay.step() {
//!     last = Some(format!("{} {:?}", step.at.as_micros(), step.effect));
//! }
//! assert!(last.unwrap().contains("Connect"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod hide;
mod kept;
mod replay;
mod tape;

use alloc::boxed::Box;
use core::fmt;

use ota_proto::{Boot, Instant, QoS};

use crate::adapter::Noted;
use crate::client::{
    AddError, Client, ClientConfig, DeviceIndex, Effect, Input, Link, Output, Received,
};
use crate::mqtt::{self, PublishError, PublishHandle, SubId, SubscribeError};

use hide::Hider;
pub use kept::{KeptBytes, KeptInput};
pub use replay::{Recording, RecordingError, Replay, ReplayStep};
use tape::Tape;

/// A client that can record its inputs: see the [module](self). All inputs go through
/// [`Recorder::handle`]; the separate methods return more than an [`Effect`]. [`Recorder::client`] has
/// what changes nothing.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    tape: Option<Box<Noting>>,
}

#[derive(Clone)]
struct Noting {
    tape: Tape,
    hider: Hider,
}

impl Recorder {
    /// Makes a client without devices that records its latest inputs in this many bytes; 0 for
    /// none.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(
        now: Instant,
        config: ClientConfig,
        bytes: usize,
    ) -> Result<Self, mqtt::ConfigError> {
        let tape = if bytes > 0 {
            let mut config = config.clone();
            config.mqtt.login = hide::login(&config.mqtt.login);
            let tape = Tape::new(now, Client::new(now, config)?, bytes);
            Some(Box::new(Noting { tape, hider: Hider::default() }))
        } else {
            None
        };
        Ok(Self { client: Client::new(now, config)?, tape })
    }

    /// The client, for what changes nothing.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the file of the recorded inputs. `None` if there are none, or if more than 1 MiB was
    /// received in one piece.
    #[must_use]
    pub fn recording(&self) -> Option<alloc::vec::Vec<u8>> {
        self.tape.as_ref()?.tape.file()
    }

    /// See [`Client::handle`].
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> Effect<'_> {
        self.note(now, || input.clone()).handle(now, input)
    }

    /// See [`Client::poll`].
    pub fn poll(&mut self, now: Instant) -> Output<'_> {
        self.note(now, || Input::Poll).poll(now)
    }

    /// See [`Client::handle_received`].
    pub fn handle_received(&mut self, now: Instant, link: Link, bytes: &[u8]) -> Received {
        self.note(now, || Input::Received { link, bytes }).handle_received(now, link, bytes)
    }

    /// See [`Client::add_device`].
    ///
    /// # Errors
    /// Those of that method.
    pub fn add_device(
        &mut self,
        now: Instant,
        config: ota_proto::Config,
        boot: Boot<'_>,
    ) -> Result<DeviceIndex, AddError> {
        self.note(now, || Input::add_device(&config, boot)).add_device(now, config, boot)
    }

    /// See [`Client::publish`].
    ///
    /// # Errors
    /// Those of that method.
    pub fn publish(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<PublishHandle, PublishError> {
        self.note(now, || Input::Publish { topic, payload, qos }).publish(now, topic, payload, qos)
    }

    /// See [`Client::subscribe`].
    ///
    /// # Errors
    /// Those of that method.
    pub fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        self.note(now, || Input::Subscribe { filter, qos }).subscribe(now, filter, qos)
    }

    /// See [`Client::set_login`].
    ///
    /// # Errors
    /// Those of that method.
    pub fn set_login(
        &mut self,
        now: Instant,
        login: mqtt::ConnectLogin,
    ) -> Result<(), mqtt::ConfigError> {
        self.note(now, || Input::SetLogin(login.clone())).set_login(login)
    }
}

impl Noted for Recorder {
    fn client(&self) -> &Client {
        &self.client
    }

    fn note<'a>(&mut self, now: Instant, input: impl FnOnce() -> Input<'a>) -> &mut Client {
        if let Some(Noting { tape, hider }) = self.tape.as_deref_mut() {
            let mut input = input();
            if let Input::SetLogin(login) = &mut input {
                *login = hide::login(login);
            }
            let kept = input.map(
                |link, all| {
                    let front = hider.received(&self.client, link, all);
                    KeptBytes { front, more: all.len().saturating_sub(front.len()) }
                },
                <[u8]>::len,
            );
            tape.push(now, &kept);
        }
        &mut self.client
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("client", &self.client)
            .field("records", &self.tape.is_some())
            .finish()
    }
}
