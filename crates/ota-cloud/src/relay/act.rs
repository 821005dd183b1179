//! The effect of each fault on passing packets.

use core::time::Duration;

use mqttbytes::v4::Publish;
use ota_proto::Instant;

use super::Relay;
use super::connection::{Connection, End};
use super::packet::{self, Kind, Said};
use crate::fault::Fault;

/// CONNACK with return code 4: bad user name or password.
const REFUSED: [u8; 4] = [0x20, 2, 0, 4];
/// A packet type that does not exist, and a length without end.
const GARBAGE: [u8; 8] = [0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x2a];
/// The delay of a late message.
const LATE: Duration = Duration::from_secs(12);
/// The delay of a reply that lets the offer pass.
const BEHIND: Duration = Duration::from_millis(200);
/// An offer that waits for a download to begin is sent after this time in any case.
const HELD: Duration = Duration::from_secs(10);

/// A change of an offer.
type Edit = fn(&[u8]) -> Vec<u8>;

impl Connection {
    /// A whole packet from the broker.
    pub(super) fn take_broker_packet(&mut self, relay: &mut Relay, now: Instant, packet: Vec<u8>) {
        match packet::read(&packet) {
            Kind::ConnAck if relay.strikes(Fault::RefuseLogin) => {
                self.send(End::Device, &REFUSED);
                self.close();
            }
            Kind::PubAck(id) => {
                let result = self.results.remove(&id);
                if !(result && relay.strikes(Fault::LostAck)) {
                    self.send(End::Device, &packet);
                }
            }
            Kind::Publish(publish) => match packet::said(&publish) {
                Said::Reply => self.reply(relay, now, &publish, packet),
                Said::Offer => self.offer(relay, now, &publish, packet),
                _ => self.send(End::Device, &packet),
            },
            _ => self.send(End::Device, &packet),
        }
    }

    /// A whole packet from the device.
    pub(super) fn take_device_packet(&mut self, relay: &mut Relay, packet: &[u8]) {
        if let Kind::Publish(publish) = packet::read(packet) {
            match packet::said(&publish) {
                Said::Version if relay.strikes(Fault::Kick) => return self.close(),
                Said::Version if relay.strikes(Fault::HalfOpen) => {
                    self.frozen = true;
                    return;
                }
                Said::Downloading => {
                    for offer in std::mem::take(&mut self.on_download) {
                        self.send(End::Device, &offer);
                    }
                }
                Said::Result => {
                    self.results.insert(publish.pkid);
                    if let Some((topic, offer)) = relay.offer_of(&publish.topic) {
                        if relay.strikes(Fault::ReplayedOffer) {
                            self.send(End::Device, &packet::message(&topic, offer));
                        }
                    }
                }
                _ => {}
            }
        }
        self.send(End::Broker, packet);
    }

    fn reply(&mut self, relay: &mut Relay, now: Instant, publish: &Publish, packet: Vec<u8>) {
        self.nonsense(relay, &publish.topic);
        (self.lose_offer, self.late_offer) = (false, None);
        if relay.strikes(Fault::LostReply) {
            self.lose_offer = true;
        } else if relay.strikes(Fault::BadReply) {
            self.lose_offer = true;
            self.send(End::Device, &packet::with(publish, packet::refusal(&publish.payload)));
        } else if let Some(rule) = relay.strike(Fault::LateReply) {
            let delay = rule.delay.unwrap_or(LATE);
            self.late_offer = Some(delay);
            self.send_at(now + delay, packet);
        } else if let Some(rule) = relay.strike(Fault::OfferBeforeReply) {
            self.send_at(now + rule.delay.unwrap_or(BEHIND), packet);
        } else {
            self.send(End::Device, &packet);
        }
    }

    /// A message that a device must ignore.
    fn nonsense(&mut self, relay: &mut Relay, topic: &str) {
        if relay.strikes(Fault::ForeignTopic) {
            let foreign = format!("{topic}-other");
            self.send(End::Device, &packet::message(&foreign, packet::bogus("0")));
        }
        if relay.strikes(Fault::GarbagePayload) {
            for payload in packet::GARBAGE {
                self.send(End::Device, &packet::message(topic, payload));
            }
        }
        if relay.strikes(Fault::HugePayload) {
            let extra = format!("\"{}\"", "x".repeat(20_000));
            self.send(End::Device, &packet::message(topic, packet::bogus(&extra)));
        }
        if relay.strikes(Fault::DeepJson) {
            let extra = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
            self.send(End::Device, &packet::message(topic, packet::bogus(&extra)));
        }
    }

    fn offer(&mut self, relay: &mut Relay, now: Instant, publish: &Publish, packet: Vec<u8>) {
        if std::mem::take(&mut self.lose_offer) {
            return;
        }
        if let Some(delay) = self.late_offer.take() {
            return self.send_at(now + delay, packet);
        }
        let first = relay.first_offer(&publish.topic, &publish.payload);
        let again = first.is_some();
        if relay.strikes(Fault::LostOffer) || again && relay.strikes(Fault::Withdraw) {
            return;
        }
        let mut payload = publish.payload.to_vec();
        if let Some(first) = first.filter(|_| relay.strikes(Fault::SameUrlAgain)) {
            payload = packet::with_url_of(&payload, &first);
        }
        let edits: [(Fault, Edit); 3] = [
            (Fault::WrongSize, packet::larger),
            (Fault::UpperCaseDigest, packet::upper_case),
            (Fault::EscapedUrl, packet::escaped),
        ];
        for (fault, edit) in edits {
            if relay.strikes(fault) {
                payload = edit(&payload);
            }
        }
        let packet = packet::with(publish, payload);
        if relay.strikes(Fault::BrokerDrop) {
            self.send(End::Device, packet.get(..packet.len() / 2).unwrap_or(&[]));
            self.close();
        } else if relay.strikes(Fault::BrokerGarbage) {
            self.send(End::Device, &GARBAGE);
        } else if relay.strikes(Fault::Supersede) {
            let other = packet::message(&publish.topic, packet::another(&publish.payload));
            self.send(End::Device, &other);
            self.on_download.push(packet);
            self.release = Some(now + HELD);
        } else {
            self.send(End::Device, &packet);
            if relay.strikes(Fault::DuplicateOffer) {
                let copy = packet::message(&publish.topic, publish.payload.to_vec());
                self.send(End::Device, &copy);
                self.on_download.push(copy);
            }
        }
    }
}
