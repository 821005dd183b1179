//! The cloud on a desk of its own: broker and firmware server on a second embassy-net stack.

use std::pin::pin;
use std::task::{Context, Poll};

use embassy_net::Stack;
use embassy_net::tcp::{State, TcpSocket};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use ota_cloud::fault::{Fault, FaultPlan};
use ota_cloud::origin::{Closing, Origin, OriginConfig};
use ota_cloud::peer::{ConnId, Note, Peer, Port};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{Cloud, CloudConfig, DeviceRecord, Firmware, Secret, TaskOptions};
use ota_proto::{Identity, Instant};

use super::clock;
use super::seal::{Seal, Tls};

pub const UNIX: u64 = 1_780_000_000;
const BROKER: u16 = 1_883;
const STORE: u16 = 8_080;
/// The protocol and its level; then come a byte of flags and the keep-alive.
const CONNECT: [u8; 7] = *b"\0\x04MQTT\x04";
const DISCONNECT: [u8; 2] = [0xe0, 0];
/// The identifier of a letter, which the cloud itself never has.
pub const OWN: [u8; 2] = [0x77, 0x77];
const PUBACK: [u8; 4] = [0x40, 2, OWN[0], OWN[1]];

/// All that the cloud knows.
pub struct Desk {
    identity: Identity,
    peer: Peer,
    /// What the device said, and when.
    pub reports: Vec<(Instant, Vec<u8>)>,
    /// Status and bytes of each answer.
    pub requests: Vec<(u16, core::ops::Range<u64>)>,
    pub struck: Vec<Fault>,
    pub sessions: u64,
    /// That of the last CONNECT, in seconds.
    pub keep_alive: Option<u16>,
    /// How often the device sent DISCONNECT to the broker.
    pub good_byes: u64,
    /// A packet that the broker sends next, of QoS 1 and with [`OWN`] as its identifier.
    pub letter: Option<Vec<u8>>,
    /// Times that the device acknowledged it.
    pub letters_taken: u64,
    /// Where the store sends everybody.
    pub elsewhere: Option<String>,
    pub broken: Vec<String>,
    tls: Option<Tls>,
}

pub fn instant() -> Instant {
    Instant::from_micros(clock::now())
}

impl Desk {
    /// A cloud that offers this image to the device, once.
    pub fn new(
        identity: Identity,
        version: &str,
        image: Vec<u8>,
        faults: FaultPlan,
        tls: Option<Tls>,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://10.0.0.1:{STORE}");
        let signer = UrlSigner::new(base, *b"a key", UrlSigner::LIFE);
        let mut origin = Origin::new(OriginConfig::new(Some(signer.clone()), UNIX));
        let (product, size) = (identity.product_id().to_owned(), image.len() as u64);
        let md5 = origin.add_file(format!("/{product}_{version}"), image);
        let cloud = Cloud::new(CloudConfig::new(signer, UNIX));
        let mut peer = Peer::new(cloud, origin, faults, UNIX);
        peer.add_device(&identity, Secret::new(*b"0123456789abcdef")).unwrap();
        peer.cloud.add_firmware(Firmware::new(&product, version, md5, size)).unwrap();
        let timeout = Some(core::time::Duration::from_secs(86_400));
        let options = TaskOptions { timeout, ..TaskOptions::default() };
        peer.cloud.start_task(instant(), &identity, version, &options).unwrap();
        Self {
            identity,
            peer,
            reports: Vec::new(),
            requests: Vec::new(),
            struck: Vec::new(),
            sessions: 0,
            keep_alive: None,
            good_byes: 0,
            letter: None,
            letters_taken: 0,
            elsewhere: None,
            broken: Vec::new(),
            tls,
        }
    }

    pub fn device(&self) -> &DeviceRecord {
        self.peer.cloud.device(&self.identity).unwrap()
    }

