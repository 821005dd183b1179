//! What the cloud has been told, and what it may be told next.

use std::collections::BTreeSet;

use ota_proto::journal::{Phase, Record};
use ota_proto::message::{DeviceMessage, Progress, ProgressState};
use ota_proto::{Md5, Outcome, QoS};

#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    /// The result on its way: only copies of it may follow.
    result: Option<(String, Outcome)>,
    /// The target of the last progress, and its percent.
    percent: Option<(String, i64)>,
    /// The digest and size of the image on its way.
    aim: Option<(Md5, u64)>,
}

impl Reports {
    /// A record has become durable.
    pub(super) fn durable(&mut self, record: &Record) {
        if record.phase != Phase::Owed {
            self.result = None;
        }
    }

    /// The attempt is one at this image.
    pub(super) fn aim(&mut self, image: Option<(Md5, u64)>) {
        if self.aim != image {
            self.aim = image;
            self.forget_progress();
        }
    }

    pub(super) fn forget_progress(&mut self) {
        self.percent = None;
    }

    /// A message leaves; whether it is a version report.
    pub(super) fn publish(
        &mut self,
        durable: &Record,
        proved: &BTreeSet<String>,
        verified: Option<Md5>,
        qos: QoS,
        payload: &[u8],
    ) -> bool {
        let message = DeviceMessage::decode(payload).expect("it can be read");
        let (version, progress) = match message {
            DeviceMessage::ReportProgress { version, progress, .. } => (version, progress),
            _ => {
                assert_eq!(qos, QoS::AtLeastOnce);
                assert_ne!(durable.phase, Phase::Owed, "a version before the result (O12)");
                return true;
            }
        };
        match progress.state {
            ProgressState::Done | ProgressState::Fail => {
                self.result(durable, &version, &progress);
                let done = progress.state == ProgressState::Done;
                assert!(!done || proved.contains(&*version), "{version} was never confirmed (O9)");
            }
            ProgressState::Downloading => {
                assert_ne!(durable.phase, Phase::Owed, "progress after the result");
                self.progress(&version, progress.percent.expect("a percent"), verified, durable);
            }
            _ => assert_ne!(durable.phase, Phase::Owed, "burning after the result"),
        }
        assert_eq!(qos == QoS::AtMostOnce, progress.state == ProgressState::Downloading);
        false
    }

    /// It is durable, marked as handed over, and the same as before (O9, O10).
    fn result(&mut self, durable: &Record, version: &str, progress: &Progress<'_>) {
        let (Phase::Owed, Some(owed)) = (durable.phase, durable.owed) else {
            panic!("a result that is not in the journal: {durable:?}");
        };
        assert!(owed.sent, "it leaves without its mark");
        assert_eq!(durable.target.map(|t| t.version.as_str().into()), Some(String::from(version)));
        match owed.result {
            Outcome::Done => assert_eq!(progress.state, ProgressState::Done),
            Outcome::Failed(reason) => {
                assert_eq!(progress.state, ProgressState::Fail);
                assert_eq!(progress.result_code, i64::from(reason.code().number()));
                assert_eq!(progress.result_msg, owed.to_string());
            }
        }
        let now = (String::from(version), owed.result);
        let first = self.result.get_or_insert_with(|| now.clone());
        assert_eq!(*first, now, "two results of one attempt");
    }

    fn progress(&mut self, version: &str, percent: i64, verified: Option<Md5>, durable: &Record) {
        let right = durable.target.is_some_and(|target| verified == Some(target.md5));
        assert!((0..=if right { 100 } else { 99 }).contains(&percent), "{percent} %");
        if let Some((_, last)) = self.percent.as_ref().filter(|(last, _)| last == version) {
            assert!(*last <= percent, "from {last} % to {percent} %");
        }
        self.percent = Some((version.into(), percent));
    }
}
