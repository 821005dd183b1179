//! Consent, windows, the verify command, and the commands of `ota agent`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests on the real clock")]

mod common;

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::time::SystemTime;

use common::{
    Desk, ONCE, Ota, agent, ask, cloud_at, fixed_addr, image, once, setup, status, told,
    wait_for_status, wait_until,
};

/// `hh:mm-hh:mm` from so many hours after now to so many hours after now.
fn window(from: u64, to: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
    let time = |hours: u64| format!("{:02}:{:02}", (now / 60 + hours) % 24, now % 60);
    format!("\"{}-{}\"", time(from), time(to))
}

#[test]
fn a_consent_command_accepts_and_refuses() {
    let (desk, mut cloud, broker) = setup(&["yes", "no"], image(1, 1000));
    let said = desk.path("said");
    let script = format!("echo $0 $OTA_SIZE $OTA_VERSION > {}", said.display());
    let line = format!("consent = [\"sh\", \"-c\", \"{script}\", \"{{version}}\"]");
    once(&desk.device_with("yes", &broker, &line)).expect(0);
    assert_eq!(desk.read("said"), b"1.0.0 1000 1.0.0\n");
    assert_eq!(told(&mut cloud).0, "0");

    let line = "consent = [\"sh\", \"-c\", \"echo not today; exit 77\"]";
    let end = once(&desk.device_with("no", &broker, line)).expect(4);
    assert!(end.err.contains(&"consent: not today".to_owned()), "{:?}", end.err);
    assert_eq!(told(&mut cloud), ("-5".into(), "offer refused".into()));
}

#[test]
fn a_consent_command_that_cannot_say_anything_defers() {
    let names = ["later", "broken", "missing", "slow"];
    let (desk, _cloud, broker) = setup(&names, image(2, 1000));
    for (name, line, words) in [
        ("later", "consent = [\"sh\", \"-c\", \"exit 75\"]", ""),
        (
            "broken",
            "consent = [\"sh\", \"-c\", \"exit 1\"]",
            "failed: exit status: 1; the agent asks",
        ),
        ("missing", "consent = [\"/nowhere/c\"]", "cannot start /nowhere/c"),
        ("slow", "consent = [\"sleep\", \"60\"]\ncommand_limit = 0.1", "took too long"),
    ] {
        let config = desk.device_with(name, &broker, line);
        let mut agent = agent(&config, &[]);
        agent.event("offered");
        wait_for_status(&config, |status| status["state"] == "deferred");
        agent.terminate();
        let end = agent.end().expect(0);
        assert!(words.is_empty() || end.err.join("").contains(words), "{name}: {:?}", end.err);
    }
}

#[test]
fn a_person_defers_and_accepts_and_sees_what_happens() {
    let firmware = image(3, 1000);
    let (desk, _cloud, broker) = setup(&["dev001"], &firmware);
    let config = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let mut agent = agent(&config, &ONCE);
    let offered = agent.event("offered");
    assert_eq!((&offered["version"], &offered["size"]), (&"1.0.0".into(), &1000.into()));
    let status = status(&config);
    assert_eq!(status["device"], "TESTPROD01/dev001");
    assert_eq!((&status["version"], &status["state"]), (&"0.1.0".into(), &"offered".into()));
    assert_eq!((&status["offered"], &status["connected"]), (&"1.0.0".into(), &true.into()));
    let text = ask(&config, &["status"]).expect(0).out.join("\n");
    assert!(text.contains("offered          1.0.0"), "{text}");
    assert!(!text.contains("http") && !text.contains("sign"), "no URL: {text}");

    let end = ask(&config, &["rollback"]).expect(7);
    assert_eq!(end.err, ["ota: no version is on trial"]);
    let end = ask(&config, &["install", "--json"]).expect(7);
    assert_eq!(common::json(&end.out[0])["ok"], false);
    // Somebody without a terminal names what they have seen.
    for words in [&["accept"][..], &["refuse"], &["defer", "2h"]] {
        let end = ask(&config, words).expect(2);
        assert!(end.err[0].contains("name the version that you have seen"), "{:?}", end.err);
    }
    let end = ask(&config, &["accept", "6.6.6"]).expect(7);
    assert_eq!(end.err, ["ota: the offered version is 1.0.0, not 6.6.6"]);
    assert_eq!(
        common::status(&config)["waiting_for"],
        "a person: ota agent accept, defer or refuse"
    );
    ask(&config, &["defer", "2h", "1.0.0"]).expect(0);
    let status = wait_for_status(&config, |status| status["state"] == "deferred");
    assert_eq!(status["waiting_for"], "the end of a person's deferral");
    assert!((7_000..=7_200).contains(&status["next_in"].as_u64().unwrap()), "{status}");
    let text = ask(&config, &["status"]).expect(0).out.join("\n");
    assert!(
        ["2h", "119m", "118m"]
            .iter()
            .any(|span| text.contains(&format!("next in          {span}"))),
        "{text}"
    );
    let decision = agent.event("decision");
    let said = (&decision["command"], &decision["version"]);
    assert_eq!(said, (&"defer".into(), &"1.0.0".into()));
    assert_eq!(decision["user"], rustix::process::geteuid().as_raw());
    assert_eq!(ask(&config, &["accept", "1.0.0"]).expect(0).out, ["accept: done"]);
    agent.end().expect(0);
    assert_eq!(desk.read("dev001/slot.img"), firmware);
}

