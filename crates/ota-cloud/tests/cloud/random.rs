//! Any input in any order: nothing panics, and what must hold holds.

use super::*;
use ota_cloud::{Device, DeviceRecord, Finish, TimeoutFrom};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Disconnect,
    Version(usize),
    Progress(usize, usize, Option<i64>, i8),
    Bytes(Vec<u8>),
    Start(usize),
    Cancel,
    Retry,
    Rollout,
    Drain,
    Timeout,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        4 => (0_usize..3).prop_map(Step::Version),
        6 => (0_usize..3, 0_usize..4, any::<Option<i64>>(), any::<i8>())
            .prop_map(|(v, s, p, c)| Step::Progress(v, s, p.map(|p| p % 200), c)),
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        2 => (0_usize..3).prop_map(Step::Start),
        1 => Just(Step::Cancel),
        1 => Just(Step::Retry),
        1 => Just(Step::Rollout),
        4 => Just(Step::Drain),
        1 => Just(Step::Timeout),
    ]
}

const VERSIONS: [&str; 3] = ["0.1.0", "1.0.0", "2.0.0"];

fn apply(desk: &mut Desk, now: u64, step: &Step) {
    let id = desk.cloud.device(&device()).unwrap().task.as_ref().map(|task| task.id);
    match step {
        Step::Connect => desk.connect(now),
        Step::Disconnect => desk.disconnect(now),
        Step::Version(v) => {
            let v = VERSIONS[*v];
            desk.say(now, &format!(r#"{{"type":"report_version","report":{{"version":"{v}"}}}}"#));
        }
        Step::Progress(v, state, percent, code) => {
            let state = ["downloading", "burning", "done", "fail"][*state];
            let percent = percent.map_or(String::new(), |p| format!(r#""percent":"{p}","#));
            desk.say(
                now,
                &format!(
                    r#"{{"type":"report_progress","report":{{"progress":{{{percent}"state":"{state}","result_code":{code},"result_msg":"m"}},"version":"{}"}}}}"#,
                    VERSIONS[*v]
                ),
            );
        }
        Step::Bytes(bytes) => {
            let _ = desk.cloud.handle_message(at(now), TOPIC, bytes);
        }
        Step::Start(v) => {
            let options = TaskOptions::default();
            let _ = desk.cloud.start_task(at(now), &device(), VERSIONS[*v], &options);
        }
        Step::Cancel => drop(id.map(|id| desk.cloud.cancel_task(at(now), id))),
        Step::Retry => drop(id.map(|id| desk.cloud.retry_task(at(now), id))),
        Step::Rollout => {
            let rollout = ota_cloud::Rollout::new("1.0.0");
            desk.cloud.set_rollout(at(now), "TESTPROD01", Some(rollout)).unwrap();
        }
        Step::Drain => {
            let online = desk.cloud.device(&device()).unwrap().online;
            let sent = desk.sent(now);
            assert!(online || sent.is_empty());
            // Idle means idle: the deadline is ahead.
            assert!(desk.deadline(now).is_none_or(|deadline| deadline > at(now)));
        }
        Step::Timeout => {
            let deadline = desk.deadline(now);
            desk.cloud.handle_timeout(at(now));
            let next = desk.deadline(now);
            assert!(next.is_none_or(|next| next > at(now)), "{deadline:?} {next:?}");
        }
    }
}

fn check(record: &DeviceRecord) {
    // Kept and read again it is the same, but for its presence.
    let mut again = Device::from_bytes(&record.device.to_bytes().unwrap()).unwrap();
    again.online = record.online;
    assert_eq!(again, record.device);
    let tasks: Vec<&Task> = record.history.iter().chain(&record.task).collect();
    for (n, task) in tasks.iter().enumerate() {
        let current = n + 1 == tasks.len();
        assert!(current || task.finished.is_some(), "one task a device");
        assert!(task.percent.is_none_or(|percent| percent <= 100));
        let by_proof = matches!(task.finished, Some((_, Finish::AlreadyThere | Finish::Proved)));
        assert!(!by_proof || task.proved.is_some());
        let ended = matches!(task.status, Status::Complete | Status::Failed | Status::TimedOut);
        assert_eq!(ended, task.finished.is_some());
        if task.status == Status::Complete {
            assert!(task.claimed.is_some() || task.proved.is_some());
        }
        for moment in [task.claimed, task.proved, task.pushed, task.heard].into_iter().flatten() {
            assert!(moment >= task.began);
        }
        assert_eq!(task.pushed.is_some(), task.pushes > 0);
    }
    assert!(record.history.len() <= 16 && record.log.len() <= 128);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariants_hold(
        from_push: bool,
        steps in proptest::collection::vec((0_u64..40_000, step()), 1..120),
    ) {
        let timeout_from = if from_push { TimeoutFrom::Push } else { TimeoutFrom::LastReport };
        let timeout_interval = secs(60);
        let mut desk = Desk::new(CloudConfig { timeout_from, timeout_interval, ..config() });
        let mut now = 0;
        let mut twin = desk.cloud.clone();
        for (pause, step) in &steps {
            now += pause;
            apply(&mut desk, now, step);
            check(desk.cloud.device(&device()).unwrap());
        }
        // The same inputs give the same state.
        let mut again = Desk { cloud: twin.clone() };
        let mut now = 0;
        for (pause, step) in &steps {
            now += pause;
            apply(&mut again, now, step);
        }
        prop_assert!(again.cloud == desk.cloud);
        twin.clone_from(&desk.cloud);
        prop_assert!(twin == desk.cloud);
    }
}
