//! Rules 15, 16 and 17, and any inputs in any state: nonsense ids, times that run backwards.

use core::time::Duration;

use ota_proto::journal::Record;
use ota_proto::{
    Command, Config, Fetch, Hold, Idle, Installed, Instant, Journal, Md5, OpId, Output, PubId,
    Publish, SlotState, StorageError, TlsError, TransportError, Updater, Work,
};
use proptest::prelude::*;

use crate::bench::*;

/// One input, chosen by small numbers.
#[derive(Clone, Debug)]
struct Input {
    kind: u8,
    choice: u8,
    step: i32,
    drain: bool,
}

fn input() -> impl Strategy<Value = Input> {
    let step = prop_oneof![4 => 0..2_000, 2 => 0..40_000, 1 => -5_000..4_000_000];
    (0_u8..34, any::<u8>(), step, prop::bool::weighted(0.9))
        .prop_map(|(kind, choice, step, drain)| Input { kind, choice, step, drain })
}

/// What was asked for and may be answered: all of it, forever.
#[derive(Default)]
struct Asked {
    fetches: Vec<OpId>,
    jobs: Vec<OpId>,
    digests: Vec<OpId>,
    persists: Vec<OpId>,
    pubs: Vec<PubId>,
    /// Slot operations that were not answered.
    open: Vec<OpId>,
    persisting: Option<OpId>,
    record: Option<[u8; Journal::LEN]>,
    deadline: Option<Instant>,
}

fn pick<T: Copy>(list: &[T], choice: u8) -> Option<T> {
    // Mostly the newest, sometimes an old one.
    let back = usize::from(choice % 8 / 6 * (choice % 5));
    list.get(list.len().checked_sub(1 + back)?).copied()
}

fn result(choice: u8) -> Result<(), StorageError> {
    match choice % 16 {
        0 => Err(StorageError::NoSpace),
        1 => Err(StorageError::Failed),
        _ => Ok(()),
    }
}