#[test]
fn a_deferral_outlives_the_agent_and_ends_with_its_offer() {
    let (desk, _cloud, broker) = setup(&["person", "command"], image(3, 1000));
    let runs = desk.path("runs");
    let count = format!("[\"sh\", \"-c\", \"echo >> {}; exit 75\"]", runs.display());
    for (name, consent) in [("person", "\"ask\""), ("command", count.as_str())] {
        let config = desk.device_with(name, &broker, &format!("consent = {consent}"));
        let mut first = agent(&config, &[]);
        first.event("offered");
        if name == "person" {
            ask(&config, &["defer", "2h", "1.0.0"]).expect(0);
        }
        wait_for_status(&config, |status| status["state"] == "deferred");
        first.terminate();
        first.end().expect(0);
        let second = agent(&config, &ONCE);
        wait_until("an agent", || ask(&config, &["status"]).code == Some(0));
        let status = wait_for_status(&config, |status| status["state"] == "deferred");
        let (words, least) = match name {
            "person" => ("the end of a person's deferral", 7_000),
            _ => ("the time when the consent command is asked again", 3_400),
        };
        assert_eq!(status["waiting_for"], words);
        assert!(status["next_in"].as_u64().unwrap() > least, "{status}");
        ask(&config, &["accept", "1.0.0"]).expect(0);
        second.end().expect(0);
        assert!(!desk.path(name).join("deferral").exists(), "it is over");
    }
    assert_eq!(desk.read("runs"), b"\n", "who deferred was asked once");
}

/// The text that a firmware came with may be what a command looks at, a signature for one.
#[test]
fn a_command_that_looks_at_an_offer_is_stopped_when_its_text_changes() {
    let desk = Desk::new();
    let firmware = desk.write("image", image(3, 1000));
    for kind in ["consent", "verify"] {
        let at = |name: &str| desk.path(&format!("{kind}.{name}"));
        let script = format!(
            "case $OTA_USER_DEFINED in first) echo $$ > {pid}.new; mv {pid}.new {pid}; \
             exec sleep 1000;; esac; echo $OTA_USER_DEFINED >> {said}",
            pid = at("pid").display(),
            said = at("said").display()
        );
        let first = cloud_at(&fixed_addr(), kind, &firmware, "first");
        let line = format!("{kind} = [\"sh\", \"-c\", \"{script}\"]");
        let config = desk.device_with(kind, &first.1, &line);
        let mut agent = agent(&config, &ONCE);
        wait_until("the command", || at("pid").exists());
        drop(first.0);
        let (_second, _) = cloud_at(&first.1, kind, &firmware, "second");
        agent.wait_for("the other offer", |line| line["event"] == "offered");
        agent.end().expect(0);
        assert_eq!(desk.read(&format!("{kind}.said")), b"second\n");
        // Nobody may have collected it yet: then it has no words any more.
        let pid = String::from_utf8(desk.read(&format!("{kind}.pid"))).unwrap();
        let words = std::fs::read(format!("/proc/{}/cmdline", pid.trim()));
        assert!(words.is_err() || words.unwrap().is_empty(), "it still runs");
    }
}

