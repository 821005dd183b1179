//! A broker of a few lines, on the codec alone.

use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::QoS as Level;
use mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, SubAck, SubscribeReasonCode, read,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No test waits this long: it is the end of one that would hang.
const PATIENCE: Duration = Duration::from_secs(100);

/// One connection of a broker.
pub(crate) struct Broker {
    stream: TcpStream,
    rx: BytesMut,
}

impl Broker {
    /// Takes a connection and its login.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        Self::answer(listener, ConnectReturnCode::Success).await.0
    }

    /// Takes a connection and answers its login, whose user name it returns.
    pub(crate) async fn answer(listener: &TcpListener, code: ConnectReturnCode) -> (Self, String) {
        let (broker, connect) = Self::greet(listener, code).await;
        (broker, connect.login.unwrap().username)
    }

    /// Takes a connection and answers its CONNECT.
    pub(crate) async fn greet(listener: &TcpListener, code: ConnectReturnCode) -> (Self, Connect) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut broker = Self { stream, rx: BytesMut::new() };
        let Packet::Connect(connect) = broker.next().await else { panic!("no CONNECT") };
        assert!(connect.clean_session);
        let mut tx = BytesMut::new();
        ConnAck::new(code, false).write(&mut tx).unwrap();
        broker.send(&tx).await;
        (broker, connect)
    }

    pub(crate) async fn next(&mut self) -> Packet {
        loop {
            match read(&mut self.rx, 1 << 20) {
                Ok(packet) => return packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
            let count = timeout(PATIENCE, self.stream.read_buf(&mut self.rx)).await.unwrap();
            assert_ne!(count.unwrap(), 0, "the device closed");
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Grants the next subscription; returns its filter.
    pub(crate) async fn grant(&mut self) -> String {
        let Packet::Subscribe(mut subscribe) = self.next().await else { panic!("no SUBSCRIBE") };
        let code = SubscribeReasonCode::Success(Level::AtLeastOnce);
        let mut tx = BytesMut::new();
        SubAck::new(subscribe.pkid, vec![code]).write(&mut tx).unwrap();
        self.send(&tx).await;
        subscribe.filters.remove(0).path
    }

    pub(crate) async fn publish(&mut self, topic: &str, pkid: u16, payload: &[u8]) {
        let level = if pkid == 0 { Level::AtMostOnce } else { Level::AtLeastOnce };
        let mut publish = Publish::new(topic, level, payload);
        publish.pkid = pkid;
        let mut tx = BytesMut::new();
        publish.write(&mut tx).unwrap();
        self.send(&tx).await;
    }
}
