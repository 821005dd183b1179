//! The device's program: the outputs of the client, and the application.

use ota_proto::{Boot, Command, Event, Identity, Instant, OpId, Work};
use ota_wire::client::{
    ClientConfig, ClientEvent, DeviceIndex, DeviceInput, Found, Input, LinkKind, Output,
};
use ota_wire::mqtt::ConnectLogin;
use ota_wire::record::Recorder;

use crate::app::{Act, Verdict};
use crate::storage::Cut;
use crate::trace::What;
use crate::trouble::Kind;

use super::World;

const DEVICE: DeviceIndex = DeviceIndex::FIRST;

/// The client's last idle output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) deadline: Option<Instant>,
    pub(super) read_broker: bool,
    pub(super) read_store: bool,
    /// Whether a time-out was handled without an input since: the next deadline must be later.
    pub(super) woken: bool,
}

/// An output, owned.
pub(super) enum Out {
    Connect(ota_wire::client::Link),
    Close(ota_wire::client::Link),
    Do(OpId, Work<Vec<u8>>),
    Event(ClientEvent),
    Idle(Idle, Option<ota_wire::client::Timer>),
    Unknown(String),
}

impl World {
    /// Handles one output; `false` if the device is idle or off.
    pub(super) fn step_device(&mut self) -> bool {
        let Some(client) = &mut self.layer.client else { return false };
        let output = client.poll(self.now);
        self.layer.lives.note(&output);
        match own(output) {
            Out::Idle(idle, timer) => {
                let late = self.layer.idle.woken && idle.deadline.is_some_and(|at| at <= self.now);
                if late {
                    self.invariants
                        .break_rule(format!("deadline {:?} {timer:?} is stale", idle.deadline));
                }
                self.layer.idle = Idle { woken: self.layer.idle.woken, ..idle };
                return false;
            }
            Out::Connect(link) => self.open(link),
            Out::Close(link) => self.close(link),
            Out::Do(op, work) => self.begin(op, work),
            Out::Event(ClientEvent::Device { event, .. }) => {
                self.note(What::Event(event.clone()));
                self.hear(&event);
            }
            Out::Event(ClientEvent::BadMessage { error, .. }) => {
                self.invariants.break_rule(format!("a message of the cloud was refused: {error}"));
            }
            Out::Event(event) => self.fault(format!("{event:?}")),
            Out::Unknown(what) => self.invariants.break_rule(what),
        }
        self.layer.idle.woken = false;
        true
    }

    pub(super) fn wake_device(&mut self) {
        let now = self.now;
        if let Some(client) = &mut self.layer.client {
            client.handle(now, Input::Timeout);
        }
        self.touched();
        self.layer.idle.woken = true;
    }

    /// Something arrived: the client may take bytes now that it refused before.
    pub(super) fn touched(&mut self) {
        self.layer.idle.woken = false;
        if let Some(wire) = &mut self.layer.broker {
            wire.offered = false;
        }
        if let Some(wire) = &mut self.layer.store {
            wire.offered = false;
        }
    }

    /// Passes bytes to the client like an adapter.
    pub(super) fn feed(&mut self, kind: LinkKind, bytes: &[u8]) {
        let (link, mut rx) = match (kind, &mut self.layer.broker, &mut self.layer.store) {
            (LinkKind::Broker, Some(wire), _) => (wire.link, core::mem::take(&mut wire.rx)),
            (LinkKind::Store, _, Some(wire)) => (wire.link, core::mem::take(&mut wire.rx)),
            _ => return,
        };
        rx.extend_from_slice(bytes);
        let mut progress = false;
        loop {
            let Some(client) = &mut self.layer.client else { return };
            let received = client.handle_received(self.now, link, &rx);
            self.layer.lives.note(&received);
            let more = received.consumed > 0 || received.found.is_some();
            match received.found {
                Some(Found::Write { op, at, span, .. }) => {
                    let bytes = rx.get(span).unwrap_or_default().to_vec();
                    self.begin(op, Work::Write { at, bytes });
                }
                Some(other) => {
                    self.invariants.break_rule(format!("for the application: {other:?}"))
                }
                None => {}
            }
            rx.drain(..received.consumed.min(rx.len()));
            if !more {
                break;
            }
            progress = true;
        }
        if progress {
            self.touched();
        }
        match (kind, &mut self.layer.broker, &mut self.layer.store) {
            (LinkKind::Broker, Some(wire), _) => (wire.rx, wire.offered) = (rx, true),
            (LinkKind::Store, _, Some(wire)) => (wire.rx, wire.offered) = (rx, true),
            _ => {}
        }
    }

