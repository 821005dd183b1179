//! The cloud on a desk of its own: broker and firmware server on a second embassy-net stack.

use std::pin::pin;
use std::task::{Context, Poll};

use embassy_net::Stack;
use embassy_net::tcp::{State, TcpSocket};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use ota_cloud::fault::{Fault, FaultPlan};
use ota_cloud::origin::{Closing, Connection, Origin, OriginConfig};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{Cloud, CloudConfig, DeviceRecord, Firmware, Output, Secret, TaskOptions};
use ota_proto::{Identity, Instant};
use ota_sim::wire::{Asked, Broker};

use super::clock;

const UNIX: u64 = 1_760_000_000;
const BROKER: u16 = 1_883;
const STORE: u16 = 8_080;

/// All that the cloud knows.
pub struct Desk {
    identity: Identity,
    cloud: Cloud,
    origin: Origin,
    last_login: Option<Instant>,
    /// What the device said, and when.
    pub reports: Vec<(Instant, Vec<u8>)>,
    /// Status and bytes of each answer.
    pub requests: Vec<(u16, core::ops::Range<u64>)>,
    pub struck: Vec<Fault>,
    pub sessions: u64,
    pub broken: Vec<String>,
}

pub fn instant() -> Instant {
    Instant::from_micros(clock::now())
}

impl Desk {
    /// A cloud that offers this image to the device, once.
    pub fn new(identity: Identity, version: &str, image: Vec<u8>, faults: FaultPlan) -> Self {
        let signer = UrlSigner::new("http://10.0.0.1:8080", *b"a key", UrlSigner::LIFE);
        let mut origin = Origin::new(OriginConfig::new(Some(signer.clone()), UNIX));
        let (product, size) = (identity.product_id().to_owned(), image.len() as u64);
        let md5 = origin.add_file(format!("/{product}_{version}"), image);
        origin.set_faults(faults);
        let mut cloud = Cloud::new(CloudConfig::new(signer, UNIX));
        cloud.add_device(&identity, Secret::new(*b"0123456789abcdef")).unwrap();
        cloud.add_firmware(Firmware::new(&product, version, md5, size)).unwrap();
        let timeout = Some(core::time::Duration::from_secs(86_400));
        let options = TaskOptions { timeout, ..TaskOptions::default() };
        cloud.start_task(instant(), &identity, version, &options).unwrap();
        Self {
            identity,
            cloud,
            origin,
            last_login: None,
            reports: Vec::new(),
            requests: Vec::new(),
            struck: Vec::new(),
            sessions: 0,
            broken: Vec::new(),
        }
    }

    pub fn device(&self) -> &DeviceRecord {
        self.cloud.device(&self.identity).unwrap()
    }

    pub fn is_over(&self) -> bool {
        self.device().task.as_ref().is_some_and(|task| task.finished.is_some())
    }

    /// An operator tries the failed task again.
    pub fn retry(&mut self) {
        let task = self.device().task.as_ref().unwrap().id;
        self.cloud.retry_task(instant(), task).unwrap();
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

    fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::Login => {
                self.last_login = Some(instant());
                self.sessions += 1;
            }
            Asked::Subscribed => {
                self.cloud.handle_connected(instant(), &self.identity).unwrap();
            }
            Asked::Report(payload) => {
                let topic = self.identity.report_topic();
                if let Err(why) = self.cloud.handle_message(instant(), topic, &payload) {
                    self.broken.push(format!("a report is refused: {why}"));
                }
                self.reports.push((instant(), payload));
            }
            Asked::Other => {}
        }
    }
}

/// One listening socket and what talks over it.
struct Line<P> {
    socket: TcpSocket<'static>,
    port: u16,
    peer: Option<P>,
}

impl<P> Line<P> {
    fn new(stack: Stack<'static>, port: u16) -> Self {
        let [receive, send] = [4_096, 4_096].map(|len| Vec::leak(vec![0; len]));
        let mut socket = TcpSocket::new(stack, receive, send);
        socket.set_nagle_enabled(false);
        Self { socket, port, peer: None }
    }

    /// Whether somebody is there.
    fn accept(&mut self, cx: &mut Context<'_>, new: impl FnOnce() -> P) -> bool {
        match self.socket.state() {
            State::Closed | State::TimeWait => {
                self.peer = None;
                self.socket.abort();
                let _ = pin!(self.socket.accept(self.port)).poll(cx);
                false
            }
            State::Listen | State::SynReceived => {
                let _ = pin!(self.socket.wait_write_ready()).poll(cx);
                false
            }
            _ => {
                self.peer.get_or_insert_with(new);
                true
            }
        }
    }

    /// What has come; empty at the end.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let mut bytes = [0; 2_048];
        let read = pin!(self.socket.read(&mut bytes)).poll(cx);
        match read {
            Poll::Pending => None,
            Poll::Ready(Ok(count)) => Some(bytes[..count].to_vec()),
            Poll::Ready(Err(_)) => {
                self.socket.abort();
                None
            }
        }
    }
}