/// Where nobody names the version, a terminal shows the offer and asks.
#[test]
fn a_terminal_shows_the_offer_and_only_a_yes_is_one() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let (desk, _cloud, broker) = setup(&["dev001"], image(3, 1000));
    let config = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let mut agent = agent(&config, &ONCE);
    agent.event("offered");
    let on_a_terminal = |words: &str, answer: &str| {
        let command = format!("{} agent {words} --config {config}", env!("CARGO_BIN_EXE_ota"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]);
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = common::spawn(&mut script).ok()?;
        // It may have ended by itself.
        let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
        let end = child.wait_with_output().unwrap();
        Some((end.status.code(), String::from_utf8_lossy(&end.stdout).into_owned()))
    };
    for (words, answer) in
        [("accept", "n\n"), ("accept", "\n"), ("refuse", "maybe\n"), ("defer 2h", "")]
    {
        let Some((code, text)) = on_a_terminal(words, answer) else {
            eprintln!("skipped: no program here that makes a terminal");
            return;
        };
        assert_eq!(code, Some(7), "{text}");
        let word = words.split(' ').next().unwrap();
        assert!(text.contains("0.1.0 is running; the cloud offers 1.0.0, 1000 B, md5 "), "{text}");
        assert!(text.contains(&format!("{word} it? [y/N]")), "{text}");
        assert!(text.contains("nothing was done"), "{text}");
    }
    assert_eq!(status(&config)["state"], "offered");
    let (code, text) = on_a_terminal("accept", "y\n").unwrap();
    assert_eq!(code, Some(0), "{text}");
    agent.end().expect(0);
}

#[test]
fn what_was_said_of_one_offer_is_not_done_to_another() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixStream;
    let (desk, _cloud, broker) = setup(&["dev001"], image(3, 1000));
    let config = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let mut agent = agent(&config, &ONCE);
    agent.event("offered");
    let md5 = status(&config)["md5"].as_str().unwrap().to_owned();
    let other = "00000000000000000000000000000000";
    let folder = std::fs::File::open(desk.path("dev001")).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let put = |line: &str| {
        let mut stream = UnixStream::connect(format!("/proc/self/fd/{fd}/control")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        common::json(&answer)
    };
    for (version, md5, text) in [
        ("6.6.6", md5.as_str(), "null"),
        ("1.0.0", other, "null"),
        ("1.0.0", &md5, "\"another text\""),
    ] {
        for command in ["accept", "refuse", "defer"] {
            let line = format!(
                "{{\"command\":\"{command}\",\"seconds\":60,\"version\":\"{version}\",\
                 \"md5\":\"{md5}\",\"user_defined\":{text}}}"
            );
            let answer = put(&line);
            assert_eq!(answer["ok"], false, "{line}");
            assert!(answer["error"].as_str().unwrap().contains("offered now"), "{answer}");
        }
    }
    assert_eq!(put("{\"command\":\"accept\"}")["ok"], false);
    assert_eq!(status(&config)["state"], "offered");
    ask(&config, &["refuse", "1.0.0"]).expect(0);
    agent.end().expect(4);
}

#[test]
fn a_person_refuses() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(4, 1000));
    let config = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let mut agent = agent(&config, &ONCE);
    agent.event("offered");
    ask(&config, &["refuse", "1.0.0"]).expect(0);
    assert_eq!(told(&mut cloud), ("-5".into(), "offer refused".into()));
    agent.end().expect(4);
    ask(&config, &["refuse", "1.0.0"]).expect(5);
}

#[test]
fn a_window_holds_the_download_until_it_opens_or_a_person_says_so() {
    let (desk, _cloud, broker) = setup(&["open", "closed"], image(5, 1000));
    let line = format!("window = {}", window(23, 1));
    once(&desk.device_with("open", &broker, &line)).expect(0);

    let line = format!("download_window = {}", window(2, 3));
    let config = desk.device_with("closed", &broker, &line);
    let mut agent = agent(&config, &ONCE);
    agent.event("offered");
    let status = wait_for_status(&config, |status| status["state"] == "deferred");
    let opens = status["download_window_opens_in"].as_u64().unwrap();
    assert!((3_600..=7_200).contains(&opens), "{status}");
    ask(&config, &["accept", "1.0.0"]).expect(0);
    agent.end().expect(0);
}

