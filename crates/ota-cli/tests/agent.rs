//! `ota agent` against `ota cloud serve`: two programs, over TCP.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use common::{Desk, agent, ask, image, once, setup, wait_until};

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
    let end = agent(&config, &["--once", "--wait", "1"]).end().expect(3);
    assert_eq!(end.err, ["ota: no offer came in time; is there a firmware for this device?"]);
    cloud.terminate();
    cloud.end().expect(0);
}

#[test]
fn an_update_with_an_installer() {
    let firmware = image(2, 100_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    let installer = r#"install = ["sh", "-c", "cp $1 new.img && echo $2 > said && echo working", "sh", "{image}", "{version}"]"#;
    let installer = installer.replace("new.img", desk.path("new.img").to_str().unwrap());
    let installer = installer.replace("said", desk.path("said").to_str().unwrap());
    let config = desk.device("dev001", &broker, &format!("version = \"0.1.0\"\n{installer}"));
    let end = once(&config).expect(0);
    assert_eq!(desk.read("new.img"), firmware);
    assert_eq!(desk.read("said"), b"1.0.0\n");
    assert!(end.err.contains(&"working".to_owned()), "{:?}", end.err);
    cloud.event("claimed");
    cloud.event("proved");
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
    let install = format!("install = {}", script("dev001"));
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
fn a_restart_command_is_run_and_not_for_ever() {
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
        ("dev001", "install = [\"sh\", \"-c\", \"echo why >&2; exit 7\"]", "install failed"),
        ("dev002", "install = [\"sleep\", \"60\"]\ninstall_limit = 0.1", "install timed out"),
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
    for (from, to, words) in [
        (
            "broker = \"mqtt://",
            "broker = \"http://",
            "broker: write it like mqtts://host:8883 or mqtt://",
        ),
        ("product_id", "produkt_id", "produkt_id: no such key; did you mean product_id?"),
        ("allow_http = true", "allow_http = 1", "allow_http: must be true or false"),
        ("\"secret\"", "\"missing\"", "device_secret_file: cannot read"),
        ("\"dev001.version\"", "\"none\"", "version_file: cannot read"),
        ("device_name", "= x", "line 2: "),
    ] {
        let config = desk.write("bad.toml", text.replacen(from, to, 1));
        let end = once(&config).expect(2);
        assert_eq!(end.err.len(), 1, "{:?}", end.err);
        assert!(end.err[0].contains(words), "{words}: {}", end.err[0]);
    }
    assert!(
        once("/nowhere.toml").expect(2).err[0]
            .contains("cannot read the configuration /nowhere.toml")
    );
    desk.write("dev001.version", "a b\n");
    assert!(once(&good).expect(2).err[0].contains("version_file: "));
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
