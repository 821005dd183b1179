//! `ota agent` against `ota cloud serve`: two programs, over TCP.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use common::{
    Desk, Ota, SECRET, agent, ask, cloud_with, image, once, setup, status, told, wait_for_status,
    wait_until,
};

#[test]
fn an_update_with_the_version_in_a_file() {
    let firmware = image(1, 1 << 20);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    let config = desk.plain_device("dev001", &broker);
    let end = once(&config).expect(0);
    assert_eq!(desk.read("dev001/slot.img"), firmware);
    assert_eq!(desk.read("dev001.version"), b"1.0.0\n");
    let starts = end.out.iter().filter(|line| line.contains("\"started\"")).count();
    assert_eq!(starts, 2, "it started again in place");
    cloud.event("claimed");
    cloud.event("proved");

    // There is nothing more to do.
    let end = agent(&config, &["--once", "--wait", "3"]).end().expect(3);
    assert_eq!(end.err, ["ota: no offer came in time; is there a firmware for this device?"]);
    cloud.terminate();
    cloud.end().expect(0);
}

#[test]
fn an_update_with_an_installer() {
    let firmware = image(2, 100_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    // The version stands in the configuration, so the installer writes it there.
    let installer = r#"install = ["sh", "-c", "cp $1 new.img && echo $2 > said && echo working && sed -i s/0.1.0/$2/ CONFIG", "sh", "{image}", "{version}"]"#;
    let installer = installer.replace("new.img", desk.path("new.img").to_str().unwrap());
    let installer = installer.replace("said", desk.path("said").to_str().unwrap());
    let installer = installer.replace("CONFIG", desk.path("dev001.toml").to_str().unwrap());
    let lines = format!("version = \"0.1.0\"\nrestart = \"none\"\n{installer}");
    let config = desk.device("dev001", &broker, &lines);
    let end = once(&config).expect(0);
    assert_eq!(desk.read("new.img"), firmware);
    assert_eq!(desk.read("said"), b"1.0.0\n");
    assert!(end.err.contains(&"working".to_owned()), "{:?}", end.err);
    cloud.event("claimed");
    cloud.event("proved");
}

#[test]
fn an_installer_in_place_must_leave_the_offered_version_behind() {
    let names = ["nothing", "prefix", "literal", "gone"];
    let (desk, mut cloud, broker) = setup(&names, image(2, 1000));
    let write = |name: &str, script: &str| {
        let version = desk.path(&format!("{name}.version"));
        let script = script.replace("FILE", version.to_str().unwrap());
        format!("restart = \"none\"\ninstall = [\"sh\", \"-c\", \"{script}\", \"{{version}}\"]")
    };
    let file = |name: &str| format!("version_file = \"{name}.version\"\n");
    for (name, lines, words) in [
        ("nothing", file("nothing") + &write("nothing", "true"), "contains 0.1.0, not 1.0.0"),
        (
            "prefix",
            file("prefix") + &write("prefix", "echo v$0 > FILE"),
            "contains v1.0.0, not 1.0.0",
        ),
        (
            "literal",
            "version = \"0.1.0\"\nrestart = \"none\"\ninstall = [\"true\"]".into(),
            "version in ",
        ),
    ] {
        let end = once(&desk.device(name, &broker, &lines)).expect(4);
        assert_eq!(told(&mut cloud), ("-5".into(), "wrong version".into()), "{name}");
        assert!(end.err.iter().any(|line| line.contains(words)), "{name}: {:?}", end.err);
    }
    let lines = file("gone") + &write("gone", "rm FILE");
    let end = once(&desk.device("gone", &broker, &lines)).expect(4);
    assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
    assert!(end.err.iter().any(|line| line.contains("cannot be read")), "{:?}", end.err);
}

#[test]
fn a_version_that_names_itself_otherwise_after_the_restart_is_no_roll_back() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(3, 1000));
    let lines = format!(
        "restart = \"exit\"\ninstall = [\"sh\", \"-c\", \"echo v$0 > {}\", \"{{version}}\"]",
        desk.path("dev001.version").display()
    );
    let config = desk.device_with("dev001", &broker, &lines);
    once(&config).expect(6);
    once(&config).expect(4);
    assert_eq!(told(&mut cloud), ("-5".into(), "wrong version".into()));
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn an_installer_that_restarts_the_machine_is_waited_for_and_then_what_runs_is_judged() {
    let (desk, mut cloud, broker) = setup(&["late", "killed", "never"], image(3, 1000));
    let lines = |name: &str, script: &str| {
        let version = desk.path(&format!("{name}.version"));
        let script = script.replace("FILE", version.to_str().unwrap());
        format!(
            "restart = \"installer\"\ninstall_limit = 2\n\
             install = [\"sh\", \"-c\", \"{script}\", \"{{version}}\"]"
        )
    };
    // The restart does not come; what the installer left behind is taken as it is.
    let config = desk.device_with("late", &broker, &lines("late", "echo $0 > FILE"));
    let end = once(&config).expect(0);
    let waited = end.out.iter().any(|line| line.contains("the installer to restart the machine"));
    assert!(waited, "{:?}", end.out);
    assert!(end.err.iter().any(|line| line.contains("has not restarted")), "{:?}", end.err);
    assert_eq!(told(&mut cloud).0, "0");

    // The machine goes down while it is waited for, and comes back with the new version.
    let more = lines("killed", "true").replace("= 2\n", "= 60\n");
    let config = desk.device_with("killed", &broker, &more);
    let mut killed = agent(&config, &[]);
    killed.wait_for("a wait", |line| {
        line["event"] == "waiting"
            && line["until"].is_string()
            && line["for"] == "the installer to restart the machine"
    });
    killed.kill();
    desk.write("killed.version", "1.0.0\n");
    once(&config).expect(0);
    assert_eq!(told(&mut cloud).0, "0");

    let config = desk.device_with("never", &broker, &lines("never", "true"));
    once(&config).expect(4);
    assert_eq!(told(&mut cloud), ("-5".into(), "rolled back: old version runs".into()));
}