    pub(super) fn tell(&mut self, input: DeviceInput) {
        if let Some(client) = &mut self.layer.client {
            client.handle(self.now, Input::Device { device: DEVICE, input });
        }
    }

    /// Passes the certificate's time to the client when a connection is open.
    pub(super) fn tell_time(&mut self) {
        let Some(unix) = self.setup.clock(self.now) else { return };
        self.tell(DeviceInput::Certificate(ota_proto::Peer::Broker, unix));
        self.met(Kind::ClockSteps);
    }

    /// Starts the program.
    pub(super) fn start(&mut self, boot: Boot<'_>) {
        let seed = self.setup.seed.wrapping_add(u64::from(self.boot));
        let config = client_config(&self.setup.device.identity, seed);
        let client =
            Recorder::new(self.now, config, self.layer.lives.ring).ok().and_then(|mut client| {
                client.add_device(self.now, self.setup.device.clone(), boot).ok()?;
                Some(client)
            });
        if client.is_none() {
            self.invariants.break_rule("the client does not start".into());
        }
        self.layer.client = client;
    }

    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        self.layer.idle.deadline.filter(|_| self.layer.client.is_some())
    }

    /// Asks the program to stop. It has two seconds for the work before its end.
    ///
    /// # Errors
    /// The trace, if there was a violation.
    pub fn stop(&mut self) -> Result<(), String> {
        self.met(Kind::OrderlyStop);
        if let Some(client) = &mut self.layer.client {
            client.handle(self.now, Input::PrepareStop);
        }
        self.touched();
        let (boot, until) = (self.boot, self.now + core::time::Duration::from_secs(2));
        while self.now < until && self.boot == boot && !self.is_stopped() {
            self.run_until(self.now + core::time::Duration::from_millis(50))?;
        }
        if self.boot == boot {
            self.power_cut(Cut::Before);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.layer.client.as_ref().is_none_or(|client| client.client().is_stopped())
    }

    /// Ends the program and keeps its recording.
    pub(crate) fn end_life(&mut self) {
        self.layer.lives.end(self.layer.client.take());
    }

    /// The application gets an event and answers later. Only the world of messages asks it for
    /// consent.
    fn hear(&mut self, event: &Event) {
        let asked = matches!(event, Event::Offered | Event::Ready);
        if let Some((after, act)) = self.setup.app.answer(event).filter(|_| !asked) {
            self.act_after(after, act);
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        self.touched();
        let command = match act {
            Act::Installed(what) => Command::Installed(what),
            Act::Judge(Verdict::Confirm) => Command::Confirm,
            Act::Judge(Verdict::RollBack) => Command::RollBack,
            Act::Judge(Verdict::Silent)
            | Act::Accept
            | Act::Defer(_)
            | Act::ApproveAndInstall
            | Act::Reset => return,
        };
        // A command that no longer fits has no effect.
        self.tell(DeviceInput::Command(command));
    }
}

/// An output that borrows nothing.
pub(super) fn own(output: Output<'_>) -> Out {
    match output {
        Output::Connect { link, .. } => Out::Connect(link),
        Output::Close { link } => Out::Close(link),
        // A write comes with received bytes.
        Output::Do { op, work, .. } => Out::Do(op, work.map(|_| Vec::new())),
        Output::Event(event) => Out::Event(event),
        Output::Idle { deadline, timer, read_broker, read_store } => {
            Out::Idle(Idle { deadline, read_broker, read_store, woken: false }, timer)
        }
        other => Out::Unknown(format!("an output that no adapter knows: {other:?}")),
    }
}

/// The configuration of a client with the login of this device.
pub(super) fn client_config(identity: &Identity, seed: u64) -> ClientConfig {
    let id = format!("{}{}", identity.product_id(), identity.device_name());
    let user = format!("{id};21010406;AbC12;4102444800");
    let login = ConnectLogin::new(id, user, "not checked here".into());
    ClientConfig::new("broker.example".into(), 8_883, true, login, seed)
}
