//! What reaches the device from outside: sessions, packets, the words of its application.

use ota_proto::{Command, Event, Hold, Installed, Peer, QoS, Updater};

use crate::app::{Act, Install, Verdict};
use crate::link::{MessageFault, Packet};
use crate::trace::{Heard, Said, What};
use crate::trouble::Kind;
use crate::world::Step;

use super::{Arrival, World};

impl World {
    /// Asks the device's program to stop. It has two seconds for the work that must precede the
    /// end.
    pub fn stop(&mut self) {
        self.note(What::Met(Kind::OrderlyStop));
        self.note(What::Command("stop"));
        let until = self.now + core::time::Duration::from_secs(2);
        if let Some(device) = &mut self.layer.device {
            device.prepare_stop(self.now);
        }
        let boot = self.boot;
        while self.layer.device.as_ref().is_some_and(|device| !device.is_stopped())
            && self.boot == boot
            && self.now < until
            && self.step() != Step::Dead
        {}
        if self.boot == boot {
            self.kill();
        }
    }

    /// Breaks the link; the client reconnects.
    pub fn drop_link(&mut self) {
        let again = self.layer.link.connected.map_or(self.now, |at| at + self.setup.connect);
        let soon = self.now + core::time::Duration::from_millis(100);
        self.layer.link.drop_session(Some(again.max(soon)));
        self.cloud.handle_disconnected(self.now, &self.setup.device.identity);
        if let Some(device) = &mut self.layer.device {
            device.handle_session(self.now, false);
            self.note(What::Session(false));
        }
    }

    /// The client connects, or closes because an acknowledgement is missing.
    pub(super) fn wake_link(&mut self) {
        if self.layer.link.connect_at.take_if(|at| *at <= self.now).is_some() {
            self.layer.link.up = true;
            self.layer.link.connected = Some(self.now);
            let identity = self.setup.device.identity.clone();
            let known = self.cloud.handle_connected(self.now, &identity);
            debug_assert!(known.is_ok(), "the device is registered");
            if let Some(device) = &mut self.layer.device {
                device.handle_session(self.now, true);
            }
            self.note(What::Session(true));
            if let (Some(unix), Some(device)) = (self.setup.clock(self.now), &mut self.layer.device)
            {
                device.handle_certificate(Peer::Broker, unix);
                self.note(What::Met(Kind::ClockSteps));
            }
            return;
        }
        self.note(What::Fault("no acknowledgement".into()));
        self.drop_link();
    }