    /// What it shows of itself in TLS from now on.
    pub fn present(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    pub fn is_over(&self) -> bool {
        self.device().task.as_ref().is_some_and(|task| task.finished.is_some())
    }

    /// An operator tries the failed task again.
    pub fn retry(&mut self) {
        let task = self.device().task.as_ref().unwrap().id;
        self.peer.cloud.retry_task(instant(), task).unwrap();
        self.peer.handle_timeout(instant());
    }

    /// For people.
    pub fn reports_as_text(&self) -> Vec<String> {
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        let line = |(at, payload): &(Instant, Vec<u8>)| {
            format!("{:9.3} {}", at.as_micros() as f64 / 1e6, text(payload))
        };
        self.reports.iter().map(line).collect()
    }

    /// The results among the reports, repeated copies left out.
    pub fn results(&self) -> Vec<String> {
        let text =
            |(_, payload): &(Instant, Vec<u8>)| String::from_utf8_lossy(payload).into_owned();
        let mut results: Vec<String> = self.reports.iter().map(text).collect();
        results.retain(|text| text.contains("\"done\"") || text.contains("\"fail\""));
        results.dedup();
        results
    }

    fn listen(&mut self) {
        while let Some((at, note)) = self.peer.next_note() {
            match note {
                Note::LoggedIn(_) => self.sessions += 1,
                Note::Report { payload, .. } => self.reports.push((at, payload.to_vec())),
                Note::Refused(why) => self.broken.push(format!("a report is refused: {why}")),
                Note::Request(served) => self.requests.push((served.status, served.range)),
                Note::Fault(fault) => self.struck.push(fault),
                _ => {}
            }
        }
    }
}

/// One listening socket and what talks over it.
struct Line {
    socket: TcpSocket<'static>,
    port: Port,
    conn: Option<ConnId>,
    /// Bytes that were not taken yet.
    held: Vec<u8>,
    seal: Option<Seal>,
}

impl Line {
    fn new(stack: Stack<'static>, port: Port) -> Self {
        let [receive, send] = [4_096, 4_096].map(|len| Vec::leak(vec![0; len]));
        let mut socket = TcpSocket::new(stack, receive, send);
        socket.set_nagle_enabled(false);
        Self { socket, port, conn: None, held: Vec::new(), seal: None }
    }

