//! What happens to a device from outside: power, packets, its application.

use ota_proto::{Boot, Command, Event, Hold, Installed, Peer, QoS, Rng, SlotInfo, Updater};

use crate::app::{Act, Install, Verdict};
use crate::field::Kind;
use crate::link::{MessageFault, Packet};
use crate::tear::Tear;
use crate::trace::{Heard, Said, What};

use super::{Cut, Due, Step, World};

impl World {
    /// Cuts the power; it returns after 100 ms.
    pub fn power_cut(&mut self, cut: Cut) {
        self.note(What::Off("power cut"));
        self.storage.cut(cut, &mut self.rng);
        self.restart();
    }

    /// Cuts the power at a byte of the latest slot operation or journal write in progress; it
    /// returns after 100 ms.
    pub fn power_cut_at(&mut self, tear: Tear) {
        self.note(What::Off("power cut"));
        self.storage.tear(tear, &mut self.rng);
        self.restart();
    }

    /// Sets the seed of the world's further random choices.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    /// Kills the device's program, which starts again after 100 ms. Its storage keeps its state.
    pub fn kill(&mut self) {
        self.note(What::Off("killed"));
        self.storage.abandon(&mut self.rng);
        self.end_program();
    }

    /// Asks the device's program to stop. It has two seconds for the work that must precede the
    /// end.
    pub fn stop(&mut self) {
        self.note(What::Met(Kind::OrderlyStop));
        self.note(What::Command("stop"));
        let until = self.now + core::time::Duration::from_secs(2);
        if let Some(device) = &mut self.device {
            device.prepare_stop(self.now);
        }
        let boot = self.boot;
        while self.device.as_ref().is_some_and(|device| !device.is_stopped())
            && self.boot == boot
            && self.now < until
            && self.step() != Step::Dead
        {}
        if self.boot == boot {
            self.kill();
        }
    }

    /// Resets the device.
    fn reset(&mut self) {
        self.note(What::Off("reset"));
        self.storage.cut(Cut::After, &mut self.rng);
        self.restart();
    }

    fn restart(&mut self) {
        self.storage.reread(&mut self.rng);
        self.storage.loader.reset(self.setup.app.bootable);
        self.end_program();
    }

    /// Breaks the link; the client reconnects.
    pub fn drop_link(&mut self) {
        let again = self.link.connected.map_or(self.now, |at| at + self.setup.connect);
        let soon = self.now + core::time::Duration::from_millis(100);
        self.link.drop_session(Some(again.max(soon)));
        self.cloud.handle_disconnected(self.now, &self.setup.device.identity);
        if let Some(device) = &mut self.device {
            device.handle_session(self.now, false);
            self.note(What::Session(false));
        }
    }

    fn end_program(&mut self) {
        // An end that the journal does not record has not happened: the accepted attempt continues.
        let known = self.storage.journal.record().is_some_and(|record| record.accepted.is_some());
        let ended = core::mem::take(&mut self.ended);
        self.accepted.extend(ended.into_iter().filter(|_| known));
        self.boot = self.boot.saturating_add(1);
        self.device = None;
        self.reading = false;
        self.server.current = None;
        self.link.drop_session(None);
        self.cloud.handle_disconnected(self.now, &self.setup.device.identity);
        self.at(self.now + core::time::Duration::from_millis(100), Due::PowerOn);
    }

    pub(super) fn power_on(&mut self) {
        let running = self.storage.loader.running().to_owned();
        let slot = self.storage.loader.state();
        let storage = SlotInfo { capacity: self.setup.capacity, erase: self.setup.erase, write: 1 };
        if self.setup.settles_journal {
            match self.storage.read_journal(&mut self.rng) {
                Ok(0) => {}
                Ok(_) => self.note(What::Met(Kind::MisreadJournal)),
                Err(lost) => self.invariants.break_rule(lost),
            }
        }
        let journal = self.storage.journal.newest().copied();
        let record = self.storage.journal.record();
        let boot = Boot { running: &running, slot, journal: journal.as_ref(), storage };
        self.device = Updater::new(self.now, self.setup.device.clone(), boot).ok();
        let wait = self.link.connected.map_or(self.now, |at| at + self.setup.connect);
        self.link.connect_at = Some(wait.max(self.now + self.setup.boot));
        self.note(What::Boot { running, slot, record });
    }

