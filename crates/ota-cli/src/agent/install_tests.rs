use std::fs;

use clap::Parser as _;

use super::*;
use crate::agent::config::Config;
use crate::args::{Cli, Command};

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
    let Command::Agent(args) = Cli::parse_from(["ota", "agent"]).command else { panic!() };
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