#[test]
fn an_installer_that_cannot_run_here_does_not_count_against_the_image() {
    let names = ["missing", "shell", "later", "record"];
    let (desk, mut cloud, broker) = setup(&names, image(5, 1000));
    let program = desk.write("program", "#!/bin/sh\n");
    let script = |script: &str| format!("install = [\"sh\", \"-c\", \"{script}\"]");
    for (name, install) in [
        // It is there when the download begins.
        ("missing", format!("install = [\"{program}\"]\nverify = [\"rm\", \"{program}\"]")),
        ("shell", script("exec /nowhere/installer")),
        ("later", script("exit 75")),
        (
            "record",
            format!(
                "{}\nverify = [\"sh\", \"-c\", \"rm $0 && mkdir $0\", \"{}\"]",
                script("touch $0.ran"),
                desk.path("record/install.lock").display()
            ),
        ),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        if name == "missing" {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
        }
        let config = desk.device_with(name, &broker, &format!("{install}\nrestart = \"none\""));
        once(&config).expect(4);
        assert_eq!(
            told(&mut cloud),
            ("-5".into(), "this machine could not install it".into()),
            "{name}"
        );
    }
}

#[test]
fn what_is_missing_is_told_before_the_download_and_the_agent_goes_on() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(5, 300_000));
    let install = desk.path("install");
    let lines = format!("install = [\"{}\"]\nrestart = [\"no-such-restart\"]", install.display());
    let config = desk.device_with("dev001", &broker, &lines);
    let end = ask(&config, &["check-config"]).expect(5);
    assert_eq!(end.out.len(), 2, "{:?}", end.out);
    assert!(end.out[0].starts_with("install: cannot start "), "{:?}", end.out);
    assert!(end.out[1].starts_with("restart: no-such-restart is not in PATH"), "{:?}", end.out);
    let end = ask(&config, &["check-config", "--json"]).expect(5);
    assert_eq!(common::json(&end.out[0])["found"].as_array().unwrap().len(), 2);

    let agent = agent(&config, &[]);
    let said = agent.error("warning: ");
    assert!(said.contains("install: cannot start"), "{said}");
    assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
    assert!(!desk.path("dev001/slot.img").exists(), "nothing was fetched");
    assert_eq!(status(&config)["state"], "idle");

    let good = desk.plain_device("dev002", &broker);
    let end = ask(&good, &["check-config"]).expect(0);
    assert!(end.out[0].ends_with("no problem found"), "{:?}", end.out);
    assert!(!desk.path("dev002").exists(), "it made nothing");
}

