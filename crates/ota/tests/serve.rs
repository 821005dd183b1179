//! `ota cloud serve`: its arguments, and what it prints.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use common::{Desk, Ota, SECRET, image, setup};

const ANY: [&str; 6] = ["cloud", "serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"];

fn serve(more: &[&str]) -> Ota {
    Ota::start([&ANY, more].concat())
}

#[test]
fn wrong_arguments_are_one_line_and_exit_with_2() {
    for (args, words) in [
        (&[][..], "no device may connect: name one with --device, or give --anonymous"),
        (&["--device", "P/d=?"], "--device P/d: the secret is not Base64"),
        (&["--device", "P/d=@/nowhere"], "--device P/d: cannot read /nowhere"),
        (&["--device", "Pd"], "write --device PRODUCT/NAME=SECRET"),
        (
            &["--anonymous", "--firmware", "P/1"],
            "something is missing; write --firmware PRODUCT/VERSION=PATH",
        ),
        (
            &["--anonymous", "--firmware", "P/1=/nowhere"],
            "--firmware P/1: cannot read the firmware /nowhere",
        ),
        (
            &["--anonymous", "--firmware", "P/1=a", "--firmware", "P/2=b"],
            "--firmware P/2: a product is offered one version",
        ),
        (&["--device", "P/d"], "--device P/d: its secret is missing"),
        (
            &["--anonymous", "--firmware", "P/1=a", "--firmware-url", "P/2=http://h/secret"],
            "--firmware-url P/2: no --firmware of this name",
        ),
        (&["--anonymous", "--public-url", "example.org"], "--public-url: write it like"),
    ] {
        let end = serve(args).end().expect(2);
        assert_eq!(end.err.len(), 1, "{:?}", end.err);
        assert!(end.err[0].starts_with(&format!("ota: {words}")), "{words}: {}", end.err[0]);
    }
    for (url, words) in [
        ("mqtt://u:secret@", "--broker: the host is missing"),
        ("u:secret@h", "--broker: it begins with neither"),
        ("mqtt://u:secret@h:x", "--broker: the port"),
    ] {
        let args = ["cloud", "serve", "--http", "127.0.0.1:0", "--anonymous", "--broker", url];
        let end = Ota::start(args).end().expect(2);
        assert!(end.err[0].starts_with(&format!("ota: {words}")), "{words}: {}", end.err[0]);
        assert!(!end.err.concat().contains("secret"), "{:?}", end.err);
    }
    let everywhere =
        ["cloud", "serve", "--mqtt", "127.0.0.1:0", "--http", "0.0.0.0:0", "--anonymous"];
    let end = Ota::start(everywhere).end().expect(2);
    assert!(end.err[0].contains("give it with --public-url"), "{}", end.err[0]);
}

#[test]
fn an_address_in_use_is_the_machines_fault() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let args = ["cloud", "serve", "--mqtt", &addr, "--http", "127.0.0.1:0", "--anonymous"];
    let end = Ota::start(args).end().expect(5);
    assert!(end.err[0].contains(&format!("cannot listen for MQTT on {addr}")), "{}", end.err[0]);
    assert!(end.err[0].contains("choose another port"), "{}", end.err[0]);
}

#[test]
fn people_read_lines_with_the_devices_name_and_no_secret() {
    let desk = Desk::new();
    let image = desk.write("image", image(1, 1000));
    let device = format!("TESTPROD01/dev001={SECRET}");
    let firmware = format!("TESTPROD01/1.0.0={image}");
    let args = ["--device", &device, "--firmware", &firmware, "--user-defined", "{\"a\":1}"];
    let mut cloud = serve(&args);
    let first = cloud.line();
    let broker = first.split("mqtt ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let config = desk.plain_device("dev001", broker);
    Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
    cloud.terminate();
    let end = cloud.end().expect(0);
    let text = end.out.join("\n");
    for words in [
        "TESTPROD01/dev001  → report_version     0.1.0",
        "TESTPROD01/dev001  ← update_firmware    1.0.0, 1000 B, http://",
        "TESTPROD01/dev001  · task 0-1: complete",
        "TESTPROD01/dev001  · task 0-1: proved",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("sign=") && !text.contains(SECRET), "{text}");
}

#[test]
fn a_wrong_secret_is_refused_and_said() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(2, 1000));
    let config = desk.plain_device("dev001", &broker);
    desk.write("secret", "d3Jvbmcgc2VjcmV0IQ==");
    let mut agent = Ota::start(["agent", "--config", &config, "--json"]);
    agent.event("disconnected");
    agent.terminate();
    let end = agent.end().expect(0);
    assert!(end.err[0].contains("no connection to 127.0.0.1"), "{:?}", end.err);
    cloud.event("closed");
}

