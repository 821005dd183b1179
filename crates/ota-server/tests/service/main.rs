//! The service over real sockets on loopback, with clients written by hand.
#![allow(clippy::unwrap_used)]

mod broker;
mod faulty;
mod http;
mod limits;
mod login;
mod session;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqttbytes::QoS;
use mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use ota_proto::Identity;
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_server::{Running, Service, ServiceConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PRODUCT: &str = "TESTPROD01";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
/// No test waits this long: it is the end of one that would hang.
const PATIENCE: Duration = Duration::from_secs(100);
/// 2100-01-01.
const EXPIRY: u64 = 4_102_444_800;

fn device(name: &str) -> Identity {
    Identity::new(PRODUCT, name).unwrap()
}

fn secret() -> Secret {
    Secret::from_base64(SECRET).unwrap()
}

/// A service with the device `dev001`.
async fn start_with(config: ServiceConfig) -> Running {
    let running = Service::start(config).await.unwrap();
    running.handle().add_device(&device("dev001"), &secret()).await.unwrap();
    running
}

async fn start() -> Running {
    start_with(ServiceConfig::default()).await
}

fn login(name: &str) -> Connect {
    let login =
        Login::new(&device(name), &secret(), Algorithm::HmacSha256, APP_ID, "AbC12", EXPIRY);
    let login = login.unwrap();
    let mut connect = Connect::new(login.client_id);
    connect.keep_alive = 60;
    connect.set_login(login.username, login.password);
    connect
}

/// A connection with or without TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An MQTT client of a few lines, on the codec alone.
struct Client {
    stream: Box<dyn Io>,
    rx: BytesMut,
}

impl Client {
    async fn open(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).await.unwrap())
    }

    fn on(stream: impl Io + 'static) -> Self {
        Self { stream: Box::new(stream), rx: BytesMut::new() }
    }

    /// Sends a CONNECT; returns the CONNACK's code too.
    async fn connect(addr: SocketAddr, connect: &Connect) -> (Self, u8) {
        let mut packet = BytesMut::new();
        connect.write(&mut packet).unwrap();
        Self::connect_raw(addr, &packet).await
    }

    async fn connect_raw(addr: SocketAddr, connect: &[u8]) -> (Self, u8) {
        let mut client = Self::open(addr).await;
        let code = client.log_in(connect).await;
        (client, code)
    }

    /// Sends a CONNECT; returns the CONNACK's code.
    async fn log_in(&mut self, connect: &[u8]) -> u8 {
        self.send(connect).await;
        let Some(Packet::ConnAck(ack)) = self.next().await else { panic!("no CONNACK") };
        assert!(!ack.session_present);
        ack.code as u8
    }

    /// A device that is logged in and has subscribed to its updates.
    async fn device(running: &Running, name: &str) -> Self {
        let (mut client, code) = Self::connect(running.mqtt_addr(), &login(name)).await;
        assert_eq!(code, 0);
        let ack = client.subscribe(device(name).update_topic(), QoS::AtLeastOnce).await;
        assert_eq!(ack, [1]);
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
        timeout(PATIENCE, self.stream.flush()).await.unwrap().unwrap();
    }

    /// The next packet; `None` when the service closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match mqttbytes::v4::read(&mut self.rx, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.rx)).await.unwrap();
            // A reset is an end too: the service may close with our bytes unread.
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<u8> {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 3;
        let mut packet = BytesMut::new();
        subscribe.write(&mut packet).unwrap();
        self.send(&packet).await;
        let Some(Packet::SubAck(ack)) = self.next().await else { panic!("no SUBACK") };
        assert_eq!(ack.pkid, 3);
        let mut bytes = BytesMut::new();
        ack.write(&mut bytes).unwrap();
        bytes[4..].to_vec()
    }

    async fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = u16::from(qos != QoS::AtMostOnce) * 9;
        let mut packet = BytesMut::new();
        publish.write(&mut packet).unwrap();
        self.send(&packet).await;
    }

    async fn message(&mut self) -> (String, Bytes) {
        match self.next().await {
            Some(Packet::Publish(publish)) => (publish.topic, publish.payload),
            other => panic!("{other:?}"),
        }
    }

    async fn closed(&mut self) {
        assert_eq!(self.next().await, None);
    }
}