    /// Who is there.
    fn accept(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Option<ConnId> {
        match self.socket.state() {
            State::Closed | State::TimeWait => {
                if let Some(conn) = self.conn.take() {
                    desk.peer.handle_closed(instant(), conn);
                    self.held.clear();
                }
                self.seal = desk.tls.as_ref().map(Seal::new);
                self.socket.abort();
                let port = if self.port == Port::Mqtt { BROKER } else { STORE };
                let _ = pin!(self.socket.accept(port)).poll(cx);
                None
            }
            State::Listen | State::SynReceived => {
                let _ = pin!(self.socket.wait_write_ready()).poll(cx);
                None
            }
            _ => Some(*self.conn.get_or_insert_with(|| desk.peer.accept(instant(), self.port))),
        }
    }

    /// Whether anything happened.
    fn serve(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> bool {
        let Some(conn) = self.accept(cx, desk) else { return false };
        let peer = &mut desk.peer;
        let mut busy = false;
        let mut bytes = [0; 2_048];
        let read = if self.held.is_empty() {
            pin!(self.socket.read(&mut bytes)).poll(cx)
        } else {
            Poll::Pending
        };
        match read {
            Poll::Ready(Ok(0)) if self.socket.may_send() => {
                self.socket.close();
                busy = true;
            }
            Poll::Ready(Ok(count)) => match &mut self.seal {
                Some(seal) => {
                    seal.receive(&bytes[..count], &mut self.held);
                    busy = count > 0;
                }
                None => self.held.extend_from_slice(&bytes[..count]),
            },
            Poll::Ready(Err(_)) => self.socket.abort(),
            Poll::Pending => {}
        }
        let connect = self.held.windows(CONNECT.len() + 3).find(|all| all.starts_with(&CONNECT));
        if let (Port::Mqtt, Some([.., high, low])) = (self.port, connect) {
            desk.keep_alive = Some(u16::from_be_bytes([*high, *low]));
        }
        if self.port == Port::Mqtt && self.held.ends_with(&DISCONNECT) {
            desk.good_byes += 1;
        }
        let puback = self.held.windows(PUBACK.len()).position(|bytes| *bytes == PUBACK);
        if let (Port::Mqtt, Some(at)) = (self.port, puback) {
            desk.letters_taken += 1;
            self.held.drain(at..at + PUBACK.len());
        }
        if self.port == Port::Mqtt
            && let Some(letter) = desk.letter.take()
        {
            return pin!(self.socket.write(&letter)).poll(cx).is_ready();
        }
        if let (Port::Http, Some(to), true) =
            (self.port, &desk.elsewhere, self.held.ends_with(b"\r\n\r\n"))
        {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            self.held.clear();
            return pin!(self.socket.write(head.as_bytes())).poll(cx).is_ready();
        }
        if !self.held.is_empty() {
            let taken = peer.handle_received(instant(), conn, &self.held);
            drop(self.held.drain(..taken));
            busy |= taken > 0;
        }
        busy |= self.write(cx, peer, conn);
        match peer.closing(conn) {
            Some(Closing::Close)
                if self.socket.may_send() && self.seal.as_mut().is_none_or(Seal::close) =>
            {
                self.socket.close();
                busy = true;
            }
            Some(Closing::Reset) => self.socket.abort(),
            _ if self.seal.as_ref().is_some_and(Seal::is_broken) && self.socket.may_send() => {
                self.socket.close();
            }
            _ => {}
        }
        busy
    }

    /// Whether anything was written.
    fn write(&mut self, cx: &mut Context<'_>, peer: &mut Peer, conn: ConnId) -> bool {
        let mut busy = false;
        let bytes = peer.transmit(instant(), conn);
        let bytes = match &mut self.seal {
            Some(seal) => {
                let count = seal.send(bytes);
                if count > 0 {
                    peer.handle_sent(instant(), conn, count);
                    busy = true;
                }
                seal.wire()
            }
            None => bytes,
        };
        if bytes.is_empty() {
            return busy;
        }
        let Poll::Ready(Ok(count)) = pin!(self.socket.write(bytes)).poll(cx) else { return busy };
        match &mut self.seal {
            Some(seal) => seal.sent(count),
            None => peer.handle_sent(instant(), conn, count),
        }
        true
    }
}

/// Serves forever.
pub async fn serve(stack: Stack<'static>, desk: &std::cell::RefCell<Desk>) {
    stack.wait_config_up().await;
    let ports = [Port::Mqtt, Port::Http].into_iter().flat_map(|port| [port; 4]);
    let mut lines: Vec<Line> = ports.map(|port| Line::new(stack, port)).collect();
    let lines = std::future::poll_fn(|cx| {
        let desk = &mut *desk.borrow_mut();
        desk.peer.handle_timeout(instant());
        while lines.iter_mut().fold(false, |busy, line| line.serve(cx, desk) | busy) {}
        desk.listen();
        if let Some(at) = desk.peer.deadline().filter(|at| *at < Instant::MAX) {
            let at = at.as_micros().max(clock::now() + 1);
            embassy_time_driver::schedule_wake(at, cx.waker());
        }
        Poll::<()>::Pending
    });
    embassy_futures::join::join(lines, names(stack)).await;
}

/// The names there are, as they are asked for, and the last number of their addresses. Nobody has
/// the one with 7 or 9.
const NAMES: [(&[u8], &[u8]); 2] = [
    (b"\x05cloud\x07example\0\0\x01\0\x01", &[1]),
    (b"\x05three\x07example\0\0\x01\0\x01", &[9, 7, 1]),
];

/// Answers for these, and says of all others that they do not exist.
async fn names(stack: Stack<'static>) {
    let (mut receive, mut send) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 4]);
    let (mut received, mut sent) = ([0; 1_024], [0; 1_024]);
    let mut socket = UdpSocket::new(stack, &mut receive, &mut received, &mut send, &mut sent);
    socket.bind(53).unwrap();
    let mut query = [0; 512];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut query).await else { continue };
        let known = NAMES.iter().find(|(name, _)| query[12..len] == **name);
        let mut answer = query[..len].to_vec();
        answer[2..4].copy_from_slice(if known.is_some() { &[0x81, 0x80] } else { &[0x81, 0x83] });
        for host in known.map_or(&[][..], |(_, hosts)| hosts) {
            answer[7] += 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, *host]);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}