/// An `ota` of root's that may give no file away.
fn without_chown(words: &[&str]) -> Ota {
    let options = ["--bounding-set=-chown", "--inh-caps=-chown", env!("CARGO_BIN_EXE_ota")];
    Ota::start_program("setpriv", [("OTA_TEST", "")], [&options[..], words].concat())
}

#[test]
fn what_cannot_be_given_to_its_owner_is_told_before_the_download() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (desk, mut cloud, broker) = setup(&["file", "slots"], image(5, 300_000));
    let slots = desk.slots("slots.slots");
    let file = desk.plain_device("file", &broker);
    let both = desk.device("slots", &broker, "slots = \"slots.slots\"");
    for path in [desk.path("file.version"), slots.join("a/image")] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(65_534), Some(65_534)).unwrap();
    }
    for (config, name, key) in [(&file, "file", "version_file"), (&both, "slots", "slots")] {
        ask(config, &["check-config"]).expect(0);
        let end = without_chown(&["agent", "check-config", "--config", config]).end().expect(5);
        let words = [&format!("{key}: cannot give "), " to user 65534 and group 65534, who own"];
        assert!(end.out[0].starts_with(words[0]) && end.out[0].contains(words[1]), "{:?}", end.out);
        let agent = without_chown(&["agent", "--json", "--config", config]);
        let said = agent.error("warning: ");
        assert!(words.iter().all(|words| said.contains(*words)), "{said}");
        assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
        assert!(!desk.path(name).join("slot.part").exists(), "nothing was fetched");
        agent.terminate();
        agent.end().expect(0);
    }
    let names = std::fs::read_dir(desk.folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let left = names.iter().any(|name| name.to_string_lossy().starts_with('.'));
    assert!(!left, "looking left something behind: {names:?}");
}

#[test]
fn what_a_store_answered_is_forgotten_with_its_offer() {
    let store = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", store.local_addr().unwrap());
    scripted(store, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin".to_vec(), || {});
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nothing = format!("http://{}", silent.local_addr().unwrap());
    let desk = Desk::new();
    let firmware = desk.write("image", image(1, 1000));
    let device = format!("TESTPROD01/dev001={}", common::SECRET);
    let cloud = |mqtt: &str, version: &str, url: &str| {
        let firmware = format!("TESTPROD01/{version}={firmware}");
        let args = ["cloud", "serve", "--json", "--mqtt", mqtt, "--http", "127.0.0.1:0"];
        let more = ["--device", &device, "--firmware", &firmware, "--public-url", url];
        let mut cloud = Ota::start([&args[..], &more].concat());
        let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
        (cloud, broker)
    };
    let (first, broker) = cloud("127.0.0.1:0", "1.0.0", &url);
    let config = desk.plain_device("dev001", &broker);
    let agent = agent(&config, &[]);
    wait_for_status(&config, |status| status["last_answer"].is_string());
    first.kill();
    let (_second, _) = cloud(&broker, "2.0.0", &nothing);
    let status = wait_for_status(&config, |status| status["offered"] == "2.0.0");
    assert!(status["last_answer"].is_null(), "{status}");
    agent.terminate();
    agent.end().expect(0);
}

#[test]
fn a_reader_that_has_stopped_reading_holds_nothing_up() {
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};
    let (desk, _cloud, broker) = setup(&["dev001"], image(6, 300_000));
    let config = desk.plain_device("dev001", &broker);
    let path = desk.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    assert_eq!(rustix::io::write(&writer, &vec![b'x'; size]), Ok(size));
    // Both streams are this pipe, which is full.
    let mut child = Command::new(env!("CARGO_BIN_EXE_ota"))
        .args(["agent", "--config", &config])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    wait_until("the update", || desk.read("dev001.version") == b"1.0.0\n");
    while common::datagram(&socket) != "WATCHDOG=1" {}
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    drop(reader);
}

