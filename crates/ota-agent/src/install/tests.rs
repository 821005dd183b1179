use std::fs;

use clap::{Args as _, Command, FromArgMatches as _};

use ota_host::{AbSlots, Switch as _};
use ota_proto::Version;

use super::*;
use crate::args::Agent;
use crate::config::Config;

fn args() -> Agent {
    let matches = Agent::augment_args(Command::new("ota-agent")).get_matches_from(["ota-agent"]);
    Agent::from_arg_matches(&matches).unwrap()
}

#[tokio::test]
async fn a_restart_command_that_is_slow_is_not_counted_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("version"), "0.1.0\n").unwrap();
    let lines = "product_id = \"TESTPROD01\"\ndevice_name = \"dev001\"\n\
                 device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://127.0.0.1:9\"\n\
                 data_dir = \"data\"\nversion_file = \"version\"\ninstall = [\"true\"]\n\
                 restart = [\"sleep\", \"60\"]\n";
    fs::write(path("agent.toml"), lines).unwrap();
    let config = Config::read(&path("agent.toml")).unwrap();
    let args = args();
    let mut device = Device::start(&args, &config).unwrap();
    let asks = || fs::read_to_string(path("data/restart")).unwrap();
    assert!(device.restart().is_none());
    let once = asks();
    // As the core does when nothing has come of it.
    assert!(device.restart().is_none());
    assert_eq!(asks(), once);
    let mut job = device.job.take().unwrap();
    job.stop();
    job.ended().await.unwrap_err();
    assert!(device.restart().is_none());
    assert_ne!(asks(), once);
    device.job.take().unwrap().stop();
}

/// The core asks every minute: counted each time, the image would be given up unseen.
#[tokio::test]
async fn a_restart_that_is_refused_is_no_start_of_the_image() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("slots/a")).unwrap();
    fs::write(path("slots/a/version"), "0.1.0\n").unwrap();
    fs::write(path("slots/a/image"), "old").unwrap();
    fs::write(path("image"), "new").unwrap();
    std::os::unix::fs::symlink("a", path("slots/current")).unwrap();
    let lines = "product_id = \"TESTPROD01\"\ndevice_name = \"dev001\"\n\
                 device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://127.0.0.1:9\"\n\
                 data_dir = \"data\"\nslots = \"slots\"\nrestart = [\"sleep\", \"60\"]\n";
    fs::write(path("agent.toml"), lines).unwrap();
    let config = Config::read(&path("agent.toml")).unwrap();
    let args = args();
    let mut device = Device::start(&args, &config).unwrap();
    let mut ab = AbSlots::open(path("slots"), 3).unwrap();
    let mut digester = ota_proto::Digester::new();
    digester.update(b"new");
    let md5 = digester.finish();
    ab.copy(&path("image"), 3, md5, &AtomicBool::new(false)).unwrap();
    ab.seal(Version::new("1.0.0").unwrap()).unwrap();
    ab.act(ota_proto::SlotAction::Activate).unwrap();
    let state = || fs::read_to_string(path("slots/state")).unwrap();
    let armed = state();
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path("data"), mode).unwrap();
    };
    mode(0o777);
    for _ in 0..5 {
        assert!(device.restart().is_none());
        assert!(device.job.is_none());
    }
    assert_eq!(state(), armed);
    assert_eq!(fs::read_link(path("slots/current")).unwrap().to_str(), Some("a"));
    mode(0o700);
    assert!(device.restart().is_none());
    assert_ne!(state(), armed);
    assert_eq!(fs::read_link(path("slots/current")).unwrap().to_str(), Some("b"));
    device.job.take().unwrap().stop();
}

#[tokio::test]
async fn root_starts_no_command_of_any_kind_on_what_others_may_change() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("version"), "0.1.0\n").unwrap();
    let lines = "product_id = \"TESTPROD01\"\ndevice_name = \"dev001\"\n\
                 device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://127.0.0.1:9\"\n\
                 data_dir = \"data\"\nversion_file = \"version\"\n";
    fs::write(path("agent.toml"), lines).unwrap();
    let config = Config::read(&path("agent.toml")).unwrap();
    let args = args();
    let mut device = Device::start(&args, &config).unwrap();
    let words = ["true".to_owned()];
    for open in [false, true] {
        let mode = if open { 0o777 } else { 0o755 };
        fs::set_permissions(path("data"), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
        for kind in [Kind::Consent, Kind::Restart, Kind::Health] {
            device.order(kind, &words);
            let ended = device.job.take().unwrap().ended().await;
            match ended {
                Ok(status) => assert!(!open && status.success(), "{kind:?}"),
                Err(why) => assert!(open && why.why.contains("others may change"), "{why}"),
            }
        }
        for kind in [Kind::Verify, Kind::Install] {
            assert!(device.danger(kind).is_some(), "no image is verified");
        }
    }
}
