//! The platform's broker for one connection, with another codec than the device's.
//!
//! It is strict where the platform is (docs/protocol.md, Connection): clean sessions, no wills, QoS
//! 0 and 1, one filter a SUBSCRIBE, 5 s between two CONNECTs, one and a half times the keep-alive.

use bytes::BytesMut;
use mqttbytes::v4::{
    self, ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck,
    SubscribeReasonCode,
};
use mqttbytes::{Protocol, QoS};

use core::time::Duration;

use ota_proto::{Identity, Instant, Rng};

/// The platform's packet limit in bytes.
const PACKET: usize = 16 * 1_024;

/// One connection.
#[derive(Clone, Debug)]
pub struct Broker {
    rx: BytesMut,
    tx: BytesMut,
    up: bool,
    subscribed: bool,
    keep_alive: Duration,
    heard: Instant,
    last_id: u16,
    unacknowledged: usize,
    closed: bool,
    /// How many of 1,000 packets are lost, and the generator that selects them.
    loss: Option<(u16, Rng)>,
    lost: u64,
}

/// The effect of a packet.
pub enum Said {
    /// The login was accepted.
    Login,
    /// The update topic is subscribed.
    Subscribed,
    /// A message on the report topic.
    Report(Vec<u8>),
    /// A message on a topic of the application.
    Other,
}

impl Broker {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            rx: BytesMut::new(),
            tx: BytesMut::new(),
            up: false,
            subscribed: false,
            keep_alive: Duration::from_secs(10),
            heard: now,
            last_id: 0,
            unacknowledged: 0,
            closed: false,
            loss: None,
            lost: 0,
        }
    }

    /// A connection that loses this many of 1,000 packets after CONNECT, in either direction.
    #[must_use]
    pub fn lossy(now: Instant, rng: Rng, loss: u16) -> Self {
        Self { loss: Some((loss, rng)), ..Self::new(now) }
    }

    /// Packets lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn loses(&mut self) -> bool {
        let lost =
            self.loss.as_mut().is_some_and(|(loss, rng)| rng.below(1_000) < u64::from(*loss));
        self.lost = self.lost.saturating_add(u64::from(lost));
        lost
    }

    /// Handles received bytes and the packets in them.
    ///
    /// # Errors
    /// A violation by the device.
    pub fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        identity: &Identity,
        last_login: Option<Instant>,
    ) -> Result<Vec<Said>, String> {
        self.rx.extend_from_slice(bytes);
        let mut said = Vec::new();
        while !self.closed {
            let packet = match v4::read(&mut self.rx, PACKET) {
                Ok(packet) => packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => return Err(format!("no packet of a client: {error:?}")),
            };
            self.heard = now;
            if self.up && self.loses() {
                continue;
            }
            said.extend(self.take(now, packet, identity, last_login)?);
        }
        if self.rx.is_empty() {
            // An idle connection keeps no buffer.
            self.rx = BytesMut::new();
        }
        Ok(said)
    }

    fn take(
        &mut self,
        now: Instant,
        packet: Packet,
        identity: &Identity,
        last_login: Option<Instant>,
    ) -> Result<Option<Said>, String> {
        Ok(match packet {
            Packet::Connect(connect) if !self.up => {
                let good = connect.protocol == Protocol::V4
                    && connect.clean_session
                    && connect.last_will.is_none()
                    && connect.login.is_some()
                    && (1..=900).contains(&connect.keep_alive);
                if !good {
                    return Err(format!("CONNECT: {:?}", connect.protocol));
                }
                let early = last_login.is_some_and(|at| now.since(at) < Duration::from_secs(5));
                let code = if early {
                    ConnectReturnCode::ServiceUnavailable
                } else {
                    ConnectReturnCode::Success
                };
                self.write(|tx| ConnAck::new(code, false).write(tx))?;
                self.closed = early;
                self.up = !early;
                self.keep_alive = Duration::from_millis(u64::from(connect.keep_alive) * 1_500);
                self.up.then_some(Said::Login)
            }
            _ if !self.up => return Err("a packet before CONNECT".into()),
            Packet::Subscribe(subscribe) => {
                let [filter] = &subscribe.filters[..] else {
                    return Err("one filter a SUBSCRIBE".into());
                };
                let codes = vec![SubscribeReasonCode::Success(filter.qos)];
                let ours = filter.path == identity.update_topic();
                self.write(|tx| SubAck::new(subscribe.pkid, codes).write(tx))?;
                self.subscribed |= ours;
                ours.then_some(Said::Subscribed)
            }
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    self.write(|tx| PubAck::new(publish.pkid).write(tx))?;
                }
                if publish.qos == QoS::ExactlyOnce || publish.retain {
                    return Err("the platform has no QoS 2 and no retained messages".into());
                }
                let ours = publish.topic == identity.report_topic();
                Some(if ours { Said::Report(publish.payload.to_vec()) } else { Said::Other })
            }
            Packet::PubAck(_) => {
                self.unacknowledged =
                    self.unacknowledged.checked_sub(1).ok_or("an acknowledgement of nothing")?;
                None
            }
            Packet::PingReq => {
                self.write(|tx| PingResp.write(tx))?;
                None
            }
            Packet::Disconnect => {
                self.closed = true;
                None
            }
            other => return Err(format!("{other:?}")),
        })
    }

    /// Sends a message of the cloud, if the device has subscribed.
    pub fn publish(&mut self, topic: &str, payload: Vec<u8>, qos1: bool) {
        if !self.subscribed || self.closed {
            return;
        }
        let qos = if qos1 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let mut publish = Publish::new(topic, qos, payload);
        if qos1 {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            publish.pkid = self.last_id;
            self.unacknowledged = self.unacknowledged.saturating_add(1);
        }
        let _ = self.write(|tx| publish.write(tx));
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        &self.tx
    }

    /// Reports that this many of them were sent.
    pub fn sent(&mut self, count: usize) {
        drop(self.tx.split_to(count.min(self.tx.len())));
        if self.tx.is_empty() {
            self.tx = BytesMut::new();
        }
    }

    /// Whether it closes once everything is sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed && self.tx.is_empty()
    }

    /// Forgets the device: nothing more is expected of it.
    pub fn forget(&mut self) {
        self.heard = Instant::MAX;
        self.subscribed = false;
    }

    /// When the broker closes a silent connection.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.heard + self.keep_alive
    }

    fn write(
        &mut self,
        packet: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>,
    ) -> Result<(), String> {
        let before = self.tx.len();
        packet(&mut self.tx).map_err(|error| format!("{error:?}"))?;
        if self.loses() {
            self.tx.truncate(before);
        }
        Ok(())
    }
}
