//! One MQTT session over a blocking socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttbytes::v4::{
    self, Connect, ConnectReturnCode, Packet, PingReq, Publish, Subscribe, SubscribeReasonCode,
};
use mqttbytes::{Error, QoS};
use ota_proto::credentials::Login;
use ota_proto::{PubId, Publish as Said, QoS as Level};

const KEEP_ALIVE: Duration = Duration::from_secs(60);
const LONGEST: usize = 4_096;

pub struct Mqtt {
    stream: TcpStream,
    rx: BytesMut,
    sent: Instant,
    last_id: u16,
    /// What is not acknowledged yet.
    waiting: Vec<(u16, PubId)>,
}

impl Mqtt {
    /// Connects, logs in and subscribes; the session is up then.
    pub fn connect(address: SocketAddr, login: &Login, topic: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        let (rx, sent) = (BytesMut::new(), Instant::now());
        let mut mqtt = Self { stream, rx, sent, last_id: 1, waiting: Vec::new() };

        let mut connect = Connect::new(&login.client_id);
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        connect.clean_session = true;
        connect.set_login(&login.username, &login.password);
        mqtt.send(|tx| connect.write(tx))?;
        match mqtt.receive(Duration::from_secs(10))? {
            Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {}
            _ => return Err(io::Error::other("the login is refused")),
        }

        let mut subscribe = Subscribe::new(topic, QoS::AtLeastOnce);
        subscribe.pkid = mqtt.last_id;
        mqtt.send(|tx| subscribe.write(tx))?;
        match mqtt.receive(Duration::from_secs(10))? {
            Some(Packet::SubAck(ack))
                if !ack.return_codes.contains(&SubscribeReasonCode::Failure) =>
            {
                Ok(mqtt)
            }
            _ => Err(io::Error::other("the subscription is refused")),
        }
    }

    /// Publishes; the id comes back at once when nobody acknowledges it.
    pub fn publish(&mut self, said: Said<'_>) -> io::Result<Option<PubId>> {
        let Said { id, topic, qos, payload } = said;
        let mut publish = Publish::new(topic, QoS::AtMostOnce, payload);
        if qos == Level::AtLeastOnce {
            self.last_id = self.last_id % u16::MAX + 1;
            (publish.qos, publish.pkid) = (QoS::AtLeastOnce, self.last_id);
            self.waiting.push((self.last_id, id));
        }
        self.send(|tx| publish.write(tx))?;
        Ok((qos == Level::AtMostOnce).then_some(id))
    }

    /// The publication that this packet was.
    pub fn acknowledged(&mut self, packet: u16) -> Option<PubId> {
        let at = self.waiting.iter().position(|(other, _)| *other == packet)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// The next packet, if one comes within this time.
    pub fn receive(&mut self, wait: Duration) -> io::Result<Option<Packet>> {
        if self.sent.elapsed() > KEEP_ALIVE / 2 {
            self.send(|tx| PingReq.write(tx))?;
        }
        let wait = wait.clamp(Duration::from_millis(1), KEEP_ALIVE / 4);
        self.stream.set_read_timeout(Some(wait))?;
        loop {
            match v4::read(&mut self.rx, LONGEST) {
                Ok(packet) => return Ok(Some(packet)),
                Err(Error::InsufficientBytes(_)) => {}
                Err(why) => return Err(io::Error::other(format!("no MQTT: {why:?}"))),
            }
            let mut buf = [0; 1_024];
            match self.stream.read(&mut buf) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.rx.extend_from_slice(&buf[..count]),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(why) => return Err(why),
            }
        }
    }

    /// Sends the packet that is written here.
    pub fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<usize, Error>,
    ) -> io::Result<()> {
        let mut tx = BytesMut::new();
        write(&mut tx).map_err(|why| io::Error::other(format!("{why:?}")))?;
        self.sent = Instant::now();
        self.stream.write_all(&tx)
    }
}
