//! The built-in installer: two slots and a link, through the program.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests on the real clock")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Desk, ONCE, agent, ask, image, once, setup, status, told, wait_until};

fn device(desk: &Desk, name: &str, broker: &str, lines: &str) -> (String, PathBuf) {
    let slots = desk.slots(&format!("{name}.slots"));
    (desk.device(name, broker, &format!("slots = \"{name}.slots\"\n{lines}")), slots)
}

fn link(slots: &Path) -> String {
    fs::read_link(slots.join("current")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_new_image_runs_from_the_other_slot_and_is_confirmed() {
    let firmware = image(1, 300_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    // The image is started when the link points to it and its start is counted, never before.
    let started = desk.path("started");
    let lines = format!(
        "restart = [\"sh\", \"-c\", \"cat $0/current/version $0/state > {}\", \"{}\"]\n\
         health = [\"test\", \"-f\", \"{}\"]",
        started.display(),
        desk.path("dev001.slots").display(),
        started.display()
    );
    let (config, slots) = device(&desk, "dev001", &broker, &lines);
    once(&config).expect(0);
    assert_eq!(link(&slots), "b");
    assert_eq!(fs::read(slots.join("b/image")).unwrap(), firmware);
    assert_eq!(fs::read(slots.join("a/image")).unwrap(), b"old");
    let seen = String::from_utf8(desk.read("started")).unwrap();
    assert!(seen.starts_with("1.0.0\nota-slots 1\ntrial b\nstarts 1\n"), "{seen}");
    let state = fs::read_to_string(slots.join("state")).unwrap();
    assert!(state.contains("\nconfirmed b\n"), "{state}");
    // The version is told before the trial is over.
    cloud.event("proved");
    cloud.event("claimed");
}

#[test]
fn an_agent_killed_before_the_restart_command_has_ended_runs_it_again_and_trusts_nothing_before() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(8, 1000));
    // The first one never starts the image; the link is moved already.
    let (here, started) = (desk.path("here"), desk.path("started"));
    let lines = format!(
        "restart = [\"sh\", \"-c\", \"if test -e $0; then cat $2/current/version > $1; \
         else touch $0; exec sleep 60; fi\", \"{}\", \"{}\", \"{}\"]\nhealth = [\"test\", \"-f\", \"{}\"]",
        here.display(),
        started.display(),
        desk.path("dev001.slots").display(),
        started.display()
    );
    let (config, slots) = device(&desk, "dev001", &broker, &lines);
    let killed = agent(&config, &[]);
    wait_until("a restart", || here.exists());
    killed.kill();
    assert_eq!(link(&slots), "b");
    assert!(!started.exists());
    once(&config).expect(0);
    assert_eq!(desk.read("started"), b"1.0.0\n");
    cloud.event("proved");
    cloud.event("claimed");
}

#[test]
fn a_restart_that_is_due_is_forgotten_when_the_configuration_has_none() {
    let desk = Desk::new();
    let (config, slots) = device(&desk, "dev001", "127.0.0.1:9", "");
    let state =
        format!("ota-slots 1\nconfirmed a\nstarts 0\nboot {}\nrestart due\n", ota_host::boot_id());
    fs::write(slots.join("state"), state).unwrap();
    let end = agent(&config, &["--once", "--wait", "1"]).end().expect(8);
    let starts = end.out.iter().filter(|line| line.contains("\"started\"")).count();
    assert_eq!(starts, 1, "not again and again");
}

#[test]
fn a_command_may_fill_the_slot() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(2, 1000));
    let lines = "install = [\"sh\", \"-c\", \"mkdir $1/tree && cp $0 $1/tree/app\", \"{image}\", \"{slot}\"]\nrestart = \"none\"";
    let (config, slots) = device(&desk, "dev001", &broker, lines);
    once(&config).expect(0);
    assert_eq!(fs::read(slots.join("current/tree/app")).unwrap(), desk.read("image"));
    assert_eq!(fs::read(slots.join("current/version")).unwrap(), b"1.0.0\n");
}

#[test]
fn an_image_that_was_changed_after_it_was_verified_is_not_installed() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(9, 1000));
    let lines = "verify = [\"sh\", \"-c\", \
                 \"printf EVIL | dd of=$0 conv=notrunc 2> /dev/null\", \"{image}\"]";
    let (config, slots) = device(&desk, "dev001", &broker, lines);
    let end = once(&config).expect(4);
    let said = end.err.iter().any(|line| line.contains("is not the one that was offered"));
    assert!(said, "{:?}", end.err);
    assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
    assert_eq!(link(&slots), "a");
    assert!(!slots.join("b/version").exists());
}