    /// Sends a packet, with its fault.
    pub(super) fn send(&mut self, packet: Packet) {
        if !self.layer.link.up {
            return;
        }
        let number = self.layer.link.packets;
        self.layer.link.packets = number.saturating_add(1);
        let epoch = self.layer.link.epoch;
        let direction = packet.direction();
        let at = self.now + self.setup.latency;
        let fault = self.layer.link.plan.get(&number).copied();
        if let Some(fault) = fault {
            self.note(What::Fault(format!("packet {number}: {fault:?}")));
        }
        match fault {
            Some(MessageFault::Lost) => {}
            Some(MessageFault::Doubled) => {
                self.schedule(at, Arrival::Packet(epoch, packet.clone()));
                self.schedule(at, Arrival::Packet(epoch, packet));
            }
            Some(MessageFault::Late(millis)) => {
                let late = at + core::time::Duration::from_millis(millis);
                self.schedule(late, Arrival::Packet(epoch, packet));
            }
            Some(MessageFault::Swapped) => {
                self.layer.link.held.insert(direction, packet);
                let late = at + core::time::Duration::from_secs(3);
                self.schedule(late, Arrival::Release(epoch, direction));
            }
            None => {
                self.schedule(at, Arrival::Packet(epoch, packet));
                if let Some(held) = self.layer.link.held.remove(&direction) {
                    self.schedule(at, Arrival::Packet(epoch, held));
                }
            }
        }
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Report { id, qos, payload } => {
                if let Some(said) = Said::read(&payload) {
                    self.note(What::Delivered(said));
                }
                let topic = self.setup.device.identity.report_topic().to_owned();
                let taken = self.cloud.handle_message(self.now, &topic, &payload);
                if let Err(error) = taken {
                    self.invariants.break_rule(format!("the cloud refused a message: {error:?}"));
                }
                if qos == QoS::AtLeastOnce {
                    self.send(Packet::Ack(id));
                }
            }
            Packet::Message(payload) => {
                let topic = self.setup.device.identity.update_topic().to_owned();
                self.note(What::Heard(Heard::read(&payload)));
                if let Some(device) = &mut self.layer.device {
                    let taken = device.handle_message(self.now, &topic, &payload);
                    if let Err(error) = taken {
                        self.invariants.break_rule(format!("a message was refused: {error:?}"));
                    }
                }
            }
            Packet::Ack(id) => {
                if self.layer.link.unacked.remove(&id).is_some() {
                    self.published(id);
                }
            }
        }
    }

    /// The application receives an event and answers later.
    pub(super) fn hear(&mut self, event: &Event) {
        self.watch_consent(event);
        let moves = self.setup.moves_image && self.setup.app.install != Install::NeedsRestart;
        if moves && matches!(event, Event::Install { .. }) {
            let size =
                self.layer.device.as_ref().and_then(Updater::progress).map_or(0, |(_, size)| size);
            self.storage.move_away(usize::try_from(size).unwrap_or(0));
            self.note(What::Met(Kind::MovedImage));
        }
        let Some((after, mut act)) = self.setup.app.answer(event) else { return };
        let (left, pause) = &mut self.setup.app.defers;
        if act == Act::Accept && *left > 0 {
            *left = left.saturating_sub(1);
            act = Act::Defer(*pause);
        }
        self.act_after(after, act);
    }

    /// Checks rules 3 and 14: over restarts, only an accepted offer is begun and installed.
    fn watch_consent(&mut self, event: &Event) {
        match event {
            Event::Superseded | Event::Withdrawn | Event::Finished { .. } => {
                self.layer.consent.end();
            }
            Event::Started { .. } | Event::Install { .. }
                if self.setup.device.consent == Hold::Ask =>
            {
                let text = self.offered_text();
                if let Some(wrong) = text.and_then(|text| self.layer.consent.check(&text)) {
                    self.invariants.break_rule(wrong);
                }
            }
            _ => {}
        }
    }

    fn offered_text(&self) -> Option<Option<String>> {
        let offer = self.layer.device.as_ref()?.offer()?;
        Some(offer.user_defined.map(String::from))
    }

    pub(super) fn act(&mut self, act: Act) {
        let now = self.now;
        let Some(device) = &mut self.layer.device else { return };
        let word = match act {
            Act::Accept => {
                let text = self.offered_text();
                let Some(device) = &mut self.layer.device else { return };
                let taken = device.command(now, Command::Accept);
                if taken.is_ok() {
                    self.layer.consent.accept(text);
                }
                taken.map(|()| "accept")
            }
            Act::Defer(pause) => {
                let taken = device.command(now, Command::Defer(now + pause));
                if taken.is_ok() {
                    self.layer.consent.end();
                }
                taken.map(|()| "defer")
            }
            Act::ApproveAndInstall => {
                let approved = device.command(now, Command::Approve);
                let installed = device.command(now, Command::Install);
                approved.or(installed).map(|()| "approve and install")
            }
            Act::Installed(what) => {
                let taken = device.command(now, Command::Installed(what));
                if what == Installed::Running && taken.is_ok() {
                    let version = self.storage.installing();
                    self.storage.loader.replace(&version);
                }
                taken.map(|()| "installed")
            }
            Act::Judge(Verdict::Confirm) => {
                device.command(now, Command::Confirm).map(|()| "confirm")
            }
            Act::Judge(Verdict::RollBack) => {
                device.command(now, Command::RollBack).map(|()| "roll back")
            }
            Act::Judge(Verdict::Silent) | Act::Reset => return,
        };
        if let Ok(word) = word {
            self.note(What::Command(word));
        }
    }
}