/// Serves for ever.
pub async fn serve(stack: Stack<'static>, desk: &std::cell::RefCell<Desk>) {
    stack.wait_config_up().await;
    let mut brokers: Vec<Line<Broker>> = (0..4).map(|_| Line::new(stack, BROKER)).collect();
    let mut stores: Vec<Line<Connection>> = (0..4).map(|_| Line::new(stack, STORE)).collect();
    let lines = std::future::poll_fn(|cx| {
        let desk = &mut *desk.borrow_mut();
        while brokers.iter_mut().fold(false, |busy, line| serve_broker(cx, line, desk) | busy)
            | stores.iter_mut().fold(false, |busy, line| serve_store(cx, line, desk) | busy)
            | publish(cx, &mut brokers, desk)
        {}
        Poll::<()>::Pending
    });
    embassy_futures::join::join(lines, names(stack)).await;
}

/// The only name there is, as it is asked for.
const NAME: &[u8] = b"\x05cloud\x07example\0\0\x01\0\x01";

/// Answers for `cloud.example`, and says of all others that they do not exist.
async fn names(stack: Stack<'static>) {
    let (mut receive, mut send) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 4]);
    let (mut received, mut sent) = ([0; 1_024], [0; 1_024]);
    let mut socket = UdpSocket::new(stack, &mut receive, &mut received, &mut send, &mut sent);
    socket.bind(53).unwrap();
    let mut query = [0; 512];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut query).await else { continue };
        let known = query[12..len] == *NAME;
        let mut answer = query[..len].to_vec();
        answer[2..4].copy_from_slice(if known { &[0x81, 0x80] } else { &[0x81, 0x83] });
        if known {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

/// Messages of the cloud go out on the newest session.
fn publish(cx: &mut Context<'_>, lines: &mut [Line<Broker>], desk: &mut Desk) -> bool {
    desk.cloud.handle_timeout(instant());
    let mut busy = false;
    loop {
        match desk.cloud.poll_output(instant()) {
            Output::Send { topic, payload, .. } => {
                for broker in lines.iter_mut().filter_map(|line| line.peer.as_mut()) {
                    broker.publish(&topic, payload.clone(), false);
                }
                busy = true;
            }
            Output::Event(_) => {}
            Output::Idle { deadline } => {
                wake_at(cx, deadline);
                return busy;
            }
        }
    }
}

fn wake_at(cx: &mut Context<'_>, at: Option<Instant>) {
    if let Some(at) = at.filter(|at| *at > instant()) {
        embassy_time_driver::schedule_wake(at.as_micros(), cx.waker());
    }
}

fn serve_broker(cx: &mut Context<'_>, line: &mut Line<Broker>, desk: &mut Desk) -> bool {
    if !line.accept(cx, || Broker::new(instant())) {
        return false;
    }
    let mut busy = false;
    if let Some(bytes) = line.read(cx) {
        let Some(broker) = &mut line.peer else { return false };
        if bytes.is_empty() {
            if line.socket.may_send() {
                line.socket.close();
                broker.forget();
            }
        } else {
            match broker.receive(instant(), &bytes, &desk.identity, desk.last_login) {
                Ok(asked) => asked.into_iter().for_each(|asked| desk.asked(asked)),
                Err(why) => desk.broken.push(why),
            }
            busy = true;
        }
    }
    let Some(broker) = &mut line.peer else { return busy };
    let written = match broker.transmit() {
        [] => Poll::Pending,
        bytes => pin!(line.socket.write(bytes)).poll(cx),
    };
    if let Poll::Ready(Ok(count)) = written {
        broker.sent(count);
        busy = true;
    }
    if broker.is_closed() && line.socket.may_send() {
        line.socket.close();
    }
    if broker.deadline() <= instant() {
        line.socket.abort();
    }
    wake_at(cx, Some(broker.deadline()).filter(|at| *at < Instant::MAX));
    busy
}

fn serve_store(cx: &mut Context<'_>, line: &mut Line<Connection>, desk: &mut Desk) -> bool {
    if !line.accept(cx, || Connection::new(instant())) {
        return false;
    }
    let mut busy = false;
    if let Some(bytes) = line.read(cx) {
        let Some(peer) = &mut line.peer else { return false };
        if bytes.is_empty() {
            line.socket.close();
        } else {
            assert_eq!(peer.handle_received(instant(), &bytes), bytes.len());
            busy = true;
        }
    }
    let Some(peer) = &mut line.peer else { return busy };
    peer.handle_timeout(&desk.origin, instant());
    let bytes = peer.transmit(&mut desk.origin, instant());
    let written =
        if bytes.is_empty() { Poll::Pending } else { pin!(line.socket.write(bytes)).poll(cx) };
    if let Poll::Ready(Ok(count)) = written {
        peer.handle_sent(instant(), count);
        busy = true;
    }
    while let Some(served) = peer.next_served() {
        desk.requests.push((served.status, served.range));
        desk.struck.extend(served.faults);
    }
    match peer.closing() {
        Some(Closing::Close) if line.socket.may_send() => line.socket.close(),
        Some(Closing::Reset) => line.socket.abort(),
        _ => {}
    }
    wake_at(cx, peer.deadline(&desk.origin));
    busy
}