#[test]
fn commands_that_may_outlive_the_agent_do_so_whatever_they_write() {
    let (desk, _cloud, broker) = setup(&["dev001", "dev002"], image(2, 1000));
    let script = |name: &str| {
        let place = |what: &str| desk.path(&format!("{name}.{what}")).display().to_string();
        format!(
            "[\"sh\", \"-c\", \"echo 1; touch $0; until test -e $1; do sleep 0.02; done; \
             echo 2; echo 2 >&2; touch $2\", \"{}\", \"{}\", \"{}\"]",
            place("here"),
            place("go"),
            place("done")
        )
    };
    let install = format!("restart = \"none\"\ninstall = {}", script("dev001"));
    let restart = format!("install = [\"true\"]\nrestart = {}", script("dev002"));
    for (name, lines) in [("dev001", install), ("dev002", restart)] {
        let config = desk.device_with(name, &broker, &lines);
        let agent = agent(&config, &[]);
        wait_until("the command", || desk.path(&format!("{name}.here")).exists());
        if name == "dev001" {
            agent.kill();
        } else {
            // A restart's command may be what ends the agent.
            agent.terminate();
            wait_until("the agent's end", || ask(&config, &["status"]).code == Some(5));
        }
        desk.write(&format!("{name}.go"), "");
        wait_until("its end", || desk.path(&format!("{name}.done")).exists());
    }
}

#[test]
fn an_installer_that_asks_for_another_start() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(3, 1000));
    let version = desk.path("dev001.version");
    let lines = format!(
        "restart = \"exit\"\n\
         install = [\"sh\", \"-c\", \"echo $0 > {}\", \"{{version}}\"]",
        version.display()
    );
    let config = desk.device_with("dev001", &broker, &lines);
    let end = once(&config).expect(6);
    assert!(end.err.join("").contains("start the agent again"), "{:?}", end.err);
    once(&config).expect(0);
    cloud.event("claimed");
    cloud.event("proved");
}

#[test]
fn a_restart_command_is_run_and_not_forever() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(4, 1000));
    let lines = "install = [\"true\"]\n\
                 restart = [\"sh\", \"-c\", \"kill -TERM $PPID\"]";
    let config = desk.device_with("dev001", &broker, lines);
    // The old version runs after it, for the installer did nothing. The machine was not started
    // meanwhile, so the restart may still be to come; after three of them that is a failure.
    for _ in 0..3 {
        once(&config).expect(143);
    }
    let end = once(&config).expect(4);
    assert!(end.err.join("").contains("rolled back: old version runs"), "{:?}", end.err);
}

#[test]
fn an_agent_killed_before_the_restart_asks_for_it_again() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(7, 1000));
    let (here, version) = (desk.path("here"), desk.path("dev001.version"));
    // The first restart does not come. The second one brings the new version.
    let lines = format!(
        "install = [\"true\"]\nrestart = [\"sh\", \"-c\", \
         \"if test -e {here}; then echo 1.0.0 > {version}; kill -TERM $PPID; fi; touch {here}\"]",
        here = here.display(),
        version = version.display()
    );
    let config = desk.device_with("dev001", &broker, &lines);
    let mut killed = agent(&config, &[]);
    killed.wait_for("restarting", |line| line["state"] == "restarting");
    wait_until("a restart", || here.exists());
    killed.kill();
    once(&config).expect(143);
    once(&config).expect(0);
    cloud.event("claimed");
    cloud.event("proved");
}

#[test]
fn a_failed_installation_is_reported() {
    let (desk, mut cloud, broker) = setup(&["dev001", "dev002"], image(5, 1000));
    for (name, lines, reason) in [
        (
            "dev001",
            "restart = \"none\"\ninstall = [\"sh\", \"-c\", \"echo why >&2; exit 7\"]",
            "install failed",
        ),
        (
            "dev002",
            "restart = \"none\"\ninstall = [\"sleep\", \"60\"]\ninstall_limit = 0.1",
            "install timed out",
        ),
    ] {
        let config = desk.device(name, &broker, &format!("version = \"0.1.0\"\n{lines}"));
        let end = once(&config).expect(4);
        let last = end.err.last().unwrap();
        assert_eq!(*last, format!("ota: the update failed: {reason}"));
        let report =
            cloud.wait_for("fail", |line| line["payload"]["report"]["progress"]["state"] == "fail");
        let progress = &report["payload"]["report"]["progress"];
        assert_eq!(
            (&progress["result_code"], &progress["result_msg"]),
            (&"-5".into(), &reason.into())
        );
        cloud.wait_for("failed", |line| line["to"] == "failed");
    }
}

