//! Rule 17: the heap of a machine, and the cost of a piece of body.
#![allow(clippy::unwrap_used)]

use allocation_counter::{AllocationInfo, measure};
use ota_proto::{
    Boot, Command, Config, Fetch, Identity, Instant, OpId, Output, Publish, ResponseHead, SlotInfo,
    SlotState, Updater, Work,
};

const SIZE: u64 = 1 << 20;
const NOW: Instant = Instant::from_millis(1_000);

fn boot() -> Updater {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let storage = SlotInfo { capacity: SIZE, erase: 65_536, write: 1 };
    let boot = Boot { running: "0.1.0", slot: SlotState::Confirmed, journal: None, storage };
    Updater::new(NOW, Config::new(identity, 1), boot).unwrap()
}

/// Takes all outputs, with immediate answers of the storage; returns the requested fetch.
fn drain(machine: &mut Updater) -> Option<OpId> {
    let mut buf = [0; Config::buffer_len()];
    let mut fetch = None;
    loop {
        match machine.poll(NOW, &mut buf).unwrap() {
            Output::Publish(Publish { id, .. }) => machine.handle_published(NOW, id),
            Output::Fetch(Fetch { op, .. }) => fetch = Some(op),
            Output::Do(op, Work::Erase { .. }) => machine.handle_done(NOW, op, Ok(None)),
            Output::Do(op, Work::Sync) => machine.handle_done(NOW, op, Ok(None)),
            Output::Do(op, Work::Persist(_)) => machine.handle_done(NOW, op, Ok(None)),
            Output::Idle(_) => return fetch,
            _ => {}
        }
    }
}

fn offer(machine: &mut Updater) -> Option<OpId> {
    let text = format!(
        r#"{{"file_size":{SIZE},"md5sum":"f2f1b3317d4f1ef7f512bfae5050563b","type":"update_firmware","url":"https://cos.example/{}","user_defined":"{}","version":"1.0.0"}}"#,
        "a".repeat(1_000),
        "b".repeat(1_536),
    );
    machine.handle_message(NOW, "$ota/update/TESTPROD01/dev001", text.as_bytes()).unwrap();
    drain(machine)
}

#[test]
fn rule_17_an_idle_machine_holds_at_most_2_kib() {
    let mut kept = None;
    let info = measure(|| {
        let mut machine = boot();
        machine.handle_session(NOW, true);
        drain(&mut machine);
        kept = Some(machine);
    });
    let heap = u64::try_from(info.bytes_current).unwrap();
    let place = size_of::<Updater>();
    println!("idle: {heap} on the heap, {place} in place");
    assert!(heap <= 2_048 && place <= 2_560, "{heap}, {place}");
}

#[test]
fn rule_17_an_update_holds_at_most_16_kib_and_gives_it_back() {
    let mut machine = boot();
    machine.handle_session(NOW, true);
    drain(&mut machine);
    let info = measure(|| {
        offer(&mut machine).unwrap();
    });
    println!("offer: {} at most", info.bytes_max);
    assert!(info.bytes_max <= 12 * 1_024, "{info:?}");
    let info = measure(|| {
        machine.command(NOW, Command::Cancel).unwrap();
        drain(&mut machine);
    });
    assert!(info.bytes_current < 0, "{info:?}");
}

#[test]
fn rule_17_a_piece_of_body_costs_no_allocation() {
    let mut machine = boot();
    machine.handle_session(NOW, true);
    drain(&mut machine);
    let op = offer(&mut machine).unwrap();
    let head = ResponseHead { status: 200, content_length: Some(SIZE), ..ResponseHead::default() };
    machine.handle_response(NOW, op, &head).unwrap();
    drain(&mut machine);
    let data = [7; 1_460];
    let mut buf = [0; Config::buffer_len()];
    for _ in 0..40 {
        let info = measure(|| {
            let body = machine.handle_body(NOW, op, &data).unwrap();
            let _ = machine.poll(NOW, &mut buf).unwrap();
            machine.handle_done(NOW, body.work.unwrap().0, Ok(None));
        });
        // At most one event per percent.
        assert!(info.count_total <= 1, "{info:?}");
        drain(&mut machine);
    }
    let info = measure(|| {
        let _ = machine.handle_body(NOW, op, &[7; 10]).unwrap();
    });
    assert_eq!(info, AllocationInfo::default());
}