    /// The client connects, or closes because an acknowledgement is missing.
    pub(super) fn wake_link(&mut self) {
        if self.link.connect_at.take_if(|at| *at <= self.now).is_some() {
            self.link.up = true;
            self.link.connected = Some(self.now);
            let identity = self.setup.device.identity.clone();
            let known = self.cloud.handle_connected(self.now, &identity);
            debug_assert!(known.is_ok(), "the device is registered");
            if let Some(device) = &mut self.device {
                device.handle_session(self.now, true);
            }
            self.note(What::Session(true));
            if let (Some(unix), Some(device)) = (self.setup.clock(self.now), &mut self.device) {
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
        if !self.link.up {
            return;
        }
        let number = self.link.packets;
        self.link.packets = number.saturating_add(1);
        let epoch = self.link.epoch;
        let direction = packet.direction();
        let at = self.now + self.setup.latency;
        let fault = self.link.plan.get(&number).copied();
        if let Some(fault) = fault {
            self.note(What::Fault(format!("packet {number}: {fault:?}")));
        }
        match fault {
            Some(MessageFault::Lost) => {}
            Some(MessageFault::Doubled) => {
                self.at(at, Due::Arrive(epoch, packet.clone()));
                self.at(at, Due::Arrive(epoch, packet));
            }
            Some(MessageFault::Late(millis)) => {
                let late = at + core::time::Duration::from_millis(millis);
                self.at(late, Due::Arrive(epoch, packet));
            }
            Some(MessageFault::Swapped) => {
                self.link.held.insert(direction, packet);
                let late = at + core::time::Duration::from_secs(3);
                self.at(late, Due::Release(epoch, direction));
            }
            None => {
                self.at(at, Due::Arrive(epoch, packet));
                if let Some(held) = self.link.held.remove(&direction) {
                    self.at(at, Due::Arrive(epoch, held));
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
                if let Some(device) = &mut self.device {
                    let taken = device.handle_message(self.now, &topic, &payload);
                    if let Err(error) = taken {
                        self.invariants.break_rule(format!("a message was refused: {error:?}"));
                    }
                }
            }
            Packet::Ack(id) => {
                if self.link.unacked.remove(&id).is_some() {
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
            let size = self.device.as_ref().and_then(Updater::progress).map_or(0, |(_, size)| size);
            self.storage.move_away(usize::try_from(size).unwrap_or(0));
            self.note(What::Met(Kind::MovedImage));
        }
        let Some((after, mut act)) = self.setup.app.answer(event) else { return };
        let (left, pause) = &mut self.setup.app.defers;
        if act == Act::Accept && *left > 0 {
            *left = left.saturating_sub(1);
            act = Act::Defer(*pause);
        }
        self.at(self.now + after, Due::Act(act));
    }

    /// Checks rules 3 and 14: over restarts, only an accepted offer is begun and installed.
    fn watch_consent(&mut self, event: &Event) {
        match event {
            Event::Superseded | Event::Withdrawn | Event::Finished { .. } => self.end_consent(),
            Event::Started { .. } | Event::Install { .. }
                if self.setup.device.consent == Hold::Ask =>
            {
                let text = self.offered_text();
                if let Some(text) = text.filter(|text| !self.accepted.contains(text)) {
                    let accepted = &self.accepted;
                    let what = format!("{text:?} was not accepted, but {accepted:?}");
                    self.invariants.break_rule(what);
                }
            }
            _ => {}
        }
    }

    /// Ends the consent. Until the journal records it, only this life of the program knows.
    fn end_consent(&mut self) {
        self.ended.append(&mut self.accepted);
    }

    fn offered_text(&self) -> Option<Option<String>> {
        let offer = self.device.as_ref()?.offer()?;
        Some(offer.user_defined.map(String::from))
    }

    pub(super) fn act(&mut self, act: Act) {
        let now = self.now;
        if act == Act::Reset {
            return self.reset();
        }
        let Some(device) = &mut self.device else { return };
        let word = match act {
            Act::Accept => {
                let text = self.offered_text();
                let Some(device) = &mut self.device else { return };
                let taken = device.command(now, Command::Accept);
                if taken.is_ok() {
                    self.end_consent();
                    self.accepted.extend(text);
                }
                taken.map(|()| "accept")
            }
            Act::Defer(pause) => {
                let taken = device.command(now, Command::Defer(now + pause));
                if taken.is_ok() {
                    self.end_consent();
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