#[test]
fn a_window_holds_the_installation_until_it_opens_or_a_person_says_so() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(6, 1000));
    let line = format!("verify = [\"true\"]\ninstall_window = {}", window(2, 3));
    let config = desk.device_with("dev001", &broker, &line);
    let mut agent = agent(&config, &ONCE);
    agent.wait_for("ready", |line| line["state"] == "ready");
    let status = wait_for_status(&config, |status| {
        status["waiting_for"].as_str().is_some_and(|what| what.starts_with("the install window"))
    });
    assert!(status["install_window_opens_in"].as_u64().unwrap() > 3_600, "{status}");
    assert_eq!(desk.read("dev001.version"), b"0.1.0\n");
    let end = ask(&config, &["install", "2.0.0"]).expect(7);
    assert_eq!(end.err, ["ota: the offered version is 1.0.0, not 2.0.0"]);
    ask(&config, &["install"]).expect(0);
    agent.end().expect(0);
    assert_eq!(desk.read("dev001.version"), b"1.0.0\n");
}

#[test]
fn a_verify_command_sees_the_image_and_its_no_is_final() {
    let (desk, mut cloud, broker) = setup(&["yes", "no", "broken"], image(7, 100_000));
    let compare =
        format!("verify = [\"cmp\", \"{{image}}\", \"{}\"]", desk.path("image").display());
    once(&desk.device_with("yes", &broker, &compare)).expect(0);
    assert_eq!(told(&mut cloud).0, "0");
    for (name, line, words) in [
        (
            "no",
            "verify = [\"sh\", \"-c\", \"echo bad signature; exit 1\"]",
            "image refused by application",
        ),
        // Known before the download, and not the image's fault.
        ("broken", "verify = [\"/nowhere/v\"]", "this machine could not install it"),
    ] {
        let config = desk.device_with(name, &broker, line);
        once(&config).expect(4);
        assert_eq!(told(&mut cloud), ("-5".into(), words.into()));
        assert_eq!(desk.read(&format!("{name}.version")), b"0.1.0\n");
    }
}

#[test]
fn the_socket_is_the_owners_and_says_so_when_nobody_listens() {
    let desk = Desk::new();
    let config = desk.device_with("dev001", "127.0.0.1:9", "");
    let words = "no agent runs on";
    assert!(ask(&config, &["status"]).expect(5).err[0].contains(words));
    let mut agent = agent(&config, &[]);
    agent.event("started");
    let path = desk.path("dev001/control");
    // It is made a moment after the word.
    wait_until("a socket", || path.exists());
    let socket = std::fs::metadata(&path).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(status(&config)["connected"], false);
    let end = ask(&config, &["check"]).expect(7);
    assert!(end.err[0].contains("there is no connection"), "{:?}", end.err);
    agent.kill();
    // The socket is left behind.
    assert!(ask(&config, &["status"]).expect(5).err[0].contains(words));
}

#[test]
fn the_service_manager_hears_of_no_stop_between_two_lives() {
    use std::os::unix::net::UnixDatagram;
    let (desk, _cloud, broker) = setup(&["dev001"], image(2, 1000));
    let config = desk.plain_device("dev001", &broker);
    let path = desk.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    Ota::start_with(env, ["agent", "--config", &config, "--once"]).end().expect(0);
    socket.set_nonblocking(true).unwrap();
    let mut said = Vec::new();
    let mut text = [0; 64];
    while let Ok(length) = socket.recv(&mut text) {
        said.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
    assert_eq!(said, ["READY=1", "READY=1", "STOPPING=1"]);
}

#[test]
fn the_service_manager_is_told() {
    use std::os::unix::net::UnixDatagram;
    let desk = Desk::new();
    let config = desk.device_with("dev001", "127.0.0.1:9", "");
    let path = desk.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let agent = Ota::start_with(env, ["agent", "--config", &config]);
    let next = || common::datagram(&socket);
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    agent.terminate();
    while next() != "STOPPING=1" {}
    agent.end().expect(0);
}