fn drain(machine: &mut Updater, asked: &mut Asked, now: Instant) {
    for _ in 0..300 {
        let before = machine.clone();
        let mut none = [0; 0];
        let mut buf = [0; Config::buffer_len()];
        if machine.poll(now, &mut none).is_err() {
            assert_eq!(*machine, before, "too small a buffer changed the state");
        } else {
            *machine = before;
        }
        match machine.poll(now, &mut buf).unwrap() {
            Output::Idle(Idle { deadline, .. }) => {
                asked.deadline = deadline;
                return;
            }
            Output::Publish(Publish { id, .. }) => asked.pubs.push(id),
            Output::Fetch(Fetch { op, .. }) => asked.fetches.push(op),
            Output::CancelFetch(op) => assert!(asked.fetches.contains(&op)),
            Output::Do(op, Work::Digest { .. }) => {
                asked.digests.push(op);
                asked.open.push(op);
            }
            Output::Do(op, Work::Erase { range, .. }) => {
                assert!(range.start < range.end && range.end <= STORAGE.capacity);
                assert!(range.start % u64::from(STORAGE.erase) == 0);
                asked.jobs.push(op);
                asked.open.push(op);
            }
            Output::Do(op, Work::Sync) | Output::Do(op, Work::Slot(_)) => {
                asked.jobs.push(op);
                asked.open.push(op);
            }
            Output::Do(op, Work::Persist(record)) => {
                assert!(asked.persisting.replace(op).is_none(), "two journal writes");
                let (_, decoded) = Record::decode(&record).expect("a record that decodes");
                assert!(decoded.is_consistent());
                asked.record = Some(record);
                asked.persists.push(op);
            }
            Output::Event(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(asked.open.len() <= 1, "two slot operations at once");
    }
    panic!("the outputs do not end");
}

fn fetch_input(machine: &mut Updater, asked: &mut Asked, now: Instant, input: &Input) {
    let Some(op) = pick(&asked.fetches, input.choice) else { return };
    let choice = input.choice;
    match input.kind {
        0..=3 => {
            let from = machine.progress().map_or(0, |(stored, _)| stored).min(SIZE - 1);
            let status = [200, 206, 206, 302, 403, 404, 416, 503][usize::from(choice % 8)];
            let honest = choice % 3 > 0;
            let head = if honest { good(from) } else { good(u64::from(choice)) };
            let head = ota_proto::ResponseHead {
                status: if honest { head.status } else { status },
                location: (status == 302).then_some("/x"),
                ..head
            };
            let _ = machine.handle_response(now, op, &head);
        }
        4..=12 => {
            let from = machine.progress().map_or(0, |(stored, _)| stored);
            let from = usize::try_from(from).unwrap().min(image().len());
            let data = &image()[from..];
            let data = if choice % 9 == 0 { &[7; 20_000][..] } else { data };
            if let Ok(body) = machine.handle_body(now, op, data) {
                assert!(body.consumed <= data.len());
                if let Some((op, Work::Write { at, bytes })) = body.work {
                    assert!(bytes.len() <= body.consumed && !bytes.is_empty());
                    let last = at + bytes.len() as u64 - 1;
                    let unit = u64::from(STORAGE.erase);
                    assert_eq!(at / unit, last / unit, "a write crosses an erase unit");
                    asked.jobs.push(op);
                    asked.open.push(op);
                }
            }
        }
        13 => machine.handle_body_end(now, op),
        _ => {
            let error = [
                TransportError::Closed,
                TransportError::Tls(TlsError::Expired),
                TransportError::Malformed,
            ][usize::from(choice % 3)];
            machine.handle_fetch_failed(now, op, error);
        }
    }
}

fn answer(machine: &mut Updater, asked: &mut Asked, now: Instant, input: &Input) {
    let choice = input.choice;
    match input.kind {
        15..=20 => {
            let newest = if asked.open.is_empty() { &asked.jobs } else { &asked.open };
            let Some(op) = pick(newest, choice) else { return };
            asked.open.retain(|open| *open != op);
            if asked.digests.contains(&op) {
                let digest = if choice % 7 == 0 { Md5([0; 16]) } else { md5() };
                machine.handle_done(now, op, result(choice).map(|()| Some(digest)));
            } else {
                machine.handle_done(now, op, result(choice).map(|()| None));
            }
        }
        21..=23 => {
            let Some(op) = pick(&asked.persists, choice) else { return };
            asked.persisting.take_if(|under| *under == op);
            machine.handle_done(now, op, result(choice).map(|()| None));
        }
        _ => {
            if let Some(id) = pick(&asked.pubs, choice) {
                machine.handle_published(now, id);
            }
        }
    }
}

fn other(machine: &mut Updater, asked: &mut Asked, now: Instant, input: &Input) {
    let choice = input.choice;
    match input.kind {
        26 => machine.handle_session(now, choice % 3 > 0),
        27 | 28 => {
            let text = match choice % 6 {
                0 => r#"{"result_code":0,"type":"report_version_rsp"}"#.into(),
                1 => r#"{"result_code":3,"type":"report_version_rsp"}"#.into(),
                2 => offer_text("2.0.0", "https://cos.example/b"),
                3 => offer_text("0.1.0", "https://cos.example/b"),
                _ => offer_text("1.0.0", &format!("https://cos.example/{choice}")),
            };
            machine.handle_message(now, UPDATE, text.as_bytes()).unwrap();
        }
        29 | 30 => {
            machine.handle_timeout(asked.deadline.unwrap_or(now).max(now));
        }
        _ => {
            let before = machine.clone();
            let done = match choice % 13 {
                0 => machine.command(now, Command::Accept),
                1 => machine
                    .command(now, Command::Defer(now + Duration::from_secs(u64::from(choice)))),
                2 => machine.command(now, Command::Refuse),
                3 => machine.command(now, Command::Cancel),
                4 => machine.command(now, Command::Approve),
                5 => machine.command(now, Command::Veto),
                6 => machine.command(now, Command::Install),
                7 => machine.command(now, Command::Installed(Installed::NeedsRestart)),
                8 => machine.command(now, Command::Installed(Installed::Running)),
                9 => machine.command(now, Command::Confirm),
                10 => machine.command(now, Command::RollBack),
                11 => machine.command(now, Command::Forgive),
                _ => machine.command(now, Command::ReportNow),
            };
            if done.is_err() {
                assert_eq!(*machine, before, "misuse has no effect");
            }
        }
    }
}

fn run(config: &Config, inputs: &[Input]) {
    let boot = |record: Option<&[u8; Journal::LEN]>, running: &str, slot| {
        let boot = ota_proto::Boot { running, slot, journal: record, storage: STORAGE };
        Updater::new(Instant::ZERO, config.clone(), boot).unwrap()
    };
    let mut machine = boot(None, "0.1.0", SlotState::Confirmed);
    let mut asked = Asked::default();
    let mut ms = 0_i64;
    for input in inputs {
        ms = (ms + i64::from(input.step)).max(0);
        let now = at(u64::try_from(ms).unwrap());
        match input.kind {
            0..=14 => fetch_input(&mut machine, &mut asked, now, input),
            15..=25 => answer(&mut machine, &mut asked, now, input),
            33 => {
                let slots = [
                    SlotState::Confirmed,
                    SlotState::Trial,
                    SlotState::RolledBack,
                    SlotState::Unknown,
                ];
                let running = if input.choice % 3 == 0 { "1.0.0" } else { "0.1.0" };
                let slot = slots[usize::from(input.choice / 3 % 4)];
                machine = boot(asked.record.as_ref(), running, slot);
                asked = Asked { record: asked.record, ..Asked::default() };
                ms = 0;
            }
            _ => other(&mut machine, &mut asked, now, input),
        }
        if input.drain {
            drain(&mut machine, &mut asked, now);
            let mut woken = machine.clone();
            let due = asked.deadline;
            if let Some(due) = due.filter(|due| *due <= now) {
                woken.handle_timeout(now);
                let mut again = Asked { persisting: asked.persisting, ..Asked::default() };
                again.open.clone_from(&asked.open);
                again.fetches.clone_from(&asked.fetches);
                drain(&mut woken, &mut again, now);
                // Rule 16: later than now, or something else has changed.
                let later = again.deadline.is_none_or(|at| at > now);
                assert!(later || again.deadline != Some(due), "stale deadline {due}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_in_any_state(inputs in prop::collection::vec(input(), 0..400), ask in any::<u8>()) {
        let mut config = config();
        if ask & 1 > 0 {
            config.consent = Hold::Ask;
        }
        if ask & 2 > 0 {
            config.approval = Hold::Ask;
        }
        if ask & 4 > 0 {
            config.verify = ota_proto::Verify::Trailing;
        }
        run(&config, &inputs);
    }
}

#[test]
fn rule_15_nothing_secret_is_shown() {
    let mut bench = Bench::online(config());
    bench.offer_at(1_000, "1.0.0", "https://cos.example/a?sign=SECRET");
    let (mut copy, mut buffer) = (bench.machine.clone(), [0; Config::buffer_len()]);
    let mut outputs = String::new();
    while !outputs.contains("Idle") {
        outputs += &format!("{:?}\n", copy.poll(at(1_000), &mut buffer).unwrap());
    }
    assert!(outputs.contains("Fetch") && !outputs.contains("SECRET"), "{outputs}");
    bench.out(1_000);
    let redirect = ota_proto::ResponseHead {
        status: 302,
        location: Some("https://other.example/b?sign=SECRET"),
        ..ota_proto::ResponseHead::default()
    };
    bench.head(1_100, &redirect).unwrap_err();
    bench.out(1_100);
    let shown = format!("{redirect:?} {:?} {:?}", bench.machine, bench.machine.offer());
    assert!(!shown.contains("SECRET"), "{shown}");
}