#[test]
fn any_device_may_connect_when_that_is_asked_for() {
    let desk = Desk::new();
    let image = desk.write("image", image(3, 1000));
    let firmware = format!("TESTPROD01/1.0.0={image}");
    let mut cloud = serve(&["--anonymous", "--firmware", &firmware, "--json", "--show-secrets"]);
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let config = desk.plain_device("dev001", &broker);
    Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
    let offer = cloud.wait_for("offer", |line| line["payload"]["type"] == "update_firmware");
    assert!(offer["payload"]["url"].as_str().unwrap().contains("sign="), "{offer}");
    cloud.event("proved");
}

/// docs/cloud.md lists the events of `--json`, which are an interface.
#[test]
fn every_event_of_the_cloud_is_documented() {
    let root = env!("CARGO_MANIFEST_DIR");
    let code = std::fs::read_to_string(format!("{root}/src/print.rs")).unwrap();
    let page = std::fs::read_to_string(format!("{root}/../../docs/cloud.md")).unwrap();
    // The name is the second argument of a line, on its own line or behind the first.
    let lines = code.split("Line::new(").skip(1);
    let names: Vec<&str> = lines.filter_map(|rest| rest.split('"').nth(1)).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.contains(' ')).collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/cloud.md");
    }
}

#[test]
fn lines_for_programs_say_when_by_everybodys_clock() {
    let mut cloud = serve(&["--anonymous", "--json"]);
    let line = cloud.event("listening");
    let unix = line["unix"].as_f64().unwrap();
    #[allow(clippy::disallowed_methods, reason = "the clock that is compared with")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((now.as_secs_f64() - unix).abs() < 600.0, "{unix}");
}

/// What goes wrong is said with `--quiet`, and nothing else.
#[test]
fn quiet_says_what_goes_wrong() {
    let desk = Desk::new();
    let path = desk.write("image", image(4, 1000));
    let device = format!("TESTPROD01/dev001={SECRET}");
    let firmware = format!("TESTPROD01/1.0.0={path}");
    let args =
        ["--device", &device, "--firmware", &firmware, "--quiet", "--json", "--attempts", "1"];
    let mut cloud = serve(&args);
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let config = desk.plain_device("dev001", &broker);
    // The image is not what was offered any more.
    desk.write("image", image(5, 999));
    let agent = Ota::start(["agent", "--config", &config, "--once", "--wait", "60"]);
    let withdrawn = cloud.event("withdrawn");
    assert!(withdrawn["why"].as_str().unwrap().contains("changed"), "{withdrawn}");
    assert_eq!(cloud.event("not-offered")["why"], "withdrawn");
    agent.terminate();
    agent.end();
    cloud.terminate();
    let end = cloud.end().expect(0);
    for line in &end.out {
        let quiet = ["received", "sent", "request", "connected", "subscribed", "began"];
        for name in quiet {
            assert!(!line.contains(&format!("\"event\":\"{name}\"")), "{line}");
        }
    }
}

/// A device that used up its attempts has a line that says so, and SIGHUP tries it again.
#[test]
fn attempts_are_limited_told_and_given_again_by_sighup() {
    let desk = Desk::new();
    let path = desk.write("image", image(6, 1000));
    let device = format!("TESTPROD01/dev001={SECRET}");
    let firmware = format!("TESTPROD01/1.0.0={path}");
    let args = ["--device", &device, "--firmware", &firmware, "--json", "--attempts", "1"];
    let mut cloud = serve(&args);
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let config = desk.device_with("dev001", &broker, "install = [\"false\"]\nrestart = \"none\"");
    let agent = || Ota::start(["agent", "--config", &config, "--once", "--wait", "60"]);
    let first = agent();
    let failed = cloud.wait_for("a failure", |line| line["to"] == "failed");
    assert_eq!((failed["code"].as_i64(), failed["status"].as_u64()), (Some(-5), Some(5)));
    assert!(!failed["text"].as_str().unwrap().is_empty(), "{failed}");
    first.end().expect(4);
    let second = agent();
    let used = |line: &serde_json::Value| line["why"] == "attempts-used";
    assert!(cloud.wait_for("a reason", used)["text"].as_str().unwrap().contains("attempts"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(cloud.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    cloud.event("began");
    second.terminate();
    second.end();
}
