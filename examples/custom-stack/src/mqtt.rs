//! One MQTT session over a blocking socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttbytes::v4::{
    self, Connect, ConnectReturnCode, Packet, PingReq, PubAck, Publish, Subscribe,
    SubscribeReasonCode,
};
use mqttbytes::{Error, QoS, qos};

const KEEP_ALIVE: Duration = Duration::from_secs(60);
const LONGEST: usize = 4_096;

pub struct Mqtt {
    stream: TcpStream,
    rx: BytesMut,
    sent: Instant,
    last_id: u16,
}

impl Mqtt {
    /// Connects, logs in and subscribes; the session is up then.
    pub fn connect(address: SocketAddr, mut connect: Connect, topic: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        let (rx, sent) = (BytesMut::new(), Instant::now());
        let mut mqtt = Self { stream, rx, sent, last_id: 1 };

        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        connect.clean_session = true;
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

    /// Publishes at this level; returns the packet's number, which the broker acknowledges, or 0.
    pub fn publish(&mut self, topic: &str, level: u8, payload: &[u8]) -> io::Result<u16> {
        let level = qos(level).map_err(|why| io::Error::other(format!("{why:?}")))?;
        let mut publish = Publish::new(topic, level, payload);
        if level != QoS::AtMostOnce {
            self.last_id = self.last_id % u16::MAX + 1;
            publish.pkid = self.last_id;
        }
        println!("→ {}", String::from_utf8_lossy(payload));
        self.send(|tx| publish.write(tx))?;
        Ok(publish.pkid)
    }

    /// Acknowledges a message of the broker.
    pub fn acknowledge(&mut self, message: &Publish) -> io::Result<()> {
        match message.qos {
            QoS::AtMostOnce => Ok(()),
            _ => self.send(|tx| PubAck::new(message.pkid).write(tx)),
        }
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

    /// Sends the packet that this closure writes.
    fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<usize, Error>,
    ) -> io::Result<()> {
        let mut tx = BytesMut::new();
        write(&mut tx).map_err(|why| io::Error::other(format!("{why:?}")))?;
        self.sent = Instant::now();
        self.stream.write_all(&tx)
    }
}