#[test]
fn an_image_that_is_never_healthy_is_taken_back() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(3, 1000));
    let starts = desk.path("starts");
    let lines = format!(
        "health = [\"false\"]\nconfirm_limit = 0.5\n\
         restart = [\"sh\", \"-c\", \"cat $0/current/version >> {}\", \"{}\"]",
        starts.display(),
        desk.path("dev001.slots").display()
    );
    let (config, slots) = device(&desk, "dev001", &broker, &lines);
    once(&config).expect(4);
    assert_eq!(told(&mut cloud), ("-5".into(), "rolled back: not confirmed".into()));
    assert_eq!(link(&slots), "a");
    assert_eq!(desk.read("starts"), b"1.0.0\n0.1.0\n", "the old one was started again");
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn an_image_that_crashes_again_and_again_is_taken_back() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(4, 1000));
    let lines = "started_by = \"service\"\nhealth = [\"false\"]\nslot_starts = 2\n\
                 restart = [\"sh\", \"-c\", \"exec \\\"$0\\\" agent start --config $1\", \"OTA\", \"CONFIG\"]";
    let lines = lines
        .replace("\"OTA\"", &format!("\"{}\"", env!("CARGO_BIN_EXE_ota")))
        .replace("CONFIG", desk.path("dev001.toml").to_str().unwrap());
    let (config, slots) = device(&desk, "dev001", &broker, &lines);
    let mut agent = agent(&config, &ONCE);
    agent.wait_for("trial", |line| line["state"] == "trial");
    assert_eq!(status(&config)["slot"], "b, on trial");
    // What its service does while it crashes.
    let start = || ask(&config, &["start"]).expect(0).out[0].clone();
    assert_eq!(start(), "slot b, version 1.0.0");
    assert_eq!(start(), "slot a, version 0.1.0");
    assert_eq!(link(&slots), "a");
    // The agent sees it, and tells the cloud.
    assert_eq!(told(&mut cloud), ("-5".into(), "rolled back: did not start".into()));
    agent.end().expect(4);
    let state = fs::read_to_string(slots.join("state")).unwrap();
    assert!(state.contains("\nconfirmed a\n") || state.contains("\nrolled-back b\n"), "{state}");
}

#[test]
fn a_person_takes_an_image_on_trial_back() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(5, 1000));
    let (config, slots) = device(&desk, "dev001", &broker, "health = [\"false\"]");
    let mut agent = agent(&config, &ONCE);
    agent.wait_for("trial", |line| line["state"] == "trial");
    ask(&config, &["rollback"]).expect(0);
    assert_eq!(told(&mut cloud), ("-5".into(), "rolled back: asked for".into()));
    agent.end().expect(4);
    assert_eq!(link(&slots), "a");
}

#[test]
fn a_restart_that_does_not_switch_the_slots_says_what_is_missing() {
    let (desk, _cloud, broker) = setup(&["dev001"], image(6, 1000));
    let lines = "started_by = \"service\"\nrestart = [\"true\"]";
    let (config, slots) = device(&desk, "dev001", &broker, lines);
    let agent = agent(&config, &[]);
    let said = agent.error("the slots were not switched");
    assert!(said.contains("ota agent start"), "{said}");
    assert_eq!(link(&slots), "a");
    assert_eq!(status(&config)["slot"], "a, until the next start");
}

#[test]
fn slots_that_nobody_made_are_one_line_that_says_how() {
    let desk = Desk::new();
    let (config, slots) = device(&desk, "dev001", "127.0.0.1:9", "");
    fs::remove_file(slots.join("current")).unwrap();
    for words in [&["--once"][..], &["start"]] {
        let end = ask(&config, words).expect(5);
        assert!(end.err[0].contains("put the running image into"), "{:?}", end.err);
    }
    let plain = desk.plain_device("dev002", "127.0.0.1:9");
    assert!(ask(&plain, &["start"]).expect(2).err[0].contains("slots: missing"));
}

/// Kills at random moments; each update ends as if nothing had been.
#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn an_agent_killed_at_random_moments_leaves_a_whole_image_to_run() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut rng = ota_proto::Rng::new(seed);
    let firmware = image(7, 300_000);
    let names: Vec<String> = (0..10).map(|n| format!("dev{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (desk, _cloud, broker) = setup(&names, &firmware);
    for name in names {
        let (config, slots) = device(&desk, name, &broker, "");
        for _ in 0..2 {
            let words =
                ["\"ready\"", "\"installing\"", "\"restarting\"", "\"started\"", "\"trial\""];
            let word = words[usize::try_from(rng.next_u64() % 5).unwrap()];
            let mut agent = agent(&config, &[]);
            let mut new = false;
            loop {
                let line = agent.line();
                new |= line.contains("\"started\"") && line.contains("1.0.0");
                // One that has the new version accepted may have passed the moment before.
                if line.contains(word) || (new && line.contains("\"version-accepted\"")) {
                    break;
                }
            }
            for _ in 0..rng.next_u64() % 200_000 {
                std::hint::spin_loop();
            }
            assert_eq!(agent.kill().code, None, "it was killed");
            let side = link(&slots);
            let image = fs::read(slots.join(&side).join("image")).unwrap();
            assert!(
                image == if side == "a" { b"old".to_vec() } else { firmware.clone() },
                "{name}"
            );
        }
        let mut last = agent(&config, &[]);
        last.event("started");
        let state = || fs::read_to_string(slots.join("state")).unwrap_or_default();
        wait_until("confirmed", || state().contains("confirmed b\n"));
        last.terminate();
        last.end().expect(0);
        assert_eq!(link(&slots), "b", "{name}");
        assert_eq!(fs::read(slots.join("b/image")).unwrap(), firmware);
    }
}
