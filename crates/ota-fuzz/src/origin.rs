//! Requests to the firmware server, whole and in pieces, with any faults.

use ota_cloud::fault::{Fault, FaultPlan, Place, Rule};
use ota_cloud::origin::{Closing, Connection, Origin, OriginConfig};
use ota_proto::Instant;

use crate::input::Input;

/// The most that any list of requests of 4 KiB can draw, in bytes.
const MOST: usize = 4 << 20;

/// Reads the bytes as a plan of faults and as requests; however the requests are cut, and however
/// little is taken of the answers at a time, the answers are the same. Everything is bounded.
///
/// # Panics
/// If a check fails.
pub fn origin(data: &[u8]) {
    let mut input = Input::new(data);
    let mut plan = FaultPlan::new(input.byte().into());
    for _ in 0..input.byte() % 4 {
        let mut rule = Rule::new(input.pick(&Fault::at(Place::Store)));
        rule.skip = u32::from(input.byte() % 3);
        let times = input.byte() % 4;
        if times > 0 {
            rule.times = times.into();
        }
        let after = input.number();
        rule.after = input.flag().then_some(after);
        plan.rules.push(rule);
    }
    let sizes = [input.byte(), input.byte()].map(|size| usize::from(size % 64) + 1);
    let requests = input.bytes(usize::MAX);
    let whole = run(&plan, requests, [usize::MAX; 2]);
    assert_eq!(run(&plan, requests, sizes), whole, "cuts change the answers");
}

fn run(plan: &FaultPlan, requests: &[u8], [piece, take]: [usize; 2]) -> (Vec<u8>, Option<Closing>) {
    let mut origin = Origin::new(OriginConfig::new(None, 0));
    origin.add_file("/fw", (0..1_000_u32).map(|n| (n * 7 % 251) as u8).collect::<Vec<u8>>());
    origin.add_file("/", b"x".to_vec());
    origin.set_faults(plan.clone());
    let mut now = Instant::ZERO;
    let mut connection = Connection::new(now);
    let (mut sent, mut all) = (0, Vec::new());
    loop {
        let end = sent + piece.min(requests.len() - sent);
        let mut taken = connection.handle_received(now, &requests[sent..end]);
        assert!(taken <= end - sent);
        // Answers of pieces make room for more.
        drain(&mut connection, &mut origin, &mut now, take, &mut all);
        if taken == 0 && end > sent {
            taken = connection.handle_received(now, &requests[sent..end]);
            drain(&mut connection, &mut origin, &mut now, take, &mut all);
        }
        sent += taken;
        assert!(all.len() <= MOST, "{} bytes of answers", all.len());
        if sent >= requests.len() || taken == 0 {
            break;
        }
    }
    let closing = connection.closing();
    if closing.is_none() {
        // A peer that is silent is let go, unless a fault holds the answer back forever.
        if let Some(deadline) = connection.deadline(&origin) {
            connection.handle_timeout(&origin, deadline);
            assert_eq!(connection.closing(), Some(Closing::Close));
        }
    }
    (all, closing)
}

/// Takes everything that can be had, waiting where the pace is slow.
fn drain(
    connection: &mut Connection,
    origin: &mut Origin,
    now: &mut Instant,
    take: usize,
    all: &mut Vec<u8>,
) {
    for _ in 0..200_000 {
        let out = connection.transmit(origin, *now);
        assert!(out.len() <= Connection::MAX_OUT);
        let n = take.min(out.len());
        all.extend_from_slice(&out[..n]);
        if n > 0 {
            connection.handle_sent(*now, n);
            continue;
        }
        match connection.deadline(origin) {
            // Paced: the next bytes come then. The idle deadline is an hour away from any pace.
            Some(deadline) if deadline.since(*now).as_secs() < 30 => *now = (*now).max(deadline),
            _ => return,
        }
        if connection.closing().is_some() {
            return;
        }
    }
    panic!("it never stops to send");
}
