//! The cloud through its public API, with literal messages at literal times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod campaign;
mod catalog;
mod hostile;
mod modules;
mod random;
mod rehearse;
mod rollout;
mod session;
mod states;
mod timeouts;
mod value;

use std::time::Duration;

use ota_cloud::sign::UrlSigner;
use ota_cloud::{Cloud, CloudConfig, Firmware, Output, Secret, Status, Task, TaskId, TaskOptions};
use ota_proto::message::{CloudMessage, OfferMessage};
use ota_proto::{Identity, Instant, Md5};

/// The Unix time of the virtual clock's origin.
const UNIX: u64 = 1_700_000_000;
const TOPIC: &str = "$ota/report/TESTPROD01/dev001";

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn device() -> Identity {
    Identity::new("TESTPROD01", "dev001").unwrap()
}

fn signer() -> UrlSigner {
    UrlSigner::new("http://127.0.0.1:8080", *b"key", UrlSigner::LIFE)
}

fn config() -> CloudConfig {
    CloudConfig::new(signer(), UNIX)
}

fn digest() -> Md5 {
    Md5::from_hex("f2f1b3317d4f1ef7f512bfae5050563b").unwrap()
}

/// A cloud with one device and two images, and what it sent, as `(milliseconds, text)`.
struct Desk {
    cloud: Cloud,
}

impl Desk {
    fn new(config: CloudConfig) -> Self {
        let mut cloud = Cloud::new(config);
        cloud.add_device(&device(), Secret::new(*b"0123456789abcdef")).unwrap();
        for version in ["0.1.0", "1.0.0"] {
            cloud.add_firmware(Firmware::new("TESTPROD01", version, digest(), 234_775)).unwrap();
        }
        Self { cloud }
    }

    /// Connected and known to run 0.1.0 at 0 ms, with a task to 1.0.0 started at 1,000 ms.
    fn started(config: CloudConfig) -> Self {
        let mut desk = Self::new(config);
        desk.connect(0);
        desk.version(0, "0.1.0");
        desk.start(1_000);
        assert_eq!(desk.sent(1_000), ["offer 1.0.0"]);
        desk
    }

    fn connect(&mut self, ms: u64) {
        self.cloud.handle_connected(at(ms), &device()).unwrap();
    }

    fn disconnect(&mut self, ms: u64) {
        self.cloud.handle_disconnected(at(ms), &device());
    }

    fn start(&mut self, ms: u64) -> TaskId {
        let options = TaskOptions::default();
        self.cloud.start_task(at(ms), &device(), "1.0.0", &options).unwrap()
    }

    fn say(&mut self, ms: u64, payload: &str) {
        self.cloud.handle_message(at(ms), TOPIC, payload.as_bytes()).unwrap();
    }

    /// Reports a version and takes the reply.
    fn version(&mut self, ms: u64, version: &str) {
        self.say(ms, &format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#));
        assert_eq!(self.sent(ms), [format!("reply {version}")]);
    }

    fn progress(&mut self, ms: u64, progress: &str) {
        self.say(
            ms,
            &format!(
                r#"{{"type":"report_progress","report":{{"progress":{{{progress}}},"version":"1.0.0"}}}}"#
            ),
        );
    }

    fn downloading(&mut self, ms: u64, percent: &str) {
        self.progress(
            ms,
            &format!(
                r#""state":"downloading","percent":"{percent}","result_code":"0","result_msg":"""#
            ),
        );
    }

    fn burning(&mut self, ms: u64) {
        self.progress(ms, r#""state":"burning","result_code":"0","result_msg":"""#);
    }

    fn done(&mut self, ms: u64) {
        self.progress(ms, r#""state":"done","result_code":"0","result_msg":"""#);
    }

    fn fail(&mut self, ms: u64, code: &str, msg: &str) {
        self.progress(
            ms,
            &format!(r#""state":"fail","result_code":"{code}","result_msg":"{msg}""#),
        );
    }

    /// Takes all outputs at this moment.
    fn outputs(&mut self, ms: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        loop {
            match self.cloud.poll_output(at(ms)) {
                Output::Idle { .. } => return outputs,
                output => outputs.push(output),
            }
        }
    }

    /// What is sent at this moment, in short.
    fn sent(&mut self, ms: u64) -> Vec<String> {
        self.outputs(ms).iter().filter_map(short).collect()
    }

    /// The whole offers sent at this moment.
    fn offers(&mut self, ms: u64) -> Vec<OfferMessage<'static>> {
        let own = |message: OfferMessage<'_>| OfferMessage {
            version: message.version.into_owned().into(),
            url: message.url.into_owned().into(),
            md5sum: message.md5sum,
            file_size: message.file_size,
            user_defined: message.user_defined.map(|text| text.into_owned().into()),
            fw_type: message.fw_type.map(|text| text.into_owned().into()),
        };
        self.outputs(ms)
            .iter()
            .filter_map(|output| match output {
                Output::Send { payload, .. } => match CloudMessage::decode(payload).unwrap() {
                    CloudMessage::Offer(offer) => Some(own(offer)),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }

    fn deadline(&mut self, ms: u64) -> Option<Instant> {
        loop {
            if let Output::Idle { deadline } = self.cloud.poll_output(at(ms)) {
                return deadline;
            }
        }
    }

    fn task(&self) -> &Task {
        self.cloud.device(&device()).unwrap().task.as_ref().unwrap()
    }

    fn status(&self) -> Status {
        self.task().status
    }

    fn proved(&self) -> bool {
        self.cloud.device(&device()).unwrap().is_proved()
    }
}

fn short(output: &Output) -> Option<String> {
    let Output::Send { device: to, topic, payload } = output else { return None };
    assert_eq!(topic, to.update_topic());
    Some(match CloudMessage::decode(payload).unwrap() {
        CloudMessage::VersionReply { version, .. } => format!("reply {}", version.unwrap()),
        CloudMessage::Offer(offer) => format!("offer {}", offer.version),
        _ => unreachable!(),
    })
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