#[test]
fn plain_http_must_be_asked_for() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(6, 1000));
    let config = desk.plain_device("dev001", &broker);
    desk.replace("dev001.toml", "allow_http = true", "");
    let end = once(&config).expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: plain http refused");
    let hint = end.err.iter().any(|line| line.contains("write allow_http = true"));
    assert!(hint, "{:?}", end.err);
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn once_tells_no_connection_from_no_offer() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(1, 1000));
    let alone = desk.plain_device("dev003", "127.0.0.1:9");
    // A login that is refused is no connection, and an offer that nobody answers is one.
    let stranger = desk.plain_device("dev002", &broker);
    let asked = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let [alone, stranger, asked] =
        [alone, stranger, asked].map(|config| agent(&config, &["--once", "--wait", "4"]));
    let end = alone.end().expect(8);
    let last = end.err.last().unwrap();
    assert!(last.starts_with("ota: never connected to 127.0.0.1:9 in time; last: "), "{last}");
    let end = stranger.end().expect(8);
    let last = end.err.last().unwrap();
    assert!(last.contains("in time; last: ") && last.contains("product_id"), "{last}");
    let end = asked.end().expect(3);
    assert_eq!(end.err, ["ota: no decision on the offer of 1.0.0 in time"]);
}

#[test]
fn a_store_that_is_not_public_is_refused_where_that_is_asked_for() {
    let desk = Desk::new();
    let firmware = format!("TESTPROD01/1.0.0={}", desk.write("image", image(9, 1000)));
    // The broker's own address is exempt; another one of this machine is not.
    for (store, refused) in [("127.0.0.1:0", false), ("127.0.0.2:0", true)] {
        let device = format!("TESTPROD01/dev001={SECRET}");
        let args = ["cloud", "serve", "--json", "--mqtt", "127.0.0.1:0", "--http", store];
        let more = ["--device", &device, "--firmware", &firmware];
        let mut cloud = Ota::start([&args[..], &more].concat());
        let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
        let config = desk.device_with("dev001", &broker, "public_store_only = true");
        let mut agent = agent(&config, &["--once"]);
        if refused {
            let words = "the store has no public address";
            agent.wait_for("a refusal", |line| line["cause"] == words);
            agent.terminate();
            agent.end().expect(143);
        } else {
            agent.end().expect(0);
            cloud.event("proved");
        }
        cloud.event("closed");
        let requests = cloud.said.iter().filter(|line| line.contains("\"request\"")).count();
        assert_eq!(requests == 0, refused, "{:?}", cloud.said);
        desk.write("dev001.version", "0.1.0\n");
    }
}

#[test]
fn a_second_agent_of_the_same_folder_is_refused() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    let mut first = agent(&config, &[]);
    first.event("started");
    let end = once(&config).expect(5);
    assert_eq!(end.err.len(), 1);
    assert!(end.err[0].contains("another agent is using the data folder"), "{}", end.err[0]);
    first.terminate();
    let end = first.end().expect(0);
    assert!(
        end.err.iter().all(|line| line.starts_with("ota: no connection to 127.0.0.1:9")),
        "{:?}",
        end.err
    );
}

#[test]
fn a_bad_configuration_is_one_line_that_names_the_key() {
    let desk = Desk::new();
    let good = desk.plain_device("dev001", "127.0.0.1:9");
    let text = String::from_utf8(desk.read("dev001.toml")).unwrap();
    for (code, from, to, words) in [
        (
            2,
            "broker = \"mqtt://",
            "broker = \"http://",
            "broker: write it like mqtts://host:8883 or mqtt://",
        ),
        (2, "product_id", "produkt_id", "produkt_id: no such key; did you mean product_id?"),
        (2, "allow_http = true", "allow_http = 1", "allow_http: must be true or false"),
        // What is missing may be on a disk that is mounted later.
        (5, "\"secret\"", "\"missing\"", "device_secret_file: cannot read"),
        (5, "\"dev001.version\"", "\"none\"", "version_file: cannot read"),
        (2, "device_name", "= x", "line 2: "),
    ] {
        let config = desk.write("bad.toml", text.replacen(from, to, 1));
        let end = once(&config).expect(code);
        assert_eq!(end.err.len(), 1, "{:?}", end.err);
        assert!(end.err[0].contains(words), "{words}: {}", end.err[0]);
    }
    assert!(
        once("/nowhere.toml").expect(5).err[0]
            .contains("cannot read the configuration /nowhere.toml")
    );
    desk.write("dev001.version", "a b\n");
    assert!(once(&good).expect(5).err[0].contains("version_file: "));
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    for (mode, warned) in [(0o644, true), (0o640, false), (0o600, false)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(desk.path("secret"), mode).unwrap();
        let mut agent = agent(&config, &[]);
        agent.event("started");
        agent.terminate();
        let end = agent.end().expect(0);
        assert_eq!(
            end.err.iter().any(|line| line.contains("run chmod 600")),
            warned,
            "{:?}",
            end.err
        );
    }
}

#[test]
fn a_redirect_to_a_store_that_is_not_public_is_refused_where_that_is_asked_for() {
    let firmware = image(9, 1000);
    for (more, refused) in [("", false), ("public_store_only = true", true)] {
        let inside = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let to = inside.local_addr().unwrap();
        let (asked, requests) = std::sync::mpsc::channel();
        let body = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", &firmware[..]].concat();
        scripted(inside, body, move || asked.send(()).unwrap());
        let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", first.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{to}/inside\r\nContent-Length: 0\r\n\r\n"
        );
        scripted(first, answer.into_bytes(), || {});
        let desk = Desk::new();
        desk.write("image", &firmware);
        let (_cloud, broker) =
            cloud_with(&["dev001"], &desk.path("image"), &["--public-url", &url]);
        let config = desk.device_with("dev001", &broker, more);
        if refused {
            let mut agent = agent(&config, &["--once"]);
            let words = "the store has no public address";
            agent.wait_for("a refusal", |line| line["cause"] == words);
            agent.terminate();
            agent.end().expect(143);
            assert!(requests.try_recv().is_err(), "nobody asked there");
        } else {
            once(&config).expect(0);
            assert!(requests.try_recv().is_ok());
        }
    }
}

#[test]
fn the_status_has_the_words_of_what_the_store_answered_last() {
    let store = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", store.local_addr().unwrap());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1532\r\n\r\n";
    scripted(store, [head.as_bytes(), &[b' '; 1_532]].concat(), || {});
    let desk = Desk::new();
    desk.write("image", image(1, 1000));
    let (_cloud, broker) = cloud_with(&["dev001"], &desk.path("image"), &["--public-url", &url]);
    let config = desk.plain_device("dev001", &broker);
    let agent = agent(&config, &[]);
    let status = wait_for_status(&config, |status| status["last_answer"].is_string());
    let answer = "200, 1532 bytes, text/html";
    assert_eq!(status["last_answer"], answer);
    let error =
        format!("the download failed for now: server has another length than the offer: {answer}");
    assert_eq!(status["last_error"], error);
    let text = ask(&config, &["status"]).expect(0).out.join("\n");
    assert!(text.contains(&format!("last answer      {answer}")), "{text}");
    assert!(text.contains(&format!("last error       {error}")), "{text}");
    agent.terminate();
    agent.end().expect(0);
}

/// Answers each request on this port so, until the tests end.
fn scripted(port: std::net::TcpListener, answer: Vec<u8>, asked: impl Fn() + Send + 'static) {
    use std::io::{Read as _, Write as _};
    std::thread::spawn(move || {
        for stream in port.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), Vec::new());
            let mut bytes = [0; 1_024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(count) if count > 0 => head.extend_from_slice(&bytes[..count]),
                    _ => break,
                }
            }
            asked();
            let _ = stream.write_all(&answer);
        }
    });
}
